# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Pose supervision through p(y | X): the Monte Carlo pose loss and a differentiable last step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kgnpro_ros.config import PoseLossConfig
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.geometry import so3
from kgnpro_ros.pnp.linear import single_threaded
from kgnpro_ros.pnp.posterior import log_integral, sample_posterior
from kgnpro_ros.pnp.residual import PnPProblem, linearize, make_problem, robust_cost
from kgnpro_ros.pnp.solver import gauss_newton_step, solve_pnp
from kgnpro_ros.types import GraspStatus, PnPResult


@dataclass(frozen=True)
class PoseLoss:
    """Loss of one batch of B grasps.

    Attributes:
        value: Mean over the grasps that count, divided by the norm factor; zero, but part of the
            graph, where none counts.
        per_grasp: Negative log-density of the truth [nats, of m^3 rad^3], undivided and detached,
            shape (B,); NaN where the grasp was skipped.
        skipped: Number of grasps without a usable distribution or truth.
        effective_samples: Median over the grasps that count; NaN where none does.
        norm_factor: Running weight scale that ``value`` was divided by.
    """

    value: Tensor
    per_grasp: Tensor
    skipped: int
    effective_samples: float
    norm_factor: float


class MonteCarloPoseLoss(nn.Module):
    """Kullback-Leibler divergence of p(y | X) from the true pose (paper, equations 2, 3 and 7).

    For each grasp cost(truth) + log integral of exp(-cost), the negative log-density that the
    predicted keypoints and weights give to the true pose. The mean over grasps is divided by a
    running mean of the weight scale (the sum of the weights of one axis): gradients with respect to
    keypoints grow with that scale and would otherwise do so throughout a training.
    """

    norm_factor: Tensor

    def __init__(self, config: PoseLossConfig | None = None) -> None:
        super().__init__()
        self.config = config or PoseLossConfig()
        self.register_buffer("norm_factor", torch.ones(()))

    def forward(
        self,
        keypoints: Tensor,
        weights: Tensor,
        camera_matrix: Tensor,
        object_points: Tensor,
        true_rotation: Tensor,
        true_translation: Tensor,
        center_depth: Tensor | None = None,
        depth_weight: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> PoseLoss:
        """Loss of B grasps; grasps with unusable numbers are skipped and counted.

        Args:
            keypoints: Predicted gripper corners [px], shape (B, 4, 2).
            weights: Inverse standard deviations [1/px], shape (B, 4, 2).
            camera_matrix: Intrinsics without skew, shape (3, 3), or (B, 3, 3) for one per grasp.
            object_points: Gripper corners in the grasp frame [m], shape (4, 3), coplanar.
            true_rotation: Camera-from-grasp of the matched truth, shape (B, 3, 3).
            true_translation: Its origin [m], shape (B, 3).
            center_depth: Measured z of the grasp origin [m], shape (B,); NaN where missing.
            depth_weight: Inverse standard deviation of center_depth [1/m], shape (B,).
            generator: Source of the samples.

        Raises:
            ShapeError: If a shape does not fit.
            CameraError: If the intrinsics have skew or no positive focal lengths.
        """
        _check_truth(len(keypoints), true_rotation, true_translation)
        tensors = (keypoints, weights, camera_matrix, center_depth, depth_weight)
        # One thread: for thousands of small operations a wait for the others costs more than they
        # bring, some twenty times more on a busy machine.
        with torch.autocast(keypoints.device.type, enabled=False), single_threaded():
            modes = solve_pnp(
                keypoints, weights, camera_matrix, object_points, self.config.pnp,
                center_depth, depth_weight,
            )  # fmt: skip
            usable = (modes.status == GraspStatus.OK) & _finite(true_rotation, true_translation)
            self._update_norm(weights[usable])
            # Taken out of the batch before anything is computed with them: a NaN times a zero
            # gradient would still be NaN.
            index = usable.nonzero().squeeze(-1)
            loss, effective = self._negative_log_density(
                [_take(tensor, index) for tensor in tensors],
                object_points, _select(modes, index),
                true_rotation[index], true_translation[index], generator,
            )  # fmt: skip
        return self._summary(loss, effective, usable)

    def _summary(self, loss: Tensor, effective: Tensor, usable: Tensor) -> PoseLoss:
        """Mean of the usable grasps' losses, and what is reported beside it."""
        kept = torch.isfinite(loss)
        per_grasp = torch.full(usable.shape, torch.nan, dtype=loss.dtype, device=loss.device)
        per_grasp[usable] = loss.detach()
        factor = self.norm_factor.to(loss)
        value = loss[kept].sum() / (kept.sum().clamp(min=1) * factor)
        return PoseLoss(
            value=value,
            per_grasp=per_grasp,
            skipped=len(usable) - int(kept.sum()),
            effective_samples=float(effective[kept].median()) if bool(kept.any()) else torch.nan,
            norm_factor=float(factor),
        )

    def _negative_log_density(
        self,
        tensors: list[Tensor | None],
        object_points: Tensor,
        modes: PnPResult,
        rotation: Tensor,
        translation: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Loss and effective sample size of each grasp, shapes (B,)."""
        keypoints, weights, camera_matrix, center_depth, depth_weight = tensors
        assert keypoints is not None
        assert weights is not None
        assert camera_matrix is not None
        problem = make_problem(
            keypoints, weights, camera_matrix, object_points, self.config.pnp,
            center_depth, depth_weight,
        )  # fmt: skip
        posterior = sample_posterior(problem, modes, self.config.posterior, generator)
        truth = robust_cost(problem, rotation.to(keypoints), translation.to(keypoints))
        return truth + log_integral(problem, posterior), posterior.effective_samples

    @torch.no_grad()
    def _update_norm(self, weights: Tensor) -> None:
        if self.training and len(weights):
            scale = weights.sum(dim=1).mean().to(self.norm_factor)
            self.norm_factor.lerp_(scale, self.config.norm_momentum)


def _check_truth(count: int, rotation: Tensor, translation: Tensor) -> None:
    if rotation.shape != (count, 3, 3) or translation.shape != (count, 3):
        raise ShapeError(
            f"truth has shapes {tuple(rotation.shape)} and {tuple(translation.shape)}; expected "
            f"({count}, 3, 3) and ({count}, 3)"
        )


def refined_pose(
    problem: PnPProblem, rotation: Tensor, translation: Tensor
) -> tuple[Tensor, Tensor]:
    """One Gauss-Newton step that carries the gradient of the minimum with respect to measurements.

    At a minimum the step is zero, and its derivative is that of the minimum, up to the curvature
    that Gauss-Newton leaves out (in proportion to the residuals).

    Args:
        problem: Measurements of B grasps, made from tensors that require gradients.
        rotation: Poses of the minimum, shape (B, 3, 3); taken as constants.
        translation: Shape (B, 3) [m].

    Returns:
        Rotations and translations, differentiable in keypoints, weights and depths.
    """
    rotation, translation = rotation.detach(), translation.detach()
    step = gauss_newton_step(linearize(problem, rotation, translation))
    return so3.exp(step[..., 3:]) @ rotation, translation + step[..., :3]


def _finite(rotation: Tensor, translation: Tensor) -> Tensor:
    return torch.isfinite(rotation).flatten(1).all(1) & torch.isfinite(translation).all(1)


def _take(tensor: Tensor | None, index: Tensor) -> Tensor | None:
    """Elements of a tensor that has one per grasp; others, such as a shared camera, as they are."""
    if tensor is None or tensor.shape == (3, 3):
        return tensor
    return tensor[index]


def _select(result: PnPResult, index: Tensor) -> PnPResult:
    return replace(result, **{name: value[index] for name, value in vars(result).items()})
