# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Weighted perspective-n-point for all candidates at once, and the choice between both minima."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kgnpro_ros.config import PnPConfig
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.geometry import so3
from kgnpro_ros.pnp.gauss_newton import Measurements, model_at
from kgnpro_ros.pnp.linear import (
    Array,
    at_least,
    batch_first,
    cast,
    copied,
    map_points,
    namespace,
    positions,
    solve_definite,
    wrapped,
    wrapped_cross,
)
from kgnpro_ros.pnp.planar import planar_seeds
from kgnpro_ros.pnp.residual import (
    Linearization,
    PnPProblem,
    make_problem,
    measurements,
    poses_of,
    reprojection_error,
)
from kgnpro_ros.types import GraspStatus, PnPResult

#: Damping of the first step relative to the diagonal of the Hessian, and its factors after a step
#: that lowers the cost or does not.
INITIAL_DAMPING, DAMPING_ACCEPTED, DAMPING_REJECTED = 1e-2, 0.1, 10.0

#: Damping after a step never falls below the first; after one that is not taken it is at least the
#: second, for in a flat valley nothing less shortens a step.
LEAST_DAMPING, LEAST_DAMPING_REJECTED = 1e-3, 0.3

#: All poses take steps together while more than one in so many moves: fewer are worth a choice.
FEW = 4

#: A seed has converged when a step changes its cost by less than the first share (plus as many
#: nats). A few grasps take steps alone only for changes above the second, and then with them those
#: that are above the third.
COST_TOLERANCE, ALONE_TOLERANCE, ARRIVED = 0.01, 0.02, 1e-4

#: A seed whose cost stays this many nats above the best of its grasp takes no more steps alone.
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
    found = _minimise(
        measurements(problem, 2), poses_of(seeds.rotation, seeds.translation), config.iterations
    )
    xp = namespace(found.cost)
    depths = problem.object_points @ found.poses[2, :3] + found.poses[2, 3]
    solved = xp.isfinite(found.cost).reshape(2, -1) & ~seeds.degenerate
    usable = solved & (xp.amin(depths, 0) >= problem.min_depth).reshape(2, -1)
    cost = found.cost.reshape(2, -1)
    cost = xp.where(usable, cost, xp.full_like(cost, math.inf))
    second = cost[1] < cost[0]
    if config.choose_mode:
        second = _prefers_second(problem, found.poses, cost, config, depths[:2], tip_depth)
    return _result(problem, found, cost, second, solved.any(0))


def _as_numpy(tensor: Tensor | None) -> Array | None:
    """The same memory as a NumPy array; half precision, which NumPy hardly has, in single."""
    if tensor is None:
        return None
    wide = tensor.dtype in (torch.float32, torch.float64)
    return tensor.detach().numpy() if wide else tensor.detach().float().numpy()


@dataclass(frozen=True)
class _Descent:
    """Levenberg-Marquardt at M poses, each with a trust region of its own.

    Attributes:
        measured: What was measured of them.
        poses: Camera-from-grasp ``[R | t]``, shape (3, 4, M).
        cost, system: Model of the cost there, shapes (M,) and (6, 7, M).
        damping: Relative to the diagonal of the Hessian, shape (M,).
        fall: How much lower the cost is, or would be, after the last step that was tried, (M,).
    """

    measured: Measurements
    poses: Array
    cost: Array
    system: Array
    damping: Array
    fall: Array

    def moving(self, tolerance: float = COST_TOLERANCE) -> Array:
        """Poses that have not converged, bool (M,); NaN has."""
        return abs(self.fall) > tolerance * (1.0 + self.cost)

    def step(self) -> _Descent:
        """Try one step of each pose; those that would raise the cost wait for a shorter one."""
        poses = _retract(self.poses, _damped_step(self.system, self.damping))
        cost, system = model_at(self.measured, poses)
        fall = self.cost - cost
        accepted = fall >= 0
        less = at_least(self.damping * DAMPING_ACCEPTED, LEAST_DAMPING)
        if bool(accepted.all()):
            return _Descent(self.measured, poses, cost, system, less, fall)
        more = at_least(self.damping * DAMPING_REJECTED, LEAST_DAMPING_REJECTED)
        where = namespace(cost).where
        return _Descent(
            self.measured, where(accepted, poses, self.poses), where(accepted, cost, self.cost),
            where(accepted, system, self.system), where(accepted, less, more), fall,
        )  # fmt: skip

    def select(self, index: Array) -> _Descent:
        """Some of the poses."""
        rest = (self.poses, self.cost, self.system, self.damping, self.fall)
        return _Descent(self.measured.select(index), *(values[..., index] for values in rest))

    def overwrite(self, index: Array, part: _Descent) -> None:
        """Put some of the poses back."""
        for name in ("poses", "cost", "system"):
            getattr(self, name)[..., index] = getattr(part, name)


def _minimise(measured: Measurements, poses: Array, iterations: int) -> _Descent:
    """Levenberg-Marquardt from two seeds; NaN stays NaN and disturbs no other.

    Args:
        measured: What was measured of all poses.
        poses: Where to start, those of all first seeds before the second ones, shape (3, 4, 2 B).
        iterations: Most steps; fewer are taken once every pose has converged.
    """
    xp = namespace(poses)
    cost, system = model_at(measured, poses)
    damping, fall = xp.full_like(cost, INITIAL_DAMPING), xp.full_like(cost, math.inf)
    whole, left = _Descent(measured, poses, cost, system, damping, fall), iterations
    while left > 0 and FEW * int(whole.moving().sum()) > len(cost):
        whole, left = whole.step(), left - 1
    hopeful = ~_hopeless(whole)
    if left > 0 and bool((whole.moving(ALONE_TOLERANCE) & hopeful).any()):
        # Most images have a few grasps that need many steps: they, and what is not quite there.
        index = xp.where(whole.moving(ARRIVED) & hopeful)[0]
        part = whole.select(index)
        while left > 0 and bool(part.moving(ALONE_TOLERANCE).any()):
            part, left = part.step(), left - 1
        whole.overwrite(index, part)
    return whole


def _hopeless(descent: _Descent) -> Array:
    """Poses that another fall of cost like the last one would not bring near the other seed's."""
    pair = descent.cost.reshape(2, -1)
    limit = namespace(pair).amin(pair, 0) + HOPELESS
    hopeless: Array = (pair - descent.fall.reshape(2, -1) > limit).reshape(-1)
    return hopeless


def gauss_newton_step(model: Linearization) -> Tensor:
    """Undamped step (dt, omega) to the minimum of the model, shape (..., B, 6)."""
    step: Tensor = -solve_definite(torch.moveaxis(model.system, (-2, -1), (0, 1)))[:, 0]
    return torch.moveaxis(step, 0, -1)


def _damped_step(system: Array, damping: Array) -> Array:
    """Steps (dt, omega), shape (6, M)."""
    damped = copied(system)
    # Relative to the diagonal, hence the same in metres and millimetres.
    damped.reshape(42, -1)[::8] *= 1.0 + damping
    return -solve_definite(damped)[:, 0]


def _retract(poses: Array, step: Array) -> Array:
    """Apply (dt, omega) (6, M); the rotation by Cayley's map, equal to exp(omega) to 2nd order."""
    rotation, half = poses[:, :3], 0.5 * step[3:]
    by_half = wrapped(half)[:, None]
    # h x R + h x (h x R) is h x (R + h x R).
    once = rotation + wrapped_cross(by_half, wrapped(rotation))
    factor = 2.0 / (1.0 + (half * half).sum(0))
    turned = rotation + factor * wrapped_cross(by_half, wrapped(once))
    shifted = poses[:, 3] + step[:3]
    return namespace(poses).concatenate([turned, shifted[:, None]], 1)


def _prefers_second(
    problem: PnPProblem,
    poses: Array,
    cost: Array,
    config: PnPConfig,
    tips: Array,
    tip_depth: Array | None,
) -> Array:
    """Which of two minima to take, bool (B,).

    A cost gap above ``mode_gap`` decides alone. Below it counts which approach axis points away
    from the camera, as a prior that rises smoothly with its angle to the viewing ray (the mirror
    has the opposite sign); and where these tie, the agreement with the depth seen at the tips.

    Args:
        problem: Gives the gripper corners.
        poses: ``[R | t]``, shape (3, 4, 2 B).
        cost: Shape (2, B).
        config: ``mode_gap`` is used.
        tips: Depth of both fingertips at the poses [m], shape (2, 2 B).
        tip_depth: The observed one, shape (B, 2), or None.
    """
    xp = namespace(poses)
    middle = problem.object_points.sum(0) / len(problem.object_points)
    center = map_points(poses[:, :3], middle[None])[:, 0] + poses[:, 3]
    away = (poses[:, 0] * center).sum(0) / xp.sqrt((center * center).sum(0))
    score = cost - config.mode_gap / (1.0 + xp.exp(away / -APPROACH_SOFTNESS)).reshape(2, -1)
    second: Array = score[1] < score[0]
    if tip_depth is None:
        return second
    error = abs(tips.reshape(2, 2, -1) - cast(tip_depth, tips).swapaxes(0, 1)[:, None])
    error = xp.where(xp.isfinite(error), error, xp.zeros_like(error)).sum(0)
    tied = (abs(score[0] - score[1]) < TIE) & (error[0] != error[1])
    return xp.where(tied, error[1] < error[0], second)


def _result(
    problem: PnPProblem, found: _Descent, cost: Array, second: Array, solved: Array
) -> dict[str, Array]:
    """Order the minima by the choice, add error, covariance and status, blank what failed.

    Args:
        problem: Measurements of B grasps.
        found: Both minima of each, those of the first seeds first.
        cost: Their costs, infinite where a minimum is of no use, shape (2, B).
        second: Whether the second one was chosen, shape (B,).
        solved: Whether there is a minimum, shape (B,).
    """
    xp = namespace(cost)
    first, count = positions(second), len(second)
    index, other = first + count * second, first + count * ~second
    # Steps in float32 drift by a few 1e-5.
    rotation = so3.orthonormalize(batch_first(found.poses[:, :3]))
    translation = found.poses[:, 3].swapaxes(0, 1)
    minima = {"rotation": rotation, "translation": translation, "cost": cost.reshape(-1)}
    fields = {name: values[index] for name, values in minima.items()}
    others = {name: values[other] for name, values in minima.items()}
    single = ((fields["rotation"] - others["rotation"]) ** 2).sum((-2, -1)) < SAME_MODE_CHORD**2
    single = single | ~xp.isfinite(others["cost"])
    for name, values in others.items():
        fields[f"other_{name}"] = xp.where(_like(single, values), fields[name], values)
    error = reprojection_error(problem, fields["rotation"], fields["translation"])
    covariance = _inverse(found.system[:, :6, index])
    status = _status(solved, xp.isfinite(fields["cost"]), covariance)
    fields.update(reprojection_error=error, covariance=batch_first(covariance))
    bad = status != int(GraspStatus.OK)
    if bool(bad.any()):
        for name, values in fields.items():
            fields[name] = xp.where(_like(bad, values), xp.full_like(values, math.nan), values)
    return {**fields, "status": status}


def _inverse(matrix: Array) -> Array:
    """Inverses of symmetric matrices (6, 6, B)."""
    xp = namespace(matrix)
    eye = cast(xp.eye(6), matrix)[..., None]
    inverse = solve_definite(xp.concatenate([matrix, xp.broadcast_to(eye, matrix.shape)], 1))
    symmetric: Array = 0.5 * (inverse + inverse.swapaxes(0, 1))
    return symmetric


def _like(mask: Array, values: Array) -> Array:
    """A mask (B,) that broadcasts over values (B, ...)."""
    return mask.reshape(mask.shape + (1,) * (values.ndim - 1))


def _status(solved: Array, in_front: Array, covariance: Array) -> Array:
    """GraspStatus of each element, (B,): a pose needs a certain minimum in front of the camera."""
    xp = namespace(covariance)
    certain = xp.isfinite(covariance.sum((0, 1)))
    certain = certain & (covariance.reshape(36, -1)[::7] > 0).all(0)
    status = xp.full_like(solved, int(GraspStatus.OK), dtype=xp.int64)
    status[~solved | (in_front & ~certain)] = int(GraspStatus.PNP_FAILED)
    status[solved & ~in_front] = int(GraspStatus.BEHIND_CAMERA)
    return status
