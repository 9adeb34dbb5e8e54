# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Projection, weighted residuals, robust cost and Jacobian of keypoint measurements.

Poses are camera-from-grasp: ``rotation`` (..., B, 3, 3) and ``translation`` (..., B, 3) [m] for B
grasps, with any number of leading axes (samples, seeds) that broadcast over the measurements. A
residual is in standard deviations. Half the sum of squared residuals, robustified by Huber's
kernel, is the negative log-likelihood p(X | y) of the paper's equation (6) up to a constant.

Derivatives are taken with respect to a left perturbation (t + dt, exp(omega) R), order (dt, omega).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kgnpro_ros.config import PnPConfig
from kgnpro_ros.exceptions import CameraError, ShapeError
from kgnpro_ros.pnp.linear import batch_first, batch_last, multiply

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

    object_points: Tensor
    image_points: Tensor
    weights: Tensor
    huber_delta: Tensor
    depth: Tensor | None
    depth_weight: Tensor | None
    depth_delta: float
    min_depth: float
    focal: Tensor


@dataclass(frozen=True)
class View:
    """What the camera would measure of B grasps at given poses.

    Attributes:
        image: Keypoints on the plane z = 1, shape (..., 2, N, B).
        depth: z of the grasp origins [m], shape (..., B).
        in_front: Whether all keypoints are at least min_depth in front, bool, shape (..., B).
    """

    image: Tensor
    depth: Tensor
    in_front: Tensor


@dataclass(frozen=True)
class Linearization:
    """Second-order model of the cost at B poses, in the order (dt, omega).

    Attributes:
        cost: Robust cost, shape (..., B).
        system: Gauss-Newton matrix with Huber weights, then the exact gradient as its seventh
            column, shape (..., B, 6, 7).
    """

    cost: Tensor
    system: Tensor

    @property
    def hessian(self) -> Tensor:
        """Shape (..., B, 6, 6)."""
        return self.system[..., :6]

    @property
    def gradient(self) -> Tensor:
        """Shape (..., B, 6)."""
        return self.system[..., 6]


def make_problem(
    keypoints: Tensor,
    weights: Tensor,
    camera_matrix: Tensor,
    object_points: Tensor,
    config: PnPConfig,
    center_depth: Tensor | None = None,
    depth_weight: Tensor | None = None,
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
    dtype = torch.float64 if keypoints.dtype == torch.float64 else torch.float32
    keypoints, weights = keypoints.to(dtype), weights.to(dtype)
    camera_matrix = camera_matrix.to(keypoints)
    object_points = object_points.to(keypoints)
    _check_shapes(keypoints, weights, camera_matrix, object_points)
    diagonal = camera_matrix.diagonal(dim1=-2, dim2=-1)[..., :2]
    focal, center = (v.reshape(-1, 2).mT[:, None] for v in (diagonal, camera_matrix[..., :2, 2]))
    delta = config.relative_delta * weights.mean((-1, -2)) * _spread(keypoints.detach())
    depth = weight = None
    if config.use_depth and center_depth is not None:
        depth, weight = _usable_depth(center_depth.to(dtype), depth_weight, len(keypoints))
    return PnPProblem(
        object_points=object_points,
        image_points=((keypoints.permute(2, 1, 0) - center) / focal).contiguous(),
        weights=(weights.permute(2, 1, 0) * focal).contiguous(),
        huber_delta=delta.clamp(min=MIN_HUBER_DELTA),
        depth=depth,
        depth_weight=weight,
        depth_delta=config.depth_delta,
        min_depth=config.min_depth,
        focal=focal,
    )


def project(
    rotation: Tensor, translation: Tensor, object_points: Tensor, camera_matrix: Tensor
) -> Tensor:
    """Pixels of object points seen from poses, without any clamp on the depth.

    Args:
        rotation: Shape (..., 3, 3).
        translation: Shape (..., 3) [m].
        object_points: Points in the object frame [m], shape (N, 3).
        camera_matrix: Intrinsics, shape (3, 3) or broadcastable to (..., 3, 3).

    Returns:
        (u, v) [px], shape (..., N, 2).
    """
    points = rotation @ object_points.mT + translation[..., None]
    homogeneous = camera_matrix @ points
    return (homogeneous[..., :2, :] / homogeneous[..., 2:, :]).mT


def reprojection_error(problem: PnPProblem, rotation: Tensor, translation: Tensor) -> Tensor:
    """Root mean square distance of projected and measured keypoints [px], shape (..., B)."""
    difference = view(problem, rotation, translation).image - problem.image_points
    return ((difference * problem.focal) ** 2).sum(-3).mean(-2).sqrt()


def residuals(problem: PnPProblem, rotation: Tensor, translation: Tensor) -> Tensor:
    """Weighted residuals before the robust kernel, shape (..., B, 2 N) or (..., B, 2 N + 1).

    Order: all x, all y, then the depth residual where the problem has depths.
    """
    difference = view(problem, rotation, translation).image - problem.image_points
    rows = (difference * problem.weights).flatten(-3, -2)
    depth = _depth_residual(problem, translation[..., 2])
    if depth is not None:
        rows = torch.cat([rows, depth[..., None, :]], dim=-2)
    return rows.mT


def jacobian(problem: PnPProblem, rotation: Tensor, translation: Tensor) -> Tensor:
    """Derivative of :func:`residuals`, shape (..., B, 2 N [+ 1], 6), order (dt, omega)."""
    rows = _jacobian_rows(problem, _project(problem, rotation, translation))
    if problem.depth_weight is not None:
        last = torch.zeros_like(rows[..., :1, :])
        last[..., 2, 0, :] = problem.depth_weight
        rows = torch.cat([rows, last], dim=-2)
    return batch_first(rows.transpose(-3, -2))


def robust_cost(problem: PnPProblem, rotation: Tensor, translation: Tensor) -> Tensor:
    """Robust negative log-likelihood of poses, shape (..., B); finite behind the camera."""
    return cost_of_view(problem, view(problem, rotation, translation))


def view(problem: PnPProblem, rotation: Tensor, translation: Tensor) -> View:
    """What the camera would measure at poses."""
    placed = multiply(
        batch_last(rotation), problem.object_points.mT[..., None], translation.mT[..., None, :]
    )
    # Only the denominator is limited, so the cost stays finite and grows towards the camera plane.
    z = placed[..., 2:, :, :]
    image = placed[..., :2, :, :] / z.clamp(min=problem.min_depth)
    nearest = z.squeeze(-3).amin(-2)
    return View(image, translation[..., 2], nearest >= problem.min_depth)


def cost_of_view(problem: PnPProblem, seen: View) -> Tensor:
    """Robust negative log-likelihood of what is seen, shape (..., B)."""
    squared = (((seen.image - problem.image_points) * problem.weights) ** 2).sum(-3)
    cost = _huber(squared, problem.huber_delta)[0].sum(-2)
    depth = _depth_residual(problem, seen.depth)
    return cost if depth is None else cost + _depth_huber(problem, depth)[0]


def linearize(problem: PnPProblem, rotation: Tensor, translation: Tensor) -> Linearization:
    """Cost, gradient and Gauss-Newton matrix; differentiable in the measurements."""
    points = _project(problem, rotation, translation)
    residual = (points.image - problem.image_points) * problem.weights
    values, factor = _huber((residual**2).sum(-3), problem.huber_delta)
    cost = values.sum(-2)
    rows = _jacobian_rows(problem, points)
    right = torch.cat([rows, residual.flatten(-3, -2)[..., None, :, :]], dim=-3)
    left = rows * torch.cat([factor, factor], dim=-2)[..., None, :, :]
    system = batch_first((left[..., :, None, :, :] * right[..., None, :, :, :]).sum(-2))
    depth = _depth_residual(problem, translation[..., 2])
    if depth is not None and problem.depth_weight is not None:
        value, factor = _depth_huber(problem, depth)
        cost = cost + value
        system[..., 2, 2] += factor * problem.depth_weight**2
        system[..., 2, 6] += factor * problem.depth_weight * depth
    return Linearization(cost, system)


def is_in_front(problem: PnPProblem, rotation: Tensor, translation: Tensor) -> Tensor:
    """Whether all object points lie at least ``min_depth`` in front, bool, shape (..., B)."""
    return view(problem, rotation, translation).in_front


class _Projection(NamedTuple):
    """Points at a pose, batch last."""

    rotated: Tensor  # R x [m], (..., 3, N, B)
    z: Tensor  # depth [m], (..., N, B)
    limited: Tensor  # depth, at least min_depth [m], (..., 1, N, B)
    image: Tensor  # on the plane z = 1, (..., 2, N, B)


def _project(problem: PnPProblem, rotation: Tensor, translation: Tensor) -> _Projection:
    rotated = multiply(batch_last(rotation), problem.object_points.mT[..., None])
    placed = rotated + translation.mT[..., None, :]
    z = placed[..., 2:, :, :]
    # Only the denominator is limited, so the cost stays finite and grows towards the camera plane.
    limited = z.clamp(min=problem.min_depth)
    return _Projection(rotated, z.squeeze(-3), limited, placed[..., :2, :, :] / limited)


def _jacobian_rows(problem: PnPProblem, points: _Projection) -> Tensor:
    """Weighted derivatives, shape (..., 6, 2 N, B)."""
    scale = problem.weights / points.limited
    # d(x / z)/dz is -x / z^2 in front and 0 where the denominator is held at min_depth.
    by_z = -scale * points.image * (points.limited == points.z[..., None, :, :])
    x, y, z = points.rotated.unbind(-3)
    (sx, sy), (bx, by) = scale.unbind(-3), by_z.unbind(-3)
    zero = torch.zeros_like(bx)
    # The last three are the cross product of R x and the first three, from d(R x) = omega x R x.
    first = torch.stack([sx, zero, bx, y * bx, z * sx - x * bx, -y * sx], dim=-3)
    second = torch.stack([zero, sy, by, y * by - z * sy, -x * by, x * sy], dim=-3)
    return torch.cat([first, second], dim=-2)


def _huber(squared: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Huber's kernel of squared residual norms and its IRLS factor min(1, delta / norm).

    Written with the norm held at delta from below: no square root at zero, so no NaN gradient.
    """
    limit = delta**2
    norm = torch.maximum(squared, limit).sqrt()
    value = 0.5 * torch.minimum(squared, limit) + delta * (norm - delta)
    return value, delta / norm


def _depth_residual(problem: PnPProblem, depth: Tensor) -> Tensor | None:
    if problem.depth is None or problem.depth_weight is None:
        return None
    return (depth - problem.depth) * problem.depth_weight


def _depth_huber(problem: PnPProblem, residual: Tensor) -> tuple[Tensor, Tensor]:
    return _huber(residual**2, residual.new_tensor(problem.depth_delta))


def _spread(keypoints: Tensor) -> Tensor:
    """Square root of the summed variances of both axes [px], shape (B,)."""
    # Not Tensor.var, which warns when there are no grasps.
    centered = keypoints - keypoints.mean(dim=-2, keepdim=True)
    return ((centered**2).sum((-1, -2)) / (keypoints.shape[-2] - 1)).sqrt()


def _usable_depth(depth: Tensor, weight: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Depth and weight with missing entries (NaN, zero weight) set to 0 in both."""
    if weight is None:
        raise ShapeError("center_depth needs depth_weight, its inverse standard deviation [1/m]")
    weight = weight.to(depth)
    if depth.shape != (count,) or weight.shape != (count,):
        raise ShapeError(
            f"center_depth and depth_weight have shapes {tuple(depth.shape)} and "
            f"{tuple(weight.shape)}; expected ({count},)"
        )
    usable = torch.isfinite(depth) & torch.isfinite(weight) & (weight > 0)
    zero = torch.zeros_like(depth)
    return torch.where(usable, depth, zero), torch.where(usable, weight, zero)


def _check_shapes(
    keypoints: Tensor, weights: Tensor, camera_matrix: Tensor, object_points: Tensor
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
