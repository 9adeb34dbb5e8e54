# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Which of the observed points belong to the object between the jaws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.geometry.se3 import invert, transform_points

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def grasped_points(
    points: FloatArray,
    T_base_grasp: FloatArray,
    width: float,
    gripper: Gripper,
    *,
    gap: float,
    radius: float,
) -> BoolArray:
    """Mark the points of the object that a grasp holds.

    These are the points between the jaws, and what is connected with them by steps of at most
    ``gap``. Objects that touch become one: the radius bounds what that costs.

    Args:
        points: Observed points without the table, in the base frame [m], shape (P, 3).
        T_base_grasp: The grasp, shape (4, 4).
        width: Jaw opening [m].
        gripper: Its fingers bound the region between the jaws.
        gap: Largest step [m].
        radius: Largest distance from the origin of the grasp [m].

    Returns:
        True for the points of the object, shape (P,).
    """
    inside = np.zeros(len(points), dtype=bool)
    if len(points) == 0:
        return inside
    local = transform_points(invert(T_base_grasp), points)
    near = np.flatnonzero(np.linalg.norm(local, axis=1) <= radius)
    if len(near) == 0:
        return inside
    x, y, z = local[near].T
    held = (x <= 0) & (x >= -gripper.finger_length)
    held &= (np.abs(y) <= gripper.finger_breadth / 2) & (np.abs(z) <= width / 2)
    graph = cKDTree(local[near]).sparse_distance_matrix(
        cKDTree(local[near]), gap, output_type="coo_matrix"
    )
    labels = connected_components(graph, directed=False)[1]
    inside[near] = np.isin(labels, np.unique(labels[held]))
    return inside
