# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The steps of the set-up script, without installing anything."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "ros_wheels"))


@pytest.fixture
def steps():
    """The modules of the set-up by name."""

    class Steps:
        def __getattr__(self, name):
            return importlib.import_module(f"setup_steps.{name}")

    return Steps()


@pytest.fixture
def layout(steps, tmp_path):
    return steps.layout.Layout(tmp_path)


def fake_python(folder, name, version):
    """Makes an executable that answers like a Python of another version."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {version.replace('.', ' ')} {path}\n")
    path.chmod(0o755)
    return path


def test_header_paths_of_the_wheels_are_repaired(steps):
    text = (
        'INTERFACE_INCLUDE_DIRECTORIES "/opt/python/cp312-cp312/include/python3.12;'
        "/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include;"
        '${_IMPORT_PREFIX}/include"'
    )
    repaired = steps.wheels.repair(text, "/py/include", r"/np\1/include")
    assert repaired == (
        r'INTERFACE_INCLUDE_DIRECTORIES "/py/include;/np\1/include;${_IMPORT_PREFIX}/include"'
    )
    assert steps.wheels.repair(repaired, "/other", "/other") == repaired


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        (["filelock", "sympy>=1.13"], False),
        (["nvidia-cudnn-cu13==9.1; platform_system == 'Linux'", "filelock"], True),
        (["cuda-bindings==13.0; platform_system == 'Linux'"], True),
        (["networkx", "nvidiability"], False),
    ],
)
def test_cuda_builds_of_torch_are_recognised(steps, requirements, expected):
    assert steps.wheels.needs_cuda(requirements) == expected


@pytest.mark.parametrize(
    ("index", "options"),
    [("default", []), ("https://example.org/cpu", ["--index-url", "https://example.org/cpu"])],
)
def test_the_index_for_torch_can_be_chosen(steps, layout, index, options):
    chosen = steps.wheels._torch_options(layout, {"KGNPRO_TORCH_INDEX": index})
    assert chosen == options


@pytest.mark.parametrize(
    ("requires", "version", "options"),
    [
        (
            ["nvidia-nccl-cu13==2"],
            "2.13.0",
            ["--index-url", "https://download.pytorch.org/whl/cpu"],
        ),
        (["sympy"], "2.13.0+cpu", []),
        (["sympy"], "2.13.0", []),
    ],
)
def test_without_a_gpu_cuda_is_not_downloaded(
    steps, layout, monkeypatch, requires, version, options
):
    report = {"install": [{"metadata": {"requires_dist": requires, "version": version}}]}
    monkeypatch.setattr(steps.wheels, "_torch_report", lambda *_: report)
    assert steps.wheels._torch_options(layout, {"PATH": "/nonexistent"}) == options


def test_stamps_survive_and_tell_changes(steps, tmp_path):
    path = tmp_path / "build" / "setup.json"
    steps.layout.Stamps(path).record("wheels", "a")
    again = steps.layout.Stamps(path)
    assert again.is_current("wheels", "a")
    assert not again.is_current("wheels", "b")
    assert not again.is_current("venv", "a")
    path.write_text('{"wheels": ')  # a kill at the wrong moment
    assert not steps.layout.Stamps(path).is_current("wheels", "a")


def test_fingerprint_depends_on_names_and_contents(steps, tmp_path):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("x")
    second.write_text("x")
    seen = {
        steps.layout.fingerprint(["k"], [first]),
        steps.layout.fingerprint(["k"], [second]),
        steps.layout.fingerprint(["other"], [first]),
    }
    first.write_text("y")
    seen.add(steps.layout.fingerprint(["k"], [first]))
    assert len(seen) == 4


def test_sources_decide_when_to_build_again(steps, layout):
    for name in ("CMakeLists.txt", "package.xml", "msg/A.msg", "kgnpro_ros/a.py"):
        path = layout.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    start = steps.workspace.package_fingerprint(layout)
    (layout.root / "kgnpro_ros" / "a.py").write_text("edited: the install is a link to it")
    assert steps.workspace.package_fingerprint(layout) == start
    (layout.root / "msg" / "A.msg").write_text("2")
    changed = steps.workspace.package_fingerprint(layout)
    assert changed != start
    (layout.root / "kgnpro_ros" / "b.py").write_text("")
    assert steps.workspace.package_fingerprint(layout) != changed


def test_build_environment_forgets_an_earlier_build(steps, layout):
    old = str(layout.install / "lib")
    environment = {
        "PATH": "/usr/bin",
        "PYTHONPATH": f"{old}:/opt/ros/site-packages",
        "AMENT_PREFIX_PATH": f"{layout.install}:/opt/ros",
        "LD_LIBRARY_PATH": old,
    }
    result = steps.workspace.build_environment(layout, False, environment)
    assert result["PYTHONPATH"] == "/opt/ros/site-packages"
    assert result["AMENT_PREFIX_PATH"] == "/opt/ros"
    assert "LD_LIBRARY_PATH" not in result
    assert result["PATH"].split(":")[0] == str(layout.venv / "bin")
    wheels = steps.workspace.build_environment(layout, True, environment)
    assert wheels["AMENT_PREFIX_PATH"] == f"{layout.venv}:/opt/ros"


def test_given_python_of_another_version_is_refused(steps, tmp_path):
    path = fake_python(tmp_path, "python3.13", "3.13")
    with pytest.raises(steps.layout.SetupError, match=r"3\.13.*needs 3\.10, 3\.11 or 3\.12"):
        steps.system.find_python({"PYTHON": str(path)})
    with pytest.raises(steps.layout.SetupError, match="was not found"):
        steps.system.find_python({"PYTHON": "no-such-python"})


def test_another_python_on_the_path_is_found(steps, tmp_path, monkeypatch):
    path = fake_python(tmp_path, "python3.12", "3.12")
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert steps.system.find_python({}) == path
    path.unlink()
    with pytest.raises(steps.layout.SetupError, match=r"install one of them"):
        steps.system.find_python({})


def test_virtual_environment_is_seen_through(steps, monkeypatch):
    python = steps.system.find_python({})
    assert python == Path(os.path.realpath(sys.executable))


def test_missing_system_packages_stop_a_user_with_the_command(steps, layout, monkeypatch):
    monkeypatch.setattr(steps.system, "_missing_packages", lambda _: ["g++", "libegl1"])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(steps.system.shutil, "which", lambda _: "/usr/bin/apt-get")
    with pytest.raises(steps.layout.SetupError, match=r"sudo apt-get .* install -y g\+\+ libegl1"):
        steps.system.ensure_system_packages(Path(sys.executable), layout, {})


def test_folder_in_the_way_is_not_removed(steps, layout):
    layout.venv.mkdir()
    (layout.venv / "precious.txt").write_text("mine")
    with pytest.raises(steps.layout.SetupError, match="no virtual environment"):
        steps.wheels.create_environment(Path(sys.executable), layout, {}, False)
    assert (layout.venv / "precious.txt").exists()


def test_failed_command_shows_its_end_and_the_log(steps, layout):
    log = layout.logs / "x.log"
    code = "print('first'); print('the reason'); raise SystemExit(3)"
    with pytest.raises(steps.layout.SetupError, match=r"(?s)exit code 3.*the reason.*x\.log"):
        steps.runner.run([sys.executable, "-c", code], log, "the step", dict(os.environ))
    assert "first" in log.read_text()


def test_missing_ros_packages_are_those_that_do_not_import(steps, layout, tmp_path):
    (layout.venv / "bin").mkdir(parents=True)
    layout.python.symlink_to(sys.executable)
    (tmp_path / "path" / "cv_bridge").mkdir(parents=True)
    (tmp_path / "path" / "cv_bridge" / "__init__.py").touch()
    environment = {"PYTHONPATH": str(tmp_path / "path"), "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}
    missing = steps.workspace.missing_packages(layout, environment)
    assert "cv_bridge" not in missing
    assert {"tf2_ros_py", "message_filters"} <= set(missing)


@pytest.mark.parametrize(
    ("distribution", "has_rclpy", "expected"),
    [("jazzy", True, True), ("jazzy", False, False), ("", True, False)],
)
def test_wheels_are_skipped_only_where_ros_can_be_used(
    steps, tmp_path, distribution, has_rclpy, expected
):
    module = tmp_path / ("rclpy.py" if has_rclpy else "something_else.py")
    module.touch()
    environment = {"ROS_DISTRO": distribution, "PYTHONPATH": str(tmp_path)}
    python = Path(os.path.realpath(sys.executable))  # not the one of .venv, which has rclpy
    assert steps.system.has_ros_installation(python, environment) == expected


def test_steps_follow_from_what_they_build_on(steps, monkeypatch):
    bootstrap = importlib.import_module("bootstrap")
    layout = steps.layout.Layout(ROOT)
    python = Path(sys.executable)

    def keys(*arguments):
        return {step.name: step.key for step in bootstrap.plan(layout, *arguments)}

    before = keys(python, True)
    assert list(before) == ["venv", "wheels", "command", "workspace", "stand_ins", "package"]
    other_python = keys(Path("/usr/bin/python3.12"), True)
    assert all(other_python[name] != before[name] for name in before)
    monkeypatch.setenv("KGNPRO_TORCH_INDEX", "https://example.org/cpu")
    changed = {name for name, key in keys(python, True).items() if key != before[name]}
    assert changed == {"wheels"}
