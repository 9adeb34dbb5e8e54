# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the simulated arm on a table, and of its controllers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kgnpro_ros.config.checks import check_ranges, ranged, require

Numbers3 = tuple[float, float, float]


@dataclass(frozen=True)
class WorldConfig:
    """The table, what stands on it, and the camera that sees it; see ``simulation.world``.

    Attributes:
        seed: Seed of the scene, of the sensor noise and of the jitter.
        mode: ``single`` has one object of a random class, ``multi`` one of each class; with
            ``objects``, one of the folder or all of them.
        look: ``kgn`` renders as KGN's generator does, ``random`` randomises the domain.
        objects: Folder of meshes that replace the primitives, or empty.
        mesh_scale: Metres per unit of those meshes.
        depth_noise: Apply the depth-sensor model to what the camera measures.
        camera: ``fixed`` stands beside the table, ``wrist`` rides on the hand.
        camera_angle: Of a fixed camera, above the table [deg]; 90 looks straight down.
        camera_distance: Of a fixed camera from the middle of the scene [m].
        camera_azimuth: Where a fixed camera stands: turn about z from the direction that points
            away from the arm [deg].
        wrist_offset: Place of a wrist camera in ``panda_hand`` [m]; it looks along the hand.
        base_position: Foot of the arm in the world frame [m]; the table top is z = 0.
        bin_position: Middle of the box for what was picked, in the world frame [m].
        bin_size: Inner length, breadth and height of that box [m]; zeros leave it out.
        spread: Standard deviation of object places about the world's origin [m].
        grip_force: Greatest force of each finger [N].
        pad_friction: Sliding friction of the fingertips.
        mass_jitter: Objects weigh a factor of 1 +- this at random.
        friction_jitter: The same of the friction of objects and fingertips.
        timestep: Of the physics [s].
    """

    seed: int = ranged(0, 0, 2**31 - 1)
    mode: Literal["single", "multi"] = "multi"
    look: Literal["kgn", "random"] = "kgn"
    objects: str = ""
    mesh_scale: float = ranged(1.0, 1e-6, 1e3)
    depth_noise: bool = True
    camera: Literal["fixed", "wrist"] = "fixed"
    camera_angle: float = ranged(60.0, 15.0, 90.0)
    camera_distance: float = ranged(0.8, 0.3, 1.5)
    camera_azimuth: float = ranged(-120.0, -360.0, 360.0)
    wrist_offset: Numbers3 = (0.07, 0.0, 0.02)
    base_position: Numbers3 = (-0.55, 0.0, 0.0)
    bin_position: Numbers3 = (-0.45, 0.5, 0.0)
    bin_size: Numbers3 = (0.3, 0.3, 0.1)
    spread: float = ranged(0.0625, 0.0, 0.3)
    grip_force: float = ranged(40.0, 1.0, 140.0)
    pad_friction: float = ranged(1.0, 0.0, 3.0)
    mass_jitter: float = ranged(0.0, 0.0, 0.9)
    friction_jitter: float = ranged(0.0, 0.0, 0.9)
    timestep: float = ranged(0.002, 0.0002, 0.004)

    def __post_init__(self) -> None:
        check_ranges(self)
        require(min(self.bin_size) >= 0, f"bin_size must not be negative, got {self.bin_size}")


@dataclass(frozen=True)
class SimControllerConfig:
    """Tolerances of the simulated controllers; the words are those of control_msgs.

    Attributes:
        start_tolerance: Greatest distance of a joint from the first way point [rad].
        path_tolerance: The same from the trajectory on the way [rad].
        goal_tolerance: The same from the last way point at the end [rad].
        goal_time_tolerance: Time past the end until the goal must be reached [s].
        stopped_velocity: Joints slower than this stand still [rad/s].
        stop_time: A canceled motion comes to rest within this [s].
        gripper_speed: Of the jaw opening [m/s].
        gripper_tolerance: Distance of the opening from the goal that counts as reached [m].
        stall_speed: An opening that changes more slowly than this does not move [m/s].
        stall_time: For this long [s], and it has stalled.
        allow_stalling: A stalled gripper has succeeded; otherwise it is aborted.
        period: Of the controllers [s].
    """

    start_tolerance: float = ranged(0.02, 0.0, 1.0)
    path_tolerance: float = ranged(0.1, 0.0, 3.0)
    goal_tolerance: float = ranged(0.01, 0.0, 1.0)
    goal_time_tolerance: float = ranged(1.0, 0.0, 60.0)
    stopped_velocity: float = ranged(0.02, 0.0, 1.0)
    stop_time: float = ranged(0.12, 0.01, 1.0)
    gripper_speed: float = ranged(0.1, 0.001, 1.0)
    gripper_tolerance: float = ranged(0.001, 0.0, 0.05)
    stall_speed: float = ranged(0.002, 0.0, 0.1)
    stall_time: float = ranged(0.15, 0.01, 5.0)
    allow_stalling: bool = True
    period: float = ranged(0.008, 0.0005, 0.1)

    def __post_init__(self) -> None:
        check_ranges(self)
