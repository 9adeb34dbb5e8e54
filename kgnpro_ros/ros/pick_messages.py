# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Pick goals and detections to what the pick sequence takes, and its report to messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from geometry_msgs.msg import Pose

from kgnpro_ros.action import Pick
from kgnpro_ros.exceptions import FrameError
from kgnpro_ros.execution.report import Feedback, PickReport, StageReport
from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.msg import GraspCandidate, RejectionCount
from kgnpro_ros.msg import StageReport as StageMessage
from kgnpro_ros.ros.conversions import matrix_from_pose
from kgnpro_ros.types import GraspBatch, GraspStatus

#: Length of a quaternion that counts as one.
UNIT_TOLERANCE = 1e-2
#: What else of a grasp is used, or handed on.
NUMBERS = ("widths", "confidence", "score", "reprojection_error", "covariance", "keypoints")


def grasps_from_candidates(
    frame: str, candidates: Sequence[GraspCandidate], rejected: Iterable[RejectionCount] = ()
) -> GraspBatch:
    """The grasps of messages, in their order; the inverse of ``GraspMessages``.

    Raises:
        FrameError: If there is no frame, a pose holds no rotation, or a value is not finite.
    """
    if not frame:
        raise FrameError("the grasps have an empty frame_id; expected the frame of their poses")
    counts = {item.reason: int(item.count) for item in rejected}
    if not candidates:
        return GraspBatch.empty(frame, counts)
    for number, item in enumerate(candidates):
        check_pose(item.pose, f"grasp {number}")
    grasps = GraspBatch(
        poses=np.stack([matrix_from_pose(item.pose) for item in candidates]),
        frame=frame,
        widths=np.array([item.width for item in candidates], dtype=np.float64),
        confidence=np.array([item.confidence for item in candidates], dtype=np.float64),
        score=np.array([item.score for item in candidates], dtype=np.float64),
        reprojection_error=np.array(
            [item.reprojection_error for item in candidates], dtype=np.float64
        ),
        covariance=np.array([item.covariance for item in candidates]).reshape(-1, 6, 6),
        keypoints=np.array([item.keypoints for item in candidates], float).reshape(-1, 4, 2),
        status=np.array([_status(item.status) for item in candidates], dtype=np.int64),
        rejected=counts,
    )
    for name in NUMBERS:
        if not np.isfinite(getattr(grasps, name)).all():
            raise FrameError(f"the {name} of the grasps hold values that are not finite")
    return grasps


def check_gripper(candidates: Sequence[GraspCandidate], gripper: Gripper) -> None:
    """Refuse grasps that were computed for another hand.

    Raises:
        FrameError: Names both links.
    """
    links = {item.tool_link for item in candidates if item.tool_link} - {gripper.tool_link}
    if links:
        raise FrameError(
            f"the grasps are for the link {', '.join(sorted(links))}; the executor's gripper "
            f"{gripper.name!r} has {gripper.tool_link!r}: give detector and executor one gripper"
        )


def check_pose(pose: Pose, name: str) -> None:
    """Refuse poses without a rotation.

    Raises:
        FrameError: If a value is not finite or the quaternion has not length 1.
    """
    p, q = pose.position, pose.orientation
    values = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
    if not np.isfinite(values).all():
        raise FrameError(f"the pose of {name} holds values that are not finite")
    length = float(np.linalg.norm(values[3:]))
    if abs(length - 1.0) > UNIT_TOLERANCE:
        raise FrameError(f"the quaternion of {name} has length {length:.3f}; expected 1")


def _status(word: str) -> int:
    # A candidate that a user wrote by hand has no status.
    name = word.upper() or GraspStatus.OK.name
    if name not in GraspStatus.__members__:
        known = ", ".join(item.name.lower() for item in GraspStatus)
        raise FrameError(f"unknown status {word!r} of a grasp; expected one of {known}")
    return int(GraspStatus[name])


def stage_message(report: StageReport) -> StageMessage:
    """One stage; the word for the cause comes first where it failed."""
    message = f"{report.cause}: {report.message}" if report.cause else report.message
    return StageMessage(
        candidate=report.candidate, stage=report.stage.value, ok=report.ok, message=message,
        seconds=float(report.seconds),
    )  # fmt: skip


def feedback_message(feedback: Feedback) -> Pick.Feedback:
    """Where the pick is."""
    return Pick.Feedback(
        stage=feedback.stage.value, candidate_index=feedback.candidate, attempt=feedback.attempt
    )


def result_message(report: PickReport, before: Sequence[StageMessage]) -> Pick.Result:
    """How the pick ended, with the stages of the node in front of those of the sequence."""
    return Pick.Result(
        success=report.success, message=_ending(report), picked_candidate=report.picked,
        lifted_height=float(report.lifted_height),
        stages=[*before, *map(stage_message, report.stages)],
    )  # fmt: skip


def _ending(report: PickReport) -> str:
    text = report.message
    failure = report.failure
    if failure is not None and failure.stage.value not in text:
        text += f" (stage {failure.stage.value}: {failure.cause}: {failure.message})"
    if not report.success and not report.safe:
        text += "; the hand could not be brought away from the scene"
    if not report.success and report.holding:
        text += "; the object is still in the hand"
    return text
