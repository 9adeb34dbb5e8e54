#!/usr/bin/env python3
# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What ROS adds to a detection: stamp of the image to arrival of its grasps, over DDS.

    python benchmarks/bench_dds.py --frames FOLDER --model lite --runs 50

The detector node runs as a process of its own. Each frame is published with the time as its stamp,
and when its grasps have arrived, the same frame goes through the same detector in this process: a
busy machine slows down both. The difference is what copies, DDS, pairing and messages cost.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.time import Time

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.evaluation.timing import WARM_UP, summary
from kgnpro_ros.msg import GraspCandidateArray
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.predictions import find_frames, read_frame
from kgnpro_ros.ros.camera_publisher import COLOR_TOPIC, DEPTH_TOPIC, INFO_TOPIC, CameraPublisher
from kgnpro_ros.types import RGBDImage

START_TIMEOUT, ANSWER_TIMEOUT = 300.0, 30.0


class Camera(Node):
    """Publishes frames one by one and waits for their grasps."""

    def __init__(self) -> None:
        super().__init__("bench_dds")
        self._camera = CameraPublisher(self, "reliable", "base_link", np.eye(4))
        self._arrived: tuple[int, int, int] | None = None
        self.node_times: dict[str, str] = {}
        self.create_subscription(
            GraspCandidateArray, "/grasp_detector/candidates", self._on_grasps, 5
        )
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 5)

    def _on_grasps(self, message: GraspCandidateArray) -> None:
        now, stamp = self.get_clock().now(), Time.from_msg(message.header.stamp)
        self._arrived = (stamp.nanoseconds, now.nanoseconds, len(message.candidates))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.node_times.update({v.key: v.value for v in status.values if "[ms]" in v.key})

    def ask(self, image: RGBDImage, timeout: float) -> tuple[float, int] | None:
        """Publish a frame; milliseconds until its grasps came, and how many. None for no answer."""
        stamp, deadline = self.get_clock().now(), time.monotonic() + timeout
        self._camera.publish(image.color, image.depth, image.camera, stamp.to_msg())
        while time.monotonic() < deadline:
            rclpy.spin_once(self, timeout_sec=0.1)
            if self._arrived is not None and self._arrived[0] == stamp.nanoseconds:
                return 1e-6 * (self._arrived[1] - self._arrived[0]), self._arrived[2]
        return None


@contextmanager
def detector_node(model: str, runtime: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The detector as a process, connected to the camera."""
    remap = {
        "color/image_raw": COLOR_TOPIC, "depth/image_raw": DEPTH_TOPIC,
        "color/camera_info": INFO_TOPIC,
    }  # fmt: skip
    command = [sys.executable, "-m", "kgnpro_ros.ros.detector_node", "--ros-args"]
    command += ["-p", f"model:={model}", "-p", f"runtime:={runtime}", "-p", "max_rate:=0.0"]
    command += [part for name, topic in remap.items() for part in ("-r", f"{name}:={topic}")]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for_detector(
    camera: Camera, image: RGBDImage, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while camera.ask(image, 2.0) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the detector does not answer:\n{log.read_text()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", required=True, help="folder of frames, taken in turn")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--runs", type=int, default=50)
    arguments = parser.parse_args()
    images = [read_frame(folder).undistorted() for folder in find_frames(arguments.frames)]
    detector = GraspDetector(DetectorConfig(model=arguments.model, runtime=arguments.runtime))
    rclpy.init()
    camera, over_dds, in_process = Camera(), [], []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "detector.log"
        with detector_node(arguments.model, arguments.runtime, log) as process:
            wait_for_detector(camera, images[0], process, log)
            for run in range(WARM_UP + arguments.runs):
                image = images[run % len(images)]
                answer = camera.ask(image, ANSWER_TIMEOUT)
                if answer is None:
                    raise SystemExit(f"no answer to frame {run}:\n{log.read_text()}")
                start = time.perf_counter()
                detector.detect(image)
                spent = 1e3 * (time.perf_counter() - start)
                if run >= WARM_UP:
                    over_dds.append(answer[0])
                    in_process.append(spent)
    rclpy.try_shutdown()
    extra = np.array(over_dds) - np.array(in_process)
    print(f"{arguments.runs} runs, {detector.runtime.note}; load average {os.getloadavg()[0]:.1f}")
    rows = {"stamp to grasps": over_dds, "in process": in_process, "difference": extra.tolist()}
    for name, values in rows.items():
        times = summary(values)
        print(f"{name:16s} median {times.median:7.1f} ms, p95 {times.p95:7.1f} ms")
    print("in the node, last second:", ", ".join(f"{k} {v}" for k, v in camera.node_times.items()))


if __name__ == "__main__":
    main()
