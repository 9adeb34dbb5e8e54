# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The hand against what the camera saw: observed points and the table plane.

Everything is in one frame (the camera's, in use) and vectorised over grasps. Missing depth gives no
points and is no evidence either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import FilterConfig
from kgnpro_ros.execution.nearby import Box, point_blocks, points_near
from kgnpro_ros.execution.table import Plane
from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.types import RGBDImage

FloatArray = NDArray[np.float64]
Points = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: Most grasp-point pairs that are looked at together, which bounds the memory.
PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Contacts:
    """What the hand meets at each of K openings, for N grasps, and maybe at several places (first).

    Attributes:
        between: Points between the fingers, far enough behind the tips, int64, shape (..., N, K).
        hits: Points inside fingers and palm, int64, shape (..., N, K).
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
    camera = image.camera
    stride = max(1, round(config.cloud_spacing * camera.fx / max(distance, 0.05)))
    depth = np.ascontiguousarray(image.depth[::stride, ::stride])
    u = (np.arange(0, camera.width, stride, dtype=np.float32) - camera.cx) / camera.fx
    v = (np.arange(0, camera.height, stride, dtype=np.float32) - camera.cy) / camera.fy
    u, v = u.astype(np.float32), v.astype(np.float32)
    if table is None:
        index = np.flatnonzero(np.isfinite(depth))
    else:
        # Most pixels show the table: they are left out before anything else is looked at.
        a, b, c = table.normal.astype(np.float32)
        height = (u * a + (v * b + c)[:, None]) * depth
        least = max(config.table_clearance, 3.0 * table.rms) - table.offset
        index = np.flatnonzero(height > np.float32(least))
    row, column = np.divmod(index, depth.shape[1])
    steepness = np.tan(np.radians(min(config.max_incidence, 89.9))) * stride
    steep = _steep(depth, index, column, 1, np.float32(steepness / camera.fx))
    steep |= _steep(depth, index, row, depth.shape[1], np.float32(steepness / camera.fy))
    row, column = row[~steep], column[~steep]
    z = depth[row, column]
    return np.stack([u[column] * z, v[row] * z, z], axis=-1)


def _steep(
    depth: Points, index: IntArray, position: IntArray, step: int, slope: np.float32
) -> BoolArray:
    """Pixels whose depth differs from both neighbours by more than ``slope`` times depth.

    Args:
        depth: Depth [m], shape (H, W).
        index: Flat indices of the pixels to look at, shape (M,).
        position: Their column for neighbours to the sides, their row for those above and below.
        step: 1 or W: from one neighbour to the next.
        slope: Largest relative difference.
    """
    last = depth.shape[1 if step == 1 else 0] - 1
    if last < 2:  # no pixel has two neighbours
        return np.zeros(len(index), dtype=np.bool_)
    inner = (position > 0) & (position < last)
    flat, index = depth.ravel(), np.where(inner, index, step)
    middle = flat[index]
    # fmin: a neighbour without depth says nothing.
    smaller = np.fmin(np.abs(flat[index - step] - middle), np.abs(flat[index + step] - middle))
    steep: BoolArray = inner & (smaller > slope * middle)
    return steep


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
    contacts = near_hand(points, poses, openings, gripper, config).contacts(np.zeros(1))
    return Contacts(contacts.between[0], contacts.hits[0])


@dataclass(frozen=True)
class NearHand:
    """What the hands of N grasps may meet: pairs of a grasp and a point, by grasp.

    Borders, shape (N + 1,), tell where the points of each grasp begin, and their number.

    Attributes:
        palm_x: Place along the approach axis [m] of points that the palm may touch, shape (Q,).
        palm_borders: Theirs.
        x: The same for points within the fingers' extent along the normal, shape (M,).
        borders: Theirs.
        between: Whether they lie between the fingers at each opening, shape (K, M).
        touch_x: The same for those of them that lie where a finger is at some opening, shape (T,).
        touch_borders: Theirs.
        touching: At which, shape (K, T).
        beside_palm: Whether they are within the palm's extent, too, shape (T,).
        gripper, config: As given.
    """

    palm_x: Points
    palm_borders: IntArray
    x: Points
    borders: IntArray
    between: BoolArray
    touch_x: Points
    touch_borders: IntArray
    touching: BoolArray
    beside_palm: BoolArray
    gripper: Gripper
    config: FilterConfig

    def contacts(self, advances: FloatArray) -> Contacts:
        """Counts (S, N, K) with all grasps moved along their approach axis by S distances [m]."""
        advance, gripper, back = advances[:, None], self.gripper, self.config.approach_distance
        root = advance - gripper.finger_length
        ahead = gripper.palm.upper[0] + self.config.palm_margin
        low, high, tip, inner, root, end = (
            # Limits in the precision of the points.
            limit.astype(np.float32)
            for limit in (
                gripper.palm.lower[0] - back + advance, ahead + advance, advance,
                advance - self.config.min_depth_between, root, root - back,
            )
        )  # fmt: skip
        held = (self.x <= inner) & (self.x >= root)
        x = self.touch_x
        # What touches the palm is no second time a hit.
        fresh = (x <= tip) & (x >= end) & ~(self.beside_palm & (x >= low) & (x <= high))
        in_palm = (self.palm_x >= low) & (self.palm_x <= high)
        between = _sums(held[:, None] & self.between, self.borders)
        hits = _sums(fresh[:, None] & self.touching, self.touch_borders)
        return Contacts(between, hits + _sums(in_palm[:, None], self.palm_borders))


def near_hand(
    points: Points,
    poses: FloatArray,
    openings: FloatArray,
    gripper: Gripper,
    config: FilterConfig,
    advances: tuple[float, float] = (0.0, 0.0),
) -> NearHand:
    """Find the points that each hand may meet.

    The other arguments are those of :func:`count_contacts`; ``advances`` are the least and the
    largest advance [m] that will be asked for.
    """
    (least, most), back = advances, config.approach_distance
    low, high = np.array([gripper.palm.lower, gripper.palm.upper])
    low[0] += least - back
    high[0] += most + config.palm_margin
    widest = openings.max(initial=0.0) / 2 + gripper.finger_thickness + config.finger_margin
    tip = np.array([most, gripper.finger_breadth / 2, widest + 1e-6])
    root = np.array([least - gripper.finger_length - back, -tip[1], -tip[2]])
    grasp, (x, y, z) = _pairs(points, poses, (Box(low, high), Box(root, tip)))
    side = np.abs(z)
    finger = np.flatnonzero(
        (np.abs(y) <= tip[1]) & (side <= tip[2]) & (x >= root[0]) & (x <= tip[0])
    )
    across = (y >= low[1]) & (y <= high[1]) & (z >= low[2]) & (z <= high[2])
    palm = np.flatnonzero(across & (x >= low[0]) & (x <= high[0]))
    owner, margin = grasp[finger], np.float32(config.finger_margin)
    half = (openings.T / 2).astype(np.float32)
    beyond = side[finger] - np.stack([row[owner] for row in half])
    touching = (beyond >= -margin) & (beyond <= gripper.finger_thickness + margin)
    touch = np.flatnonzero(touching.any(axis=0))
    palm_borders, borders, touch_borders = (
        np.searchsorted(owners, np.arange(len(poses) + 1))
        for owners in (grasp[palm], owner, owner[touch])
    )
    return NearHand(
        x[palm], palm_borders, x[finger], borders, beyond < 0, x[finger[touch]], touch_borders,
        touching[:, touch], across[finger[touch]], gripper, config,
    )  # fmt: skip


def _pairs(
    points: Points, poses: FloatArray, boxes: Sequence[Box]
) -> tuple[IntArray, tuple[Points, Points, Points]]:
    """Pairs of a grasp and a point near its boxes: index of the grasp and coordinates [m], (M,)."""
    together = max(1, PAIRS_AT_ONCE // max(1, len(points)))
    parts = []
    if len(points) > 0:
        blocks = point_blocks(points)
        for start in range(0, len(poses), together):
            index, local = points_near(blocks, poses[start : start + together], boxes)
            parts.append((index + start, local))
    if len(parts) == 1:
        return parts[0]
    none = np.zeros(0, dtype=np.float32)
    grasp = np.concatenate([np.zeros(0, dtype=np.int64), *(index for index, _ in parts)])
    x, y, z = (np.concatenate([none, *(local[i] for _, local in parts)]) for i in range(3))
    return grasp, (x, y, z)


def _sums(mask: BoolArray, borders: IntArray) -> IntArray:
    """How many of the columns between borders (N + 1,) are set: (..., K, M) -> (..., N, K)."""
    running = np.zeros((*mask.shape[:-1], mask.shape[-1] + 1), dtype=np.int32)
    np.cumsum(mask, axis=-1, out=running[..., 1:])
    at = running.take(borders, axis=-1)
    return (at[..., 1:] - at[..., :-1]).swapaxes(-1, -2)


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
    back, size = config.approach_distance, np.abs(up)
    palm_low, palm_high = np.array(gripper.palm.lower), np.array(gripper.palm.upper)
    palm_low[0] -= back
    palm = np.minimum(up * palm_low, up * palm_high).sum(axis=1)
    # The two fingers are mirror images: the outer side of one of them is lowest.
    finger = np.minimum(up[:, 0] * -(gripper.finger_length + back), 0.0)
    finger -= size[:, 1] * gripper.finger_breadth / 2
    outer = openings / 2 + gripper.finger_thickness
    lowest = np.minimum(finger[:, None] - size[:, 2:] * outer, palm[:, None])
    gaps: FloatArray = height[:, None] + lowest
    return gaps


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
