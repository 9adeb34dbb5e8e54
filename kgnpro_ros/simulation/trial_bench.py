# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs trials in one process: detector, planner and physics, wired as on the robot without ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import TrialConfig
from kgnpro_ros.execution.arm import ArmError, Obstacles
from kgnpro_ros.execution.candidates import raised
from kgnpro_ros.execution.mplib_arm import MplibArm
from kgnpro_ros.execution.mplib_planner import MplibPlanner
from kgnpro_ros.execution.robot_model import panda_model
from kgnpro_ros.geometry.gripper import load_gripper
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.simulation import panda
from kgnpro_ros.simulation.sim_controllers import SimControllers
from kgnpro_ros.simulation.trial_attempt import Attempt, Rig
from kgnpro_ros.simulation.trial_pictures import AttemptPictures
from kgnpro_ros.simulation.trial_plan import Trial
from kgnpro_ros.simulation.trial_results import NOT_LIFTED, AttemptRecord, TrialRecord
from kgnpro_ros.simulation.world import PickWorld
from kgnpro_ros.types import GraspBatch, RGBDImage

FloatArray = NDArray[np.float64]

#: A scene is given up after so many looks in a row without a grasp to try.
MAX_EMPTY_LOOKS = 3


class TrialBench:
    """What the trials of one process share.

    Args:
        config: Settings of the experiment.
        gl: OpenGL context to render with; made at the first picture where None.
        pictures: Folder for a picture of every failed attempt, or None.
        detect: Finds grasps in the camera frame; the configured detector where None.
    """

    def __init__(
        self,
        config: TrialConfig,
        gl: Any = None,
        pictures: Path | None = None,
        detect: Callable[[RGBDImage], GraspBatch] | None = None,
    ) -> None:
        self.config, self.gl, self.pictures = config, gl, pictures
        least = config.executor.detect_min_score or None
        self.detect = detect or partial(GraspDetector(config.detector).detect, min_score=least)
        self.gripper = load_gripper(config.executor.gripper)
        self.planner = MplibPlanner(panda_model(), config.executor.motion)

    def run(self, trial: Trial) -> TrialRecord:
        """Run a trial to its end."""
        start = time.perf_counter()
        settings = replace(
            self.config.world, camera="fixed", camera_angle=trial.camera_angle, seed=trial.seed
        )
        with PickWorld(settings, self.gl, trial.objects) as world:
            attempts, picked = _Session(self, trial, world).run()
        objects = [
            {"trial_class": name, **_described(item.item)}
            for name, item in zip(trial.classes, trial.objects, strict=True)
        ]
        seconds = time.perf_counter() - start
        return TrialRecord(trial.key, trial.kind, trial.group, objects, picked, attempts, seconds)


class _Session:
    """One trial: look, try, take away, go home, until nothing is left."""

    def __init__(self, bench: TrialBench, trial: Trial, world: PickWorld) -> None:
        self._bench, self._trial, self._world = bench, trial, world
        controllers = SimControllers(world, bench.config.controllers)
        arm = MplibArm(bench.planner, controllers)
        self._rig = Rig(bench.config, world, controllers, arm, bench.gripper, bench.detect)
        self._home = np.asarray(bench.config.executor.home or panda.HOME, dtype=np.float64)
        self._failed = np.zeros((0, 4, 4))

    def run(self) -> tuple[list[AttemptRecord], list[int]]:
        """All attempts, and the indices of the objects that were picked."""
        attempts: list[AttemptRecord] = []
        empty = 0
        while self._world.present() and len(attempts) < self._trial.max_attempts:
            record = self._attempt(len(attempts))
            attempts.append(record)
            empty = 0 if record.moved else empty + 1
            if empty == MAX_EMPTY_LOOKS:
                break
            if record.cause == NOT_LIFTED:
                self._put_down()
            last = not self._world.present() or len(attempts) == self._trial.max_attempts
            if record.moved and not last and not self._go_home():
                text = f"{record.message}; the arm did not get home, the scene ends here"
                attempts[-1] = replace(record, message=text)
                break
        left = self._world.present()
        return attempts, [k for k in range(len(self._trial.objects)) if k not in left]

    def _attempt(self, number: int) -> AttemptRecord:
        pictures = None if self._bench.pictures is None else AttemptPictures(self._world)
        attempt = Attempt(self._rig, self._trial.classes, self._failed, pictures)
        record = attempt.run()
        if record.success:
            for index in attempt.lifted:
                self._world.remove_object(index)
        elif record.moved:
            self._failed = np.concatenate([self._failed, np.array([record.T_world_grasp])])
        if not record.success and pictures is not None and self._bench.pictures is not None:
            name = f"{self._trial.key}_{number}.png"
            pictures.save(self._bench.pictures / name, record)
            record = replace(record, picture=name)
        return record

    def _go_home(self) -> bool:
        """Bring the arm out of the view; among what was seen, or above the table alone."""
        arm = self._rig.arm
        arm.resume()
        arm.detach()
        for points in (None, np.zeros((0, 3))):
            try:
                if points is not None:
                    arm.set_obstacles(Obstacles(points, 0.0 - self._world.T_world_base[2, 3]))
                arm.execute(arm.plan_joints(self._home))
                arm.move_gripper(self._bench.gripper.max_width)
            except ArmError:
                continue
            return True
        return False

    def _put_down(self) -> None:
        """Leave what a failed attempt still has in the hand where it came from.

        An attempt that lifted something too little has ended well for the executor: its hand is
        above the place, and closed.
        """
        arm = self._rig.arm
        above = self._bench.planner.forward(arm.joints())
        place = raised(above, -self._bench.config.executor.pick.lift_height)
        with suppress(ArmError):  # then it falls
            arm.execute(arm.plan_straight(place, contact=True))
        with suppress(ArmError):
            arm.move_gripper(self._bench.gripper.max_width)
            arm.detach()
            arm.execute(arm.plan_straight(above, contact=True))


def _described(item: Any) -> dict[str, Any]:
    described: dict[str, Any] = item.to_dict()
    return described
