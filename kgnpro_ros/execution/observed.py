# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What a depth camera tells an arm to stay away from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kgnpro_ros.config import ExecutorConfig, FilterConfig
from kgnpro_ros.exceptions import ImageError
from kgnpro_ros.execution.arm import Obstacles
from kgnpro_ros.execution.collision import solid_points
from kgnpro_ros.execution.table import Plane, find_table
from kgnpro_ros.geometry.se3 import transform_points
from kgnpro_ros.types import FloatArray, RGBDImage

#: A plane steeper than this against the base frame's z is no table [deg].
MAX_TABLE_TILT = 10.0


def observed_obstacles(
    image: RGBDImage, T_base_camera: FloatArray, config: ExecutorConfig
) -> Obstacles:
    """Points above the table, and the height of the table, in the base frame.

    Args:
        image: Depth in metres.
        T_base_camera: Pose of the camera, shape (4, 4).
        config: ``table``, ``table_height``, ``cloud_spacing`` and ``boxes`` are used.

    Raises:
        ImageError: If the table is to be found in the image, and is not.
    """
    plane = None
    height: float | None = None
    if config.table == "observed":
        plane = find_table(image)
        height = _table_height(plane, T_base_camera)
    elif config.table == "fixed":
        height = config.table_height
        plane = _fixed_plane(height, T_base_camera)
    settings = FilterConfig(cloud_spacing=config.cloud_spacing)
    distance = float(np.nanmedian(image.depth))
    seen = solid_points(image, plane, settings, distance).reshape(-1, 3)
    points = transform_points(T_base_camera, seen.astype(np.float64))
    return Obstacles(np.concatenate([points, box_points(config.boxes or ())]), height)


def box_points(boxes: Sequence[float], spacing: float = 0.01) -> FloatArray:
    """Points on the faces of boxes, for planners that avoid points.

    Args:
        boxes: Lower and upper corner of each [m], six numbers per box.
        spacing: Greatest distance of neighbours along an axis [m].

    Returns:
        Points [m], shape (N, 3).
    """
    parts = [np.zeros((0, 3))]
    for low, high in np.asarray(boxes, dtype=np.float64).reshape(-1, 2, 3):
        counts = np.maximum(np.ceil((high - low) / spacing).astype(int) + 1, 2)
        axes = [np.linspace(a, b, n) for a, b, n in zip(low, high, counts, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        parts.append(grid[((grid == low) | (grid == high)).any(axis=1)])
    return np.concatenate(parts)


def _table_height(plane: Plane | None, T_base_camera: FloatArray) -> float:
    """Height of the plane along the base frame's z, at the camera's own x and y [m]."""
    if plane is None:
        raise ImageError(
            "no table in the depth image; expected the camera to see one, or the parameter "
            "table: fixed or none"
        )
    normal = T_base_camera[:3, :3] @ plane.normal
    tilt = float(np.degrees(np.arccos(np.clip(normal[2], -1.0, 1.0))))
    if tilt > MAX_TABLE_TILT:
        raise ImageError(
            f"the largest plane in the depth image is tilted by {tilt:.0f} degrees against the "
            f"arm's base; expected a table, at most {MAX_TABLE_TILT:.0f}: is the pose of the "
            "camera right? Otherwise set the parameter table: fixed or none"
        )
    # Nearest to the scene: the foot of the perpendicular from the camera.
    foot: FloatArray = T_base_camera[:3, 3] - plane.offset * normal
    return float(foot[2])


def _fixed_plane(height: float, T_base_camera: FloatArray) -> Plane:
    """The horizontal plane at a height [m] of the base frame, in the camera frame."""
    return Plane(T_base_camera[2, :3].copy(), float(T_base_camera[2, 3] - height))
