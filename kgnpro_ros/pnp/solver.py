# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Weighted perspective-n-point for all candidates at once, and the choice between both minima."""

from __future__ import annotations

import torch
from torch import Tensor

from kgnpro_ros.config import PnPConfig
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.geometry import so3
from kgnpro_ros.pnp.linear import single_threaded
from kgnpro_ros.pnp.planar import planar_seeds
from kgnpro_ros.pnp.residual import (
    Linearization,
    PnPProblem,
    is_in_front,
    linearize,
    make_problem,
    reprojection_error,
)
from kgnpro_ros.types import GraspStatus, PnPResult

#: Damping of the first step relative to the diagonal of the Hessian, and its factors after a step
#: that lowers the cost or does not.
INITIAL_DAMPING, DAMPING_ACCEPTED, DAMPING_REJECTED = 1e-3, 0.1, 10.0

#: A seed has converged when a step changes its cost by less than this share (plus as many nats).
COST_TOLERANCE = 0.01

#: A seed whose cost is this many nats above the best of its grasp does not keep the others waiting.
HOPELESS = 20.0

#: Cosine between approach and viewing ray at which the approach rule is undecided, and the score
#: difference [nats] that counts as a tie. Both, with mode_gap, were chosen on simulated keypoints.
APPROACH_SOFTNESS, TIE = 0.12, 1.0

#: Two minima closer than this [rad] are one.
SAME_MODE_ANGLE = 0.02


def solve_pnp(
    keypoints: Tensor,
    weights: Tensor,
    camera_matrix: Tensor,
    object_points: Tensor,
    config: PnPConfig | None = None,
    center_depth: Tensor | None = None,
    depth_weight: Tensor | None = None,
    tip_depth: Tensor | None = None,
) -> PnPResult:
    """Find the pose of each grasp from its four image keypoints.

    Levenberg-Marquardt from both planar solutions in one batch, then the choice between the two
    minima. No gradient flows; see :func:`kgnpro_ros.pnp.loss.refined_pose` for one that does.

    Args:
        keypoints: Predicted gripper corners (u, v) [px], shape (B, 4, 2).
        weights: Inverse standard deviations [1/px], shape (B, 4, 2).
        camera_matrix: Intrinsics without skew, shape (3, 3), or (B, 3, 3) for one per grasp.
        object_points: Gripper corners in the grasp frame [m], shape (4, 3), coplanar.
        config: Settings; the defaults when None.
        center_depth: Measured z of the grasp origin [m], shape (B,); NaN where missing.
        depth_weight: Inverse standard deviation of center_depth [1/m], shape (B,).
        tip_depth: Observed z at the pixels of both fingertips [m], shape (B, 2), NaN where
            missing; decides between minima that the approach rule cannot tell apart.

    Returns:
        Poses in the camera frame. Where ``status`` is not OK, pose, covariance, cost and error of
        the element are NaN.

    Raises:
        ShapeError: If a shape does not fit or the object points are not coplanar.
        CameraError: If the intrinsics have skew or no positive focal lengths.
    """
    config = config or PnPConfig()
    if tip_depth is not None and tip_depth.shape != (len(keypoints), 2):
        raise ShapeError(
            f"tip_depth has shape {tuple(tip_depth.shape)}; expected ({len(keypoints)}, 2)"
        )
    device = keypoints.device.type
    with torch.no_grad(), torch.autocast(device, enabled=False), single_threaded():
        problem = make_problem(
            keypoints, weights, camera_matrix, object_points, config, center_depth, depth_weight
        )
        seeds = planar_seeds(problem)
        rotation, translation, model = minimise(
            problem, seeds.rotation, seeds.translation, config.iterations
        )
        rotation = so3.orthonormalize(rotation)  # steps in float32 drift by a few 1e-5
        in_front = is_in_front(problem, rotation, translation)
        solved = torch.isfinite(model.cost) & ~seeds.degenerate
        cost = model.cost.masked_fill(~(in_front & solved), torch.inf)
        second = _prefers_second(problem, rotation, translation, cost, config, tip_depth)
        return _result(problem, rotation, translation, model, cost, solved, second)


def minimise(
    problem: PnPProblem, rotation: Tensor, translation: Tensor, iterations: int
) -> tuple[Tensor, Tensor, Linearization]:
    """Levenberg-Marquardt with one trust region per pose; NaN stays NaN and disturbs no other.

    Args:
        problem: Measurements of B grasps.
        rotation: Start poses from S seeds, shape (S, B, 3, 3).
        translation: Shape (S, B, 3) [m].
        iterations: Most steps; fewer are taken once every pose has converged.

    Returns:
        Rotations, translations and the model of the cost at them.
    """
    model = linearize(problem, rotation, translation)
    damping = torch.full_like(model.cost, INITIAL_DAMPING)
    for _ in range(iterations):
        delta = _damped_step(model, damping)
        new_rotation, new_translation = _retract(rotation, translation, delta)
        new = linearize(problem, new_rotation, new_translation)
        accepted = new.cost <= model.cost
        moving = (model.cost - new.cost).abs() > COST_TOLERANCE * (1.0 + model.cost)
        damping = torch.where(accepted, damping * DAMPING_ACCEPTED, damping * DAMPING_REJECTED)
        rotation = torch.where(accepted[..., None, None], new_rotation, rotation)
        translation = torch.where(accepted[..., None], new_translation, translation)
        model = Linearization(
            torch.where(accepted, new.cost, model.cost),
            torch.where(accepted[..., None, None], new.system, model.system),
        )
        if not bool((moving & (model.cost < model.cost.amin(0) + HOPELESS)).any()):
            break
    return rotation, translation, model


def gauss_newton_step(model: Linearization) -> Tensor:
    """Undamped step (dt, omega) to the minimum of the model, shape (..., B, 6)."""
    step: Tensor = torch.linalg.solve_ex(model.hessian, -model.gradient)[0]
    return step


def _damped_step(model: Linearization, damping: Tensor) -> Tensor:
    matrix = model.hessian.clone()
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    # Relative to the diagonal, hence the same in metres and millimetres.
    diagonal *= 1.0 + damping[..., None]
    step: Tensor = torch.linalg.solve_ex(matrix, -model.gradient)[0]
    return step


def _retract(rotation: Tensor, translation: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Apply (dt, omega); the rotation by Cayley's map, equal to exp(omega) to second order."""
    half = 0.5 * delta[..., 3:, None]
    once = torch.linalg.cross(half, rotation, dim=-2)
    twice = once + torch.linalg.cross(half, once, dim=-2)
    factor = 2.0 / (1.0 + (half**2).sum(-2, keepdim=True))
    return torch.addcmul(rotation, factor, twice), translation + delta[..., :3]


def _prefers_second(
    problem: PnPProblem,
    rotation: Tensor,
    translation: Tensor,
    cost: Tensor,
    config: PnPConfig,
    tip_depth: Tensor | None,
) -> Tensor:
    """Which of two minima to take, bool (B,).

    A cost gap above ``mode_gap`` decides alone. Below it counts which approach axis points away
    from the camera, as a prior that rises smoothly with its angle to the viewing ray (the mirror
    has the opposite sign); and where these tie, the agreement with the depth seen at the tips.
    """
    lower = cost[1] < cost[0]
    if not config.choose_mode:
        return lower
    center = translation + (rotation * problem.object_points.mean(0)).sum(-1)
    away = (rotation[..., 0] * center).sum(-1) / center.norm(dim=-1)
    score = cost - config.mode_gap * torch.sigmoid(away / APPROACH_SOFTNESS)
    second = score[1] < score[0]
    if tip_depth is None:
        return second
    tips = (rotation[..., None, 2, :] * problem.object_points[:2]).sum(-1) + translation[..., 2:]
    error = (tips - tip_depth.to(tips)).abs().nan_to_num(0.0).sum(-1)
    tied = ((score[0] - score[1]).abs() < TIE) & (error[0] != error[1])
    return torch.where(tied, error[1] < error[0], second)


def _result(
    problem: PnPProblem,
    rotation: Tensor,
    translation: Tensor,
    model: Linearization,
    cost: Tensor,
    solved: Tensor,
    second: Tensor,
) -> PnPResult:
    """Order the minima by the choice, add covariance and status, blank what failed."""

    def pick(values: Tensor, index: Tensor) -> Tensor:
        mask = index.reshape(index.shape + (1,) * (values.ndim - 2))
        return torch.where(mask, values[1], values[0])

    chosen_r, chosen_t, chosen_cost = (pick(v, second) for v in (rotation, translation, cost))
    other_r, other_t, other_cost = (pick(v, ~second) for v in (rotation, translation, cost))
    single = (so3.angle_between(chosen_r, other_r) < SAME_MODE_ANGLE) | ~torch.isfinite(other_cost)
    covariance = torch.linalg.inv_ex(pick(model.hessian, second))[0]
    covariance = 0.5 * (covariance + covariance.mT)
    status = _status(solved.any(0), torch.isfinite(chosen_cost), covariance)
    bad = status != GraspStatus.OK

    def clean(values: Tensor) -> Tensor:
        return values.masked_fill(bad.reshape(bad.shape + (1,) * (values.ndim - 1)), torch.nan)

    error = reprojection_error(problem, chosen_r, chosen_t)
    return PnPResult(
        rotation=clean(chosen_r),
        translation=clean(chosen_t),
        cost=clean(chosen_cost),
        reprojection_error=clean(error),
        covariance=clean(covariance),
        status=status,
        other_rotation=clean(torch.where(single[:, None, None], chosen_r, other_r)),
        other_translation=clean(torch.where(single[:, None], chosen_t, other_t)),
        other_cost=clean(torch.where(single, chosen_cost, other_cost)),
    )


def _status(solved: Tensor, in_front: Tensor, covariance: Tensor) -> Tensor:
    """GraspStatus of each element, (B,): a pose needs a certain minimum in front of the camera."""
    certain = torch.isfinite(covariance).flatten(-2).all(-1)
    certain &= (covariance.diagonal(dim1=-2, dim2=-1) > 0).all(-1)
    status = torch.full_like(solved, GraspStatus.OK, dtype=torch.int64)
    status = status.masked_fill(~solved | (in_front & ~certain), GraspStatus.PNP_FAILED)
    return status.masked_fill(solved & ~in_front, GraspStatus.BEHIND_CAMERA)
