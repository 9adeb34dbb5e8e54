# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The package builds with plain colcon, and what it installs works from elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USE = """
import rclpy, sys
from kgnpro_ros.msg import GraspCandidate
from rclpy.serialization import deserialize_message, serialize_message
import kgnpro_ros
from kgnpro_ros.config import DetectorConfig
assert kgnpro_ros.__file__.startswith(sys.argv[1]), kgnpro_ros.__file__
again = deserialize_message(serialize_message(GraspCandidate(id="7")), GraspCandidate)
print(again.id, kgnpro_ros.__version__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--symlink-install"]], ids=["copy", "symlink"])
def test_plain_colcon_build(tmp_path, options):
    source = tmp_path / "src" / "kgnpro_ros"
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, files):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, source / name)
    build = subprocess.run(
        ["colcon", "build", *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert build.returncode == 0, build.stdout + build.stderr
    assert sorted(path.name for path in (tmp_path / "install").iterdir() if path.is_dir()) == [
        "kgnpro_ros"
    ]
    command = 'source install/setup.bash && cd / && python3 -c "$1" "$2"'
    environment = {
        **os.environ,
        "PYTHONPATH": "",
        "LD_LIBRARY_PATH": without(os.environ.get("LD_LIBRARY_PATH", ""), ROOT / ".build"),
    }
    use = subprocess.run(
        ["bash", "-c", command, "-", USE, str(tmp_path / "install")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert use.returncode == 0, use.stderr
    assert use.stdout.split()[0] == "7"
    programs = tmp_path / "install" / "kgnpro_ros" / "lib" / "kgnpro_ros"
    expected = {"grasp_detector", "grasp_executor", "grasp_sim", "rgbd_replay", "check_frames"}
    assert expected <= {path.name for path in programs.iterdir()}
    share = tmp_path / "install" / "kgnpro_ros" / "share" / "kgnpro_ros"
    assert (share / "config" / "moveit" / "moveit_cpp.yaml").is_file()
    assert all(os.access(path, os.X_OK) for path in programs.iterdir())


def without(paths, folder):
    return os.pathsep.join(p for p in paths.split(os.pathsep) if not p.startswith(str(folder)))
