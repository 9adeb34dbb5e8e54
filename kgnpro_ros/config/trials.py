# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the paper's physical experiment in physics."""

from __future__ import annotations

from dataclasses import dataclass, field

from kgnpro_ros.config.checks import check_ranges, ranged, require
from kgnpro_ros.config.detector import DetectorConfig
from kgnpro_ros.config.execution import MotionConfig, PickConfig
from kgnpro_ros.config.nodes import ExecutorConfig
from kgnpro_ros.config.simulation import SimControllerConfig, WorldConfig


@dataclass(frozen=True)
class TrialConfig:
    """Table II of the paper: single objects from several sides, and scenes that are cleared.

    Detector, executor and controllers have the defaults of the robot but for the speed of the arm:
    its time is simulated.

    Attributes:
        seed: Of all objects, places, noise and plans.
        objects: Single objects of each class.
        yaws: Turns of each single object about the vertical, evenly spaced.
        single_angle: Camera above the table for single objects [deg].
        camera_angles: Camera above the table for the scenes [deg]; one row of the table each.
        placements: Scenes, the same ones for every camera angle.
        max_attempts: Attempts that a scene may take.
        single_spread: Single objects stand this far from the middle at most, in x and y [m].
        min_rise: An object counts as lifted when its centre of mass rose this much [m] and the
            hand holds it clear of the table; less than the lift, since long things swing.
        same_grasp_distance, same_grasp_angle: A grasp closer than both [m, deg] to one that failed
            on the same scene is not tried again.
        world: Camera and physics; seed and camera angle are those of the trial.
        detector: The detector.
        executor: Planning, motion and the sequence.
        controllers: Of the simulated arm.
    """

    seed: int = ranged(0, 0, 2**31 - 1)
    objects: int = ranged(5, 1, 100)
    yaws: int = ranged(5, 1, 100)
    single_angle: float = ranged(60.0, 15.0, 90.0)
    camera_angles: tuple[float, ...] = (90.0, 75.0, 60.0, 45.0, 30.0)
    placements: int = ranged(10, 1, 1000)
    max_attempts: int = ranged(10, 1, 1000)
    single_spread: float = ranged(0.05, 0.0, 0.15)
    min_rise: float = ranged(0.05, 0.0, 1.0)
    same_grasp_distance: float = ranged(0.01, 0.0, 1.0)
    same_grasp_angle: float = ranged(20.0, 0.0, 180.0)
    world: WorldConfig = field(default_factory=WorldConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    executor: ExecutorConfig = field(
        default_factory=lambda: ExecutorConfig(
            pick=PickConfig(max_attempts=1),
            motion=MotionConfig(speed=0.5, acceleration=0.3, planning_time=2.0),
        )
    )
    controllers: SimControllerConfig = field(default_factory=SimControllerConfig)

    def __post_init__(self) -> None:
        check_ranges(self)
        require(
            len(self.camera_angles) > 0 and all(15.0 <= a <= 90.0 for a in self.camera_angles),
            f"camera_angles must be 15 to 90 degrees, got {self.camera_angles}",
        )
        require(
            len(set(self.camera_angles)) == len(self.camera_angles),
            f"camera_angles must differ, got {self.camera_angles}",
        )
