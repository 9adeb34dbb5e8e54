# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What a pick is given, and what it tells about itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.exceptions import FrameError
from kgnpro_ros.execution.arm import Obstacles
from kgnpro_ros.types import GraspBatch, check_transform

FloatArray = NDArray[np.float64]


class Stage(Enum):
    """Stages of a pick, in their usual order; the value is the word in reports."""

    CHECK = "check"
    PLAN_PREGRASP = "plan_pregrasp"
    PLAN_APPROACH = "plan_approach"
    PLAN_LIFT = "plan_lift"
    PLAN_PLACE = "plan_place"
    OPEN = "open"
    MOVE_PREGRASP = "move_pregrasp"
    APPROACH = "approach"
    CLOSE = "close"
    ATTACH = "attach"
    LIFT = "lift"
    HOLD = "hold"
    MOVE_PLACE = "move_place"
    LOWER = "lower"
    RELEASE = "release"
    LEAVE = "leave"
    PUT_BACK = "put_back"
    RETREAT = "retreat"


class Cause(Enum):
    """Why a pick failed where it was not the arm (:class:`ArmFailure` has those words)."""

    STALE_DETECTION = "stale_detection"
    WRONG_FRAME = "wrong_frame"
    NO_CANDIDATE = "no_candidate"
    NOT_OPEN = "not_open"
    CLOSED_ON_NOTHING = "closed_on_nothing"
    SLIPPED = "slipped"
    CANCELLED = "cancelled"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True)
class Scene:
    """What one detection tells a pick, all in the base frame of the arm.

    Attributes:
        grasps: Ranked grasps; their order is that of the candidate indices in reports.
        obstacles: Observed points and table.
        age: Time since the image was taken [s], when the pick starts.
    """

    grasps: GraspBatch
    obstacles: Obstacles
    age: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where to put the object down.

    Attributes:
        T_base_grasp: Pose of the grasp frame when the object is released, shape (4, 4).
        frame: Name of the frame of that pose: the arm's base frame.
    """

    T_base_grasp: FloatArray
    frame: str

    def __post_init__(self) -> None:
        pose = check_transform(self.T_base_grasp, "place pose")
        if pose.shape != (4, 4):
            raise FrameError(f"place pose has shape {pose.shape}; expected (4, 4)")


@dataclass(frozen=True)
class StageReport:
    """What happened in one stage.

    Attributes:
        candidate: Index of the grasp in the batch, 0 = best ranked; -1 before any was chosen.
        stage: The stage.
        ok: It ended as it should.
        message: Why it failed, or what it measured.
        seconds: Time that it took.
        cause: Word for the failure: value of an ``ArmFailure`` or a ``Cause``; empty when ok.
    """

    candidate: int
    stage: Stage
    ok: bool
    message: str
    seconds: float
    cause: str = ""


@dataclass(frozen=True)
class Feedback:
    """Where a pick is.

    Attributes:
        stage: The stage that begins.
        candidate: Index of the grasp, -1 before any was chosen.
        attempt: Number of this attempt, from 1; 0 before the first.
    """

    stage: Stage
    candidate: int
    attempt: int


@dataclass(frozen=True)
class PickReport:
    """How a pick ended.

    Attributes:
        success: An object was lifted (and placed, if asked); after a dry run: all was planned.
        message: What was done, or why nothing was picked.
        picked: Index of the grasp that lifted the object, -1 for none.
        lifted_height: How far the hand rose with the object in it, by the measured joints [m].
        holding: The object is still in the hand.
        safe: False when the hand could not be brought away from the scene after a failure.
        attempts: Candidates that were tried with motion.
        stages: Every stage of every candidate, in order.
        rejected: Grasps that were not tried, by reason.
    """

    success: bool
    message: str
    picked: int = -1
    lifted_height: float = 0.0
    holding: bool = False
    safe: bool = True
    attempts: int = 0
    stages: tuple[StageReport, ...] = ()
    rejected: dict[str, int] = field(default_factory=dict)

    @property
    def failure(self) -> StageReport | None:
        """The stage that the pick failed in: the last one that did; None after a success."""
        failed = [stage for stage in self.stages if not stage.ok]
        return failed[-1] if failed and not self.success else None
