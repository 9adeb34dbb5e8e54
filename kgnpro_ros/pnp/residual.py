# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Projection, weighted residuals, robust cost and Jacobian of keypoint measurements.

Poses are camera-from-grasp: ``rotation`` (..., B, 3, 3) and ``translation`` (..., B, 3) [m] for B
grasps, with any number of leading axes (samples, seeds) that broadcast over the measurements. A
residual is in standard deviations. Half the sum of squared residuals, robustified by Huber's
kernel, is the negative log-likelihood p(X | y) of the paper's equation (6) up to a constant.

Derivatives are taken with respect to a left perturbation (t + dt, exp(omega) R), order (dt, omega).

Arrays are torch tensors, or NumPy arrays in the solver: see :mod:`kgnpro_ros.pnp.linear`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from kgnpro_ros.config import PnPConfig
from kgnpro_ros.exceptions import CameraError, ShapeError
from kgnpro_ros.pnp.linear import (
    Array,
    at_least,
    batch_first,
    batch_last,
    cast,
    contiguous,
    multiply,
    namespace,
    sum_of_outer_products,
)

#: Least Huber threshold [standard deviations]; keeps the kernel defined at zero keypoint spread.
MIN_HUBER_DELTA = 1e-3


@dataclass(frozen=True)
class PnPProblem:
    """Measurements of B grasps, prepared once and evaluated at many poses.

    Attributes:
        object_points: Keypoints in the grasp frame [m], shape (N, 3).
        image_points: Measured keypoints on the plane z = 1 (axis, point), shape (2, N, B).
        weights: Inverse standard deviations on that plane, shape (2, N, B).
        huber_delta: Huber threshold of each grasp [standard deviations], shape (B,).
        depth: Measured z of the grasp origin [m], 0 where missing, shape (B,); None for none.
        depth_weight: Its inverse standard deviation [1/m], 0 where missing, shape (B,).
        depth_delta: Huber threshold of the depth residual [standard deviations].
        min_depth: Denominator of the projection is at least this [m].
        focal: Focal lengths (fx, fy) [px], shape (2, 1, 1) or (2, 1, B).
    """

    object_points: Array
    image_points: Array
    weights: Array
    huber_delta: Array
    depth: Array | None
    depth_weight: Array | None
    depth_delta: float
    min_depth: float
    focal: Array


@dataclass(frozen=True)
class View:
    """What the camera would measure of B grasps at given poses.

    Attributes:
        image: Keypoints on the plane z = 1, shape (..., 2, N, B).
        depth: z of the grasp origins [m], shape (..., B).
        in_front: Whether all keypoints are at least min_depth in front, bool, shape (..., B).
    """

    image: Array
    depth: Array
    in_front: Array


@dataclass(frozen=True)
class Linearization:
    """Second-order model of the cost at B poses, in the order (dt, omega).

    Attributes:
        cost: Robust cost, shape (..., B).
        system: Gauss-Newton matrix with Huber weights, then the exact gradient as its seventh
            column, shape (..., B, 6, 7).
    """

    cost: Array
    system: Array

    @property
    def hessian(self) -> Array:
        """Shape (..., B, 6, 6)."""
        return self.system[..., :6]

    @property
    def gradient(self) -> Array:
        """Shape (..., B, 6)."""
        return self.system[..., 6]


def make_problem(
    keypoints: Array,
    weights: Array,
    camera_matrix: Array,
    object_points: Array,
    config: PnPConfig,
    center_depth: Array | None = None,
    depth_weight: Array | None = None,
) -> PnPProblem:
    """Check the measurements and bring them to the plane z = 1.

    Computed in float64 when the keypoints are float64, else in float32. The Huber threshold keeps
    its gradient with respect to the weights; keypoints enter it as constants.

    Args:
        keypoints: Measured (u, v) [px], shape (B, N, 2).
        weights: Inverse standard deviations [1/px], shape (B, N, 2).
        camera_matrix: Intrinsics without skew, shape (3, 3), or (B, 3, 3) for one per grasp.
        object_points: Keypoints in the grasp frame [m], shape (N, 3).
        config: Robust kernel, least depth, and whether the depth is used.
        center_depth: Measured z of the grasp origin [m], shape (B,); NaN where missing.
        depth_weight: Inverse standard deviation of center_depth [1/m], shape (B,).

    Raises:
        ShapeError: If a shape does not fit.
        CameraError: If the intrinsics have skew or no positive focal lengths.
    """
    xp = namespace(keypoints)
    if keypoints.dtype != xp.float64:
        keypoints = cast(keypoints, xp.zeros((), dtype=xp.float32))
    weights, camera_matrix, object_points = (
        cast(values, keypoints) for values in (weights, camera_matrix, object_points)
    )
    _check_shapes(keypoints, weights, camera_matrix, object_points)
    diagonal = camera_matrix[..., [0, 1], [0, 1]]
    focal, center = (
        v.reshape(-1, 2).swapaxes(0, 1)[:, None] for v in (diagonal, camera_matrix[..., :2, 2])
    )
    pixels, inverse_sigmas = (contiguous(v.swapaxes(0, 2)) for v in (keypoints, weights))
    constants = pixels.detach() if isinstance(pixels, torch.Tensor) else pixels
    mean_weight = inverse_sigmas.sum((0, 1)) / (2 * len(object_points))
    delta = config.relative_delta * mean_weight * _spread(constants)
    depth = weight = None
    if config.use_depth and center_depth is not None:
        depth, weight = _usable_depth(cast(center_depth, keypoints), depth_weight, len(keypoints))
    return PnPProblem(
        object_points=object_points,
        image_points=(pixels - center) / focal,
        weights=inverse_sigmas * focal,
        huber_delta=at_least(delta, MIN_HUBER_DELTA),
        depth=depth,
        depth_weight=weight,
        depth_delta=config.depth_delta,
        min_depth=config.min_depth,
        focal=focal,
    )


def project(
    rotation: Array, translation: Array, object_points: Array, camera_matrix: Array
) -> Array:
    """Pixels of object points seen from poses, without any clamp on the depth.

    Args:
        rotation: Shape (..., 3, 3).
        translation: Shape (..., 3) [m].
        object_points: Points in the object frame [m], shape (N, 3).
        camera_matrix: Intrinsics, shape (3, 3) or broadcastable to (..., 3, 3).

    Returns:
        (u, v) [px], shape (..., N, 2).
    """
    points = rotation @ object_points.T + translation[..., None]
    homogeneous = camera_matrix @ points
    return (homogeneous[..., :2, :] / homogeneous[..., 2:, :]).swapaxes(-1, -2)


def reprojection_error(problem: PnPProblem, rotation: Array, translation: Array) -> Array:
    """Root mean square distance of projected and measured keypoints [px], shape (..., B)."""
    return error_of_view(problem, view(problem, rotation, translation))


def error_of_view(problem: PnPProblem, seen: View) -> Array:
    """Root mean square distance of seen and measured keypoints [px], shape (..., B)."""
    squared = (((seen.image - problem.image_points) * problem.focal) ** 2).sum(-3).mean(-2)
    return namespace(squared).sqrt(squared)


def residuals(problem: PnPProblem, rotation: Array, translation: Array) -> Array:
    """Weighted residuals before the robust kernel, shape (..., B, 2 N) or (..., B, 2 N + 1).

    Order: all x, all y, then the depth residual where the problem has depths.
    """
    difference = view(problem, rotation, translation).image - problem.image_points
    rows = _stack_axes(difference * problem.weights)
    depth = _depth_residual(problem, translation[..., 2])
    if depth is not None:
        rows = namespace(rows).concatenate([rows, depth[..., None, :]], -2)
    return rows.swapaxes(-1, -2)


def jacobian(problem: PnPProblem, rotation: Array, translation: Array) -> Array:
    """Derivative of :func:`residuals`, shape (..., B, 2 N [+ 1], 6), order (dt, omega)."""
    points = _project(problem, rotation, translation)
    rows = _jacobian_rows(problem, points, points.image)[..., :6, :, :]
    if problem.depth_weight is not None:
        xp = namespace(rows)
        last = xp.zeros_like(rows[..., :1, :])
        last[..., 2, 0, :] = problem.depth_weight
        rows = xp.concatenate([rows, last], -2)
    return batch_first(rows.swapaxes(-3, -2))


def robust_cost(problem: PnPProblem, rotation: Array, translation: Array) -> Array:
    """Robust negative log-likelihood of poses, shape (..., B); finite behind the camera."""
    return cost_of_view(problem, view(problem, rotation, translation))


def view(problem: PnPProblem, rotation: Array, translation: Array) -> View:
    """What the camera would measure at poses."""
    points = _project(problem, rotation, translation)
    nearest = namespace(points.z).amin(points.z, -2)
    return View(points.image, translation[..., 2], nearest >= problem.min_depth)


def cost_of_view(problem: PnPProblem, seen: View) -> Array:
    """Robust negative log-likelihood of what is seen, shape (..., B)."""
    squared = (((seen.image - problem.image_points) * problem.weights) ** 2).sum(-3)
    cost = _huber(squared, problem.huber_delta)[0].sum(-2)
    depth = _depth_residual(problem, seen.depth)
    return cost if depth is None else cost + _depth_huber(problem, depth)[0]


def linearize(problem: PnPProblem, rotation: Array, translation: Array) -> Linearization:
    """Cost, gradient and Gauss-Newton matrix; differentiable in the measurements."""
    points = _project(problem, rotation, translation)
    residual = (points.image - problem.image_points) * problem.weights
    x, y = residual[..., 0, :, :], residual[..., 1, :, :]
    values, factor = _huber(x * x + y * y, problem.huber_delta)
    cost = values.sum(-2)
    right = _jacobian_rows(problem, points, residual)
    xp = namespace(right)
    left = right[..., :6, :, :] * xp.concatenate([factor, factor], -2)[..., None, :, :]
    system = batch_first(sum_of_outer_products(left, right))
    depth = _depth_residual(problem, translation[..., 2])
    if depth is not None and problem.depth_weight is not None:
        value, factor = _depth_huber(problem, depth)
        cost = cost + value
        slope = factor * problem.depth_weight
        system[..., 2, 2] += slope * problem.depth_weight
        system[..., 2, 6] += slope * depth
    return Linearization(cost, system)


class _Projection(NamedTuple):
    """Points at a pose, batch last."""

    rotated: Array  # R x [m], (..., 3, N, B)
    z: Array  # depth [m], (..., N, B)
    limited: Array  # depth, at least min_depth [m], (..., 1, N, B)
    image: Array  # on the plane z = 1, (..., 2, N, B)


def _project(problem: PnPProblem, rotation: Array, translation: Array) -> _Projection:
    rotated = multiply(batch_last(rotation), problem.object_points.T[..., None])
    placed = rotated + translation.swapaxes(-1, -2)[..., None, :]
    z = placed[..., 2:, :, :]
    # Only the denominator is limited, so the cost stays finite and grows towards the camera plane.
    limited = at_least(z, problem.min_depth)
    return _Projection(rotated, z[..., 0, :, :], limited, placed[..., :2, :, :] / limited)


def _jacobian_rows(problem: PnPProblem, points: _Projection, residual: Array) -> Array:
    """Weighted derivatives and, as a seventh row, the residuals: shape (..., 7, 2 N, B)."""
    scale = problem.weights / points.limited
    # d(x / z)/dz is -x / z^2 in front and 0 where the denominator is held at min_depth.
    by_z = -scale * points.image * (points.limited == points.z[..., None, :, :])
    x, y, z = (points.rotated[..., i, :, :] for i in range(3))
    sx, sy = scale[..., 0, :, :], scale[..., 1, :, :]
    bx, by = by_z[..., 0, :, :], by_z[..., 1, :, :]
    *lead, count, batch = sx.shape
    rows = cast(namespace(sx).zeros((*lead, 7, 2 * count, batch)), sx)
    first, second = rows[..., :count, :], rows[..., count:, :]
    # Rows 3 to 5 are the cross product of R x and the first three, from d(R x) = omega x R x.
    entries = (
        (first, (sx, None, bx, y * bx, z * sx - x * bx, -y * sx, residual[..., 0, :, :])),
        (second, (None, sy, by, y * by - z * sy, -x * by, x * sy, residual[..., 1, :, :])),
    )
    for part, values in entries:
        for row, value in enumerate(values):
            if value is not None:
                part[..., row, :, :] = value
    return rows


def _stack_axes(values: Array) -> Array:
    """Values of both image axes in one: (..., 2, N, B) -> (..., 2 N, B), all x first."""
    *lead, axes, points, batch = values.shape
    return values.reshape(*lead, axes * points, batch)


def _huber(squared: Array, delta: Array) -> tuple[Array, Array]:
    """Huber's kernel of squared residual norms and its IRLS factor min(1, delta / norm).

    Written with the norm held at delta from below: no square root at zero, so no NaN gradient.
    """
    xp = namespace(squared)
    limit = delta**2
    norm = xp.sqrt(xp.maximum(squared, limit))
    value = 0.5 * xp.minimum(squared, limit) + delta * (norm - delta)
    return value, delta / norm


def _depth_residual(problem: PnPProblem, depth: Array) -> Array | None:
    if problem.depth is None or problem.depth_weight is None:
        return None
    return (depth - problem.depth) * problem.depth_weight


def _depth_huber(problem: PnPProblem, residual: Array) -> tuple[Array, Array]:
    squared = residual**2
    return _huber(squared, namespace(squared).full_like(squared, problem.depth_delta))


def _spread(pixels: Array) -> Array:
    """Square root of the summed variances of both axes [px], shape (B,), of (2, N, B)."""
    # Not Array.var, which warns when there are no grasps.
    count = pixels.shape[1]
    centered = pixels - (pixels.sum(1) / count)[:, None]
    return namespace(pixels).sqrt((centered**2).sum((0, 1)) / (count - 1))


def _usable_depth(depth: Array, weight: Array | None, count: int) -> tuple[Array, Array]:
    """Depth and weight with missing entries (NaN, zero weight) set to 0 in both."""
    if weight is None:
        raise ShapeError("center_depth needs depth_weight, its inverse standard deviation [1/m]")
    weight = cast(weight, depth)
    if depth.shape != (count,) or weight.shape != (count,):
        raise ShapeError(
            f"center_depth and depth_weight have shapes {tuple(depth.shape)} and "
            f"{tuple(weight.shape)}; expected ({count},)"
        )
    xp = namespace(depth)
    usable = xp.isfinite(depth) & xp.isfinite(weight) & (weight > 0)
    zero = xp.zeros_like(depth)
    return xp.where(usable, depth, zero), xp.where(usable, weight, zero)


def _check_shapes(
    keypoints: Array, weights: Array, camera_matrix: Array, object_points: Array
) -> None:
    if keypoints.ndim != 3 or keypoints.shape[-1] != 2:
        raise ShapeError(f"keypoints have shape {tuple(keypoints.shape)}; expected (B, N, 2)")
    count, points = keypoints.shape[:2]
    if weights.shape != keypoints.shape:
        raise ShapeError(
            f"weights have shape {tuple(weights.shape)}; expected {tuple(keypoints.shape)}"
        )
    if object_points.shape != (points, 3):
        raise ShapeError(
            f"object_points have shape {tuple(object_points.shape)}; expected ({points}, 3)"
        )
    if camera_matrix.shape not in ((3, 3), (count, 3, 3)):
        raise ShapeError(
            f"camera_matrix has shape {tuple(camera_matrix.shape)}; expected (3, 3) or "
            f"({count}, 3, 3)"
        )
    diagonal = camera_matrix[..., [0, 1], [0, 1]]
    if not bool((diagonal > 0).all() & (camera_matrix[..., 0, 1] == 0).all()):
        raise CameraError(
            "camera_matrix must have positive focal lengths and no skew, got "
            f"{camera_matrix.reshape(-1, 3, 3)[:1].tolist()}"
        )
