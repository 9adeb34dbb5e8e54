# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: camera, detector and client as processes of their own; ends by itself.

This module imports no ROS, so that ``kgnpro demo`` can say what is missing.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kgnpro_ros.exceptions import ConfigError, KGNProError

#: The whole demo ends after this time plus that for each frame [s].
START_SECONDS, FRAME_SECONDS = 240.0, 30.0
#: A process that was asked to end gets this time before it is killed [s].
STOP_SECONDS = 5.0
LOG_TAIL = 15

REMAPPINGS = {
    "color/image_raw": "/camera/camera/color/image_raw",
    "color/camera_info": "/camera/camera/color/camera_info",
    "depth/image_raw": "/camera/camera/aligned_depth_to_color/image_raw",
}
PACKAGES = ("rclpy", "cv_bridge", "tf2_ros", "message_filters", "kgnpro_ros.msg")


class DemoError(KGNProError):
    """A process of the demo ended too early or took too long."""


@dataclass(frozen=True)
class Child:
    """A process of the demo.

    Attributes:
        name: For people.
        process: The process, leader of its own group.
        log: Where its output goes; None is the terminal.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None

    def tail(self) -> str:
        """The last lines of its log."""
        if self.log is None:
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])


def run(
    frames: Path | str | None = None,
    out: Path | str = "outputs/demo",
    *,
    model: str | None = None,
    seed: int | None = None,
) -> int:
    """Show grasps on a simulated tabletop, or on real frames.

    Args:
        frames: Folder for ``rgbd_replay``; None renders a tabletop.
        out: Folder of pictures and logs; made where missing.
        model: Model file or name; None is the default.
        seed: Seed of the simulated scene; None is the default.

    Returns:
        Exit code: 0, 1 when a process failed, 2 when something is missing, 130 when interrupted.
    """
    try:
        _run(None if frames is None else Path(frames), Path(out), model, seed)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(frames: Path | None, out: Path, model: str | None, seed: int | None) -> None:
    _check(frames)
    out.mkdir(parents=True, exist_ok=True)
    environment = demo_environment(os.environ)
    client = ["--ros-args", "--log-level", "warn"]
    if frames is None:
        camera = _command("sim_node", {} if seed is None else {"seed": seed})
        client = ["--camera-node", "grasp_sim", "--frames", "1", "--target-frame", "world", *client]
    else:
        camera = _command(
            "replay_node", {"frames": str(frames), "frame_period": 0.0, "loop": False}
        )
        client = ["--camera-node", "rgbd_replay", *client]
    parameters: dict[str, object] = {"continuous": False}
    if model is not None:
        parameters["model"] = model
    detector = _command("detector_node", parameters, REMAPPINGS)
    what = "a simulated tabletop" if frames is None else f"the frames in {frames}"
    print(f"grasps on {what}; ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}, logs in {out}")
    with children() as start:
        others = [
            start("camera", camera, environment, out / "camera.log"),
            start("detector", detector, environment, out / "detector.log"),
        ]
        caller = start(
            "client", [*_module("client"), "--out", str(out), *client], environment, None
        )
        count = 1 if frames is None else len(list(frames.iterdir()))
        _wait(caller, others, START_SECONDS + FRAME_SECONDS * count)


def _check(frames: Path | None) -> None:
    missing = [name for name in PACKAGES if not _importable(name)]
    if missing:
        raise ConfigError(
            f"cannot import {', '.join(missing)}; the demo needs ROS 2: run `make demo`, or build "
            "with colcon and source the workspace"
        )
    if frames is not None and not frames.is_dir():
        raise ConfigError(f"no folder {frames}; expected one with frames to replay")


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def demo_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Environment of the processes: a domain of their own on this machine, unless one is set."""
    environment = dict(base)
    environment.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 100)))
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"kgnpro_ros.ros.{name}"]


def _command(
    module: str, parameters: Mapping[str, object], remappings: Mapping[str, str] | None = None
) -> list[str]:
    command = [*_module(module), "--ros-args"]
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        command += ["-p", f"{name}:={text}"]
    for name, topic in (remappings or {}).items():
        command += ["-r", f"{name}:={topic}"]
    return command


StartFunction = Callable[[str, Sequence[str], Mapping[str, str], "Path | None"], Child]


@contextmanager
def children() -> Iterator[StartFunction]:
    """Start processes that are gone when the block is left, however it is left."""
    started: list[Child] = []

    def start(
        name: str, command: Sequence[str], environment: Mapping[str, str], log: Path | None
    ) -> Child:
        output = None if log is None else log.open("wb")
        try:
            process = subprocess.Popen(
                command, env=dict(environment), stdout=output, stderr=output,
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        finally:
            if output is not None:
                output.close()
        started.append(Child(name, process, log))
        return started[-1]

    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield start
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            _stop(started, number)
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _die_with_parent() -> None:
    """Linux: end the child when its parent is killed without a chance to clean up."""
    pr_set_pdeathsig = 1
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _stop(started: Sequence[Child], number: signal.Signals) -> None:
    running = [child.process for child in started if child.process.poll() is None]
    for process in running:
        os.killpg(process.pid, number)
    deadline = time.monotonic() + STOP_SECONDS
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue


def _wait(caller: Child, others: Sequence[Child], timeout: float) -> None:
    """Wait for the client; give up when another process ends first or time runs out.

    Raises:
        DemoError: Says which process failed, with the end of its log.
    """
    deadline = time.monotonic() + timeout
    while caller.process.poll() is None:
        for child in others:
            if child.process.poll() is not None:
                raise DemoError(f"{child.name} ended too early:\n{child.tail()}")
        if time.monotonic() > deadline:
            raise DemoError(f"not done within {timeout:.0f} s; see the logs")
        time.sleep(0.1)
    if caller.process.returncode != 0:
        logs = "\n".join(f"--- {child.log}:\n{child.tail()}" for child in others)
        raise DemoError(f"{caller.name} ended with code {caller.process.returncode}\n{logs}")
