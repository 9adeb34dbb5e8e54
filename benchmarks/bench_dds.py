#!/usr/bin/env python3
# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What ROS adds to a detection: stamp of the image to arrival of its grasps, over DDS.

    python benchmarks/bench_dds.py --frames FOLDER --model lite --runs 50

The detector node runs as a process of its own. Each frame is published with the time as its stamp,
and when its grasps have arrived, the same frame goes through the same detector in this process: a
busy machine slows down both. The difference is what copies, DDS, pairing and messages cost. Grasps
have arrived when this process has the message; what Python takes to make objects of it, as in every
subscriber that is written in Python, is told apart.
"""

# ruff: noqa: E402
from __future__ import annotations

from kgnpro_ros.threads import keep_blas_to_one_thread

# Now, as the node does: NumPy reads the number of its threads when it is imported.
keep_blas_to_one_thread()

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.time import Time

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.evaluation.timing import WARM_UP, summary
from kgnpro_ros.msg import GraspCandidateArray
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.predictions import find_frames, read_frame
from kgnpro_ros.ros.camera_publisher import (
    COLOR_TOPIC,
    DEPTH_TOPIC,
    INFO_TOPIC,
    CameraMessages,
    CameraPublisher,
    make_messages,
)
from kgnpro_ros.ros.processes import Child, children
from kgnpro_ros.ros.transport import room_for_images
from kgnpro_ros.types import RGBDImage

START_TIMEOUT, ANSWER_TIMEOUT = 300.0, 30.0


@dataclass(frozen=True)
class Answer:
    """The grasps of one frame: times [ms] and how many.

    Attributes:
        arrived: From the stamp of the image to the arrival of the message.
        read: From there to a message object in Python.
        grasps: How many.
    """

    arrived: float
    read: float
    grasps: int


class Camera(Node):
    """Publishes frames one by one and waits for their grasps."""

    def __init__(self) -> None:
        super().__init__("bench_dds")
        self._camera = CameraPublisher(self, "reliable", "base_link", np.eye(4))
        self._last: tuple[int, Answer] | None = None
        self.node_times: dict[str, str] = {}
        self.create_subscription(
            GraspCandidateArray, "/grasp_detector/candidates", self._on_grasps, 5, raw=True
        )
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 5)
        # rclpy.spin_once would add and remove the node each time, which wakes it at once: the
        # waiting would take a core from the detector.
        self._spinner = SingleThreadedExecutor()
        self._spinner.add_node(self)

    def _on_grasps(self, data: bytes) -> None:
        now, start = self.get_clock().now(), time.perf_counter()
        message = deserialize_message(data, GraspCandidateArray)
        read = 1e3 * (time.perf_counter() - start)
        stamp = Time.from_msg(message.header.stamp)
        arrived = 1e-6 * (now.nanoseconds - stamp.nanoseconds)
        self._last = (stamp.nanoseconds, Answer(arrived, read, len(message.candidates)))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.node_times.update({v.key: v.value for v in status.values if "[ms]" in v.key})

    def ask(self, messages: CameraMessages, timeout: float) -> Answer | None:
        """Publish a frame and wait for its grasps; None for no answer."""
        stamp, deadline = self.get_clock().now(), time.monotonic() + timeout
        self._camera.send(messages, stamp.to_msg())
        while time.monotonic() < deadline:
            self._spinner.spin_once(timeout_sec=0.1)
            if self._last is not None and self._last[0] == stamp.nanoseconds:
                return self._last[1]
        return None


def detector_command(model: str, runtime: str) -> list[str]:
    """The detector, connected to the camera."""
    remap = {
        "color/image_raw": COLOR_TOPIC, "depth/image_raw": DEPTH_TOPIC,
        "color/camera_info": INFO_TOPIC,
    }  # fmt: skip
    command = [sys.executable, "-m", "kgnpro_ros.ros.detector_node", "--ros-args"]
    command += ["-p", f"model:={model}", "-p", f"runtime:={runtime}", "-p", "max_rate:=0.0"]
    return command + [part for name, topic in remap.items() for part in ("-r", f"{name}:={topic}")]


def wait_for_detector(camera: Camera, messages: CameraMessages, detector: Child) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while camera.ask(messages, 2.0) is None:
        if detector.process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the detector does not answer:\n{detector.tail()}")


def measure(
    camera: Camera, images: list[RGBDImage], detector: GraspDetector, node: Child, runs: int
) -> tuple[list[Answer], list[float]]:
    """Each frame over DDS and then in this process; the time of the latter [ms]."""
    sent = [make_messages(image.color, image.depth, image.camera) for image in images]
    wait_for_detector(camera, sent[0], node)
    answers, in_process = [], []
    for run in range(WARM_UP + runs):
        index = run % len(images)
        answer = camera.ask(sent[index], ANSWER_TIMEOUT)
        if answer is None:
            raise SystemExit(f"no answer to frame {run}:\n{node.tail()}")
        start = time.perf_counter()
        detector.detect(images[index])
        if run >= WARM_UP:
            answers.append(answer)
            in_process.append(1e3 * (time.perf_counter() - start))
    return answers, in_process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", required=True, help="folder of frames, taken in turn")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--runs", type=int, default=50)
    arguments = parser.parse_args()
    images = [read_frame(folder).undistorted() for folder in find_frames(arguments.frames)]
    detector = GraspDetector(DetectorConfig(model=arguments.model, runtime=arguments.runtime))
    os.environ.update(room_for_images(os.environ))
    rclpy.init()
    with tempfile.TemporaryDirectory() as folder, children() as start:
        command = detector_command(arguments.model, arguments.runtime)
        node = start("detector", command, os.environ, Path(folder) / "detector.log")
        camera = Camera()
        answers, in_process = measure(camera, images, detector, node, arguments.runs)
    rclpy.try_shutdown()
    arrived = np.array([answer.arrived for answer in answers])
    grasps = np.mean([answer.grasps for answer in answers])
    print(f"{arguments.runs} runs, {grasps:.0f} grasps, {detector.runtime.note}; "
          f"load average {os.getloadavg()[0]:.1f}")  # fmt: skip
    rows = {
        "stamp to grasps": arrived.tolist(), "in process": in_process,
        "difference": (arrived - np.array(in_process)).tolist(),
        "read in Python": [answer.read for answer in answers],
    }  # fmt: skip
    for name, values in rows.items():
        times = summary(values)
        print(f"{name:16s} median {times.median:7.1f} ms, p95 {times.p95:7.1f} ms")
    print("in the node, last second:", ", ".join(f"{k} {v}" for k, v in camera.node_times.items()))


if __name__ == "__main__":
    main()
