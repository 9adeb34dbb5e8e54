# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the machine must have: a Python, a compiler, and libraries for rendering."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from .layout import Layout, SetupError
from .runner import run, say

_SUPPORTED = ((3, 10), (3, 11), (3, 12))
_SUPPORTED_TEXT = "3.10, 3.11 or 3.12"


def find_python(environment: Mapping[str, str]) -> Path:
    """Returns an interpreter of a supported version: $PYTHON, this one, or one on the PATH.

    It is the interpreter itself, never one of a virtual environment or a version manager's shim.
    """
    if chosen := environment.get("PYTHON"):
        path = shutil.which(chosen)
        if path is None:
            raise SetupError(f"PYTHON={chosen} was not found; give {_SUPPORTED_TEXT}")
        version, real_path = _inspect(path)
        if version not in _SUPPORTED:
            raise SetupError(
                f"PYTHON={chosen} is Python {_text(version)}; kgnpro_ros needs {_SUPPORTED_TEXT}"
            )
        return real_path
    if sys.version_info[:2] in _SUPPORTED:
        return Path(os.path.realpath(sys.executable))
    for minor in (12, 11, 10):
        path = shutil.which(f"python3.{minor}")
        version, real_path = _inspect(path) if path else ((), Path())
        if version == (3, minor):
            return real_path
    raise SetupError(
        f"this is Python {_text(sys.version_info[:2])}, kgnpro_ros needs {_SUPPORTED_TEXT}: "
        "install one of them, for example python3.12, and run 'make setup PYTHON=python3.12'"
    )


def has_ros_installation(python: Path, environment: Mapping[str, str]) -> bool:
    """Returns whether a ROS installation is sourced that this interpreter can use."""
    distribution = environment.get("ROS_DISTRO")
    if not distribution:
        return False
    if _imports(python, "rclpy", environment):
        return True
    say(f"ROS {distribution} is sourced, but {python} cannot import rclpy: using wheels instead")
    return False


def ensure_system_packages(python: Path, layout: Layout, environment: Mapping[str, str]) -> None:
    """Installs what is missing when root; otherwise says which command does."""
    missing = _missing_packages(python)
    if not missing:
        return
    names = " ".join(missing)
    if shutil.which("apt-get") is None:
        raise SetupError(
            f"missing on this machine (Debian's names): {names}; install them with the system's "
            "package manager and run this again"
        )
    if os.geteuid() != 0:
        raise SetupError(
            f"missing system packages: {names}\n"
            f"  sudo apt-get update && sudo apt-get install -y {names}"
        )
    say(f"installing system packages with apt: {names}")
    apt = {**environment, "DEBIAN_FRONTEND": "noninteractive"}
    log = layout.logs / "apt.log"
    run(["apt-get", "update"], log, "apt-get update", apt)
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    run(install, log, "apt-get install", apt)


def _missing_packages(python: Path) -> list[str]:
    missing = [
        package
        for program, package in (
            ("gcc", "gcc"),
            ("g++", "g++"),
            ("cmake", "cmake"),
            ("make", "make"),
        )
        if shutil.which(program) is None
    ]
    version, _ = _inspect(python)
    if not _imports(python, "ensurepip", os.environ):
        missing.append(f"python{_text(version)}-venv")
    if not _has_headers(python):
        missing.append(f"python{_text(version)}-dev")
    if not _loads("libEGL.so.1"):
        missing.append("libegl1")
    if not _has_egl_driver():
        missing.append("libgl1-mesa-dri")
    return missing


def _has_egl_driver() -> bool:
    folders = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
    mesa = any(next(Path(folder).glob("**/dri/*_dri.so"), None) for folder in folders)
    nvidia = next(Path("/usr/share/glvnd/egl_vendor.d").glob("*nvidia*"), None)
    return mesa or nvidia is not None


def _has_headers(python: Path) -> bool:
    code = "import sysconfig; print(sysconfig.get_path('include'))"
    folder = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return (Path(folder.stdout.strip()) / "Python.h").is_file()


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _imports(python: Path, module: str, environment: Mapping[str, str]) -> bool:
    command = [str(python), "-c", f"import {module}"]
    return subprocess.run(command, capture_output=True, env=dict(environment)).returncode == 0


def _inspect(python: str | Path) -> tuple[tuple[int, ...], Path]:
    """Returns version and real path; an empty version when it does not run."""
    code = "import os, sys; print(*sys.version_info[:2], os.path.realpath(sys.executable))"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if answer.returncode != 0:
        return (), Path(python)
    major, minor, path = answer.stdout.rstrip("\n").split(" ", 2)
    return (int(major), int(minor)), Path(path)


def _text(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
