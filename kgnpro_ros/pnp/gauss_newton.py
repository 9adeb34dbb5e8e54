# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The Gauss-Newton model of the robust cost at M poses together, in few and large operations.

A hundred poses of four points are little work: starting an operation costs as much as the operation
itself. So both seeds lie side by side in one batch, which is the last axis of every array, and a
measured depth is one more point: the grasp's origin, whose "image" is its depth.
"""

from __future__ import annotations

from dataclasses import dataclass

from kgnpro_ros.pnp.linear import (
    Array,
    at_least,
    cast,
    map_points,
    namespace,
    sum_of_outer_products,
    wrapped,
    wrapped_cross,
)


@dataclass(frozen=True)
class Measurements:
    """What P points of M poses were measured to be.

    Attributes:
        points: In the grasp frame [m], shape (P, 3).
        image: Measured on the plane z = 1 (axis, point), shape (2, P, M).
        weights: Inverse standard deviations on that plane, shape (2, P, M).
        delta: Huber threshold of each point [standard deviations], shape (P, M).
        min_depth: Denominator of the projection is at least this [m].
        with_depth: Whether the last point is the grasp's origin and its x on the image the depth.
    """

    points: Array
    image: Array
    weights: Array
    delta: Array
    min_depth: float
    with_depth: bool

    def select(self, index: Array) -> Measurements:
        """Those of some poses; indices of shape (K,)."""
        return Measurements(
            self.points, self.image[..., index], self.weights[..., index], self.delta[..., index],
            self.min_depth, self.with_depth,
        )  # fmt: skip


def model_at(measured: Measurements, poses: Array) -> tuple[Array, Array]:
    """Cost, and Gauss-Newton matrix with Huber weights beside the exact gradient.

    Args:
        measured: Measurements.
        poses: Camera-from-grasp ``[R | t]``, shape (3, 4, M).

    Returns:
        Cost (M,) and system (6, 7, M), in the order (dt, omega).
    """
    residual, rows = residual_rows(measured, poses)
    squared = residual * residual
    values, factor = huber(squared[0] + squared[1], measured.delta)
    flat = (2 * len(factor), factor.shape[1])
    left, right = (rows[:6] * factor).reshape(6, *flat), rows.reshape(7, *flat)
    return values.sum(0), sum_of_outer_products(left, right)


def residual_rows(measured: Measurements, poses: Array) -> tuple[Array, Array]:
    """Weighted residuals (2, P, M); their six derivatives with themselves below, (7, 2, P, M)."""
    turned = map_points(wrapped(poses[:, :3]), measured.points)
    placed = turned[:3] + poses[:, 3:]
    z = placed[2]
    # Only the denominator is limited, so the cost stays finite and grows towards the camera plane.
    limited = at_least(z, measured.min_depth)
    image = placed[:2] / limited
    if measured.with_depth:
        image[0, -1] = z[-1]
    scale = measured.weights / limited
    # d(x / z)/dz is -x / z^2 in front and 0 where the denominator is held at min_depth.
    by_z = image * -scale * (limited == z)
    if measured.with_depth:
        by_z[0, -1] = measured.weights[0, -1]
    residual = (image - measured.image) * measured.weights
    xp = namespace(residual)
    count = len(z) - measured.with_depth
    by_shift = cast(xp.zeros((5, *residual.shape)), residual)
    by_shift[0::3, 0, :count] = scale[0, :count]
    by_shift[1::3, 1, :count] = scale[1, :count]
    by_shift[2] = by_z
    # From d(R x) = omega x R x.
    by_turn = wrapped_cross(turned[:, None], by_shift)
    return residual, xp.concatenate([by_shift[:3], by_turn, residual[None]])


def huber(squared: Array, delta: Array) -> tuple[Array, Array]:
    """Huber's kernel of squared residual norms and its IRLS factor min(1, delta / norm).

    Written with the norm held at delta from below: no square root at zero, so no NaN gradient.
    """
    xp = namespace(squared)
    limit = delta * delta
    norm = xp.sqrt(xp.maximum(squared, limit))
    value = 0.5 * xp.minimum(squared, limit) + delta * (norm - delta)
    return value, delta / norm
