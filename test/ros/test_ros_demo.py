# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Processes over DDS: camera, detector with the real pipeline, client; and that all of them end."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import pytest
import torch
from PIL import Image
from ros_frames import SIZE, write_frame

from kgnpro_ros.config import NETWORK_PRESETS
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import find_model, save_model
from kgnpro_ros.ros import demo
from kgnpro_ros.ros.processes import _die_with_parent

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A model file with random weights: the whole pipeline runs, and finds nothing sensible."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "untrained.safetensors"
    save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), path, {})
    return path


@pytest.fixture
def frames(tmp_path):
    for name in ("first", "second"):
        write_frame(tmp_path / "frames" / name)
    return tmp_path / "frames"


def start_demo(*arguments):
    code = f"import sys; from kgnpro_ros.ros.demo import run; sys.exit(run({', '.join(arguments)}))"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
        # Tests in the background of a shell have SIGINT ignored, and would hand that on.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def descendants(marker: str) -> list[str]:
    """Command lines of living processes that mention a path."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode().replace("\0", " ")
        except (OSError, UnicodeDecodeError):
            continue
        if entry.name.isdigit() and marker in command and "kgnpro_ros.ros." in command:
            found.append(command)
    return found


def test_frames_of_a_folder_end_to_end(frames, untrained, tmp_path):
    out = tmp_path / "out"
    process = start_demo(f"{str(frames)!r}", f"{str(out)!r}", f"model={str(untrained)!r}")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    for name in ("first", "second"):
        picture = cv2.imread(str(out / f"{name}.png"))
        assert picture.shape == (*SIZE, 3)
        assert f"{name}: " in output
        assert f"picture: {out / name}.png" in output
    assert descendants(str(tmp_path)) == []


@pytest.mark.reliability("fault: signals to nodes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_children_end_with_the_demo(frames, tmp_path, number):
    out = tmp_path / "out"
    process = start_demo(f"{str(frames)!r}", f"{str(out)!r}")
    deadline = time.monotonic() + 60
    while len(descendants(str(tmp_path))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(descendants(str(tmp_path))) >= 2
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    while descendants(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert descendants(str(tmp_path)) == []


def test_a_child_whose_parent_died_before_it_could_ask_ends_too():
    nobody = 0  # no process has this number, so it is not the parent of the child
    process = subprocess.Popen(["sleep", "60"], preexec_fn=partial(_die_with_parent, nobody))
    assert process.wait(timeout=10) == 1


@pytest.mark.reliability("diagnostics: what is waited for")
def test_a_camera_that_cannot_start_is_reported(tmp_path, capfd):
    (tmp_path / "frames").mkdir()
    assert demo.run(tmp_path / "frames", tmp_path / "out") == 1
    errors = capfd.readouterr().err
    assert "camera ended too early" in errors
    assert "color.png, depth.png, camera.json" in errors
    assert descendants(str(tmp_path)) == []


def test_what_is_missing_is_said(tmp_path, capsys, monkeypatch):
    assert demo.run(tmp_path / "nothing", tmp_path / "out") == 2
    assert "no folder" in capsys.readouterr().err
    monkeypatch.setattr(demo, "PACKAGES", ("rclpy", "no_such_package"))
    assert demo.run(tmp_path, tmp_path / "out") == 2
    assert "cannot import no_such_package" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_domain_of_the_user_is_kept():
    assert demo.demo_environment({"ROS_DOMAIN_ID": "7"})["ROS_DOMAIN_ID"] == "7"
    assert 1 <= int(demo.demo_environment({})["ROS_DOMAIN_ID"]) <= 100


@pytest.mark.reliability("fault: signals to nodes")
@pytest.mark.parametrize("module", ["detector_node", "replay_node", "executor_node"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nodes_leave_cleanly_on_signals(frames, module, number):
    parameter = {
        "detector_node": "autostart:=false", "replay_node": f"frames:={frames}",
        "executor_node": "dry_run:=true",
    }[module]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", f"kgnpro_ros.ros.{module}", "--ros-args", "-p", parameter],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for line in process.stderr:
        if "[INFO]" in line:
            break
    time.sleep(0.5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 0, errors
    assert f"told to end by {signal.Signals(number).name}" in errors
    assert "Traceback" not in errors


@pytest.fixture
def shipped_model():
    try:
        return find_model("lite")
    except ModelError as error:
        pytest.skip(str(error))


def test_simulated_tabletop_with_the_shipped_model(shipped_model, tmp_path):
    process = start_demo("None", f"{str(tmp_path / 'out')!r}", "arm=False")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert " grasp" in output
    assert "rank" in output
    assert (tmp_path / "out" / "scene_0.png").is_file()
    assert descendants(str(tmp_path)) == []


@pytest.mark.slow
def test_a_simulated_arm_empties_the_table(shipped_model, tmp_path):
    pytest.importorskip("mplib")
    out = tmp_path / "out"
    process = start_demo("None", f"{str(out)!r}")
    output, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    assert re.search(r"[56] of 6 objects are in the box", output)
    assert output.count("picked") >= 5
    with Image.open(out / "pick.gif") as film:
        assert film.n_frames > 20
    assert len(list(out.glob("*_lifted.png"))) >= 5
    assert descendants(str(tmp_path)) == []
