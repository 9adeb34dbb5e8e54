# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Closed-form initial poses of four coplanar points: the two-fold planar ambiguity, batched.

Derivation (our own notation). Let c be the value, and J (2x2) the derivative, of the map from the
object plane to the image plane z = 1 at the centroid of the points. For the first two columns C
(3x2) of the rotation and the depth d of the centroid, d J = (I | -c) C. Split C into its row w
along the ray of c and the rest. The rest follows from d J and has the Gram matrix d^2 G with
G = J^T J - (J^T c)(J^T c)^T / (1 + c^T c); orthonormal columns ask for d^2 G + w^T w = I. So
1 / d^2 is the larger eigenvalue of G, and w is known up to its sign. The two signs are the two
planar solutions, mirror images of each other along the ray.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.pnp.linear import (
    Array,
    at_least,
    cast,
    cross,
    map_points,
    namespace,
    stack,
    wrapped,
)
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
    mean = 0.25 * problem.image_points.sum(1)
    centred = problem.image_points - mean[:, None]
    spread = (centred * centred).sum((0, 1))
    offset, derivative = _local_affinity(centred, spread, plane)
    columns = _both_columns(mean + offset, derivative)
    xp = namespace(columns)
    around = wrapped(columns)
    third = around[1:4, 0] * around[2:, 1] - around[2:, 0] * around[1:4, 1]
    turned = xp.concatenate([columns, third[:, None]], 1)
    rotation = map_points(turned, plane.basis)
    translation = _translation(map_points(rotation, problem.object_points), mean, centred, spread)
    degenerate = ~xp.isfinite(translation.sum((0, 1)))
    return PlanarSeeds(
        rotation.reshape(3, 3, 2, -1).swapaxes(0, 2).swapaxes(1, 3),
        translation.swapaxes(0, 1).swapaxes(1, 2),
        degenerate,
    )


@dataclass(frozen=True)
class _Plane:
    """The plane of the object points.

    Attributes:
        basis: Rotation object-from-plane, normal last, shape (3, 3).
        affine: Least-squares derivative, of image points (4) by the plane (2), shape (2, 4).
        depths: Depths of the points but for a common factor, of the products of two image points'
            coordinates, one of each point, shape (4, 16).
        areas: Twice the signed areas of the triangles that the depths are ratios of, shape (4, 1).
        corners: Homography, of three points with their depths, shape (3, 3).
    """

    basis: Array
    affine: Array
    depths: Array
    areas: Array
    corners: Array


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
    areas = _triangles(points) @ (points[0][:, None] * points[1]).reshape(16, 1)
    return _Plane(
        basis, _inverse_2x2(moments)[..., 0] @ points, _triangles(points) / areas, areas,
        _inverse_3x3(corners).T,
    )  # fmt: skip


def _norm(vectors: Array) -> Array:
    """Euclidean norms over the last axis."""
    return namespace(vectors).sqrt((vectors**2).sum(-1))


def _local_affinity(centred: Array, spread: Array, plane: _Plane) -> tuple[Array, Array]:
    """Image of the plane's origin (2, B) and derivative of the map there (2, 2, B).

    Taken from the homography: with homogeneous coordinates p_i of the image and m_i of the plane,
    its columns are the first three p_i, scaled so that they add up to the fourth, times the inverse
    of the same matrix of the m_i. The scales are signed areas of triangles (Cramer's rule).

    Args:
        centred: Image points about their mean, shape (2, 4, B).
        spread: Sum of their squares, shape (B,).
        plane: The plane.
    """
    xp = namespace(centred)
    products = centred[0][:, None] * centred[1]
    depths = plane.depths @ products.reshape(16, -1)
    columns = xp.concatenate([centred[:, :3] * depths[:3], depths[None, :3]])
    homography = map_points(columns, plane.corners)
    homography = homography / homography[2:, 2:]
    offset = homography[:2, 2]
    derivative = homography[:2, :2] - offset[:, None] * homography[2:, :2]
    # One sign of all depths: the horizon of the plane must not pass between the points.
    regular = (depths * depths[3] > 0) & (abs(depths * plane.areas) > FLAT_TRIANGLE * spread)
    regular = regular.all(0)
    affine = map_points(centred, plane.affine)
    return xp.where(regular, offset, xp.zeros_like(offset)), xp.where(regular, derivative, affine)


def _triangles(like: Array) -> Array:
    """Twice the signed areas of (4,2,3), (1,4,3), (1,2,4), (1,2,3) as sums of products u_i v_j.

    Returns:
        Coefficients, shape (4, 16), in the precision of an array.
    """
    table = np.zeros((4, 4, 4))
    for k, (a, b, c) in enumerate(((3, 1, 2), (0, 3, 2), (0, 1, 3), (0, 1, 2))):
        for i, j in ((a, b), (b, c), (c, a)):
            table[k, i, j], table[k, j, i] = 1.0, -1.0
    flat = table.reshape(4, 16)
    return cast(flat if isinstance(like, np.ndarray) else torch.from_numpy(flat), like)


def _inverse_2x2(matrix: Array) -> Array:
    """Inverses of (2, 2, B)."""
    (a, b), (c, d) = matrix
    return stack([d, -b, -c, a]).reshape(matrix.shape) / (a * d - b * c)


def _inverse_3x3(matrix: Array) -> Array:
    """Inverse of one matrix by the cross products of its columns."""
    a, b, c = matrix.T
    rows = stack([cross(b, c, -1), cross(c, a, -1), cross(a, b, -1)])
    return rows / (rows[0] * a).sum()


def _both_columns(center: Array, derivative: Array) -> Array:
    """The first two columns of both rotations, (3, 2, 2 B), of c (2, B) and J (2, 2, B)."""
    xp = namespace(center)
    length = 1.0 + (center * center).sum(0)
    product = (center[:, None] * derivative).sum(0)
    share = product / length
    diagonal = (derivative * derivative).sum(0) - share * product
    mixed = (derivative[:, 0] * derivative[:, 1]).sum(0) - share[0] * product[1]
    one, two = diagonal
    difference = one - two
    # The larger eigenvalue.
    square = 0.5 * (one + two + xp.sqrt(difference * difference + 4.0 * mixed * mixed))
    along = xp.sqrt(at_least(1.0 - diagonal / square, 0.0))
    along[1] *= xp.where(mixed > 0, -1.0, 1.0)
    root = xp.sqrt(length)
    ray = xp.concatenate([center, xp.ones_like(center[:1])]) / root
    across = xp.concatenate([derivative - center[:, None] * share, -share[None]]) / xp.sqrt(square)
    along = ray[:, None] * along
    return xp.concatenate([across + along, across - along], -1)


def _translation(rotated: Array, mean: Array, centred: Array, spread: Array) -> Array:
    """Least-squares translation (3, 2, B) [m] for rotated object points (3, 4, 2 B).

    From x_i + tx = u_i (z_i + tz) and the same in y; tx and ty are eliminated.
    """
    points = rotated.reshape(3, 4, 2, -1)
    # Seeds side by side: (axis, point, seed, grasp).
    image = (centred + mean[:, None])[:, :, None]
    offset = image * points[2] - points[:2]
    tz = -(centred[:, :, None] * offset).sum((0, 1)) / spread
    shift = 0.25 * offset.sum(1) + mean[:, None] * tz
    return namespace(shift).concatenate([shift, tz[None]])
