# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Building the ROS packages with colcon: those that are missing, and this one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from .layout import Layout, SetupError, fingerprint
from .runner import run, say

# The Python module by which a package is recognised, for each that ros_wheels/src can stand in for.
_STAND_INS = {
    "tf2_msgs": "tf2_msgs",
    "control_msgs": "control_msgs",
    "message_filters": "message_filters",
    "tf2_ros_py": "tf2_ros",
    "tf2_geometry_msgs": "tf2_geometry_msgs",
    "cv_bridge": "cv_bridge",
    "diagnostic_updater": "diagnostic_updater",
}
# Files whose contents decide the build; of the others only the names matter, since
# --symlink-install makes the installed Python files links to the sources.
_CONTENT_SUFFIXES = {".msg", ".srv", ".action", ".in", ".xml", ".txt"}
_FOLDERS = ("msg", "srv", "action", "cmake", "launch", "config", "models", "kgnpro_ros")


def package_fingerprint(layout: Layout) -> str:
    """Returns a hash that changes when this package has to be built again."""
    top = [layout.root / name for name in ("CMakeLists.txt", "package.xml")]
    return _fingerprint(layout, [*top, *(layout.root / name for name in _FOLDERS)])


def stand_ins_fingerprint(layout: Layout) -> str:
    """Returns a hash that changes when the packages of ros_wheels/src have to be built again."""
    return _fingerprint(layout, [layout.stand_ins])


def _fingerprint(layout: Layout, sources: list[Path]) -> str:
    files = sorted(path for source in sources for path in _files(source))
    contents = [path for path in files if path.suffix in _CONTENT_SUFFIXES]
    names = [str(path.relative_to(layout.root)) for path in files]
    return fingerprint(texts=names, files=contents)


def clean(layout: Layout) -> None:
    """Removes what was built with another Python or other wheels."""
    shutil.rmtree(layout.build / "ros", ignore_errors=True)


def build_stand_ins(layout: Layout, environment: Mapping[str, str]) -> None:
    """Builds the packages of ros_wheels/src that are missing into .build/ros/install."""
    missing = missing_packages(layout, environment)
    if missing:
        say(f"building the ROS packages that are missing: {', '.join(missing)}")
        _colcon(layout, [layout.stand_ins / package for package in missing], environment)


def build_package(layout: Layout, environment: Mapping[str, str]) -> None:
    """Builds this package into .build/ros/install."""
    say("building the ROS package kgnpro_ros")
    _colcon(layout, [layout.root], environment)
    _remove_dangling_links(layout.install)


def missing_packages(layout: Layout, environment: Mapping[str, str]) -> list[str]:
    """Returns the packages of ros_wheels/src that the environment does not have."""
    code = (
        "import importlib.util, sys\n"
        "print(*[m for m in sys.argv[1:] if importlib.util.find_spec(m) is None])"
    )
    command = [str(layout.python), "-c", code, *_STAND_INS.values()]
    answer = subprocess.run(
        command, capture_output=True, text=True, check=True, env=dict(environment), cwd="/"
    )
    absent = set(answer.stdout.split())
    return [package for package, module in _STAND_INS.items() if module in absent]


def build_environment(
    layout: Layout, with_wheels: bool, environment: Mapping[str, str]
) -> dict[str, str]:
    """Returns the variables for pip and colcon: .venv first, nothing of an earlier build."""
    result = dict(environment)
    for name in ("PYTHONPATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH"):
        kept = [
            part
            for part in result.get(name, "").split(os.pathsep)
            if part and not Path(part).is_relative_to(layout.build)
        ]
        result[name] = os.pathsep.join(kept)
        if not kept:
            del result[name]
    result.pop("PYTHONHOME", None)
    result.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    result["VIRTUAL_ENV"] = str(layout.venv)
    result["PATH"] = os.pathsep.join([str(layout.venv / "bin"), result.get("PATH", os.defpath)])
    if with_wheels:
        for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
            result[name] = os.pathsep.join(filter(None, [str(layout.venv), result.get(name)]))
    return result


def _colcon(layout: Layout, folders: list[Path], environment: Mapping[str, str]) -> None:
    colcon = shutil.which("colcon", path=environment.get("PATH"))
    if colcon is None:
        raise SetupError(
            "colcon was not found: sudo apt-get install -y python3-colcon-common-extensions"
        )
    workspace = layout.build / "ros"
    command = [
        *(colcon, "--log-base", workspace / "log", "build"),
        *("--merge-install", "--symlink-install"),
        *("--build-base", workspace / "build", "--install-base", layout.install),
        *("--base-paths", *folders),
        *("--cmake-args", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={layout.python}"),
    ]
    run(command, layout.logs / "colcon.log", "colcon build", environment)


def _files(source: Path) -> Iterator[Path]:
    for path in [source] if source.is_file() else source.rglob("*"):
        if path.is_file() and not re.search(r"__pycache__|\.pyc$", str(path)):
            yield path


def _remove_dangling_links(install: Path) -> None:
    """Removes links to source files that are gone, so that they cannot be half imported."""
    for path in install.rglob("*"):
        if path.is_symlink() and not path.exists():
            path.unlink()
