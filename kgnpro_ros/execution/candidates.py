# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Which of the detected grasps an arm attempts, in which order, and which way round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import CandidateConfig
from kgnpro_ros.execution.arm import Arm
from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.types import GraspBatch, GraspStatus

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Turns a grasp by 180 degrees about its approach: the same grasp with the fingers exchanged.
TWIN = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Candidate:
    """A grasp to attempt.

    Attributes:
        index: Its index in the batch.
        score: Its score.
        width: Jaw opening to approach with [m].
        poses: ``T_base_grasp`` of the grasp and its twin, better one first, as far as both are
            reachable at grasp and pre-grasp, shape (1 or 2, 4, 4).
    """

    index: int
    score: float
    width: float
    poses: FloatArray


@dataclass(frozen=True)
class Candidates:
    """The grasps to attempt, best first, and how many were dropped for which reason."""

    candidates: tuple[Candidate, ...]
    rejected: dict[str, int]


def backed_off(T_base_grasp: FloatArray, distance: float) -> FloatArray:
    """Poses moved back along their approach axis by a distance [m], shape (..., 4, 4)."""
    result: FloatArray = T_base_grasp.copy()
    result[..., :3, 3] -= distance * result[..., :3, 0]
    return result


def raised(T_base_grasp: FloatArray, height: float) -> FloatArray:
    """Poses moved up along z of the base frame by a height [m], shape (..., 4, 4)."""
    result: FloatArray = T_base_grasp.copy()
    result[..., 2, 3] += height
    return result


def select_candidates(
    grasps: GraspBatch, arm: Arm, gripper: Gripper, config: CandidateConfig
) -> Candidates:
    """Choose the grasps that the arm can attempt.

    Checked in this order, each rejection counted by the first reason: status of the grasp, score,
    workspace, approach angle, width, reachable at the grasp, reachable at the pre-grasp. Collisions
    with cloud and table are found when the motions are planned.

    Args:
        grasps: Grasps in the base frame of the arm.
        arm: Its ``reachable`` is called once.
        gripper: The gripper that the arm carries.
        config: Limits.

    Returns:
        Candidates with the highest score first; equal scores keep their order.
    """
    reasons = _reasons(grasps, gripper, config)
    alive = np.array([reason == "" for reason in reasons], dtype=bool)
    index = np.flatnonzero(alive)
    poses = np.stack([grasps.poses[index], grasps.twins()[index]], axis=1)
    at_grasp, at_pregrasp = _reachable(poses, arm, gripper, config)
    for number, row in enumerate(index):
        if not (at_grasp & at_pregrasp)[number].any():
            reached = at_grasp[number].any()
            reasons[row] = "unreachable_pregrasp" if reached else "unreachable_grasp"
    outward = _outwardness(poses, gripper, config)
    found = []
    for number, row in enumerate(index):
        if reasons[row]:
            continue
        usable = np.flatnonzero((at_grasp & at_pregrasp)[number])
        order = usable[np.argsort(-outward[number, usable], kind="stable")]
        width = float(np.clip(grasps.widths[row], gripper.min_width, gripper.max_width))
        found.append(Candidate(int(row), float(grasps.score[row]), width, poses[number, order]))
    found.sort(key=lambda candidate: -candidate.score)
    return Candidates(tuple(found), _count(reasons))


def _reasons(grasps: GraspBatch, gripper: Gripper, config: CandidateConfig) -> list[str]:
    """Why each grasp is dropped without asking the arm; empty where it is not."""
    reasons = [
        "" if value == GraspStatus.OK else GraspStatus(value).name.lower()
        for value in grasps.status.tolist()
    ]
    origins = grasps.poses[:, :3, 3]
    inside = np.ones(len(grasps), dtype=bool)
    if config.workspace is not None:
        box = np.asarray(config.workspace)
        inside = ((origins >= box[:3]) & (origins <= box[3:])).all(axis=1)
    steep = -grasps.poses[:, 2, 0] >= np.cos(np.radians(config.max_approach_angle)) - 1e-9
    checks = {
        "low_score": grasps.score >= config.min_score,
        "outside_workspace": inside,
        "approach_angle": steep,
        "too_wide": grasps.widths <= gripper.max_width + 1e-9,
    }
    for name, passes in checks.items():
        reasons = [r or ("" if ok else name) for r, ok in zip(reasons, passes, strict=True)]
    return reasons


def _reachable(
    poses: FloatArray, arm: Arm, gripper: Gripper, config: CandidateConfig
) -> tuple[BoolArray, BoolArray]:
    """Whether each of (N, 2) poses is reachable at the grasp and at the pre-grasp."""
    if len(poses) == 0:
        return np.zeros((0, 2), dtype=bool), np.zeros((0, 2), dtype=bool)
    both = np.stack([poses, backed_off(poses, config.pregrasp_distance)])
    reached = arm.reachable(gripper.tool_poses(both.reshape(-1, 4, 4))).reshape(2, len(poses), 2)
    return reached[0], reached[1]


def _outwardness(poses: FloatArray, gripper: Gripper, config: CandidateConfig) -> FloatArray:
    """Cosine between the tool's outward axis and the direction away from the base, (N, 2)."""
    tool = gripper.tool_poses(poses.reshape(-1, 4, 4))
    axis = tool[:, :3, :3] @ np.asarray(config.outward_axis)
    away = tool[:, :2, 3]
    length = np.maximum(np.linalg.norm(away, axis=1), 1e-9)
    cosine: FloatArray = (axis[:, :2] * away).sum(axis=1) / length
    return cosine.reshape(-1, 2)


def _count(reasons: list[str]) -> dict[str, int]:
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons) if reason}
