# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The virtual environment and its wheels."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .layout import Layout, SetupError
from .runner import run, say

_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_PLAIN = "default"
# The folders of the machine on which the ROS wheels were built, as their CMake files name them.
_BUILD_PYTHON = re.compile(r"/opt/python/cp\d+-cp\d+/include/python3\.\d+")
_BUILD_NUMPY = re.compile(
    r"/opt/python/cp\d+-cp\d+/lib/python3\.\d+/site-packages/numpy/(?:_core|core)/include"
)


def create_environment(
    python: Path, layout: Layout, environment: Mapping[str, str], with_system: bool
) -> None:
    """Makes .venv with a pinned pip, or keeps one of the same kind.

    Args:
        python: The interpreter to make it with.
        layout: The folders.
        environment: Variables for the commands.
        with_system: Lets it see the packages of a ROS installation.
    """
    log = layout.logs / "pip.log"
    if layout.venv.exists() and not _is_like(layout.venv, python, with_system):
        if not (layout.venv / "pyvenv.cfg").is_file():
            raise SetupError(f"{layout.venv} is in the way: it is no virtual environment")
        say(f"removing {layout.venv}: it was made for another Python or another kind of set-up")
        shutil.rmtree(layout.venv)
    if not layout.venv.exists():
        say(f"creating the virtual environment {layout.venv} with {python}")
        options = ["--system-site-packages"] if with_system else []
        run([python, "-m", "venv", *options, layout.venv], log, "creating .venv", environment)
    say("installing pip and setuptools")
    _pip(layout, ["-r", layout.requirements / "pip.txt"], environment)


def install_wheels(layout: Layout, environment: Mapping[str, str], with_ros: bool) -> None:
    """Installs torch, then everything else, at the pinned versions, and repairs the ROS wheels."""
    options = _torch_options(layout, environment)
    source = options[1] if options else "pip's package index"
    say(f"installing torch from {source} (a few hundred MB)")
    constraints = ["-c", layout.requirements / "constraints.txt"]
    torch = ["-r", layout.requirements / "torch.txt"]
    _pip(layout, [*torch, *constraints, *options], environment)
    files = ["core", "dev", *(["ros"] if with_ros else [])]
    say(f"installing wheels: {', '.join(files)}")
    requirements = [part for name in files for part in ("-r", layout.requirements / f"{name}.txt")]
    _pip(layout, [*requirements, *constraints], environment)
    if with_ros:
        say(f"repaired header paths in {repair_paths(layout)} CMake files of the wheels")


def install_command(layout: Layout, environment: Mapping[str, str]) -> None:
    """Puts the kgnpro command into .venv/bin, running from this folder."""
    say("installing the kgnpro command")
    _pip(layout, ["--no-deps", "--no-build-isolation", "-e", layout.root], environment)


def repair_paths(layout: Layout) -> int:
    """Rewrites paths of the wheels' build machine in their CMake files; returns how many files."""
    code = (
        "import sysconfig, numpy; print(sysconfig.get_path('include')); print(numpy.get_include())"
    )
    answer = subprocess.run([layout.python, "-c", code], capture_output=True, text=True, check=True)
    python_include, numpy_include = answer.stdout.splitlines()
    changed = 0
    for path in (layout.venv / "share").rglob("*.cmake"):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        repaired = repair(text, python_include, numpy_include)
        if repaired != text:
            path.write_text(repaired, encoding="utf-8", errors="surrogateescape")
            changed += 1
    return changed


def repair(text: str, python_include: str, numpy_include: str) -> str:
    """Returns ``text`` with the build machine's header folders replaced by the actual ones."""
    text = _BUILD_NUMPY.sub(lambda _: numpy_include, text)
    return _BUILD_PYTHON.sub(lambda _: python_include, text)


def needs_cuda(requirements: list[str]) -> bool:
    """Returns whether what a torch wheel requires includes the CUDA libraries."""
    return any(re.match(r"(nvidia|cuda)[-_]", requirement) for requirement in requirements)


def _is_like(venv: Path, python: Path, with_system: bool) -> bool:
    """Returns whether a virtual environment has this interpreter and this kind."""
    try:
        lines = (venv / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    settings = dict(line.split(" = ", 1) for line in lines if " = " in line)
    system_packages = settings.get("include-system-site-packages") == "true"
    same_python = os.path.realpath(venv / "bin" / "python") == os.path.realpath(python)
    return same_python and system_packages == with_system


def _torch_options(layout: Layout, environment: Mapping[str, str]) -> list[str]:
    """Returns the index to take torch from: gigabytes of CUDA only where there is a GPU for it."""
    index = environment.get("KGNPRO_TORCH_INDEX", "")
    if index:
        return [] if index == _PLAIN else ["--index-url", index]
    if shutil.which("nvidia-smi", path=environment.get("PATH")) is not None:
        return []
    report = _torch_report(layout, environment)
    wheel = report["install"][0]["metadata"]
    if needs_cuda(wheel.get("requires_dist", [])) and "+cpu" not in wheel["version"]:
        return ["--index-url", _CPU_INDEX]
    return []


def _torch_report(layout: Layout, environment: Mapping[str, str]) -> dict:
    path = layout.build / "torch_report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["-r", layout.requirements / "torch.txt", "--no-deps", "--ignore-installed"]
    say("asking pip which build of torch it would take")
    _pip(layout, ["--dry-run", "--report", path, *arguments], environment)
    return json.loads(path.read_text())


def _pip(layout: Layout, arguments: list, environment: Mapping[str, str]) -> None:
    command = [layout.python, "-m", "pip", "install", "--progress-bar", "off", *arguments]
    hint = "pip (to take torch from elsewhere, set KGNPRO_TORCH_INDEX to an index address)"
    what = hint if any("torch" in str(argument) for argument in arguments) else "pip"
    run(command, layout.logs / "pip.log", what, environment)
