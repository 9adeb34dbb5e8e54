# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""No part of the package, and no library that it brings, talks to another machine.

Processes run under a preloaded library that writes down, and refuses, each connection.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIM = Path(__file__).parent / "support" / "no_network.c"

pytestmark = pytest.mark.reliability("security: no network")


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("shim") / "no_network.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SHIM, "-ldl"], check=True)
    return library


@pytest.fixture
def attempts(shim, tmp_path):
    """Runs code, and returns what it tried to reach; its home is new: nobody has opted out."""

    def run(code):
        log, home = tmp_path / "network.log", tmp_path / "home"
        home.mkdir(exist_ok=True)
        unset = ("CI", "TF_BUILD", "JENKINS_URL")  # where some libraries are silent by themselves
        environment = {k: v for k, v in os.environ.items() if k not in unset}
        environment |= {"LD_PRELOAD": str(shim), "NETWORK_LOG": str(log), "HOME": str(home)}
        command = [sys.executable, "-c", code]
        subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=300)
        found = log.read_text().splitlines() if log.exists() else []
        left = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
        return found, left

    return run


TRY = """
import socket, subprocess, sys
for call in (
    lambda: socket.socket().connect(("203.0.113.1", 9)),
    lambda: socket.getaddrinfo("example.org", 80),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("203.0.113.2", 9)),
    lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 9)),
):
    try:
        call()
    except OSError:
        continue
    sys.exit("not refused")
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.socket().connect(server.getsockname())
"""


def test_the_test_sees_every_attempt(attempts):
    assert attempts(TRY)[0] == [
        "connect 203.0.113.1", "getaddrinfo example.org", "sendto 203.0.113.2",
        "connect 2001:db8::1",
    ]  # fmt: skip


DETECT = """
import sys, tempfile
from pathlib import Path
import numpy as np
from kgnpro_ros import Camera, GraspDetector, RGBDImage
from kgnpro_ros.config import NETWORK_PRESETS, DetectorConfig
from kgnpro_ros.network.graph import graph_bytes
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import load_model, save_model

camera = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)
image = RGBDImage(np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 0.7, np.float32), camera)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "tiny.safetensors"
    save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), path, {})
    loaded = load_model(path)
    path.with_suffix(".onnx").write_bytes(graph_bytes(loaded.network, loaded.sha256))
    for runtime in ("torch", "onnxruntime", "openvino", "auto"):
        detector = GraspDetector(DetectorConfig(model=str(path), runtime=runtime))
        assert len(detector.detect(image).rejected) >= 0
assert "openvino" in sys.modules and "onnxruntime" in sys.modules
"""


def test_detection_reaches_nobody_with_any_runtime(attempts):
    assert attempts(DETECT) == ([], [])


IMPORT = """
import importlib, pkgutil
import kgnpro_ros
for module in pkgutil.walk_packages(kgnpro_ros.__path__, "kgnpro_ros."):
    if not module.name.startswith(("kgnpro_ros.ros", "kgnpro_ros.msg", "kgnpro_ros.srv",
                                   "kgnpro_ros.action")):
        importlib.import_module(module.name)
"""


@pytest.mark.slow
def test_the_modules_reach_nobody(attempts):
    """With all that they import: the trainer, the simulator, the planner, the plots."""
    assert attempts(IMPORT)[0] == []
