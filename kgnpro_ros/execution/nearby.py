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


@dataclass(frozen=True)
class Blocks:
    """Points in B groups of neighbours, with the bounding box of each group.

    Attributes:
        points: Coordinates [m], shape (3, B, BLOCK); NaN fills up the last group.
        middle, reach: Middles of the bounding boxes and half their sizes [m], shape (3, B).
    """

    points: Points
    middle: Points
    reach: Points


def point_blocks(points: Points) -> Blocks:
    """Group points (P, 3), at least one, with their neighbours in x and y."""
    coordinates = np.ascontiguousarray(points.T)
    column = np.floor(coordinates[:2] * np.float32(1.0 / COLUMN)).astype(np.int64)
    order = np.argsort((column[1] << 20) + column[0], kind="stable")
    blocks = np.empty((3, -(-len(points) // BLOCK), BLOCK), dtype=np.float32)
    flat, count = blocks.reshape(3, -1), len(points)
    flat[:, :count] = coordinates.take(order, axis=1)
    flat[:, count:] = flat[:, count - 1 : count]
    first, last = blocks.min(axis=2), blocks.max(axis=2)
    flat[:, count:] = np.nan
    return Blocks(blocks, 0.5 * (last + first), 0.5 * (last - first) + np.float32(ROUNDING))


def points_near(
    blocks: Blocks, poses: FloatArray, boxes: Sequence[Box]
) -> tuple[IntArray, tuple[Points, Points, Points]]:
    """Pairs of a pose and a point that may lie in one of the boxes there.

    Args:
        blocks: The points.
        poses: ``T_frame_box``, in the frame of the points, shape (N, 4, 4).
        boxes: In the frames that the poses give. No point in one of them is left out.

    Returns:
        Index of the pose, ascending, (M,), and x, y and z in its frame [m], (M,) each; NaN for no
        point.
    """
    axes = poses[:, :3, :3].swapaxes(1, 2).astype(np.float32)
    origin = poses[:, :3, 3].astype(np.float32)
    pose, block = np.divmod(_near_blocks(blocks, axes, origin, boxes), blocks.middle.shape[1])
    x, y, z = blocks.points.take(block, axis=1)
    for values, start in zip((x, y, z), origin.T, strict=True):
        values -= start[pose, None]
    turn = axes[pose].transpose(1, 2, 0)[..., None]
    local = [(a * x + b * y + c * z).ravel() for a, b, c in turn]
    return np.repeat(pose, BLOCK), (local[0], local[1], local[2])


def _near_blocks(blocks: Blocks, axes: Points, origin: Points, boxes: Sequence[Box]) -> IntArray:
    """Pairs of a pose and a block whose bounding box overlaps one of the boxes along their axes.

    Returns:
        Flat indices into (N, B), ascending.
    """
    count, rows = len(axes), axes.reshape(-1, 3)
    middle = (rows @ blocks.middle).reshape(count, 3, -1)
    middle -= (axes * origin[:, None]).sum(axis=2, keepdims=True)
    reach = (np.abs(rows) @ blocks.reach).reshape(count, 3, -1)
    lower, upper = middle - reach, middle + reach
    near = np.zeros((count, blocks.middle.shape[1]), dtype=bool)
    for box in boxes:
        low, high = (side.astype(np.float32)[:, None] for side in (box.low, box.high))
        overlap = (lower <= high) & (upper >= low)
        near |= overlap[:, 0] & overlap[:, 1] & overlap[:, 2]
    return np.flatnonzero(near)
