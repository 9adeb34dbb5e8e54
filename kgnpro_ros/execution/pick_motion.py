# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Moves through a planned pick, undoes it after a failure, and puts objects down."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import PickConfig
from kgnpro_ros.execution.arm import Arm, ArmError, ArmFailure, GripperState, Motion
from kgnpro_ros.execution.candidates import backed_off, raised
from kgnpro_ros.execution.journal import Journal, StageError
from kgnpro_ros.execution.pick_plan import PickPlan, PickPlanner
from kgnpro_ros.execution.report import Cause, Place, Scene, Stage

FloatArray = NDArray[np.float64]

#: The gripper may stay this much [m] narrower than the opening it was sent to.
OPENING_TOLERANCE = 0.004


class PickMotion:
    """Executes with one arm; every failure is a :class:`StageError`.

    After ``pick`` has lifted something, ``lifted`` is how far the hand rose by the measured joints.

    Args:
        arm: Moves.
        planner: Plans the ways back and to the place.
        closed: Jaw opening of the empty, closed gripper [m].
        config: Times and limits.
        journal: Every stage is run through it.
        wait: Lets a time [s] pass.
    """

    def __init__(
        self,
        arm: Arm,
        planner: PickPlanner,
        closed: float,
        config: PickConfig,
        journal: Journal,
        wait: Callable[[float], None],
    ) -> None:
        self.holding = False
        self.lifted = 0.0
        self._arm = arm
        self._planner = planner
        self._closed = closed
        self._config = config
        self._journal = journal
        self._wait = wait

    def pick(self, plan: PickPlan, check_age: Callable[[], None]) -> None:
        """Grasp and lift; returns with the object in the hand.

        Args:
            plan: What to do.
            check_age: Raises when the detection is too old to move by.
        """
        arm, stage = self._arm, self._journal.stage
        with stage(Stage.OPEN) as note:
            check_age()
            note(self._open(plan.width))
        with stage(Stage.MOVE_PREGRASP):
            arm.execute(plan.pregrasp)
        with stage(Stage.APPROACH) as note:
            note(self._straight(plan.approach, self._planner.tool(plan.T_base_grasp)))
        with stage(Stage.CLOSE) as note:
            width = self._close(Cause.CLOSED_ON_NOTHING, "the jaws closed on nothing")
            self.holding = True
            note(f"stopped {1000 * width:.1f} mm apart")
        with stage(Stage.ATTACH) as note:
            arm.set_obstacles(plan.scene.obstacles)
            arm.attach(plan.held)
            note(f"{len(plan.held)} points")
        with stage(Stage.LIFT) as note:
            above = raised(plan.T_base_grasp, self._config.lift_height)
            begin = arm.tool_pose()[2, 3]
            note(self._straight(plan.lift, self._planner.tool(above)))
            self.lifted = float(arm.tool_pose()[2, 3] - begin)
        with stage(Stage.HOLD) as note:
            self._wait(self._config.hold_time)
            width = self._close(Cause.SLIPPED, "the object slipped out of the jaws")
            height = 1000 * self.lifted
            note(f"held {height:.1f} mm higher, jaws {1000 * width:.1f} mm apart")

    def recover(self, plan: PickPlan, failed: Stage | None, scene: Scene) -> None:
        """Bring the hand away from the scene, open, after a stage of ``pick`` failed.

        Raises:
            StageError: If that fails too: the arm stands where it is.
        """
        arm = self._arm
        if failed in (Stage.OPEN, Stage.MOVE_PREGRASP):
            return  # the hand is not at the object
        above = failed in (Stage.LIFT, Stage.HOLD)
        lowered = above and self.holding
        if lowered:
            with self._journal.stage(Stage.PUT_BACK):
                tool = self._planner.tool(plan.T_base_grasp)
                arm.execute(arm.plan_straight(tool, contact=True))
        with self._journal.stage(Stage.RELEASE) as note:
            note(self._open(plan.width))
            self.holding = False
            arm.detach()
            arm.set_obstacles(scene.obstacles)
        if lowered or not above:  # else the lift has brought the hand away already
            with self._journal.stage(Stage.RETREAT):
                away = backed_off(plan.T_base_grasp, self._config.candidates.pregrasp_distance)
                arm.execute(arm.plan_straight(self._planner.tool(away), contact=True))

    def place(self, plan: PickPlan, place: Place) -> None:
        """Put the held object down and leave it."""
        arm, stage = self._arm, self._journal.stage
        motions = self._planner.plan_place(place, plan.scene)
        with stage(Stage.MOVE_PLACE) as note:
            arm.execute(motions.move)
            width = self._close(Cause.SLIPPED, "the object was lost on the way to its place")
            note(f"held, jaws {1000 * width:.1f} mm apart")
        with stage(Stage.LOWER) as note:
            note(self._straight(motions.lower, motions.T_base_tool))
        with stage(Stage.RELEASE) as note:
            note(self._open(plan.width))
            self.holding = False
            arm.detach()
        with stage(Stage.LEAVE) as note:
            note(self._straight(motions.leave, motions.T_base_away))

    def _straight(self, motion: Motion, T_base_tool: FloatArray) -> str:
        """Execute a straight motion, planned anew where the arm does not stand at its start.

        Fingers that press on something hold the arm back by more than a controller's tolerance,
        and let it spring when they open.
        """
        try:
            self._arm.execute(motion)
        except ArmError as error:
            if error.failure is not ArmFailure.START_MISMATCH:
                raise
            self._arm.execute(self._arm.plan_straight(T_base_tool, contact=True))
            return f"planned anew: {error}"
        return ""

    def _open(self, width: float) -> str:
        state = self._arm.move_gripper(width)
        text = f"{1000 * state.width:.1f} mm"
        if state.width < width - OPENING_TOLERANCE:
            raise StageError(
                Cause.NOT_OPEN, f"the gripper opened to {text} instead of {1000 * width:.1f} mm"
            )
        return text

    def _close(self, cause: Cause, message: str) -> float:
        """Close, or keep closed, on an object; returns the opening [m]."""
        state = self._arm.move_gripper(self._closed)
        if not self._holds(state):
            self.holding = False
            raise StageError(cause, f"{message}: {1000 * state.width:.1f} mm apart")
        return state.width

    def _holds(self, state: GripperState) -> bool:
        gap = state.width - self._closed
        enough = self._config.min_stalled_gap if state.stalled else self._config.min_gap
        return gap >= enough
