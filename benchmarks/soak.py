# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The detector for a night: a 30 Hz camera, continuous detection and a service call every second.

    python benchmarks/soak.py --minutes 30 --json soak.json

The camera (``rgbd_replay``) and the detector run as processes of their own, over DDS. Reported are
the memory of the detector and its slope, the calls that were not answered, and the latency (stamp
of the image to arrival of its grasps) at the start and at the end, and the processor time of a
detection, which does not depend on what else the machine does. Exit code 1 if memory grows by 1 MB
in 10 minutes or more, an answer is missing, or the latency is not flat. Figures that say something
need a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.time import Time

from kgnpro_ros.msg import GraspCandidateArray
from kgnpro_ros.ros.processes import Child, children
from kgnpro_ros.srv import DetectGrasps

TOPICS = {
    "color/image_raw": "/camera/camera/color/image_raw",
    "color/camera_info": "/camera/camera/color/camera_info",
    "depth/image_raw": "/camera/camera/aligned_depth_to_color/image_raw",
}
#: Limits: memory [MB per 10 minutes], latency at the end relative to the start.
MAX_SLOPE, MAX_LATENCY_RATIO = 1.0, 1.25
#: What is left out at the start, while buffers and caches fill.
WARM_UP_SHARE = 0.25
CALL_PERIOD, CALL_TIMEOUT, START_TIMEOUT = 1.0, 10, 600.0
#: The clock starts after so many detections, however slow the machine is.
WARM_UP_DETECTIONS = 30


@dataclass
class Record:
    """What was seen: seconds since the start and the value at that time.

    ``processor`` has the processor time [s] that the detector took so far.
    """

    memory: list[tuple[float, float]] = field(default_factory=list)
    latency: list[tuple[float, float]] = field(default_factory=list)
    answers: list[tuple[float, float]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    processor: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Figures:
    """The report.

    Attributes:
        minutes, detections, calls, missed: How much was done, and calls without an answer.
        memory_start, memory_end: Resident memory of the detector [MB], after the warm-up.
        memory_slope: Theil-Sen slope [MB per 10 minutes].
        latency_start, latency_end: Median of the first and last third after the warm-up [ms].
        latency_p95: Of all after the warm-up [ms].
        processor_start, processor_end: Processor time per detection, camera and calls included, in
            the first and last third after the warm-up [ms].
        answer_median, answer_p95: Duration of service calls [ms].
    """

    minutes: float
    detections: int
    calls: int
    missed: int
    memory_start: float
    memory_end: float
    memory_slope: float
    latency_start: float
    latency_end: float
    latency_p95: float
    processor_start: float
    processor_end: float
    answer_median: float
    answer_p95: float

    def problems(self, max_slope: float) -> list[str]:
        """Which limits do not hold."""
        found = []
        if self.missed:
            found.append(f"{self.missed} of {self.calls} calls were not answered")
        if self.memory_slope >= max_slope:
            found.append(f"memory grows by {self.memory_slope:.2f} MB in 10 minutes")
        if self.latency_end > MAX_LATENCY_RATIO * self.latency_start:
            found.append(f"latency grew from {self.latency_start:.0f} to {self.latency_end:.0f} ms")
        return found


class Watcher(Node):
    """Listens to the grasps and calls the service."""

    def __init__(self, record: Record) -> None:
        super().__init__("soak_watcher")
        self.record, self.began = record, time.monotonic()
        self.client = self.create_client(DetectGrasps, "/detect_grasps")
        self.create_subscription(
            GraspCandidateArray, "/grasp_detector/candidates", self._on_grasps, 10
        )

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def _on_grasps(self, message: GraspCandidateArray) -> None:
        age = self.get_clock().now() - Time.from_msg(message.header.stamp)
        self.record.latency.append((self.now, age.nanoseconds * 1e-6))

    def call(self) -> str:
        """One call; returns the message of an answer that was none, or an empty string."""
        request = DetectGrasps.Request(wait_for_new_frame=True)
        request.timeout.sec = CALL_TIMEOUT
        began, done = self.now, threading.Event()
        future = self.client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not done.wait(CALL_TIMEOUT + 1.0):
            self.client.remove_pending_request(future)
            return "no answer"
        self.record.answers.append((began, 1e3 * (self.now - began)))
        response = future.result()
        return "" if response.success else response.message


def write_frames(folder: Path) -> None:
    """Three frames of boxes on a table, seen from above, in the format of ``rgbd_replay``."""
    rng = np.random.default_rng(0)
    for index in range(3):
        path = folder / f"frame_{index}"
        path.mkdir(parents=True)
        color = np.full((480, 640, 3), 120, np.uint8)
        depth = np.full((480, 640), 700, np.uint16)
        for _ in range(4):
            u, v = rng.integers(60, 520), rng.integers(60, 380)
            w, h = rng.integers(30, 80, 2)
            color[v : v + h, u : u + w] = rng.integers(0, 255, 3)
            depth[v : v + h, u : u + w] = 700 - rng.integers(30, 80)
        noise = rng.normal(0, 6, color.shape)
        color = np.clip(color + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(path / "color.png"), color)
        cv2.imwrite(str(path / "depth.png"), depth)
        camera = {"fx": 616.0, "fy": 616.0, "cx": 319.5, "cy": 239.5, "width": 640, "height": 480,
                  "depth_scale": 0.001}  # fmt: skip
        (path / "camera.json").write_text(json.dumps(camera))


def command(module: str, *arguments: str) -> list[str]:
    """How a node of the package is started."""
    return [sys.executable, "-m", f"kgnpro_ros.ros.{module}", "--ros-args", *arguments]


def resident(pid: int) -> float:
    """Resident memory of a process [MB]."""
    text = Path(f"/proc/{pid}/status").read_text()
    lines = [line for line in text.splitlines() if line.startswith("VmRSS")]
    if not lines:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(lines[0].split()[1]) / 1024


def processor_time(pid: int) -> float:
    """Time that a process has spent on processors so far [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def soak(minutes: float, settings: dict[str, str], rate: float, folder: Path) -> Record:
    """Run everything and record; the processes are gone afterwards.

    Args:
        minutes: Of recording, after the start.
        settings: Parameters of the detector.
        rate: Images per second.
        folder: For frames and logs.
    """
    write_frames(folder / "frames")
    remap = [part for name, topic in TOPICS.items() for part in ("-r", f"{name}:={topic}")]
    set_to = [part for item in settings.items() for part in ("-p", ":=".join(item))]
    commands = {
        "camera": command(
            "replay_node", "-p", f"frames:={folder / 'frames'}", "-p", f"rate:={rate}",
            "-p", "frame_period:=2.0",
        ),
        "detector": command("detector_node", *set_to, *remap),
    }  # fmt: skip
    rclpy.init()
    record = Record()
    watcher = Watcher(record)
    executor = SingleThreadedExecutor()
    executor.add_node(watcher)
    threading.Thread(target=executor.spin, daemon=True).start()
    with children() as start:
        nodes = {
            name: start(name, line, os.environ, folder / f"{name}.log")
            for name, line in commands.items()
        }
        try:
            _wait_for_grasps(watcher, nodes["detector"])
            _watch(watcher, nodes, minutes)
        except ProcessLookupError as error:
            logs = "\n".join(f"--- {child.name}:\n{child.tail()}" for child in nodes.values())
            raise SystemExit(f"{error} at {watcher.now:.0f} s:\n{logs}") from error
        finally:
            executor.shutdown(timeout_sec=5.0)
            rclpy.try_shutdown()
    return record


def _wait_for_grasps(watcher: Watcher, detector: Child) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while len(watcher.record.latency) < WARM_UP_DETECTIONS:
        if detector.process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the detector does not detect:\n{detector.tail()}")
        time.sleep(0.2)
    watcher.record.latency.clear()
    watcher.began = time.monotonic()


def _watch(watcher: Watcher, nodes: Mapping[str, Child], minutes: float) -> None:
    detector, due = nodes["detector"].process.pid, 0.0
    while watcher.now < 60.0 * minutes:
        for name, child in nodes.items():
            if child.process.poll() is not None:
                raise ProcessLookupError(f"the {name} ended with code {child.process.returncode}")
        watcher.record.memory.append((watcher.now, resident(detector)))
        watcher.record.processor.append((watcher.now, processor_time(detector)))
        problem = watcher.call()
        if problem:
            watcher.record.missed.append(f"{watcher.now:.1f} s: {problem}")
        due += CALL_PERIOD
        time.sleep(max(0.0, due - watcher.now))


def slope(samples: np.ndarray) -> float:
    """Theil-Sen slope of values over times, shape (n, 2): the median over all pairs."""
    samples = samples[:: max(1, len(samples) // 600)]
    i, j = np.triu_indices(len(samples), 1)
    steps = samples[j] - samples[i]
    return float(np.median(steps[:, 1] / steps[:, 0]))


def per_detection(processor: np.ndarray, latency: np.ndarray) -> float:
    """Processor time for each detection of a stretch of time [ms]."""
    (start, before), (end, after) = processor[0], processor[-1]
    detections = ((latency[:, 0] > start) & (latency[:, 0] <= end)).sum()
    return float(1e3 * (after - before) / max(1, detections))


def figures(record: Record, minutes: float) -> Figures:
    """The report of a record."""

    def settled(samples: list[tuple[float, float]]) -> np.ndarray:
        return np.array([s for s in samples if s[0] > WARM_UP_SHARE * 60.0 * minutes])

    memory, latency = settled(record.memory), settled(record.latency)
    processor = settled(record.processor)
    part = max(2, len(processor) // 3)
    answers = np.array(record.answers)
    third = max(1, len(latency) // 3)
    return Figures(
        minutes=minutes, detections=len(record.latency),
        calls=len(record.answers) + sum("no answer" in m for m in record.missed),
        missed=len(record.missed), memory_start=float(memory[0, 1]),
        memory_end=float(memory[-1, 1]), memory_slope=600.0 * slope(memory),
        latency_start=float(np.median(latency[:third, 1])),
        latency_end=float(np.median(latency[-third:, 1])),
        latency_p95=float(np.percentile(latency[:, 1], 95)),
        processor_start=per_detection(processor[:part], latency),
        processor_end=per_detection(processor[-part:], latency),
        answer_median=float(np.median(answers[:, 1])),
        answer_p95=float(np.percentile(answers[:, 1], 95)),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--model", default="lite", help="name or file of the model")
    parser.add_argument("--runtime", default="auto", help="what runs the network")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second")
    parser.add_argument("--json", type=Path, help="write figures and samples here")
    parser.add_argument(
        "--max-slope", type=float, default=MAX_SLOPE, help="MB per 10 minutes that are too much"
    )
    options = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with tempfile.TemporaryDirectory() as folder:
        settings = {"model": options.model, "runtime": options.runtime}
        record = soak(options.minutes, settings, options.rate, Path(folder))
    result = figures(record, options.minutes)
    problems = result.problems(options.max_slope)
    for name, value in asdict(result).items():
        print(f"{name:16} {value:10.2f}" if isinstance(value, float) else f"{name:16} {value:10}")
    for line in [*record.missed, *problems]:
        print(line, file=sys.stderr)
    if options.json is not None:
        machine = {"cpu": platform.processor(), "cores": os.cpu_count(), "load": os.getloadavg()}
        report = {"machine": machine, "figures": asdict(result), "problems": problems,
                  "samples": asdict(record)}  # fmt: skip
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
