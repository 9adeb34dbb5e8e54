# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Closed-form initial poses of four coplanar points: the two-fold planar ambiguity, batched.

Derivation (our own notation). Let the image of the object plane near the centroid of the points be
the affine map J (2x2). In a camera frame turned so that the ray to the centroid is its z axis, J is
the upper 2x2 block of the rotation divided by the depth: its largest singular value is 1 / depth,
and the remaining row of the rotation follows from orthonormality up to one sign. The two signs are
the two planar solutions, mirror images of each other along the ray.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.pnp.linear import Array, at_least, batch_first, cross, multiply, namespace, stack
from kgnpro_ros.pnp.residual import PnPProblem

#: Largest distance of the fourth object point from the plane of the others, relative to its size.
COPLANAR_TOLERANCE = 1e-4

#: Triangles of the image points smaller than this share of their squared spread are too flat for a
#: homography; the plane is seen edge-on and an affine map is fitted instead.
FLAT_TRIANGLE = 0.05


@dataclass(frozen=True)
class PlanarSeeds:
    """The two closed-form poses of B grasps.

    Attributes:
        rotation: Shape (2, B, 3, 3); index 1 is the mirror image of index 0.
        translation: Shape (2, B, 3) [m].
        degenerate: Whether the image points fix no pose (they coincide or are not finite), bool,
            shape (B,); the poses of such elements mean nothing.
    """

    rotation: Array
    translation: Array
    degenerate: Array


def planar_seeds(problem: PnPProblem) -> PlanarSeeds:
    """Both planar solutions without weights, from the homography of the four points.

    Points seen edge-on, all on one line of the image, are no special case: they fix an affine map.

    Raises:
        ShapeError: If there are not four coplanar object points in general position.
    """
    plane = _plane_of(problem.object_points)
    center, affinity = _local_affinity(problem.image_points, plane)
    align = _ray_alignment(center)
    inverse = align.swapaxes(0, 1)
    # d(image)/d(camera point) at depth 1, for camera points expressed in the aligned frame.
    ray_map = inverse[:2, :2] - center[:, None] * inverse[2:, :2]
    block, depth = _unit_block(multiply(_inverse_2x2(ray_map), affinity))
    row = _missing_row(block)
    xp = namespace(block)
    upper = xp.broadcast_to(block, (2, *block.shape))
    columns = xp.concatenate([upper, stack([row, -row])[:, None]], 1)
    third = cross(columns[:, :, 0], columns[:, :, 1], axis=-2)
    turned = multiply(inverse, xp.concatenate([columns, third[:, :, None]], 2))
    rotation = multiply(turned, plane.basis.T[..., None])
    translation = _translation(problem, rotation)
    degenerate = ~(xp.isfinite(depth) & xp.isfinite(translation).all(1).all(0))
    return PlanarSeeds(batch_first(rotation), translation.swapaxes(-1, -2), degenerate)


@dataclass(frozen=True)
class _Plane:
    """The plane of the object points.

    Attributes:
        basis: Rotation object-from-plane, normal last, shape (3, 3).
        points: Centred in-plane points [m], shape (2, 4).
        areas: Twice the signed areas of its triangles, shape (4, 1).
        inverse_moments: Inverse of the points' second moments, shape (2, 2, 1).
        inverse_corners: Inverse of three homogeneous points, shape (3, 3, 1).
    """

    basis: Array
    points: Array
    areas: Array
    inverse_moments: Array
    inverse_corners: Array


def mirrored_pose(rotation: Array, translation: Array, object_points: Array) -> tuple[Array, Array]:
    """The other planar solution, to first order: the plane tilted the other way about its ray.

    With centroid x0, c = t + R x0, r = c / |c| and plane normal n:
    R' = (I - 2 r r^T) R (I - 2 n n^T), t' = c - R' x0.

    Args:
        rotation: Shape (..., 3, 3).
        translation: Shape (..., 3) [m].
        object_points: Coplanar points [m], shape (4, 3).
    """
    basis = _plane_of(object_points).basis
    centroid = object_points.mean(0)
    center = translation + (rotation * centroid).sum(-1)
    ray = center / _norm(center)[..., None]
    normal = basis[:, 2]
    flipped = rotation - 2.0 * (rotation * normal).sum(-1)[..., :, None] * normal
    along = (ray[..., :, None] * flipped).sum(-2)[..., None, :]
    mirrored = flipped - 2.0 * ray[..., :, None] * along
    return mirrored, center - (mirrored * centroid).sum(-1)


def _plane_of(object_points: Array) -> _Plane:
    if object_points.shape != (4, 3):
        raise ShapeError(
            f"object_points have shape {tuple(object_points.shape)}; planar poses need (4, 3)"
        )
    if isinstance(object_points, np.ndarray):
        return _known_plane(object_points.tobytes(), object_points.dtype.str)
    return _make_plane(object_points)


@lru_cache(maxsize=16)
def _known_plane(content: bytes, dtype: str) -> _Plane:
    """The plane of four points that are the same in every image."""
    return _make_plane(np.frombuffer(content, dtype).reshape(4, 3))


def _make_plane(object_points: Array) -> _Plane:
    edges = object_points[1:] - object_points[0]
    normal = cross(edges[0], edges[1], axis=-1)
    lengths, height = _norm(edges), abs((normal * edges[2]).sum())
    size = lengths[0] * lengths[1]
    area = _norm(normal)
    if not bool((area > 1e-6 * size) & (height <= COPLANAR_TOLERANCE * size * lengths[2])):
        raise ShapeError("object_points must be four coplanar points, three of them not collinear")
    normal, first = normal / area, edges[0] / lengths[0]
    basis = stack([first, cross(normal, first, axis=-1), normal]).T
    centred = object_points - object_points.mean(0)
    points = (centred[:, :, None] * basis[:, :2]).sum(1).T
    xp = namespace(points)
    corners = xp.concatenate([points, xp.ones_like(points[:1])])[:, :3]
    moments = (points[:, None] * points).sum(-1)[..., None]
    return _Plane(
        basis, points, _areas(points)[:, None], _inverse_2x2(moments),
        _inverse_3x3(corners)[..., None],
    )  # fmt: skip


def _norm(vectors: Array) -> Array:
    """Euclidean norms over the last axis."""
    return namespace(vectors).sqrt((vectors**2).sum(-1))


def _local_affinity(image_points: Array, plane: _Plane) -> tuple[Array, Array]:
    """Image of the plane's origin (2, B) and derivative of the map there (2, 2, B).

    Taken from the homography: with homogeneous coordinates p_i of the image and m_i of the plane,
    its columns are the first three p_i, scaled so that they add up to the fourth, times the inverse
    of the same matrix of the m_i. The scales are signed areas of triangles (Cramer's rule).
    """
    centred, mean = _centred(image_points)
    xp = namespace(centred)
    affine = multiply(multiply(centred, plane.points.T[..., None]), plane.inverse_moments)
    areas = _areas(centred)
    depths = areas / plane.areas
    one = xp.ones_like(centred[:1, :3])
    columns = xp.concatenate([centred[:, :3], one]) * depths[:3]
    homography = multiply(columns, plane.inverse_corners)
    homography = homography / homography[2:, 2:]
    offset = homography[:2, 2]
    derivative = homography[:2, :2] - offset[:, None] * homography[2:, :2]
    # One sign of all depths: the horizon of the plane must not pass between the points.
    spread = (centred**2).sum((0, 1))
    regular = (depths * depths[3] > 0).all(0)
    regular = regular & (xp.amin(abs(areas), 0) > FLAT_TRIANGLE * spread)
    center = mean + xp.where(regular, offset, xp.zeros_like(offset))
    return center, xp.where(regular, derivative, affine)


def _areas(points: Array) -> Array:
    """Twice the signed areas of (4,2,3), (1,4,3), (1,2,4), (1,2,3): (2, 4, ...) -> (4, ...)."""
    a, b, c = points[:, [3, 0, 0, 0]], points[:, [1, 3, 1, 1]], points[:, [2, 2, 3, 2]]
    u, v = b - a, c - a
    areas: Array = u[0] * v[1] - u[1] * v[0]
    return areas


def _inverse_2x2(matrix: Array) -> Array:
    """Inverses of (2, 2, B); not finite where singular."""
    (a, b), (c, d) = matrix
    return stack([d, -b, -c, a]).reshape(matrix.shape) / (a * d - b * c)


def _inverse_3x3(matrix: Array) -> Array:
    """Inverse of one 3x3 matrix by the cross products of its columns."""
    a, b, c = matrix.T
    rows = stack([cross(b, c, -1), cross(c, a, -1), cross(a, b, -1)])
    return rows / (rows[0] * a).sum()


def _ray_alignment(center: Array) -> Array:
    """Rotations (3, 3, B) that turn the ray (center, 1) onto +z by the shortest way."""
    u, v = center
    xp = namespace(center)
    z = 1.0 / xp.sqrt(1.0 + u * u + v * v)
    x, y = u * z, v * z
    k = 1.0 / (1.0 + z)
    xy = -k * x * y
    rows = stack([1 - k * x * x, xy, -x, xy, 1 - k * y * y, -y, x, y, z])
    return rows.reshape(3, 3, -1)


def _unit_block(block: Array) -> tuple[Array, Array]:
    """2x2 blocks (2, 2, B) divided by their largest singular value, and its inverse (B,)."""
    half = 0.5 * (block**2).sum((0, 1))
    determinant = block[0, 0] * block[1, 1] - block[0, 1] * block[1, 0]
    xp = namespace(block)
    largest = xp.sqrt(half + xp.sqrt(at_least(half**2 - determinant**2, 0.0)))
    return block / largest, 1.0 / largest


def _missing_row(block: Array) -> Array:
    """Third row (2, B), up to sign, that makes the columns of 2x2 blocks orthonormal."""
    xp = namespace(block)
    a, b = xp.sqrt(at_least(1.0 - (block**2).sum(0), 0.0))
    product = (block[:, 0] * block[:, 1]).sum(0)
    return stack([a, xp.where(product > 0, -b, b)])


def _translation(problem: PnPProblem, rotation: Array) -> Array:
    """Least-squares translation (2, 3, B) [m] for rotations (2, 3, 3, B).

    From x_i + tx = u_i (z_i + tz) and the same in y; tx and ty are eliminated.
    """
    rotated = multiply(rotation, problem.object_points.T[..., None])
    x, y, z = rotated[:, 0], rotated[:, 1], rotated[:, 2]
    u, v = problem.image_points
    (du, dv), (mean_u, mean_v) = _centred(problem.image_points)
    a, b = u * z - x, v * z - y
    tz = -(du * a + dv * b).sum(1) / (du * du + dv * dv).sum(0)
    tx, ty = 0.25 * a.sum(1) + mean_u * tz, 0.25 * b.sum(1) + mean_v * tz
    return stack([tx, ty, tz]).swapaxes(0, 1)


def _centred(image_points: Array) -> tuple[Array, Array]:
    """Points (2, 4, B) about their mean, and the mean (2, B)."""
    mean = 0.25 * image_points.sum(1)
    return image_points - mean[:, None], mean
