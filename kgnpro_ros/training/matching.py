# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Nearest true grasp of each predicted one, for the pose loss (paper, equation 7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kgnpro_ros.exceptions import ShapeError


@dataclass(frozen=True)
class Matches:
    """The nearest truth of K predicted grasps.

    Attributes:
        matched: Whether there is a truth within the gate, bool, shape (K,).
        index: Index of the nearest truth, int64, shape (K,); 0 where there is none to choose.
        distance: Mean distance of the gripper corners [m], shape (K,); inf where none.
        rotation: Its rotation, shape (K, 3, 3), turned by 180 degrees about the approach axis where
            that is nearer, so that its corners carry the labels of the prediction; NaN where none.
        translation: Its origin [m], shape (K, 3); NaN where there is none.
    """

    matched: Tensor
    index: Tensor
    distance: Tensor
    rotation: Tensor
    translation: Tensor


@torch.no_grad()
def match_grasps(
    rotation: Tensor,
    translation: Tensor,
    true_rotation: Tensor,
    true_translation: Tensor,
    object_points: Tensor,
    gate: float,
    allowed: Tensor | None = None,
) -> Matches:
    """Match predictions to truths by the mean distance of the four gripper corners.

    The distance combines shift and turn in metres. Several predictions may take the same truth.

    Args:
        rotation: Predicted grasps, shape (K, 3, 3).
        translation: Their origins [m], shape (K, 3).
        true_rotation: True grasps in the same frame, shape (M, 3, 3).
        true_translation: Shape (M, 3) [m].
        object_points: Gripper corners in the grasp frame [m], shape (N, 3).
        gate: Largest distance of a match [m].
        allowed: Pairs that may match (same image, same object), bool, shape (K, M); None for all.

    Returns:
        Matches; predictions that are not finite match nothing.

    Raises:
        ShapeError: If a shape does not fit.
    """
    count, truths = len(rotation), len(true_rotation)
    _check(rotation, translation, true_rotation, true_translation)
    if allowed is not None and allowed.shape != (count, truths):
        raise ShapeError(f"allowed has shape {tuple(allowed.shape)}; expected ({count}, {truths})")
    missing = torch.full((count, 3, 3), torch.nan).to(rotation)
    if count == 0 or truths == 0:
        distance = torch.full((count,), torch.inf).to(rotation)
        none = torch.zeros(count, dtype=torch.int64, device=rotation.device)
        return Matches(none.bool(), none, distance, missing, missing[:, 0])
    distances = _corner_distances(
        rotation, translation, true_rotation, true_translation, object_points
    )
    if allowed is not None:
        distances = distances.masked_fill(~allowed, torch.inf)
    nearest, turned = distances.min(0)
    distance, index = nearest.min(1)
    found = torch.isfinite(distance)
    use_twin = turned.gather(1, index[:, None]) == 1
    chosen = true_rotation[index]
    chosen = torch.where(use_twin[..., None], chosen * _twin_signs(chosen), chosen)
    return Matches(
        matched=found & (distance <= gate),
        index=index.masked_fill(~found, 0),
        distance=distance,
        rotation=torch.where(found[:, None, None], chosen, missing),
        translation=torch.where(found[:, None], true_translation[index], missing[:, 0]),
    )


def _twin_signs(like: Tensor) -> Tensor:
    """Turning by 180 degrees about x negates y and z: of every corner, or of the axes."""
    return like.new_tensor([1.0, -1.0, -1.0])


def _corner_distances(
    rotation: Tensor,
    translation: Tensor,
    true_rotation: Tensor,
    true_translation: Tensor,
    object_points: Tensor,
) -> Tensor:
    """Mean corner distances to truths and their twins [m], inf where not finite, (2, K, M)."""
    corners = _corners(rotation, translation, object_points)
    points = (object_points, object_points * _twin_signs(object_points))
    both = torch.stack([_corners(true_rotation, true_translation, p) for p in points])
    distances: Tensor = (corners[:, None] - both[:, None]).norm(dim=-1).mean(-1)
    return distances.nan_to_num(torch.inf, torch.inf)


def _corners(rotation: Tensor, translation: Tensor, points: Tensor) -> Tensor:
    """Points of the grasp frame in the camera frame: (K, 3, 3), (K, 3), (N, 3) -> (K, N, 3)."""
    return points @ rotation.mT + translation[:, None]


def _check(
    rotation: Tensor, translation: Tensor, true_rotation: Tensor, true_translation: Tensor
) -> None:
    for name, matrices, origins in (
        ("predicted", rotation, translation),
        ("true", true_rotation, true_translation),
    ):
        count = len(matrices)
        if matrices.shape != (count, 3, 3) or origins.shape != (count, 3):
            raise ShapeError(
                f"{name} grasps have shapes {tuple(matrices.shape)} and {tuple(origins.shape)}; "
                "expected (K, 3, 3) and (K, 3)"
            )
