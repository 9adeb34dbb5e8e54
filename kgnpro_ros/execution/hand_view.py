# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the hand should appear in a depth image, and whether it does.

The hand is the boxes of its gripper file at the pose that TF gives. Points on the faces that look
at the camera are compared with the measured depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.geometry.se3 import invert, transform_points

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Parts in the order of :func:`hand_boxes`.
PARTS = ("left finger", "right finger", "palm")
#: Points per edge of a face.
GRID = 8
#: A face that looks away from the camera more than this cosine allows is left out.
GRAZING = 0.15
#: Shifts that are tried to find where the hand is instead [px].
SHIFT, SHIFT_STEP = 60, 3


@dataclass(frozen=True)
class PartView:
    """One part of the hand against the depth image.

    Attributes:
        name: Which part.
        pixels: Where its visible points should appear (u, v) [px], shape (N, 2); NaN behind the
            camera.
        inside: Which of them lie in the image, shape (N,).
        difference: Measured minus expected depth [m], shape (N,); NaN where nothing was measured
            or outside the image.
    """

    name: str
    pixels: FloatArray
    inside: BoolArray
    difference: FloatArray

    def agreement(self, tolerance: float) -> float:
        """Share of the measured points whose depth is right within ``tolerance`` [m]; or NaN."""
        measured = self.difference[np.isfinite(self.difference)]
        return float((np.abs(measured) <= tolerance).mean()) if len(measured) else float("nan")

    @property
    def median(self) -> float:
        """Median difference [m]; positive where things are behind the expected hand; or NaN."""
        measured = self.difference[np.isfinite(self.difference)]
        return float(np.median(measured)) if len(measured) else float("nan")

    @property
    def missing(self) -> float:
        """Share of the points in the image that no depth was measured for; 1 without any."""
        if not self.inside.any():
            return 1.0
        return float(np.isnan(self.difference[self.inside]).mean())


def hand_boxes(gripper: Gripper, width: float) -> tuple[FloatArray, FloatArray]:
    """Lower and upper corners of both fingers and the palm in the grasp frame [m], each (3, 3)."""
    lower, upper = gripper.finger_boxes(np.array([width]))
    return (
        np.vstack([lower[0], np.asarray(gripper.palm.lower)]),
        np.vstack([upper[0], np.asarray(gripper.palm.upper)]),
    )


def box_corners(lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Corners of one box, shape (8, 3); corner k is upper in the axes of its bits."""
    bits = (np.arange(8)[:, None] >> np.arange(3)) & 1
    corners: FloatArray = np.where(bits == 1, upper, lower)
    return corners


def view_hand(
    depth: NDArray[np.float32],
    camera: Camera,
    gripper: Gripper,
    T_camera_grasp: FloatArray,
    width: float,
) -> tuple[PartView, ...]:
    """Compare the hand with a depth image.

    Args:
        depth: z-depth [m], NaN where nothing was measured, shape (H, W).
        camera: Its intrinsics.
        gripper: Boxes of fingers and palm.
        T_camera_grasp: Pose of the grasp frame, shape (4, 4).
        width: Jaw opening [m].

    Returns:
        Fingers and palm, in the order of ``PARTS``.
    """
    views = []
    for name, points in zip(PARTS, _surfaces(gripper, T_camera_grasp, width), strict=True):
        pixels = camera.project(points)
        inside, measured = _measured(depth, pixels)
        views.append(PartView(name, pixels, inside, measured - points[:, 2]))
    return tuple(views)


def find_shift(
    depth: NDArray[np.float32],
    camera: Camera,
    gripper: Gripper,
    T_camera_grasp: FloatArray,
    width: float,
    tolerance: float,
) -> tuple[tuple[int, int], float, float]:
    """The shift in the image that fits the measured depth best, for a hint on what is wrong.

    Args:
        depth: z-depth [m], NaN where nothing was measured, shape (H, W).
        camera: Its intrinsics.
        gripper: Boxes of fingers and palm.
        T_camera_grasp: Pose of the grasp frame, shape (4, 4).
        width: Jaw opening [m].
        tolerance: Depth is right within this distance [m].

    Returns:
        Shift (du, dv) [px], the share of points that fit with it, and without; parts count alike.
    """
    parts = [points for points in _surfaces(gripper, T_camera_grasp, width) if len(points)]
    points = np.concatenate(parts)
    # Every part counts the same: along its length the palm looks alike.
    weight = np.concatenate([np.full(len(part), 1 / len(part) / len(parts)) for part in parts])
    pixels = camera.project(points)
    steps = np.arange(-SHIFT, SHIFT + 1, SHIFT_STEP)
    shifts = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    shifts = shifts[np.argsort(np.abs(shifts).sum(axis=1), kind="stable")]
    _, measured = _measured(depth, pixels + shifts[:, None])
    share = (np.abs(measured - points[:, 2]) <= tolerance) @ weight
    best = int(np.argmax(share))
    return (int(shifts[best, 0]), int(shifts[best, 1])), float(share[best]), float(share[0])


def _surfaces(gripper: Gripper, T_camera_grasp: FloatArray, width: float) -> list[FloatArray]:
    """Points of each part that the camera sees if nothing else is there, in its frame [m]."""
    lowers, uppers = hand_boxes(gripper, width)
    eye = invert(T_camera_grasp)[:3, 3]
    surfaces = []
    for part, (lower, upper) in enumerate(zip(lowers, uppers, strict=True)):
        points, normals = _faces(lower, upper)
        ray = points - eye
        toward = -(ray * normals).sum(axis=1) / np.linalg.norm(ray, axis=1)
        visible = toward > GRAZING
        for other in range(len(lowers)):
            if other != part:
                visible &= ~_hidden(eye, ray, lowers[other], uppers[other])
        surfaces.append(transform_points(T_camera_grasp, points[visible]))
    return surfaces


def _hidden(eye: FloatArray, ray: FloatArray, lower: FloatArray, upper: FloatArray) -> BoolArray:
    """Which rays (N, 3) from a point meet a box before their end, (N,)."""
    step = np.where(np.abs(ray) < 1e-12, 1e-12, ray)
    near, far = (lower - eye) / step, (upper - eye) / step
    enter = np.minimum(near, far).max(axis=1)
    leave = np.maximum(near, far).min(axis=1)
    hidden: BoolArray = (enter <= leave) & (leave > 0) & (enter < 1 - 1e-9)
    return hidden


def _faces(lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points on the six faces of a box and their outward normals, each of shape (N, 3)."""
    share = (np.arange(GRID) + 0.5) / GRID
    points, normals = [], []
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        grid = np.stack(np.meshgrid(share, share), axis=-1).reshape(-1, 2)
        for side, end in ((-1.0, lower), (1.0, upper)):
            face = np.empty((len(grid), 3))
            face[:, axis] = end[axis]
            face[:, others] = lower[others] + grid * (upper - lower)[others]
            points.append(face)
            normals.append(np.tile(side * np.eye(3)[axis], (len(grid), 1)))
    return np.concatenate(points), np.concatenate(normals)


def _measured(depth: NDArray[np.float32], pixels: FloatArray) -> tuple[BoolArray, FloatArray]:
    """Which pixels (..., 2) lie in the image, and the depth there [m], NaN elsewhere."""
    height, width = depth.shape
    rounded = np.nan_to_num(np.rint(pixels), nan=-1.0).astype(np.int64)
    u, v = rounded[..., 0], rounded[..., 1]
    inside = (u >= 0) & (v >= 0) & (u < width) & (v < height)
    measured = depth[np.where(inside, v, 0), np.where(inside, u, 0)].astype(np.float64)
    return inside, np.where(inside, measured, np.nan)
