# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Plans every motion of a pick before anything moves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import PickConfig
from kgnpro_ros.execution.arm import Arm, ArmFailure, Motion, PlansOpening
from kgnpro_ros.execution.candidates import TWIN, Candidate, backed_off, raised
from kgnpro_ros.execution.grasped import grasped_points
from kgnpro_ros.execution.journal import Journal, StageError
from kgnpro_ros.execution.report import Place, Scene, Stage
from kgnpro_ros.geometry.gripper import Gripper

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PlacePlan:
    """Motions that put an object down: above the place, down to it, and away."""

    move: Motion
    lower: Motion
    leave: Motion


@dataclass(frozen=True)
class PickPlan:
    """Motions that pick an object with one grasp.

    Attributes:
        T_base_grasp: The grasp, or its twin, shape (4, 4).
        width: Jaw opening of the approach [m].
        pregrasp: From where the arm is to the pre-grasp.
        approach: Straight to the grasp.
        lift: Straight up.
        held: Points of the object [m], shape (H, 3).
        scene: The scene without them.
    """

    T_base_grasp: FloatArray
    width: float
    pregrasp: Motion
    approach: Motion
    lift: Motion
    held: FloatArray
    scene: Scene


class PickPlanner:
    """Plans with one arm; every failure is a :class:`StageError`, and nothing moves.

    Args:
        arm: Plans.
        gripper: The gripper that the arm carries.
        config: Distances and limits.
        journal: Every stage is run through it.
    """

    def __init__(self, arm: Arm, gripper: Gripper, config: PickConfig, journal: Journal) -> None:
        self._arm = arm
        self._gripper = gripper
        self._config = config
        self._journal = journal

    def tool(self, T_base_grasp: FloatArray) -> FloatArray:
        """Pose of the tool link for a grasp pose, both of shape (4, 4)."""
        return self._gripper.tool_poses(T_base_grasp)

    def plan(self, candidate: Candidate, scene: Scene, place: Place | None) -> PickPlan:
        """Plan a candidate; the grasp's other way round is the second choice."""
        failures = []
        if isinstance(self._arm, PlansOpening):
            self._arm.expect_opening(candidate.width)
        for pose in candidate.poses:
            for _ in range(self._config.plan_tries):
                try:
                    return self._plan_pose(pose, candidate.width, scene, place)
                except StageError as error:
                    if error.fatal:
                        raise
                    failures.append(error)
                if not _hangs_on_posture(failures[-1]):
                    break
        raise failures[-1]

    def plan_place(self, place: Place, start: FloatArray | None = None) -> PlacePlan:
        """Plan how the object is put down, from joint positions or from where the arm is."""
        failures = []
        for pose in (place.T_base_grasp, place.T_base_grasp @ TWIN):
            for _ in range(self._config.plan_tries):
                try:
                    return self._plan_place_pose(pose, start)
                except StageError as error:
                    if error.fatal:
                        raise
                    failures.append(error)
        raise failures[-1]

    def _plan_pose(
        self, pose: FloatArray, width: float, scene: Scene, place: Place | None
    ) -> PickPlan:
        config, arm = self._config, self._arm
        pose_before = backed_off(pose, config.candidates.pregrasp_distance)
        with self._journal.stage(Stage.PLAN_PREGRASP) as note:
            pregrasp = arm.plan_free(self.tool(pose_before))
            note(f"{pregrasp.duration:.1f} s")
        with self._journal.stage(Stage.PLAN_APPROACH) as note:
            approach = arm.plan_straight(self.tool(pose), pregrasp.end, contact=True)
            note(f"{approach.duration:.1f} s")
        with self._journal.stage(Stage.PLAN_LIFT) as note:
            lifted = self.tool(raised(pose, config.lift_height))
            lift = arm.plan_straight(lifted, approach.end, contact=True)
            note(f"{lift.duration:.1f} s")
        points = scene.obstacles.points
        held = grasped_points(
            points, pose, width, self._gripper, gap=config.object_gap, radius=config.object_radius
        )
        rest = replace(scene, obstacles=replace(scene.obstacles, points=points[~held]))
        if place is not None:
            self._check_place(place, lift.end, scene, rest)
        return PickPlan(pose, width, pregrasp, approach, lift, points[held], rest)

    def _check_place(self, place: Place, start: FloatArray, scene: Scene, rest: Scene) -> None:
        """Plan the way to the place as if the object were not there; it is held by then."""
        self._arm.set_obstacles(rest.obstacles)
        try:
            self.plan_place(place, start)
        finally:
            self._arm.set_obstacles(scene.obstacles)

    def _plan_place_pose(self, pose: FloatArray, start: FloatArray | None) -> PlacePlan:
        arm, config = self._arm, self._config
        with self._journal.stage(Stage.PLAN_PLACE) as note:
            move = arm.plan_free(self.tool(raised(pose, config.place_height)), start)
            lower = arm.plan_straight(self.tool(pose), move.end, contact=True)
            away = backed_off(pose, config.candidates.pregrasp_distance)
            leave = arm.plan_straight(self.tool(away), lower.end, contact=True)
            note(f"{move.duration + lower.duration + leave.duration:.1f} s")
        return PlacePlan(move, lower, leave)


def _hangs_on_posture(failure: StageError) -> bool:
    """Whether another try, which may end in another posture, may fare better.

    The search for the pre-grasp has looked at several postures itself; where the hand touches
    something, it does so in all of them.
    """
    return failure.stage is not Stage.PLAN_PREGRASP and failure.cause is not ArmFailure.IN_COLLISION
