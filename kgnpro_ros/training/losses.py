# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Loss terms on the output maps (paper, equation 8, without its KL term)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kgnpro_ros.config import LossConfig
from kgnpro_ros.network.model import STRIDE, NetworkOutput
from kgnpro_ros.training.samples import Batch

#: Exponents of the penalty-reduced focal loss (CenterNet).
FOCAL_ALPHA = 2
FOCAL_BETA = 4

#: Largest keypoint error [px] and depth error [m] that enter a likelihood.
MAX_KEYPOINT_ERROR = 30.0
MAX_DEPTH_ERROR = 0.1


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss of a heat map, divided by the number of peaks.

    Args:
        logits: Shape (B, C, h, w).
        target: 1 at peaks, falling off around them, same shape.

    Returns:
        Scalar.
    """
    positive = target == 1
    # log(sigmoid) in logits: exact and finite for any logit, so nothing needs a clamp.
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    p = logits.sigmoid()
    at_peak = (1 - p) ** FOCAL_ALPHA * log_p
    elsewhere = (1 - target) ** FOCAL_BETA * p**FOCAL_ALPHA * log_q
    total = -torch.where(positive, at_peak, elsewhere).sum()
    return total / positive.sum().clamp(min=1)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over labelled cells, weighted; 0 without any."""
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


def keypoint_likelihood(error: Tensor, weights: Tensor) -> Tensor:
    """Negative log likelihood of keypoint errors under the predicted weights.

    Args:
        error: Predicted minus true keypoints [px], shape (L, 4, 2).
        weights: Inverse standard deviations [1/px], shape (L, 4, 2).

    Returns:
        Mean over keypoints and axes, shape (L,).
    """
    # The error is data here: its own gradient comes from the L1 terms, in bounded steps.
    error = error.detach().clamp(-MAX_KEYPOINT_ERROR, MAX_KEYPOINT_ERROR)
    return (0.5 * (weights * error) ** 2 - weights.clamp(min=1e-6).log()).mean((1, 2))


def map_losses(output: NetworkOutput, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
    """All terms, weighted; their sum under ``loss``.

    Args:
        output: Maps of B images.
        batch: Their targets; labelled cells of all images in one list.
        config: Weights of the terms.

    Returns:
        Scalars by name.
    """
    height, width = output.heatmap.shape[-2:]
    image, index, weight = batch.image_index, batch.cell_index, batch.weight
    cell = index % (height * width)
    orientation = index // (height * width)
    subpixel = output.subpixel.flatten(2)[image, :, cell]
    offsets = output.offsets.flatten(-2)[image, orientation, :, :, cell]
    jaw = output.width.flatten(1)[image, index]
    terms = {
        "heatmap": config.heatmap * focal_loss(output.heatmap, batch.heatmap),
        "subpixel": config.subpixel
        * weighted_mean((subpixel - batch.subpixel).abs().mean(-1), weight),
        "keypoints": config.keypoints
        * weighted_mean((offsets - batch.offsets).abs().mean((1, 2)), weight),
        "width": config.width * weighted_mean((jaw - batch.width).abs(), weight),
    }
    if output.weights is not None and config.reprojection > 0:
        error = (offsets + subpixel[:, None] - batch.offsets - batch.subpixel[:, None]) * STRIDE
        error = error / batch.scale[image][:, None, None]
        predicted = output.weights.flatten(-2)[image, orientation, :, :, cell]
        terms["reprojection"] = config.reprojection * weighted_mean(
            keypoint_likelihood(error, predicted), weight
        )
    if output.depth is not None and output.depth_weight is not None and config.depth > 0:
        terms["depth"] = config.depth * _depth_loss(output, batch)
    if output.distance is not None and config.distance > 0:
        distance = output.distance.flatten(1)[image, index]
        miss = (distance - batch.pose[:, :, 3].norm(dim=-1)).abs()
        terms["distance"] = config.distance * weighted_mean(miss, weight)
    if output.direct is not None and config.direct > 0:
        direct = output.direct.flatten(-2)[image, orientation, :, cell]
        terms["direct"] = config.direct * weighted_mean(_direct_error(direct, batch), weight)
    terms["loss"] = torch.stack(list(terms.values())).sum()
    return terms


def _depth_loss(output: NetworkOutput, batch: Batch) -> Tensor:
    """L1 [cm] of the depth of grasp centres, plus a Laplace likelihood for its confidence."""
    assert output.depth is not None
    assert output.depth_weight is not None
    depth = output.depth.flatten(1)[batch.image_index, batch.cell_index]
    confidence = output.depth_weight.flatten(1)[batch.image_index, batch.cell_index]
    seen = (confidence > 0).to(depth.dtype) * batch.weight
    error = (depth - batch.depth_label).abs()
    data = error.detach().clamp(max=MAX_DEPTH_ERROR)
    likelihood = confidence * data - confidence.clamp(min=1e-6).log()
    return weighted_mean(100.0 * error + likelihood, seen)


def _direct_error(direct: Tensor, batch: Batch) -> Tensor:
    """L1 of both axes and of z [10 cm] of directly regressed poses, (L, 7) -> (L,).

    The crop turns and mirrors the camera frame, and the rotation with it. A mirrored rotation is
    none; the gripper is symmetric to its x-z plane, so the axes alone are mirrored.
    """
    turn = batch.affine[:, :, :2] / batch.scale[:, None, None]
    axes = batch.pose[:, :, [0, 2]]
    image_plane = turn[batch.image_index] @ axes[:, :2]
    axes = torch.cat([image_plane, axes[:, 2:]], dim=1).mT.flatten(1)
    z = 10.0 * (direct[:, 6] - batch.pose[:, 2, 3]).abs()
    return (direct[:, :6] - axes).abs().mean(-1) + z
