# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Which of the detected grasps an arm attempts, in which order, and which way round."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import CandidateConfig
from kgnpro_ros.execution.arm import Arm
from kgnpro_ros.execution.hand_fit import HandFit, fit_hand, leveled, tip_heights
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
        least_width: The narrowest that may do [m], where the planner finds no way with the other.
        poses: ``T_base_grasp`` of the grasp and its twin, better one first, as far as both are
            reachable at grasp and pre-grasp, shape (1 or 2, 4, 4).
    """

    index: int
    score: float
    width: float
    least_width: float
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
    grasps: GraspBatch,
    arm: Arm,
    gripper: Gripper,
    config: CandidateConfig,
    table_height: float | None = None,
    points: FloatArray | None = None,
) -> Candidates:
    """Choose the grasps that the arm can attempt.

    Jaw openings and depth are fitted to the observed points (:mod:`.hand_fit`). Checked in this
    order, each rejection counted by the first reason: status of the grasp, score, workspace,
    approach angle, width, fingertips below the table, reachable at the grasp, reachable at the
    pre-grasp. Other collisions are found when the motions are planned.

    Args:
        grasps: Grasps in the base frame of the arm.
        arm: Its ``reachable`` is called once.
        gripper: The gripper that the arm carries.
        config: Limits.
        table_height: Top of the table along z of the base frame [m], None where unknown.
        points: Observed points without the table, in the base frame [m], shape (P, 3).

    Returns:
        Candidates with the highest score first, those that touch something at their score times
        ``misfit_factor``; equal ones keep their order.
    """
    reasons = _reasons(grasps, gripper, config)
    alive = np.array([row for row, reason in enumerate(reasons) if not reason], dtype=np.int64)
    fit = _fitted(grasps.select(alive), gripper, config, table_height, points)
    if table_height is not None:
        above, too_low = _above_table(fit.poses, fit.widths, table_height, gripper, config)
        fit = replace(fit, poses=above)
        for row in alive[too_low].tolist():
            reasons[row] = "collision_table"
        alive, fit = alive[~too_low], fit.select(~too_low)
    poses = np.stack([fit.poses, fit.poses @ TWIN], axis=1)
    at_grasp, at_pregrasp = _reachable(poses, arm, gripper, config)
    usable = at_grasp & at_pregrasp
    outward = np.where(usable, _outwardness(poses, gripper, config), -np.inf)
    order = np.argsort(-outward, axis=1, kind="stable")
    found = []
    for number, row in enumerate(alive.tolist()):
        if not usable[number].any():
            reached = at_grasp[number].any()
            reasons[row] = "unreachable_pregrasp" if reached else "unreachable_grasp"
            continue
        ways = poses[number, order[number, : usable[number].sum()]]
        score, width, least = grasps.score[row], fit.widths[number], fit.least_widths[number]
        factor = 1.0 if fit.fits[number] else config.misfit_factor
        candidate = Candidate(row, float(score), float(width), float(least), ways)
        found.append((float(-score * factor), candidate))
    found.sort(key=lambda item: item[0])
    rejected = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons) if reason}
    return Candidates(tuple(candidate for _, candidate in found), rejected)


def _fitted(
    grasps: GraspBatch,
    gripper: Gripper,
    config: CandidateConfig,
    table_height: float | None,
    points: FloatArray | None,
) -> HandFit:
    """The grasps among the observed points."""
    widths = np.clip(grasps.widths, gripper.min_width, gripper.max_width)
    observed = np.zeros((0, 3)) if points is None else points
    poses = grasps.poses
    if table_height is not None:
        poses = leveled(poses, widths, table_height, gripper, config)
    return fit_hand(poses, widths, observed, gripper, config, table_height)


def _above_table(
    poses: FloatArray, widths: FloatArray, height: float, gripper: Gripper, config: CandidateConfig
) -> tuple[FloatArray, BoolArray]:
    """Poses moved back until the fingertips clear the table, and which stay too low, (N,)."""
    up = poses[:, 2, :3]
    tip = tip_heights(poses, widths[:, None], height, gripper, config)[:, 0]
    steepness = np.maximum(-up[:, 0], 1e-9)
    back = np.clip((config.tip_clearance - tip) / steepness, 0.0, config.tip_overhang)
    moved = poses.copy()
    moved[:, :3, 3] -= back[:, None] * poses[:, :3, 0]
    return moved, tip + back * -up[:, 0] < -config.tip_penetration


def _add_reason(reasons: list[str], fails: BoolArray, reason: str) -> None:
    """Name a reason for the grasps that have none yet."""
    for row in np.flatnonzero(fails).tolist():
        reasons[row] = reasons[row] or reason


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
    _add_reason(reasons, grasps.score < config.min_score, "low_score")
    _add_reason(reasons, ~inside, "outside_workspace")
    _add_reason(reasons, ~steep, "approach_angle")
    _add_reason(reasons, grasps.widths > gripper.max_width + 1e-9, "too_wide")
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
