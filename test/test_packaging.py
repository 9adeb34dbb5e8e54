# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The files that install the package agree with each other and with the sources."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import kgnpro_ros

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "ros_wheels" / "requirements"
STAND_INS = sorted((ROOT / "ros_wheels" / "src").iterdir())
PYTHONS = ("3.10", "3.11", "3.12")


def requirements(path):
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


def pins(python):
    """Returns the exact version of each package for one Python version."""
    result = {}
    for file in ("constraints.txt", "torch.txt", "pip.txt", "ros.txt"):
        for requirement in requirements(REQUIREMENTS / file):
            if applies(requirement.marker, python):
                (specifier,) = requirement.specifier
                assert specifier.operator == "==", f"{file}: {requirement} is not pinned"
                name = canonicalize_name(requirement.name)
                assert result.setdefault(name, specifier.version) == specifier.version
    return result


def applies(marker: Marker | None, python):
    return marker is None or marker.evaluate({"python_version": python})


def setup_call():
    """Returns the keywords of the setup() call in setup.py that are literals."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    (call,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    )
    literals = {}
    for keyword in call.keywords:
        try:
            literals[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            continue
    return literals


def package_xml():
    return ElementTree.parse(ROOT / "package.xml").getroot()


def test_one_version_everywhere():
    assert package_xml().findtext("version") == kgnpro_ros.__version__
    command = [sys.executable, "setup.py", "--version"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split()[-1] == kgnpro_ros.__version__


@pytest.mark.parametrize("python", PYTHONS)
def test_every_direct_requirement_is_pinned_for_every_python(python):
    pinned = pins(python)
    for file in ("core.txt", "dev.txt", "ros.txt"):
        for requirement in requirements(REQUIREMENTS / file):
            assert canonicalize_name(requirement.name) in pinned, f"{file}: {requirement}"


@pytest.mark.parametrize("python", PYTHONS)
def test_pins_satisfy_what_setup_py_asks_for(python):
    pinned = pins(python)
    for text in setup_call()["install_requires"]:
        requirement = Requirement(text)
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(Version(version)), f"{text}, pinned {version}"


def test_setup_py_and_the_wheels_have_the_same_direct_requirements():
    core = {
        r.name for file in ("core", "torch") for r in requirements(REQUIREMENTS / f"{file}.txt")
    }
    assert {Requirement(text).name for text in setup_call()["install_requires"]} == core


def test_package_xml_names_what_the_ros_nodes_import():
    named = {element.text for element in package_xml() if element.tag.endswith("depend")}
    imported = set()
    for path in (ROOT / "kgnpro_ros" / "ros").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Import):
                imported.update(alias.name.partition(".")[0] for alias in node.names)
    ros_modules = {m for m in imported if re.search(r"(_msgs|_srvs|_interfaces)$|^rclpy$|^tf2_", m)}
    ros_modules |= imported & {"message_filters", "cv_bridge", "diagnostic_updater"}
    packages = {"tf2_ros_py" if module == "tf2_ros" else module for module in ros_modules}
    assert packages <= named, f"missing in package.xml: {packages - named}"


@pytest.mark.parametrize("folder", STAND_INS, ids=lambda path: path.name)
def test_stand_in_packages_are_named_like_their_folder(folder):
    root = ElementTree.parse(folder / "package.xml").getroot()
    assert root.findtext("name") == folder.name
    assert f"project({folder.name}" in (folder / "CMakeLists.txt").read_text()


def test_colcon_does_not_see_the_stand_ins():
    assert (ROOT / "ros_wheels" / "COLCON_IGNORE").is_file()


def test_shell_scripts_parse():
    for script in ("ros_wheels/env.sh", ".ci/run"):
        subprocess.run(["bash", "-n", ROOT / script], check=True)
