# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Weighted perspective-n-point for all candidates at once, and the choice between both minima."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from kgnpro_ros.config import PnPConfig
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.geometry import so3
from kgnpro_ros.pnp.linear import (
    Array,
    batch_first,
    batch_last,
    cast,
    cross,
    namespace,
    solve_definite,
)
from kgnpro_ros.pnp.planar import planar_seeds
from kgnpro_ros.pnp.residual import (
    Linearization,
    PnPProblem,
    error_of_view,
    linearize,
    make_problem,
    view,
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

#: Two minima closer than this angle [rad] are one; and the Frobenius distance of such rotations.
SAME_MODE_ANGLE = 0.02
SAME_MODE_CHORD = 8.0**0.5 * math.sin(SAME_MODE_ANGLE / 2)


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
    minima. Runs in NumPy unless the keypoints are on a GPU. No gradient flows; see
    :func:`kgnpro_ros.pnp.loss.refined_pose` for one that does.

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
    measured = (
        keypoints, weights, camera_matrix, object_points, center_depth, depth_weight, tip_depth
    )  # fmt: skip
    if keypoints.device.type != "cpu":
        with torch.no_grad(), torch.autocast(keypoints.device.type, enabled=False):
            return PnPResult(**_solve(config, *measured))
    # Failed elements are NaN by design, and a division by zero is how they fail.
    with np.errstate(all="ignore"):
        solved = _solve(config, *map(_as_numpy, measured))
    return PnPResult(**{name: torch.from_numpy(value) for name, value in solved.items()})


def _solve(
    config: PnPConfig,
    keypoints: Array,
    weights: Array,
    camera_matrix: Array,
    object_points: Array,
    center_depth: Array | None,
    depth_weight: Array | None,
    tip_depth: Array | None,
) -> dict[str, Array]:
    """The fields of a PnPResult; arguments as those of :func:`solve_pnp`."""
    problem = make_problem(
        keypoints, weights, camera_matrix, object_points, config, center_depth, depth_weight
    )
    seeds = planar_seeds(problem)
    rotation, translation, model = minimise(
        problem, seeds.rotation, seeds.translation, config.iterations
    )
    rotation = so3.orthonormalize(rotation)  # steps in float32 drift by a few 1e-5
    xp = namespace(rotation)
    seen = view(problem, rotation, translation)
    solved = xp.isfinite(model.cost) & ~seeds.degenerate
    cost = xp.where(seen.in_front & solved, model.cost, xp.full_like(model.cost, math.inf))
    second = _prefers_second(problem, rotation, translation, cost, config, tip_depth)
    minima = {
        "rotation": rotation,
        "translation": translation,
        "cost": cost,
        "reprojection_error": error_of_view(problem, seen),
        "hessian": model.hessian,
    }
    return _result(minima, solved.any(0), second)


def _as_numpy(tensor: Tensor | None) -> Array | None:
    """The same memory as a NumPy array; half precision, which NumPy hardly has, in single."""
    if tensor is None:
        return None
    wide = tensor.dtype in (torch.float32, torch.float64)
    return tensor.detach().numpy() if wide else tensor.detach().float().numpy()


def minimise(
    problem: PnPProblem, rotation: Array, translation: Array, iterations: int
) -> tuple[Array, Array, Linearization]:
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
    xp = namespace(rotation)
    damping = xp.full_like(model.cost, INITIAL_DAMPING)
    for _ in range(iterations):
        delta = _damped_step(model, damping)
        new_rotation, new_translation = _retract(rotation, translation, delta)
        new = linearize(problem, new_rotation, new_translation)
        accepted = new.cost <= model.cost
        moving = abs(model.cost - new.cost) > COST_TOLERANCE * (1.0 + model.cost)
        damping = xp.where(accepted, damping * DAMPING_ACCEPTED, damping * DAMPING_REJECTED)
        rotation = xp.where(accepted[..., None, None], new_rotation, rotation)
        translation = xp.where(accepted[..., None], new_translation, translation)
        model = Linearization(
            xp.where(accepted, new.cost, model.cost),
            xp.where(accepted[..., None, None], new.system, model.system),
        )
        if not bool((moving & (model.cost < xp.amin(model.cost, 0) + HOPELESS)).any()):
            break
    return rotation, translation, model


def gauss_newton_step(model: Linearization) -> Tensor:
    """Undamped step (dt, omega) to the minimum of the model, shape (..., B, 6)."""
    step: Tensor = -solve_definite(model.system)[..., 0]
    return step


def _damped_step(model: Linearization, damping: Array) -> Array:
    # Relative to the diagonal, hence the same in metres and millimetres.
    diagonal = cast(namespace(damping).eye(6, 7), damping)
    return -solve_definite(model.system * (1.0 + damping[..., None, None] * diagonal))[..., 0]


def _retract(rotation: Array, translation: Array, delta: Array) -> tuple[Array, Array]:
    """Apply (dt, omega); the rotation by Cayley's map, equal to exp(omega) to second order."""
    old = batch_last(rotation)
    half = 0.5 * delta[..., 3:].swapaxes(-1, -2)[..., None, :]
    square = (half**2).sum(-3)[..., None, :, :]
    # h x R + h x (h x R), the latter as h (h . R) - R (h . h).
    change = cross(half, old, axis=-3)
    change = change + half * (half * old).sum(-3)[..., None, :, :] - square * old
    turned = old + 2.0 / (1.0 + square) * change
    return batch_first(turned), translation + delta[..., :3]


def _prefers_second(
    problem: PnPProblem,
    rotation: Array,
    translation: Array,
    cost: Array,
    config: PnPConfig,
    tip_depth: Array | None,
) -> Array:
    """Which of two minima to take, bool (B,).

    A cost gap above ``mode_gap`` decides alone. Below it counts which approach axis points away
    from the camera, as a prior that rises smoothly with its angle to the viewing ray (the mirror
    has the opposite sign); and where these tie, the agreement with the depth seen at the tips.
    """
    lower = cost[1] < cost[0]
    if not config.choose_mode:
        return lower
    xp = namespace(translation)
    center = translation + rotation @ (problem.object_points.sum(0) / len(problem.object_points))
    away = (rotation[..., 0] * center).sum(-1) / xp.sqrt((center**2).sum(-1))
    score = cost - config.mode_gap / (1.0 + xp.exp(away / -APPROACH_SOFTNESS))
    second = score[1] < score[0]
    if tip_depth is None:
        return second
    tips = (rotation[..., None, 2, :] * problem.object_points[:2]).sum(-1) + translation[..., 2:]
    error = abs(tips - cast(tip_depth, tips))
    error = xp.where(xp.isfinite(error), error, xp.zeros_like(error)).sum(-1)
    tied = (abs(score[0] - score[1]) < TIE) & (error[0] != error[1])
    return xp.where(tied, error[1] < error[0], second)


def _result(minima: dict[str, Array], solved: Array, second: Array) -> dict[str, Array]:
    """Order the minima by the choice, add covariance and status, blank what failed."""
    xp = namespace(second)

    def pick(name: str, index: Array) -> Array:
        one, two = minima[name]
        return xp.where(_like(index, one), two, one)

    names = ("rotation", "translation", "cost")
    chosen = {name: pick(name, second) for name in (*names, "reprojection_error", "hessian")}
    other = {name: pick(name, ~second) for name in names}
    single = ((chosen["rotation"] - other["rotation"]) ** 2).sum((-2, -1)) < SAME_MODE_CHORD**2
    single = single | ~xp.isfinite(other["cost"])
    hessian = chosen.pop("hessian")
    eye = xp.broadcast_to(cast(xp.eye(6), hessian), hessian.shape)
    covariance = solve_definite(xp.concatenate([hessian, eye], -1))
    covariance = 0.5 * (covariance + covariance.swapaxes(-1, -2))
    status = _status(solved, xp.isfinite(chosen["cost"]), covariance)
    fields = {**chosen, "covariance": covariance}
    for name in names:
        fields[f"other_{name}"] = xp.where(_like(single, chosen[name]), chosen[name], other[name])
    bad = status != int(GraspStatus.OK)
    if bool(bad.any()):
        for name, values in fields.items():
            fields[name] = xp.where(_like(bad, values), xp.full_like(values, math.nan), values)
    return {**fields, "status": status}


def _like(mask: Array, values: Array) -> Array:
    """A mask (B,) that broadcasts over values (B, ...)."""
    return mask.reshape(mask.shape + (1,) * (values.ndim - 1))


def _status(solved: Array, in_front: Array, covariance: Array) -> Array:
    """GraspStatus of each element, (B,): a pose needs a certain minimum in front of the camera."""
    xp = namespace(covariance)
    certain = xp.isfinite(covariance.sum((-2, -1)))
    for i in range(6):
        certain = certain & (covariance[..., i, i] > 0)
    status = xp.full_like(solved, int(GraspStatus.OK), dtype=xp.int64)
    status[~solved | (in_front & ~certain)] = int(GraspStatus.PNP_FAILED)
    status[solved & ~in_front] = int(GraspStatus.BEHIND_CAMERA)
    return status
