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

import torch
from torch import Tensor

from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.pnp.linear import batch_first, multiply
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

    rotation: Tensor
    translation: Tensor
    degenerate: Tensor


def planar_seeds(problem: PnPProblem) -> PlanarSeeds:
    """Both planar solutions without weights, from the homography of the four points.

    Points seen edge-on, all on one line of the image, are no special case: they fix an affine map.

    Raises:
        ShapeError: If there are not four coplanar object points in general position.
    """
    basis, plane = _plane_coordinates(problem.object_points)
    center, affinity = _local_affinity(problem.image_points, plane)
    align = _ray_alignment(center)
    inverse = align.transpose(0, 1)
    # d(image)/d(camera point) at depth 1, for camera points expressed in the aligned frame.
    ray_map = inverse[:2, :2] - center[:, None] * inverse[2:, :2]
    block, depth = _unit_block(multiply(_inverse_2x2(ray_map), affinity))
    row = _missing_row(block)
    upper = block.expand(2, *block.shape)
    columns = torch.cat([upper, torch.stack([row, -row])[:, None]], dim=1)
    third = torch.linalg.cross(columns[:, :, 0], columns[:, :, 1], dim=1)
    turned = multiply(inverse, torch.cat([columns, third[:, :, None]], dim=2))
    rotation = multiply(turned, basis.mT[..., None])
    translation = _translation(problem, rotation)
    degenerate = ~(torch.isfinite(depth) & torch.isfinite(translation).all(1).all(0))
    return PlanarSeeds(batch_first(rotation).contiguous(), translation.mT.contiguous(), degenerate)


def mirrored_pose(
    rotation: Tensor, translation: Tensor, object_points: Tensor
) -> tuple[Tensor, Tensor]:
    """The other planar solution, to first order: the plane tilted the other way about its ray.

    With centroid x0, c = t + R x0, r = c / |c| and plane normal n:
    R' = (I - 2 r r^T) R (I - 2 n n^T), t' = c - R' x0.

    Args:
        rotation: Shape (..., 3, 3).
        translation: Shape (..., 3) [m].
        object_points: Coplanar points [m], shape (4, 3).
    """
    basis, _ = _plane_coordinates(object_points)
    centroid = object_points.mean(0)
    center = translation + (rotation * centroid).sum(-1)
    ray = center / center.norm(dim=-1, keepdim=True)
    normal = basis[:, 2]
    flipped = rotation - 2.0 * (rotation * normal).sum(-1)[..., :, None] * normal
    along = (ray[..., :, None] * flipped).sum(-2, keepdim=True)
    mirrored = flipped - 2.0 * ray[..., :, None] * along
    return mirrored, center - (mirrored * centroid).sum(-1)


def _plane_coordinates(object_points: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation object-from-plane (3, 3), normal last, and centred in-plane points (2, 4) [m]."""
    if object_points.shape != (4, 3):
        raise ShapeError(
            f"object_points have shape {tuple(object_points.shape)}; planar poses need (4, 3)"
        )
    edges = object_points[1:] - object_points[0]
    normal = torch.linalg.cross(edges[0], edges[1])
    lengths, height = edges.norm(dim=-1), (normal * edges[2]).sum().abs()
    size = lengths[0] * lengths[1]
    area = normal.norm()
    if not bool((area > 1e-6 * size) & (height <= COPLANAR_TOLERANCE * size * lengths[2])):
        raise ShapeError("object_points must be four coplanar points, three of them not collinear")
    normal, first = normal / area, edges[0] / lengths[0]
    basis = torch.stack([first, torch.linalg.cross(normal, first), normal], dim=-1)
    centred = object_points - object_points.mean(0)
    return basis, (centred[:, :, None] * basis[:, :2]).sum(1).mT


def _local_affinity(image_points: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
    """Image of the plane's origin (2, B) and derivative of the map there (2, 2, B).

    Taken from the homography: with homogeneous coordinates p_i of the image and m_i of the plane,
    its columns are the first three p_i, scaled so that they add up to the fourth, times the inverse
    of the same matrix of the m_i. The scales are signed areas of triangles (Cramer's rule).
    """
    mean = image_points.mean(1)
    centred = image_points - mean[:, None]
    moments = multiply(centred, plane.mT[..., None])
    affine = multiply(moments, _inverse_2x2((plane[:, None] * plane).sum(-1)[..., None]))
    areas, plane_areas = _areas(centred), _areas(plane)[:, None]
    depths = areas / plane_areas
    one = torch.ones_like(centred[:1, :3])
    columns = torch.cat([centred[:, :3], one]) * depths[:3]
    reference = torch.cat([plane, torch.ones_like(plane[:1])])[:, :3]
    homography = multiply(columns, torch.linalg.inv(reference)[..., None])
    homography = homography / homography[2:, 2:]
    offset = homography[:2, 2]
    derivative = homography[:2, :2] - offset[:, None] * homography[2:, :2]
    # One sign of all depths: the horizon of the plane must not pass between the points.
    spread = (centred**2).sum((0, 1))
    regular = (depths * depths[3] > 0).all(0) & (areas.abs().amin(0) > FLAT_TRIANGLE * spread)
    center = mean + torch.where(regular, offset, torch.zeros_like(offset))
    return center, torch.where(regular, derivative, affine)


def _areas(points: Tensor) -> Tensor:
    """Twice the signed areas of (4,2,3), (1,4,3), (1,2,4), (1,2,3): (2, 4, ...) -> (4, ...)."""
    a, b, c = points[:, [3, 0, 0, 0]], points[:, [1, 3, 1, 1]], points[:, [2, 2, 3, 2]]
    u, v = b - a, c - a
    areas: Tensor = u[0] * v[1] - u[1] * v[0]
    return areas


def _inverse_2x2(matrix: Tensor) -> Tensor:
    """Inverses of (2, 2, B); not finite where singular."""
    a, b, c, d = matrix.flatten(0, 1).unbind(0)
    return torch.stack([d, -b, -c, a]).reshape(matrix.shape) / (a * d - b * c)


def _ray_alignment(center: Tensor) -> Tensor:
    """Rotations (3, 3, B) that turn the ray (center, 1) onto +z by the shortest way."""
    u, v = center.unbind(0)
    z = (1.0 + u * u + v * v).rsqrt()
    x, y = u * z, v * z
    k = 1.0 / (1.0 + z)
    xy = -k * x * y
    rows = torch.stack([1 - k * x * x, xy, -x, xy, 1 - k * y * y, -y, x, y, z])
    return rows.reshape(3, 3, -1)


def _unit_block(block: Tensor) -> tuple[Tensor, Tensor]:
    """2x2 blocks (2, 2, B) divided by their largest singular value, and its inverse (B,)."""
    half = 0.5 * (block**2).sum((0, 1))
    determinant = block[0, 0] * block[1, 1] - block[0, 1] * block[1, 0]
    largest = (half + (half**2 - determinant**2).clamp(min=0.0).sqrt()).sqrt()
    return block / largest, 1.0 / largest


def _missing_row(block: Tensor) -> Tensor:
    """Third row (2, B), up to sign, that makes the columns of 2x2 blocks orthonormal."""
    a, b = (1.0 - (block**2).sum(0)).clamp(min=0.0).sqrt()
    product = (block[:, 0] * block[:, 1]).sum(0)
    return torch.stack([a, torch.where(product > 0, -b, b)])


def _translation(problem: PnPProblem, rotation: Tensor) -> Tensor:
    """Least-squares translation (2, 3, B) [m] for rotations (2, 3, 3, B).

    From x_i + tx = u_i (z_i + tz) and the same in y; tx and ty are eliminated.
    """
    x, y, z = multiply(rotation, problem.object_points.mT[..., None]).unbind(1)
    (u, v), (mean_u, mean_v) = problem.image_points, problem.image_points.mean(1)
    a, b = u * z - x, v * z - y
    du, dv = u - mean_u, v - mean_v
    tz = -(du * a + dv * b).sum(1) / (du**2 + dv**2).sum(0)
    return torch.stack([a.mean(1) + mean_u * tz, b.mean(1) + mean_v * tz, tz], dim=1)
