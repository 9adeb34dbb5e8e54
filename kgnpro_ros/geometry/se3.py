# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms as 4x4 NumPy arrays.

A transform is named ``T_a_b``: it maps coordinates of frame b into frame a, so that adjacent names
cancel: ``T_base_camera @ T_camera_grasp``. Rotations of NumPy code come from
``scipy.spatial.transform.Rotation``; the differentiable ones are in :mod:`kgnpro_ros.geometry.so3`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def make_transform(rotation: ArrayLike, translation: ArrayLike) -> FloatArray:
    """Assemble transforms.

    Args:
        rotation: Rotation matrices, shape (..., 3, 3).
        translation: Translations [m], shape (..., 3).

    Returns:
        Transforms, shape (..., 4, 4).
    """
    rotation = np.asarray(rotation, dtype=np.float64)
    translation = np.asarray(translation, dtype=np.float64)
    batch = np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    transform = np.zeros((*batch, 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = translation
    transform[..., 3, 3] = 1.0
    return transform


def invert(transform: ArrayLike) -> FloatArray:
    """Invert rigid transforms, shape (..., 4, 4), by transposing their rotation."""
    transform = np.asarray(transform, dtype=np.float64)
    rotation_t = np.swapaxes(transform[..., :3, :3], -1, -2)
    return make_transform(rotation_t, -(rotation_t @ transform[..., :3, 3:])[..., 0])


def transform_points(transform: ArrayLike, points: ArrayLike) -> FloatArray:
    """Map points into another frame.

    Args:
        transform: ``T_a_b``, shape (..., 4, 4).
        points: Points in frame b [m], shape (..., N, 3).

    Returns:
        Points in frame a [m], shape (..., N, 3).
    """
    transform = np.asarray(transform, dtype=np.float64)
    points = np.asarray(points, dtype=np.float64)
    rotated = points @ np.swapaxes(transform[..., :3, :3], -1, -2)
    result: FloatArray = rotated + transform[..., None, :3, 3]
    return result
