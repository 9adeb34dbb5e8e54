# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Grasps as messages, in the order of the batch.

A constructor of rclpy makes every part of a message, also those that are then replaced: for sixty
candidates that takes longer than all the rest of publishing. So parts are made once and filled.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import Pose, PoseArray
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.msg import GraspCandidate, GraspCandidateArray, RejectionCount
from kgnpro_ros.types import FloatArray, GraspBatch


class GraspMessages:
    """Makes the messages of one detection after the other out of the same parts.

    A message is valid until the next one of its kind is made: publish it at once, from one thread.
    """

    def __init__(self) -> None:
        self._candidates: list[GraspCandidate] = []
        self._poses: list[Pose] = []

    def pose_array(self, grasps: GraspBatch, stamp: TimeMsg) -> PoseArray:
        """The poses alone."""
        self._poses += [Pose() for _ in range(len(grasps) - len(self._poses))]
        poses = self._poses[: len(grasps)]
        _fill_poses(poses, grasps.poses)
        return PoseArray(header=grasps_header(grasps, stamp), poses=poses)

    def candidates(
        self,
        grasps: GraspBatch,
        gripper: Gripper,
        stamp: TimeMsg,
        instances: list[int] | None = None,
    ) -> GraspCandidateArray:
        """All that is known about the grasps.

        Args:
            grasps: In the frame that the message will name.
            gripper: What the poses and widths are for.
            stamp: Time of the colour image.
            instances: Value of the instance mask at each grasp; None without a mask.
        """
        for index in range(len(self._candidates), len(grasps)):
            self._candidates.append(GraspCandidate(id=f"grasp_{index}"))
        chosen = self._candidates[: len(grasps)]
        _fill_poses([item.pose for item in chosen], grasps.poses)
        if chosen:
            _fill_poses([item.tool_pose for item in chosen], gripper.tool_poses(grasps.poses))
        _fill_values(chosen, grasps, instances)
        for item in chosen:
            item.tool_link, item.max_width = gripper.tool_link, gripper.max_width
            item.status = GraspCandidate.STATUS_OK
        return GraspCandidateArray(
            header=grasps_header(grasps, stamp), candidates=chosen, gripper=gripper.name,
            rejected=rejections_to_messages(grasps.rejected),
        )  # fmt: skip


def _fill_poses(messages: Iterable[Pose], poses: FloatArray) -> None:
    if len(poses) == 0:
        return
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    values = np.concatenate([poses[:, :3, 3], quaternions], axis=1).tolist()
    for message, (x, y, z, qx, qy, qz, qw) in zip(messages, values, strict=True):
        position, orientation = message.position, message.orientation
        position.x, position.y, position.z = x, y, z
        orientation.x, orientation.y, orientation.z, orientation.w = qx, qy, qz, qw


def _fill_values(
    messages: list[GraspCandidate], grasps: GraspBatch, instances: list[int] | None
) -> None:
    # Copies, and of the types that the message classes insist on.
    covariance = np.array(grasps.covariance, np.float64).reshape(-1, 36)
    keypoints = np.array(grasps.keypoints, np.float32).reshape(-1, 8)
    numbers = [0] * len(messages) if instances is None else instances
    scalars = (grasps.widths, grasps.score, grasps.confidence, grasps.reprojection_error)
    rows = zip(
        messages, covariance, keypoints, numbers, *(item.tolist() for item in scalars), strict=True
    )
    for message, spread, pixels, number, width, score, confidence, error in rows:
        message.covariance, message.keypoints, message.instance_id = spread, pixels, number
        message.width, message.score, message.confidence = width, score, confidence
        message.reprojection_error = error


def grasps_header(grasps: GraspBatch, stamp: TimeMsg) -> Header:
    """Header of everything that holds these grasps."""
    return Header(stamp=stamp, frame_id=grasps.frame)


def rejections_to_messages(rejected: dict[str, int]) -> list[RejectionCount]:
    """The most frequent reason first."""
    ordered = sorted(rejected.items(), key=lambda item: -item[1])
    return [RejectionCount(reason=reason, count=count) for reason, count in ordered if count]
