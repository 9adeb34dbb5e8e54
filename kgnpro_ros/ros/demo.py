# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: nodes and a client as processes of their own; ends by itself.

This module imports no ROS, so that ``kgnpro demo`` can say what is missing.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kgnpro_ros.config import WorldConfig
from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.ros.processes import DemoError, children, wait

#: The whole demo ends after this time plus that for each frame or object [s].
START_SECONDS, FRAME_SECONDS, OBJECT_SECONDS = 240.0, 30.0, 90.0
#: A scene for this hand: six objects, none wider than it opens, none hidden.
PICK_SEED, PICK_SPREAD, PICK_OBJECTS = 20, 0.1, 6
#: Thickness of the walls of the box [m].
WALL = 0.008
#: Where the arm waits, out of the camera's view [rad].
HOME = (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398)

REMAPPINGS = {
    "color/image_raw": "/camera/camera/color/image_raw",
    "color/camera_info": "/camera/camera/color/camera_info",
    "depth/image_raw": "/camera/camera/aligned_depth_to_color/image_raw",
}
PACKAGES = ("rclpy", "cv_bridge", "tf2_ros", "message_filters", "kgnpro_ros.msg")
ARM_PACKAGES = ("mujoco", "mplib", "control_msgs")


@dataclass(frozen=True)
class Plan:
    """What a demo starts.

    Attributes:
        what: For people.
        nodes: Name and command of each node.
        client: Command that the demo ends with.
        seconds: Longest run [s].
    """

    what: str
    nodes: dict[str, list[str]]
    client: list[str]
    seconds: float


def run(
    frames: Path | str | None = None,
    out: Path | str = "outputs/demo",
    *,
    model: str | None = None,
    seed: int | None = None,
    arm: bool = True,
) -> int:
    """Empty a simulated table, or show grasps on real frames or on a scene that stands still.

    Args:
        frames: Folder for ``rgbd_replay``; None simulates a table.
        out: Folder of pictures, film and logs; made where missing.
        model: Model file or name; None is the default.
        seed: Seed of the simulated scene; None is the default.
        arm: Without frames: pick the objects; False only shows the grasps.

    Returns:
        Exit code: 0, 1 when a process failed or objects are left over, 2 when something is missing,
        130 when interrupted.
    """
    try:
        folder = None if frames is None else Path(frames)
        _check(folder, arm)
        given = {} if model is None else {"model": model}
        if folder is not None:
            plan = _replay_plan(folder, Path(out), given)
        elif arm:
            plan = _pick_plan(Path(out), given, PICK_SEED if seed is None else seed)
        else:
            plan = _still_plan(Path(out), given, seed)
        _run(plan, Path(out))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(plan: Plan, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    environment = demo_environment(os.environ)
    print(f"{plan.what}; ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}, logs in {out}", flush=True)
    with children() as start:
        others = [
            start(name, command, environment, out / f"{name}.log")
            for name, command in plan.nodes.items()
        ]
        caller = start("client", plan.client, environment, None)
        wait(caller, others, plan.seconds)


def _replay_plan(frames: Path, out: Path, given: Mapping[str, object]) -> Plan:
    camera = _command("replay_node", {"frames": str(frames), "frame_period": 0.0, "loop": False})
    client = _client("client", out, ["--camera-node", "rgbd_replay"])
    seconds = START_SECONDS + FRAME_SECONDS * len(list(frames.iterdir()))
    nodes = {"camera": camera, "detector": _detector(given)}
    return Plan(f"grasps on the frames in {frames}", nodes, client, seconds)


def _still_plan(out: Path, given: Mapping[str, object], seed: int | None) -> Plan:
    parameters = {"arm": False, **({} if seed is None else {"seed": seed})}
    options = ["--camera-node", "grasp_sim", "--frames", "1", "--target-frame", "world"]
    nodes = {"camera": _command("sim_node", parameters), "detector": _detector(given)}
    client = _client("client", out, options)
    return Plan("grasps on a simulated tabletop", nodes, client, START_SECONDS + FRAME_SECONDS)


def _pick_plan(out: Path, given: Mapping[str, object], seed: int) -> Plan:
    """All nodes on the simulated time: a slow machine makes a slow demo, not another one."""
    sim = {
        "seed": seed, "spread": PICK_SPREAD, "clock": "sim", "rate": 2.0, "overview_rate": 3.0,
    }  # fmt: skip
    detector = {
        "use_sim_time": True, "target_frame": "world", "decode.score_threshold": 0.1,
        "decode.top_k": 300, "stall_timeout": 20.0,
    }  # fmt: skip
    executor = {
        "use_sim_time": True, "motion.speed": 0.6, "motion.acceleration": 0.25,
        "boxes": bin_walls(WorldConfig()), "pick.hold_time": 0.5, "pick.max_grasp_age": 60.0,
        "pick.max_attempts": 1,  # after a failure things lie otherwise: look again
        "home": list(HOME),
        "detect_timeout": 60.0, "observe_timeout": 30.0,
        "controllers.joints_timeout": 10.0, "controllers.time_scale": 20.0,
        "controllers.answer_timeout": 10.0,
    }  # fmt: skip
    nodes = {
        "sim": _command("sim_node", sim),
        "detector": _detector({**detector, **given}),
        "executor": _command("executor_node", executor, REMAPPINGS),
    }
    client = _client("pick_client", out, [])
    seconds = START_SECONDS + OBJECT_SECONDS * PICK_OBJECTS
    return Plan(f"a simulated arm empties table {seed}", nodes, client, seconds)


def bin_walls(config: WorldConfig) -> list[float]:
    """The walls of the simulated box in the base frame of the arm, as ``boxes`` of the executor."""
    middle = [a - b for a, b in zip(config.bin_position, config.base_position, strict=True)]
    half_x, half_y, height = config.bin_size[0] / 2, config.bin_size[1] / 2, config.bin_size[2]
    walls = []
    for sign in (-1, 1):
        x, y = middle[0] + sign * (half_x + WALL / 2), middle[1] + sign * (half_y + WALL / 2)
        walls += [x - WALL / 2, middle[1] - half_y, 0.0, x + WALL / 2, middle[1] + half_y, height]
        walls += [middle[0] - half_x, y - WALL / 2, 0.0, middle[0] + half_x, y + WALL / 2, height]
    return [round(value, 4) for value in walls]


def _check(frames: Path | None, arm: bool) -> None:
    needed = PACKAGES if frames is not None or not arm else (*PACKAGES, *ARM_PACKAGES)
    missing = [name for name in needed if not _importable(name)]
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


def _client(module: str, out: Path, options: Sequence[str]) -> list[str]:
    return [*_module(module), "--out", str(out), *options, "--ros-args", "--log-level", "warn"]


def _detector(parameters: Mapping[str, object]) -> list[str]:
    return _command("detector_node", {"continuous": False, **parameters}, REMAPPINGS)


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
