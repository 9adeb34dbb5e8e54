# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the pick sequence asks of a robot arm: planning, motion, gripper, attached object.

Two arms stand behind it: ``mplib_arm`` (plans itself, moves through two controllers) and
``moveit_arm`` (MoveIt). Poses are those of the gripper's tool link, in the frame ``base_frame``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.execution.trajectory import JointTrajectory

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class ArmFailure(Enum):
    """Why a plan or a motion did not come about; the value is the word in reports."""

    UNREACHABLE = "unreachable"
    IN_COLLISION = "in_collision"
    NO_PLAN = "no_plan"
    START_MISMATCH = "start_mismatch"
    REJECTED = "rejected"
    ABORTED = "aborted"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    STOPPED = "stopped"


class ArmError(KGNProError):
    """A plan or a motion failed; the arm stands still.

    Attributes:
        failure: The reason.
    """

    def __init__(self, failure: ArmFailure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True)
class Obstacles:
    """What the arm must not touch, in the arm's base frame.

    Attributes:
        points: Observed points of objects, table left out [m], shape (N, 3).
        table_height: Top of the table along z of the base frame [m], or None where unknown.
    """

    points: FloatArray
    table_height: float | None


@dataclass(frozen=True)
class Motion:
    """A planned motion.

    Attributes:
        end: Joint positions at its end [rad], shape (J,): where the next plan starts.
        duration: Seconds that it takes.
        trajectory: The way points, or None where only ``handle`` knows them.
        handle: What the planner needs to execute it, or None.
    """

    end: FloatArray
    duration: float
    trajectory: JointTrajectory | None = None
    handle: Any = None


@dataclass(frozen=True)
class GripperState:
    """How a gripper motion ended.

    Attributes:
        width: Opening between the fingertips [m].
        stalled: The fingers stopped before the commanded opening.
        reached: They are at the commanded opening.
    """

    width: float
    stalled: bool
    reached: bool


class Arm(Protocol):
    """A robot arm with a parallel-jaw gripper.

    Every method may raise :class:`ArmError`. ``stop`` may be called from any thread: whatever
    blocks then ends within 0.2 s with the failure STOPPED, and later calls fail the same way until
    ``resume``.
    """

    @property
    def base_frame(self) -> str:
        """Name of the frame of all poses and obstacles."""
        ...

    def joints(self) -> FloatArray:
        """Measured joint positions [rad], shape (J,)."""
        ...

    def tool_pose(self) -> FloatArray:
        """Measured pose of the tool link, ``T_base_tool``, shape (4, 4)."""
        ...

    def set_obstacles(self, obstacles: Obstacles) -> None:
        """Replace what plans must avoid."""
        ...

    def reachable(self, T_base_tool: FloatArray) -> BoolArray:
        """Which poses, shape (N, 4, 4), have a joint solution within the limits, shape (N,)."""
        ...

    def plan_free(self, T_base_tool: FloatArray, start: FloatArray | None = None) -> Motion:
        """A collision-free motion to a pose, from ``start`` [rad] or from where the arm is."""
        ...

    def plan_joints(self, goal: FloatArray, start: FloatArray | None = None) -> Motion:
        """A collision-free motion to joint positions [rad]."""
        ...

    def plan_straight(
        self, T_base_tool: FloatArray, start: FloatArray | None = None, *, contact: bool = False
    ) -> Motion:
        """A straight motion of the tool; with ``contact`` the hand may touch what it grasps.

        Contact is the fingers' with observed points only: the table, and the rest of the arm, are
        checked all the same.
        """
        ...

    def execute(self, motion: Motion) -> None:
        """Move; returns when the arm is there."""
        ...

    def move_gripper(self, width: float) -> GripperState:
        """Open or close to an opening [m]; a stall is a result, not an error."""
        ...

    def attach(self, points: FloatArray) -> None:
        """Plan with points [m], shape (N, 3), in the base frame, that now move with the hand."""
        ...

    def detach(self) -> None:
        """Forget the attached points."""
        ...

    def stop(self) -> None:
        """Stop every motion now."""
        ...

    def resume(self) -> None:
        """Allow motions again after ``stop``."""
        ...


@runtime_checkable
class PlansOpening(Protocol):
    """An arm that can plan with another jaw opening than the present one.

    Without it an arm plans with the jaws as they are, or as wide as they go.
    """

    def expect_opening(self, width: float) -> None:
        """Plan with the jaws this far open [m] from now on."""
        ...
