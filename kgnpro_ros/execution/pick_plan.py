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
    """Motions that put an object down.

    Attributes:
        move: Above the place.
        lower: Straight down to it.
        leave: Straight away.
        T_base_tool: Pose of the tool link when the object is let go, shape (4, 4).
        T_base_away: The same at the end.
    """

    move: Motion
    lower: Motion
    leave: Motion
    T_base_tool: FloatArray
    T_base_away: FloatArray


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
        """Plan a candidate; the grasp's other way round is the second choice.

        Where the hand would touch something the grasp is moved back (``retreat_steps``): the
        planner's model of the hand is finer than the filter's box, and its points are coarser.
        Where that does not help, the jaws are opened no wider than they have to be.
        """
        failures: list[StageError] = []
        for width in dict.fromkeys((candidate.width, candidate.least_width)):
            if isinstance(self._arm, PlansOpening):
                self._arm.expect_opening(width)
            for pose in candidate.poses:
                plan = self._try_depths(pose, width, scene, place, failures)
                if plan is not None:
                    return plan
            if failures[-1].cause is not ArmFailure.IN_COLLISION:
                break
        raise failures[-1]

    def _try_depths(
        self,
        pose: FloatArray,
        width: float,
        scene: Scene,
        place: Place | None,
        failures: list[StageError],
    ) -> PickPlan | None:
        """A plan for one pose or for one a little less deep, as :meth:`_try_pose`."""
        for step in (0.0, *self._config.retreat_steps):
            plan = self._try_pose(backed_off(pose, step), width, scene, place, failures)
            if plan is not None or not _came_too_far(failures[-1]):
                return plan
        return None

    def _try_pose(
        self,
        pose: FloatArray,
        width: float,
        scene: Scene,
        place: Place | None,
        failures: list[StageError],
    ) -> PickPlan | None:
        """A plan for one pose; None, with what failed appended, where there is none."""
        for _ in range(self._config.plan_tries):
            try:
                return self._plan_pose(pose, width, scene, place)
            except StageError as error:
                if error.fatal:
                    raise
                failures.append(error)
            if not _hangs_on_posture(failures[-1]):
                break
        return None

    def plan_place(self, place: Place, scene: Scene, start: FloatArray | None = None) -> PlacePlan:
        """Plan how the object is put down.

        Args:
            place: Where to.
            scene: The scene without the object.
            start: Joint positions [rad] to start from; where the arm is when None.
        """
        failures = []
        for poses in self._place_poses(place):
            for _ in range(self._config.plan_tries):
                try:
                    return self._plan_place_poses(poses, scene, start)
                except StageError as error:
                    if error.fatal:
                        raise
                    failures.append(error)
                if failures[-1].cause is ArmFailure.IN_COLLISION:
                    break
        raise failures[-1]

    def place_reachable(self, place: Place) -> bool:
        """Whether the arm can put something down, one way round or the other."""
        ways = [self.tool(pose) for pose in self._place_poses(place)]
        reached = self._arm.reachable(np.concatenate(ways)).reshape(len(ways), -1)
        return bool(reached.all(axis=1).any())

    def _place_poses(self, place: Place) -> list[FloatArray]:
        """Grasp poses above, at and after the place, (3, 4, 4), for both ways round."""
        config = self._config
        return [
            np.stack([
                raised(pose, config.place_height), pose,
                backed_off(pose, config.candidates.pregrasp_distance),
            ])
            for pose in (place.T_base_grasp, place.T_base_grasp @ TWIN)
        ]  # fmt: skip

    def _plan_pose(
        self, pose: FloatArray, width: float, scene: Scene, place: Place | None
    ) -> PickPlan:
        config, arm = self._config, self._arm
        pose_before = backed_off(pose, config.candidates.pregrasp_distance)
        with self._journal.stage(Stage.PLAN_PREGRASP) as note:
            arm.set_obstacles(scene.obstacles)
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
            self.plan_place(place, rest, lift.end)
        return PickPlan(pose, width, pregrasp, approach, lift, points[held], rest)

    def _plan_place_poses(
        self, poses: FloatArray, scene: Scene, start: FloatArray | None
    ) -> PlacePlan:
        arm = self._arm
        above, at, away = self.tool(poses)
        with self._journal.stage(Stage.PLAN_PLACE) as note:
            arm.set_obstacles(scene.obstacles)
            move = arm.plan_free(above, start)
            lower = arm.plan_straight(at, move.end, contact=True)
            leave = arm.plan_straight(away, lower.end, contact=True)
            note(f"{move.duration + lower.duration + leave.duration:.1f} s")
        return PlacePlan(move, lower, leave, at, away)


def _came_too_far(failure: StageError) -> bool:
    """Whether a grasp that is a little less deep may fare better: the hand touched something."""
    return failure.stage is Stage.PLAN_APPROACH and failure.cause is ArmFailure.IN_COLLISION


def _hangs_on_posture(failure: StageError) -> bool:
    """Whether another try, which may end in another posture, may fare better.

    The search for the pre-grasp has looked at several postures itself, that for the place tries
    again itself; where the hand touches something, it does so in all postures.
    """
    straight = failure.stage in (Stage.PLAN_APPROACH, Stage.PLAN_LIFT)
    return straight and failure.cause is not ArmFailure.IN_COLLISION
