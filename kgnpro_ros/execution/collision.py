# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The hand against what the camera saw: observed points and the table plane.

Everything is in one frame (the camera's, in use) and vectorised over grasps. Missing depth gives no
points and is no evidence either way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import FilterConfig
from kgnpro_ros.execution.table import Plane
from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.types import RGBDImage

FloatArray = NDArray[np.float64]
Points = NDArray[np.float32]

#: Most grasp-point pairs that are looked at together: what a processor cache holds.
PAIRS_AT_ONCE = 250_000


@dataclass(frozen=True)
class Contacts:
    """What the hand meets at each of K openings, for N grasps.

    Attributes:
        between: Points between the fingers, far enough behind the tips, int64, shape (N, K).
        hits: Points inside fingers and palm, int64, shape (N, K).
    """

    between: NDArray[np.int64]
    hits: NDArray[np.int64]


def solid_points(
    image: RGBDImage, table: Plane | None, config: FilterConfig, distance: float
) -> Points:
    """Observed points above the table, without the mixed pixels of depth edges.

    Args:
        image: Depth in metres.
        table: Plane that the points have to be above; all points when None.
        config: ``cloud_spacing``, ``max_incidence`` and ``table_clearance`` are used.
        distance: Depth [m] at which the points are to have the configured spacing.

    Returns:
        Points in the camera frame [m], shape (P, 3).
    """
    stride = max(1, round(config.cloud_spacing * image.camera.fx / max(distance, 0.05)))
    cloud = image.camera.point_cloud(image.depth, stride)
    z = cloud[..., 2]
    steepness = np.tan(np.radians(min(config.max_incidence, 89.9))) * stride
    keep = ~_steep(z, np.float32(steepness / image.camera.fx), axis=1)
    keep &= ~_steep(z, np.float32(steepness / image.camera.fy), axis=0)
    keep &= np.isfinite(z)
    if table is not None:
        keep &= table.height(cloud) > max(config.table_clearance, 3.0 * table.rms)
    return cloud[keep]


def _steep(z: Points, slope: np.float32, axis: int) -> NDArray[np.bool_]:
    """Pixels whose depth differs from both neighbours by more than ``slope`` times depth."""
    step = np.abs(np.diff(z, axis=axis))
    result = np.zeros(z.shape, dtype=bool)
    inner = [slice(None), slice(None)]
    before, after = inner.copy(), inner.copy()
    inner[axis], before[axis], after[axis] = slice(1, -1), slice(None, -1), slice(1, None)
    # fmin: a neighbour without depth says nothing.
    smaller = np.fmin(step[tuple(before)], step[tuple(after)])
    result[tuple(inner)] = smaller > slope * z[tuple(inner)]
    return result


def count_contacts(
    points: Points, poses: FloatArray, openings: FloatArray, gripper: Gripper, config: FilterConfig
) -> Contacts:
    """Count the points between the fingers and inside the hand.

    Args:
        points: Observed points [m], shape (P, 3).
        poses: ``T_frame_grasp`` in the frame of the points, shape (N, 4, 4).
        openings: Jaw openings [m], shape (N, K).
        gripper: Boxes of fingers and palm.
        config: ``min_depth_between`` and ``approach_distance`` are used.

    Returns:
        Counts for every grasp and opening.
    """
    between = np.zeros(openings.shape, dtype=np.int64)
    hits = np.zeros(openings.shape, dtype=np.int64)
    rows = max(1, PAIRS_AT_ONCE // max(1, len(points)))
    for start in range(0, len(poses) if len(points) else 0, rows):
        part = slice(start, start + rows)
        near = _near_hand(points, poses[part], gripper, config)
        for k in range(openings.shape[1]):
            half = (openings[part, k] / 2).astype(np.float32)
            between[part, k], hits[part, k] = _count(near, half, gripper)
    return Contacts(between, hits)


@dataclass(frozen=True)
class _Near:
    """What the hands of N grasps may meet.

    Attributes:
        in_palm: Number of points inside the palm box, shape (N,).
        grasp: For each pair of a grasp and a point within the fingers' extent along approach axis
            and normal: index of the grasp, shape (M,).
        side: Distance of the point from the middle of the jaws along the closing axis [m], (M,).
        held: Whether it is far enough behind the tips, and not behind the fingers, (M,).
    """

    in_palm: NDArray[np.int64]
    grasp: NDArray[np.int64]
    side: Points
    held: NDArray[np.bool_]


def _near_hand(points: Points, poses: FloatArray, gripper: Gripper, config: FilterConfig) -> _Near:
    lower, upper = gripper.palm.lower, gripper.palm.upper
    breadth, back = gripper.finger_breadth / 2, config.approach_distance
    half_y = max(breadth, -lower[1], upper[1])
    x, y = _coordinate(points, poses, 0), _coordinate(points, poses, 1)
    near = (np.abs(y) <= half_y) & (x <= max(0.0, upper[0]))
    near &= x >= min(lower[0], -gripper.finger_length) - back
    index = np.flatnonzero(near)
    grasp = np.repeat(np.arange(len(poses)), np.count_nonzero(near, axis=1))
    x, y = x.ravel()[index], y.ravel()[index]
    z = _coordinate(points, poses, 2).ravel()[index]
    palm = (x <= upper[0]) & (x >= lower[0] - back) & (y >= lower[1]) & (y <= upper[1])
    palm &= (z >= lower[2]) & (z <= upper[2])
    fingers = (np.abs(y) <= breadth) & (x <= 0) & (x >= -gripper.finger_length - back)
    finger = np.flatnonzero(fingers & ~palm)  # no point counts twice
    x = x[finger]
    return _Near(
        in_palm=np.bincount(grasp[palm], minlength=len(poses)),
        grasp=grasp[finger],
        side=np.abs(z[finger]),
        held=(x <= -config.min_depth_between) & (x >= -gripper.finger_length),
    )


def _coordinate(points: Points, poses: FloatArray, axis: int) -> Points:
    """One coordinate of all points in all grasp frames [m], shape (N, P)."""
    direction = poses[:, :3, axis]
    shift = np.einsum("ni,ni->n", direction, poses[:, :3, 3])
    result: Points = direction.astype(np.float32) @ points.T
    result -= shift.astype(np.float32)[:, None]
    return result


def _count(
    near: _Near, half_opening: Points, gripper: Gripper
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Points between the fingers and points hit, at one opening per grasp (half of it, [m])."""
    beyond = near.side - half_opening[near.grasp]
    finger = near.grasp[(beyond >= 0) & (beyond <= gripper.finger_thickness)]
    between = near.grasp[near.held & (beyond < 0)]
    n = len(half_opening)
    return np.bincount(between, minlength=n), np.bincount(finger, minlength=n) + near.in_palm


def table_gaps(
    poses: FloatArray, openings: FloatArray, table: Plane, gripper: Gripper, config: FilterConfig
) -> FloatArray:
    """Height of the lowest corner of fingers and palm above the table.

    Args:
        poses: ``T_camera_grasp``, shape (N, 4, 4).
        openings: Jaw openings [m], shape (N, K).
        table: Plane in the camera frame.
        gripper: Boxes of fingers and palm.
        config: ``approach_distance`` is used.

    Returns:
        Heights [m], shape (N, K); negative below the table.
    """
    height = poses[:, :3, 3] @ table.normal + table.offset
    up = table.normal @ poses[:, :3, :3]  # table normal in the grasp frames, (N, 3)
    gaps = np.empty(openings.shape)
    for k in range(openings.shape[1]):
        lowest = np.full(len(poses), np.inf)
        for lower, upper in _boxes(openings[:, k], gripper, config.approach_distance):
            lowest = np.minimum(lowest, np.minimum(up * lower, up * upper).sum(axis=-1))
        gaps[:, k] = height + lowest
    return gaps


def _boxes(
    openings: FloatArray, gripper: Gripper, back: float
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Lower and upper corners of both fingers and the palm, each of a shape that meets (N, 3)."""
    lower, upper = gripper.finger_boxes(openings)
    lower[..., 0] -= back
    yield lower[:, 0], upper[:, 0]
    yield lower[:, 1], upper[:, 1]
    yield np.asarray(gripper.palm.lower) - (back, 0.0, 0.0), np.asarray(gripper.palm.upper)


def missing_between(
    poses: FloatArray,
    openings: FloatArray,
    depth: NDArray[np.float32],
    camera: Camera,
    gripper: Gripper,
) -> FloatArray:
    """Share of the region between the fingers that no depth was measured for.

    Args:
        poses: ``T_camera_grasp``, shape (N, 4, 4).
        openings: Jaw openings [m], shape (N,).
        depth: z-depth [m], NaN where nothing was measured, shape (H, W).
        camera: Intrinsics of the depth image.
        gripper: Gives the depth of the region.

    Returns:
        Shares in 0 to 1, shape (N,); what lies outside the image counts as missing.
    """
    x = np.linspace(-0.5, 0.0, 4) * gripper.finger_length
    z = np.linspace(-0.45, 0.45, 7)
    x, z = (grid.ravel() for grid in np.meshgrid(x, z))
    local = np.zeros((len(poses), x.size, 3))
    local[..., 0], local[..., 2] = x, z * openings[:, None]
    samples = local @ np.swapaxes(poses[:, :3, :3], 1, 2) + poses[:, None, :3, 3]
    pixels = camera.project(samples)
    inside = ((pixels > -0.5) & (pixels < (camera.width - 0.5, camera.height - 0.5))).all(axis=-1)
    pixels = np.rint(np.where(inside[..., None], pixels, 0.0)).astype(int)
    measured = np.isfinite(depth[pixels[..., 1], pixels[..., 0]]) & inside
    share: FloatArray = 1.0 - measured.mean(axis=1)
    return share
