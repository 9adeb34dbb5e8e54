# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Proposal densities over poses: Student-t for positions, angular central Gaussian for rotations.

Densities are taken with respect to volume [m^3] times rotation volume, where a small rotation
vector d omega has volume d omega [rad^3] and all rotations together have 8 pi^2. Samples come
component first: positions (3, S, B), quaternions w, x, y, z (4, S, B).

The angular central Gaussian (Tyler 1987) is the direction of a centred Gaussian in four dimensions;
it gives q and -q, one rotation, the same density. Here its principal axis is the mode and the rest
of its scatter the covariance of half the rotation vector: about the mode it is a Cauchy density,
so its tails are heavier than those of the posterior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kgnpro_ros.pnp.linear import batch_first, batch_last, multiply, single_threaded

#: Degrees of freedom of the Student-t; sampling relies on them being a whole number.
DEGREES = 3

#: Logarithms of the norming constant of the Student-t in three dimensions and of the volume of all
#: rotations.
LOG_STUDENT = (
    math.lgamma((DEGREES + 3) / 2) - math.lgamma(DEGREES / 2) - 1.5 * math.log(DEGREES * math.pi)
)
LOG_ROTATIONS = math.log(8 * math.pi**2)


@dataclass(frozen=True)
class Proposal:
    """One density over poses for each of B grasps; matrices have the batch last.

    Attributes:
        position: Centre of the positions [m], shape (3, B).
        scale, scale_inverse: Cholesky factor of the scale matrix [m], shape (3, 3, B).
        scatter, scatter_inverse: A with A A^T the scatter of the quaternions, shape (4, 4, B).
        log_determinant: log det scale + log det scatter, shape (B,).
    """

    position: Tensor
    scale: Tensor
    scale_inverse: Tensor
    scatter: Tensor
    scatter_inverse: Tensor
    log_determinant: Tensor

    def sample(self, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw ``count`` positions (3, S, B) [m] and unit quaternions (4, S, B) for each grasp."""
        shape = (7 + DEGREES, count, self.position.shape[-1])
        normal = torch.empty(shape, dtype=self.scale.dtype, device=self.scale.device)
        normal.normal_(generator=generator)
        direction, offset, squares = torch.split(normal, [4, 3, DEGREES])
        quaternion = multiply(self.scatter, direction)
        # A Student-t is a Gaussian over the root of a chi-squared, a sum of squared Gaussians.
        stretch = (DEGREES / (squares**2).sum(0)).sqrt()
        position = torch.addcmul(self.position[:, None], multiply(self.scale, offset), stretch)
        return position, quaternion * (quaternion**2).sum(0).rsqrt()

    def log_density(self, position: Tensor, quaternion: Tensor) -> Tensor:
        """Log-density of poses (3, S, B), (4, S, B): shape (S, B) [1 / (m^3 rad^3)]."""
        whitened = multiply(self.scale_inverse, position - self.position[:, None])
        student = torch.log1p((whitened**2).sum(0) / DEGREES)
        angular = (multiply(self.scatter_inverse, quaternion) ** 2).sum(0).log()
        constant = LOG_STUDENT - LOG_ROTATIONS - self.log_determinant
        density: Tensor = constant - 0.5 * (DEGREES + 3) * student - 2.0 * angular
        return density


def proposal_from_moments(
    position: Tensor,
    quaternion: Tensor,
    position_covariance: Tensor,
    rotation_covariance: Tensor,
) -> tuple[Proposal, Tensor]:
    """Density with given centre and spread.

    Args:
        position: Shape (3, B) [m].
        quaternion: Unit quaternions, shape (4, B).
        position_covariance: Scale matrix of the positions [m^2], shape (3, 3, B).
        rotation_covariance: Covariance of the rotation vector about the centre, along the axes of
            the camera [rad^2], shape (3, 3, B).

    Returns:
        The density, and whether both matrices are positive definite, bool, shape (B,); where not,
        that element of the density means nothing.
    """
    # Half the rotation vector is the tangent coordinate of the quaternion.
    both = batch_first(torch.stack([position_covariance, 0.25 * rotation_covariance]))
    with single_threaded():
        factors, info = torch.linalg.cholesky_ex(both)
        inverses = torch.linalg.inv_ex(factors)[0]
    scale, spread = batch_last(factors)
    scale_inverse, spread_inverse = batch_last(inverses)
    tangent = tangent_basis(quaternion)
    scatter = torch.cat([quaternion[:, None], multiply(tangent, spread)], dim=1)
    rows = multiply(spread_inverse, tangent.transpose(0, 1))
    log_determinant = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1).sum(0)
    proposal = Proposal(
        position=position,
        scale=scale,
        scale_inverse=scale_inverse,
        scatter=scatter,
        scatter_inverse=torch.cat([quaternion[None], rows]),
        log_determinant=log_determinant,
    )
    return proposal, (info == 0).all(0) & torch.isfinite(log_determinant)


def tangent_basis(quaternion: Tensor) -> Tensor:
    """Orthonormal tangents of the unit sphere: derivative by half a left rotation vector.

    Args:
        quaternion: Unit quaternions, shape (4, B).

    Returns:
        Shape (4, 3, B); column i is the product of (0, e_i) and the quaternion.
    """
    w, x, y, z = quaternion.unbind(0)
    rows = torch.stack([-x, -y, -z, w, z, -y, -z, w, x, y, -x, w])
    return rows.reshape(4, 3, -1)


def rotation_vector(tangent: Tensor, center: Tensor, quaternion: Tensor) -> Tensor:
    """Rotation from a centre to samples along the camera's axes, twice the sine of half the angle.

    Args:
        tangent: Basis at the centre, shape (4, 3, B).
        center: Unit quaternions, shape (4, B).
        quaternion: Unit quaternions, shape (4, S, B).

    Returns:
        Shape (3, S, B) [rad], at most 2 long.
    """
    sign = torch.sign((quaternion * center[:, None]).sum(0))
    turned: Tensor = multiply(tangent.transpose(0, 1), quaternion) * (2.0 * sign)
    return turned
