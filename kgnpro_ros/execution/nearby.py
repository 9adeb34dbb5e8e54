# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Which points lie near which of many boxes: blocks of neighbouring points first, then points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Points = NDArray[np.float32]
IntArray = NDArray[np.int64]

#: Points per block, and edge [m] of the columns along z whose points make up blocks.
BLOCK, COLUMN = 16, 0.02
#: Added to the size of blocks [m]: more than what rounding can hide.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Box:
    """A box in a frame of its own [m]: corners, shape (3,) each."""

    low: FloatArray
    high: FloatArray


def point_blocks(points: Points) -> Points:
    """Points grouped with their neighbours in x and y, shape (3, B, BLOCK), for (P, 3).

    The last block is filled up with NaN.
    """
    coordinates = np.ascontiguousarray(points.T)
    column = np.floor(coordinates[:2] * np.float32(1.0 / COLUMN)).astype(np.int64)
    order = np.argsort((column[1] << 20) + column[0], kind="stable")
    blocks = np.full((3, -(-len(points) // BLOCK), BLOCK), np.nan, dtype=np.float32)
    blocks.reshape(3, -1)[:, : len(points)] = coordinates.take(order, axis=1)
    return blocks


def points_near(
    blocks: Points, poses: FloatArray, boxes: Sequence[Box]
) -> tuple[IntArray, tuple[Points, Points, Points]]:
    """Pairs of a pose and a point that may lie in one of the boxes there.

    Args:
        blocks: See :func:`point_blocks`; at least one.
        poses: ``T_frame_box``, in the frame of the points, shape (N, 4, 4).
        boxes: In the frames that the poses give. No point in one of them is left out.

    Returns:
        Index of the pose (M,), and x, y and z in its frame [m], (M,) each; NaN for no point.
    """
    axes = poses[:, :3, :3].swapaxes(1, 2).astype(np.float32)
    origin = poses[:, :3, 3].astype(np.float32)
    pose, block = _near_blocks(blocks, axes, origin, boxes)
    x, y, z = blocks.take(block, axis=1)
    for values, start in zip((x, y, z), origin.T, strict=True):
        values -= start[pose, None]
    turn = axes[pose].transpose(1, 2, 0)[..., None]
    local = [a * x + b * y + c * z for a, b, c in turn]
    return np.repeat(pose, BLOCK), (local[0].ravel(), local[1].ravel(), local[2].ravel())


def _near_blocks(
    blocks: Points, axes: Points, origin: Points, boxes: Sequence[Box]
) -> tuple[IntArray, IntArray]:
    """Pairs of a pose and a block whose bounding box overlaps one of the boxes along their axes."""
    first, last = np.fmin.reduce(blocks, axis=2), np.fmax.reduce(blocks, axis=2)
    count, rows = len(axes), axes.reshape(-1, 3)
    middle = (rows @ (0.5 * (last + first))).reshape(count, 3, -1)
    middle -= axes @ origin[..., None]
    reach = (np.abs(rows) @ (0.5 * (last - first) + ROUNDING)).reshape(count, 3, -1)
    lower, upper = middle - reach, middle + reach
    near = np.zeros((count, blocks.shape[1]), dtype=bool)
    for box in boxes:
        low, high = (side.astype(np.float32)[:, None] for side in (box.low, box.high))
        near |= ((lower <= high) & (upper >= low)).all(axis=1)
    pose, block = np.nonzero(near)
    return pose, block
