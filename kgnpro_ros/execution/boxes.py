# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Observed points as boxes: what a planner takes that knows solids but no point clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.exceptions import ShapeError

FloatArray = NDArray[np.float64]
CellArray = NDArray[np.int64]


@dataclass(frozen=True)
class Boxes:
    """Axis-aligned boxes in one frame.

    Attributes:
        centers: Middles [m], shape (N, 3).
        sizes: Extents along x, y, z [m], shape (N, 3).
    """

    centers: FloatArray
    sizes: FloatArray

    def __len__(self) -> int:
        return len(self.centers)


def cells_of(points: FloatArray, edge: float) -> CellArray:
    """The occupied cubes of a grid, each once.

    Args:
        points: Points [m], shape (N, 3).
        edge: Edge of the cubes [m]; one has its lower corner at the origin.

    Returns:
        Indices of the cubes, sorted by x, then y, then z, shape (M, 3).
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ShapeError(f"points have shape {points.shape}; expected (N, 3)")
    if not np.isfinite(points).all():
        raise ShapeError("points hold values that are not finite; drop missing depth first")
    cells: CellArray = np.unique(np.floor(points / edge).astype(np.int64), axis=0)
    return cells


def without_cells(points: FloatArray, removed: FloatArray, edge: float) -> FloatArray:
    """Points whose cube holds none of the removed points [m], shape (K, 3)."""
    if len(points) == 0 or len(removed) == 0:
        return points
    taken = cells_of(removed, edge)
    cells = np.floor(points / edge).astype(np.int64)
    _, labels = np.unique(np.concatenate([taken, cells]), axis=0, return_inverse=True)
    labels = labels.reshape(-1)
    kept: FloatArray = points[~np.isin(labels[len(taken) :], labels[: len(taken)])]
    return kept


def boxes_of(points: FloatArray, edge: float) -> Boxes:
    """Boxes that cover points: occupied cubes, those in one column on top of each other merged.

    Args:
        points: Points [m], shape (N, 3).
        edge: Edge of the cubes [m].

    Returns:
        Boxes that do not overlap and together are exactly the occupied cubes.
    """
    cells = cells_of(points, edge)
    if len(cells) == 0:
        return Boxes(np.zeros((0, 3)), np.zeros((0, 3)))
    step = np.diff(cells, axis=0)
    joined = (step[:, 0] == 0) & (step[:, 1] == 0) & (step[:, 2] == 1)
    first = np.flatnonzero(np.concatenate([[True], ~joined]))
    last = np.concatenate([first[1:] - 1, [len(cells) - 1]])
    lower, upper = cells[first] * edge, (cells[last] + 1) * edge
    return Boxes((lower + upper) / 2, upper - lower)
