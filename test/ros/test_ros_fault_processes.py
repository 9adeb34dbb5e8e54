# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes as processes: killed, interrupted, and without a place to write."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ros_frames import write_frame
from ros_graph import PATIENCE, Caller, wait_until

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
REMAP = [
    part for name, topic in (
        ("color/image_raw", "color/image_raw"), ("color/camera_info", "color/camera_info"),
        ("depth/image_raw", "aligned_depth_to_color/image_raw"),
    ) for part in ("-r", f"{name}:=/camera/camera/{topic}")
]  # fmt: skip
MISSING = "no colour image on /camera/camera/color/image_raw"


class Nodes:
    """Starts nodes and ends them all."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []

    def start(self, command, *arguments, limit=None):
        """One node; ``limit`` is the largest file [bytes] that it may write."""

        def limited():
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        path = self.folder / f"{len(self.processes)}.log"
        environment = {
            **os.environ, "PYTHONUNBUFFERED": "1", "ROS_LOG_DIR": str(self.folder),
            "PYTHONPATH": f"{HERE}:{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        }  # fmt: skip
        # Through a pipe, which no limit on files touches.
        reader = subprocess.Popen(["tee", path], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        process = subprocess.Popen(
            [sys.executable, *command, "--ros-args", *arguments], cwd=ROOT, env=environment,
            stdout=reader.stdin, stderr=subprocess.STDOUT, preexec_fn=limited,
        )  # fmt: skip
        reader.stdin.close()
        process.log, process.reader = path, reader
        self.processes += [process, reader]
        return process

    def camera(self, frames, **options):
        return self.start(
            ["-m", "kgnpro_ros.ros.replay_node"], "-p", f"frames:={frames}", "-p", "rate:=10.0",
            **options,
        )  # fmt: skip

    def detector(self, *arguments, **options):
        return self.start([str(HERE / "quick_node.py")], *REMAP, *arguments, **options)

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=30)


@pytest.fixture
def nodes(tmp_path):
    started = Nodes(tmp_path)
    yield started
    started.close()


@pytest.fixture
def frames(tmp_path):
    return write_frame(tmp_path / "frames" / "first").parent


def ask_until(caller, accept):
    """Ask again until an answer is accepted.

    For some seconds after a SIGKILL, DDS takes the dead server for a living one, and what is sent
    to it is not answered: a caller needs a timeout of its own.
    """
    deadline, response = time.monotonic() + 2 * PATIENCE, None
    while time.monotonic() < deadline and not (response and accept(response)):
        request = caller.client.srv_type.Request(wait_for_new_frame=True)
        request.timeout.sec = 2
        future = caller.client.call_async(request)
        wait_until(future.done, 4.0)
        response = future.result() if future.done() else None
    return response


def answers(caller):
    response = ask_until(caller, lambda r: r.success)
    assert response is not None, "no answer"
    return response


def end(process, number):
    process.send_signal(number)
    code = process.wait(timeout=30)
    process.reader.wait(timeout=30)
    return code, process.log.read_text()


@pytest.mark.slow
@pytest.mark.reliability("fault: signals to nodes")
def test_each_node_killed_and_interrupted_in_turn(nodes, frames, local):
    """The others go on, say what is missing, and work again when it is back."""
    caller = local(Caller("survivor", "/detect_grasps"))
    camera, detector = nodes.camera(frames), nodes.detector("-p", "stall_timeout:=0.5")
    assert answers(caller).success
    for number, expected in ((signal.SIGKILL, -9), (signal.SIGINT, 0)):
        code, log = end(camera, number)
        assert code == expected, log
        assert "Traceback" not in log
        response = ask_until(caller, lambda r: MISSING in r.message)
        assert MISSING in response.message
        assert detector.poll() is None
        camera = nodes.camera(frames)
        assert answers(caller).success
        code, log = end(detector, number)
        assert code == expected, log
        assert "Traceback" not in log
        assert camera.poll() is None
        detector = nodes.detector("-p", "stall_timeout:=0.5")
        assert answers(caller).success


@pytest.mark.slow
@pytest.mark.reliability("fault: disk full")
def test_nodes_that_cannot_write_their_logs(nodes, frames, local):
    """No file may grow, as on a full disk: the log is lost, the grasps are not."""
    caller = local(Caller("fuller", "/detect_grasps"))
    camera, detector = nodes.camera(frames, limit=0), nodes.detector(limit=0)
    assert answers(caller).success
    for process in (camera, detector):
        code, log = end(process, signal.SIGINT)
        assert code == 0, log


LIMITED = """
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.argv = ["kgnpro", *{arguments}]
from kgnpro_ros.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.reliability("fault: disk full")
@pytest.mark.parametrize("limit", [0, 1000])
def test_detections_into_a_full_disk(frames, tmp_path, limit):
    """One line about it, exit code 1, and no half-written file that looks whole."""
    from kgnpro_ros.config import NETWORK_PRESETS
    from kgnpro_ros.network.model import KeypointNetwork
    from kgnpro_ros.network.weights import save_model

    model = tmp_path / "tiny.safetensors"
    save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), model, {})
    out = tmp_path / "out"
    arguments = ["detect", "--frames", str(frames), "--model", str(model), "--out", str(out)]
    code = LIMITED.format(limit=limit, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(out.glob("*.json"))
    assert not list(out.glob("*.png"))
