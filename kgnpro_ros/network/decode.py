# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""From the network's maps to keypoint candidates, batched (paper, equation 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kgnpro_ros.config import DecodeConfig
from kgnpro_ros.network.model import STRIDE, NetworkOutput
from kgnpro_ros.types import GraspStatus, KeypointBatch

#: Keypoint weight [1/px] where the network has no confidence head: one sigma is 2 px.
PLAIN_WEIGHT = 0.5


def cell_to_pixel(cells: Tensor) -> Tensor:
    """Image coordinates [px] of grid coordinates [cells]; cell centres are whole numbers."""
    return cells * STRIDE + (STRIDE - 1) / 2


def find_peaks(heatmap: Tensor, config: DecodeConfig) -> tuple[Tensor, Tensor]:
    """Best cells of one image over all orientation classes.

    Args:
        heatmap: Logits, shape (C, h, w).
        config: Number of candidates and local-maximum suppression.

    Returns:
        Scores in (0, 1), shape (K,), best first; flat indices into (C, h, w), shape (K,).
    """
    if config.local_maximum:
        heatmap = heatmap.masked_fill(heatmap != neighbourhood_maximum(heatmap), -math.inf)
    # The best cells over all classes hold the best of every class: few are left to sort.
    by_class = heatmap.flatten(1)
    count = min(config.top_k, by_class.numel())
    cells = torch.topk(by_class.amax(0), min(count, by_class.shape[1]), sorted=False).indices
    best = torch.topk(by_class[:, cells].flatten(), count)
    index = best.indices // len(cells) * by_class.shape[1] + cells[best.indices % len(cells)]
    return best.values.sigmoid(), index


def neighbourhood_maximum(heatmap: Tensor) -> Tensor:
    """Largest of the 3x3 values around each cell, (C, h, w) -> (C, h, w).

    By rows and columns: PyTorch's max pooling takes ten times as long on a CPU.
    """
    padded = F.pad(heatmap, (1, 1, 1, 1), value=-math.inf)
    rows = torch.maximum(padded[..., :-2], padded[..., 2:]).maximum(padded[..., 1:-1])
    return torch.maximum(rows[:, :-2], rows[:, 2:]).maximum(rows[:, 1:-1])


def orientation_class(keypoints: Tensor, classes: int) -> Tensor:
    """Fractional orientation class of keypoints, shape (..., 4, 2) -> (...).

    The image direction from the left to the right fingertip, in (-90, 90] degrees, divided into
    ``classes`` bins; the integer part is KGN's class. Directions beyond that range give values
    below 0 or above ``classes``.
    """
    direction = keypoints[..., 1, :] - keypoints[..., 0, :]
    angle = torch.atan2(direction[..., 1], direction[..., 0])
    return (angle + math.pi / 2) * (classes / math.pi)


def orientation_mismatch(
    fractional: Tensor, expected: Tensor, classes: int, slack: float
) -> Tensor:
    """Whether the predicted closing direction is outside the bin that it was read from.

    Args:
        fractional: See :func:`orientation_class`, shape (K,).
        expected: Class of the heat map, shape (K,).
        classes: Number of classes.
        slack: Tolerance beyond the bin [fraction of a bin]; labels near an edge serve both bins.
    """
    distance = fractional - (expected.to(fractional.dtype) + 0.5)
    # Directions live on the full circle here (2 * classes bins): a swap of left and right counts.
    period = 2.0 * classes
    distance = distance - period * torch.round(distance / period)
    return distance.abs() > 0.5 + slack


def decode(output: NetworkOutput, config: DecodeConfig, scale: float = 1.0) -> KeypointBatch:
    """Candidates of one image, best heat-map score first.

    Args:
        output: Maps of a batch of one image.
        config: Thresholds and switches.
        scale: Network pixels per original pixel, when the image was resized (u' + 0.5 =
            scale (u + 0.5)).

    Returns:
        K candidates in pixels of the original image; their status tells which ones are below
        the threshold or failed the orientation check.
    """
    classes, height, width = output.heatmap.shape[1:]
    scores, index = find_peaks(output.heatmap[0], config)
    orientation = index // (height * width)
    cell = index % (height * width)
    origin = torch.stack([cell % width, cell // width], dim=-1).to(scores.dtype)
    centers = origin + output.subpixel[0].flatten(1).T[cell]
    by_class = output.offsets[0].flatten(-2)  # (C, 4, 2, h*w)
    keypoints = centers[:, None] + by_class[orientation, :, :, cell]
    keypoints = (cell_to_pixel(keypoints) + 0.5) / scale - 0.5
    weights = torch.full_like(keypoints, PLAIN_WEIGHT)
    if output.weights is not None:
        weights = output.weights[0].flatten(-2)[orientation, :, :, cell] * scale
        weights = weights.clamp(config.weight_min, config.weight_max)
    depth, depth_weight = _read_depth(output, index, scores)
    status = torch.full_like(index, int(GraspStatus.OK))
    if config.orientation_check:
        fractional = orientation_class(keypoints, classes)
        wrong = orientation_mismatch(fractional, orientation, classes, config.orientation_slack)
        status = status.masked_fill(wrong, int(GraspStatus.ORIENTATION_MISMATCH))
    low = scores < config.score_threshold
    return KeypointBatch(
        keypoints=keypoints,
        weights=weights,
        centers=(cell_to_pixel(centers) + 0.5) / scale - 0.5,
        center_depth=depth,
        depth_weight=depth_weight,
        widths=output.width[0].flatten()[index],
        confidence=scores,
        orientation=orientation,
        status=status.masked_fill(low, int(GraspStatus.LOW_SCORE)),
        distance=None if output.distance is None else output.distance[0].flatten()[index],
        direct=(
            None if output.direct is None else output.direct[0].flatten(-2)[orientation, :, cell]
        ),
    )


def _read_depth(output: NetworkOutput, index: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Depth of the grasp centres [m] and its weight [1/m]; NaN and 0 where there is none."""
    if output.depth is None or output.depth_weight is None:
        return torch.full_like(like, math.nan), torch.zeros_like(like)
    weight = output.depth_weight[0].flatten()[index]
    depth = output.depth[0].flatten()[index]
    return torch.where(weight > 0, depth, torch.full_like(depth, math.nan)), weight
