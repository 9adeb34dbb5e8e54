# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Straight motions of a tool: poses along a line, and how far a path leaves one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from kgnpro_ros.geometry.se3 import make_transform

FloatArray = NDArray[np.float64]

#: Largest rotation between two poses of a line [rad].
ROTATION_STEP = 0.05


def line(begin: FloatArray, end: FloatArray, step: float) -> FloatArray:
    """Poses on a straight line with evenly growing rotation, without the first one.

    Args:
        begin: Pose where it begins, shape (4, 4).
        end: Pose where it ends, shape (4, 4).
        step: Largest distance of two poses [m].

    Returns:
        Transforms, shape (N, 4, 4), the last one is ``end``; at least one.
    """
    pair = Rotation.from_matrix(np.stack([begin[:3, :3], end[:3, :3]]))
    distance, angle = pose_error(begin, end)
    count = max(1, int(np.ceil(max(distance / step, angle / ROTATION_STEP))))
    share = np.arange(1, count + 1) / count
    rotation = Slerp([0.0, 1.0], pair)(share).as_matrix()
    position = begin[:3, 3] + share[:, None] * (end[:3, 3] - begin[:3, 3])
    return make_transform(rotation, position)


def pose_error(first: FloatArray, second: FloatArray) -> tuple[float, float]:
    """Distance of the origins [m] and angle of the rotation [rad] between two poses (4, 4)."""
    turn = Rotation.from_matrix(first[:3, :3].T @ second[:3, :3])
    return float(np.linalg.norm(first[:3, 3] - second[:3, 3])), float(turn.magnitude())


def bend_of(points: FloatArray) -> float:
    """Largest distance [m] of points, shape (N, 3), from the line between first and last one."""
    offset, along = points - points[0], points[-1] - points[0]
    squared = float(along @ along)
    share = np.zeros(len(points)) if squared < 1e-18 else np.clip(offset @ along / squared, 0, 1)
    return float(np.linalg.norm(offset - share[:, None] * along, axis=1).max())
