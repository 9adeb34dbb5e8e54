# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Pose distribution p(y | X) by adaptive multiple importance sampling, for all grasps at once.

The paper's equations (3) and (6). Rounds of samples are drawn from different proposals and weighted
by the mixture of all of them, so that no round is wasted (Cornuet et al. 2012). A planar target has
two modes: the first two rounds start at one each, the later ones adapt to the samples about either.

Positions are those of the keypoints' centroid: about it rotation and translation hardly correlate,
which a product of two densities cannot express.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kgnpro_ros.config import PosteriorConfig
from kgnpro_ros.geometry import so3
from kgnpro_ros.pnp.linear import batch_last, multiply, single_threaded
from kgnpro_ros.pnp.proposals import (
    Proposal,
    proposal_from_moments,
    rotation_vector,
    tangent_basis,
)
from kgnpro_ros.pnp.residual import PnPProblem, View, cost_of_view, linearize, view
from kgnpro_ros.types import GraspStatus, PnPResult

#: Standard deviations [m, rad] of a weak prior that bounds the first proposals where the
#: measurements do not.
POSITION_BOUND, ROTATION_BOUND = 0.5, 1.5


@dataclass(frozen=True)
class PosePosterior:
    """Weighted samples of the pose distributions of B grasps; constants, no gradient.

    Attributes:
        rotation: Camera-from-grasp, shape (S, B, 3, 3).
        translation: Grasp origins [m], shape (S, B, 3).
        seen: The measurements to expect at these poses.
        log_proposal: Log-density of the mixture of all proposals [1 / (m^3 rad^3)], shape (S, B);
            +inf for samples behind the camera, which have no weight.
        log_weights: Log of likelihood over proposal density, shape (S, B).
        log_integral: log of the integral of exp(-cost) over all poses [m^3 rad^3], shape (B,).
        effective_samples: Equivalent number of independent samples, 1 to S, shape (B,).
        status: GraspStatus values (OK, PNP_FAILED, BEHIND_CAMERA), int64, shape (B,); where it is
            not OK the integral is NaN.
    """

    rotation: Tensor
    translation: Tensor
    seen: View
    log_proposal: Tensor
    log_weights: Tensor
    log_integral: Tensor
    effective_samples: Tensor
    status: Tensor


@dataclass(frozen=True)
class _Moments:
    """Centre and spread of a mode; shapes as :func:`proposal_from_moments` takes them."""

    position: Tensor
    quaternion: Tensor
    position_covariance: Tensor
    rotation_covariance: Tensor

    def where(self, mask: Tensor, other: _Moments) -> _Moments:
        return _Moments(
            torch.where(mask, self.position, other.position),
            torch.where(mask, self.quaternion, other.quaternion),
            torch.where(mask, self.position_covariance, other.position_covariance),
            torch.where(mask, self.rotation_covariance, other.rotation_covariance),
        )


@dataclass(frozen=True)
class _Poses:
    """Samples of one round as the camera sees them; attributes as in PosePosterior."""

    rotation: Tensor
    translation: Tensor
    seen: View


@dataclass
class _Samples:
    """All samples so far; log_mixture is the log of the summed proposal densities."""

    position: Tensor
    quaternion: Tensor
    cost: Tensor
    log_mixture: Tensor

    def append(self, new: _Samples) -> None:
        self.position = torch.cat([self.position, new.position], dim=1)
        self.quaternion = torch.cat([self.quaternion, new.quaternion], dim=1)
        self.cost = torch.cat([self.cost, new.cost])
        self.log_mixture = torch.cat([self.log_mixture, new.log_mixture])

    def normalised_weights(self) -> Tensor:
        """Shape (S, B), summing to one over the samples; zero where none has any weight."""
        return torch.softmax(-self.cost - self.log_mixture, dim=0).nan_to_num(0.0)


def sample_posterior(
    problem: PnPProblem,
    modes: PnPResult,
    config: PosteriorConfig | None = None,
    generator: torch.Generator | None = None,
) -> PosePosterior:
    """Sample the pose distributions, starting from the minima that the solver found.

    Args:
        problem: Measurements of B grasps; with depths they are part of the likelihood.
        modes: Result of :func:`kgnpro_ros.pnp.solver.solve_pnp` for the same measurements.
        config: Numbers of samples and rounds; the defaults when None.
        generator: Source of randomness, on the device of the measurements.

    Returns:
        Samples in the order of the rounds. An element without a mode, or whose samples all have no
        weight, has a status and a NaN integral.
    """
    config = config or PosteriorConfig()
    count = config.samples // config.rounds
    with torch.no_grad(), torch.autocast(problem.weights.device.type, enabled=False):
        starts = _starting_moments(problem, modes, config)
        proposals = [_usable(starts[0], starts[0])]
        samples, drawn = _draw(problem, proposals, count, generator)
        poses = [drawn]
        for index in range(1, config.rounds):
            lighter = index % 2 == 1
            moments = starts[1] if index == 1 else _adapted(samples, starts, config, lighter)
            proposals.append(_usable(moments, starts[0]))
            density = proposals[-1].log_density(samples.position, samples.quaternion)
            samples.log_mixture = torch.logaddexp(samples.log_mixture, density)
            new, drawn = _draw(problem, proposals, count, generator)
            samples.append(new)
            poses.append(drawn)
        return _posterior(samples, poses, modes.status)


def log_integral(problem: PnPProblem, posterior: PosePosterior) -> Tensor:
    """Log of the integral of exp(-cost) over all poses, differentiable in the measurements.

    The paper's equation (3). Samples and proposal densities are constants, so the gradient is minus
    the expected gradient of the cost under the posterior, equation (4).

    Returns:
        Shape (B,) [m^3 rad^3].
    """
    weights = -cost_of_view(problem, posterior.seen) - posterior.log_proposal
    return torch.logsumexp(weights, dim=0) - math.log(len(weights))


def _starting_moments(
    problem: PnPProblem, modes: PnPResult, config: PosteriorConfig
) -> tuple[_Moments, _Moments]:
    """Laplace approximations at both minima; twice the better one where the other has no mass."""
    hopeless = (modes.other_cost - modes.cost).abs() > config.mode_gap
    swap = hopeless & (modes.other_cost < modes.cost)
    stay = hopeless & ~swap
    first = torch.stack([modes.rotation, modes.other_rotation])
    shift = torch.stack([modes.translation, modes.other_translation])
    rotation = torch.stack(
        [
            torch.where(swap[:, None, None], first[1], first[0]),
            torch.where(stay[:, None, None], first[0], first[1]),
        ]
    )
    translation = torch.stack(
        [
            torch.where(swap[:, None], shift[1], shift[0]),
            torch.where(stay[:, None], shift[0], shift[1]),
        ]
    )
    bound = rotation.new_tensor([POSITION_BOUND] * 3 + [ROTATION_BOUND] * 3)
    hessian = linearize(problem, rotation, translation).hessian + torch.diag(bound**-2)
    with single_threaded():
        covariance = torch.linalg.inv_ex(hessian)[0]
    arm = (rotation * problem.object_points.mean(0)).sum(-1)
    # Moving the reference point by R x0: dc = dt + omega x (R x0).
    lever = torch.eye(6).to(arm).repeat(*arm.shape[:-1], 1, 1)
    lever[..., :3, 3:] = -so3.hat(arm)
    moved = batch_last(lever @ covariance @ lever.mT)
    position = (translation + arm).mT
    quaternion = so3.quaternion_from_matrix(rotation).mT
    one, two = (
        _Moments(position[i], quaternion[i], moved[i, :3, :3], moved[i, 3:, 3:]) for i in (0, 1)
    )
    return one, two


def _usable(moments: _Moments, start: _Moments) -> Proposal:
    """Proposal with the given moments; where they are not positive definite, inflated initial ones.

    The fallback covers the neighbourhood of the mode with four times the initial covariance.
    """
    proposal, valid = proposal_from_moments(
        moments.position,
        moments.quaternion,
        moments.position_covariance,
        moments.rotation_covariance,
    )
    if bool(valid.all()):
        return proposal
    inflated = _Moments(
        start.position,
        start.quaternion,
        4.0 * start.position_covariance,
        4.0 * start.rotation_covariance,
    )
    mixed = moments.where(valid, inflated)
    return proposal_from_moments(
        mixed.position, mixed.quaternion, mixed.position_covariance, mixed.rotation_covariance
    )[0]


def _draw(
    problem: PnPProblem,
    proposals: list[Proposal],
    count: int,
    generator: torch.Generator | None,
) -> tuple[_Samples, _Poses]:
    """Samples of the last proposal, with their cost and density under all proposals."""
    position, quaternion = proposals[-1].sample(count, generator)
    rotation = so3.matrix_from_quaternion(quaternion.movedim(0, -1))
    arm = multiply(batch_last(rotation), problem.object_points.mean(0)[:, None, None])
    translation = position.movedim(0, -1) - arm.squeeze(-2).mT
    seen = view(problem, rotation, translation)
    cost = cost_of_view(problem, seen).masked_fill(~seen.in_front, torch.inf)
    log_mixture = torch.stack([p.log_density(position, quaternion) for p in proposals])
    samples = _Samples(position, quaternion, cost, torch.logsumexp(log_mixture, dim=0))
    return samples, _Poses(rotation, translation, seen)


def _adapted(
    samples: _Samples, starts: tuple[_Moments, _Moments], config: PosteriorConfig, lighter: bool
) -> _Moments:
    """Weighted moments of the samples about one of the two modes.

    Args:
        samples: All samples so far.
        starts: The initial moments of both modes.
        config: Ridge and shares.
        lighter: Take the mode with less mass, where it has ``minor_mode_share`` of the whole.
    """
    weights = samples.normalised_weights()
    overlap = [(samples.quaternion * start.quaternion[:, None]).sum(0).abs() for start in starts]
    about_second = overlap[1] > overlap[0]
    share = (weights * about_second).sum(0)
    second = share > 0.5
    if lighter:
        minor = torch.minimum(share, 1.0 - share)
        second = second ^ (minor > config.minor_mode_share)
    start = starts[1].where(second, starts[0])
    weights = weights * (about_second == second)
    weights = weights / weights.sum(0)
    aligned = samples.quaternion * torch.sign(
        (samples.quaternion * start.quaternion[:, None]).sum(0)
    )
    quaternion = (weights * aligned).sum(1)
    quaternion = quaternion / quaternion.norm(dim=0)
    position = (weights * samples.position).sum(1)
    offset = samples.position - position[:, None]
    turn = rotation_vector(tangent_basis(quaternion), quaternion, samples.quaternion)
    keep = config.initial_share
    ridge = torch.eye(3).to(position)[..., None]
    return _Moments(
        position,
        quaternion,
        (1.0 - keep) * _second_moment(weights, offset)
        + keep * start.position_covariance
        + config.position_ridge**2 * ridge,
        (1.0 - keep) * _second_moment(weights, turn)
        + keep * start.rotation_covariance
        + config.rotation_ridge**2 * ridge,
    )


def _second_moment(weights: Tensor, values: Tensor) -> Tensor:
    """Weighted sum of outer products: (S, B), (3, S, B) -> (3, 3, B)."""
    return ((weights * values)[:, None] * values).sum(2)


def _posterior(samples: _Samples, poses: list[_Poses], status: Tensor) -> PosePosterior:
    log_proposal = samples.log_mixture - math.log(len(poses))
    log_weights = -samples.cost - log_proposal
    integral = torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))
    failed = (status == GraspStatus.OK) & ~torch.isfinite(integral)
    status = status.masked_fill(failed, GraspStatus.PNP_FAILED)
    weights = samples.normalised_weights()
    seen = [item.seen for item in poses]
    return PosePosterior(
        rotation=torch.cat([item.rotation for item in poses]),
        translation=torch.cat([item.translation for item in poses]),
        seen=View(
            torch.cat([item.image for item in seen]),
            torch.cat([item.depth for item in seen]),
            torch.cat([item.in_front for item in seen]),
        ),
        log_proposal=log_proposal.masked_fill(torch.isinf(samples.cost), torch.inf),
        log_weights=log_weights,
        log_integral=integral.masked_fill(status != GraspStatus.OK, torch.nan),
        effective_samples=1.0 / (weights**2).sum(0),
        status=status,
    )
