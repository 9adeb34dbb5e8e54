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

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from kgnpro_ros.config import PnPConfig
from kgnpro_ros.exceptions import CameraError, ShapeError
from kgnpro_ros.pnp.gauss_newton import Measurements, huber, model_at, residual_rows
from kgnpro_ros.pnp.linear import (
    Array,
    at_least,
    batch_first,
    batch_last,
    cast,
    contiguous,
    map_points,
    namespace,
    stack,
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
    difference = view(problem, rotation, translation).image - problem.image_points
    squared = ((difference * problem.focal) ** 2).sum(-3).mean(-2)
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
    *lead, batch = translation.shape[:-1]
    measured = measurements(problem, math.prod(lead))
    rows = residual_rows(measured, poses_of(rotation, translation))[1][:6]
    count = problem.image_points.shape[1]
    parts = [rows[:, 0, :count], rows[:, 1, :count], rows[:, 0, count:]]
    ordered = namespace(rows).concatenate(parts, 1)
    return batch_first(ordered.swapaxes(0, 1)).reshape(*lead, batch, -1, 6)


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
    cost = huber(squared, problem.huber_delta)[0].sum(-2)
    depth = _depth_residual(problem, seen.depth)
    return cost if depth is None else cost + _depth_huber(problem, depth)[0]


def linearize(problem: PnPProblem, rotation: Array, translation: Array) -> Linearization:
    """Cost, gradient and Gauss-Newton matrix; differentiable in the measurements."""
    *lead, batch = translation.shape[:-1]
    measured = measurements(problem, math.prod(lead))
    cost, system = model_at(measured, poses_of(rotation, translation))
    shape = (*lead, batch)
    system = batch_first(system).reshape(*shape, 6, 7)
    return Linearization(cost.reshape(shape), system)


def measurements(problem: PnPProblem, copies: int = 1) -> Measurements:
    """The same measurements for several poses of each grasp, one copy after the other."""
    points, image, weights = problem.object_points, problem.image_points, problem.weights
    xp = namespace(image)
    delta = xp.broadcast_to(problem.huber_delta, image.shape[1:])
    with_depth = problem.depth is not None and problem.depth_weight is not None
    if with_depth:
        zero = xp.zeros_like(problem.depth)
        points = xp.concatenate([points, xp.zeros_like(points[:1])])
        image = xp.concatenate([image, stack([problem.depth, zero])[:, None]], 1)
        weights = xp.concatenate([weights, stack([problem.depth_weight, zero])[:, None]], 1)
        last = xp.full_like(delta[:1], problem.depth_delta)
        delta = xp.concatenate([delta, last])
    if copies != 1:
        image, weights, delta = (xp.concatenate([v] * copies, -1) for v in (image, weights, delta))
    return Measurements(points, image, weights, delta, problem.min_depth, with_depth)


def poses_of(rotation: Array, translation: Array) -> Array:
    """Poses (..., 3, 3) and (..., 3) as ``[R | t]`` with one batch, the last axis: (3, 4, M)."""
    pair = [rotation.reshape(-1, 3, 3), translation.reshape(-1, 3, 1)]
    return contiguous(batch_last(namespace(rotation).concatenate(pair, -1)))


class _Projection(NamedTuple):
    """Points at a pose, batch last."""

    z: Array  # depth [m], (..., N, B)
    image: Array  # on the plane z = 1, (..., 2, N, B)


def _project(problem: PnPProblem, rotation: Array, translation: Array) -> _Projection:
    rotated = map_points(batch_last(rotation), problem.object_points)
    placed = rotated + translation.swapaxes(-1, -2)[..., None, :]
    z = placed[..., 2:, :, :]
    # Limited as in the model of the cost.
    limited = at_least(z, problem.min_depth)
    return _Projection(z[..., 0, :, :], placed[..., :2, :, :] / limited)


def _stack_axes(values: Array) -> Array:
    """Values of both image axes in one: (..., 2, N, B) -> (..., 2 N, B), all x first."""
    *lead, axes, points, batch = values.shape
    return values.reshape(*lead, axes * points, batch)


def _depth_residual(problem: PnPProblem, depth: Array) -> Array | None:
    if problem.depth is None or problem.depth_weight is None:
        return None
    return (depth - problem.depth) * problem.depth_weight


def _depth_huber(problem: PnPProblem, residual: Array) -> tuple[Array, Array]:
    squared = residual**2
    return huber(squared, namespace(squared).full_like(squared, problem.depth_delta))


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
