# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Straight motions with MoveIt: Pilz LIN first, then inverse kinematics step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kgnpro_ros.config import MotionConfig
from kgnpro_ros.execution.arm import ArmError, ArmFailure
from kgnpro_ros.execution.lines import bend_of, line
from kgnpro_ros.ros.moveit_motion import MoveItMotion
from kgnpro_ros.ros.moveit_session import FAILURES, MoveItSession
from kgnpro_ros.types import FloatArray

#: Pilz refuses a line that is too fast for a joint; it is tried with these shares of the speed.
SLOWER = (1.0, 0.5, 0.25)


class MoveItLines:
    """Plans straight motions of the tool; collisions on the way are checked by the caller.

    Args:
        session: Plans and solves.
        name: Parameter set of Pilz LIN.
        motion: Speeds, steps and how straight a line has to be.
        runner: Says when the arm was stopped.
    """

    def __init__(
        self, session: MoveItSession, name: str, motion: MotionConfig, runner: MoveItMotion
    ) -> None:
        self._session = session
        self._name = name
        self._motion = motion
        self._runner = runner

    def plan(
        self,
        begin: FloatArray,
        goal: FloatArray,
        seconds: float,
        allowed: Sequence[tuple[str, str]],
    ) -> Any:
        """A trajectory of MoveIt along a straight line.

        Args:
            begin: Joint positions to start from [rad], shape (J,).
            goal: ``T_planning_tool`` at the end, shape (4, 4).
            seconds: Time for one plan of Pilz.
            allowed: Pairs that may touch meanwhile.

        Raises:
            ArmError: If the arm cannot follow the line.
        """
        with self._session.scene.allowing(allowed):
            trajectory = self._pilz_line(begin, goal, seconds)
        return self._own_line(begin, goal) if trajectory is None else trajectory

    def _pilz_line(self, begin: FloatArray, goal: FloatArray, seconds: float) -> Any | None:
        """A line by Pilz LIN, or None where it has none."""
        state = self._session.state(begin)
        for share in SLOWER:
            self._runner.check_stopped()
            limits = (seconds, share * self._motion.speed, share * self._motion.acceleration)
            plan = self._session.plan_pose(self._name, state, goal, limits)
            if plan.trajectory is not None:
                # A set that names another planner would give a curve without a word.
                straight = self._bend(plan.trajectory) <= self._motion.straight_tolerance
                return plan.trajectory if straight else None
            if plan.code == "START_STATE_IN_COLLISION":
                raise plan.error("straight motion")
            if FAILURES.get(plan.code) is ArmFailure.IN_COLLISION:
                break  # slower is not freer; our own line says where it collides
        return None

    def _own_line(self, begin: FloatArray, goal: FloatArray) -> Any:
        """A line by inverse kinematics step by step; raises where the arm cannot follow it."""
        state = self._session.state(begin)
        poses = line(self._session.tool_pose(state), goal, self._motion.straight_step)
        rows = [begin]
        for number, pose in enumerate(poses, start=1):
            self._runner.check_stopped()
            joints = self._session.solve(state, pose)
            if joints is None:
                raise ArmError(
                    ArmFailure.UNREACHABLE,
                    f"the arm does not reach the straight line from {number - 1} of {len(poses)} "
                    "steps on",
                )
            jump = float(np.abs(joints - rows[-1]).max())
            if jump > self._motion.max_joint_step:
                raise ArmError(
                    ArmFailure.NO_PLAN,
                    f"the arm would have to change its posture on the straight line: a joint jumps "
                    f"by {jump:.2f} rad at step {number} of {len(poses)}",
                )
            rows.append(joints)
            state = self._session.state(joints)
        tolerance = self._motion.straight_tolerance
        trajectory = self._session.timed(
            self._session.state(begin), np.stack(rows), self._motion.speed,
            self._motion.acceleration, 0.2 * tolerance,
        )  # fmt: skip
        bend = self._bend(trajectory)
        if bend > tolerance:
            raise ArmError(
                ArmFailure.NO_PLAN,
                f"the tool would leave the straight line by {1e3 * bend:.1f} mm; at most "
                f"{1e3 * tolerance:.1f} mm are allowed",
            )
        return trajectory

    def _bend(self, trajectory: Any) -> float:
        """Largest distance [m] of the tool from the straight line between the ends."""
        return bend_of(self._session.tool_path(trajectory)[:, :3, 3])
