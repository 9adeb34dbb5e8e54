# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Which grasps are passed on: mask, workspace, approach, width, contents of the jaws, collision.

Filters mark, they do not delete: each grasp gets the reason of its first failed check, in the order
of :class:`~kgnpro_ros.types.GraspStatus`; :func:`accepted` then keeps the good ones and counts the
rest. All of them are vectorised over the grasps.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kgnpro_ros.config import FilterConfig
from kgnpro_ros.exceptions import FrameError
from kgnpro_ros.execution import collision
from kgnpro_ros.execution.table import Plane, find_table
from kgnpro_ros.geometry import Gripper
from kgnpro_ros.types import GraspBatch, GraspStatus, RGBDImage, check_transform

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: A plain number: NumPy compares with members of an enumeration in ten times the time.
OK = int(GraspStatus.OK)


def filter_grasps(
    grasps: GraspBatch,
    image: RGBDImage,
    gripper: Gripper,
    config: FilterConfig,
    table: Plane | Literal["observed"] | None = "observed",
    T_workspace_camera: ArrayLike | None = None,
) -> GraspBatch:
    """Give every grasp its status, and the opening that the jaws should take.

    Args:
        grasps: Grasps in the camera frame, with their scores; those whose status is not OK keep
            it.
        image: The frame that they were found in.
        gripper: Opening range, fingers and palm.
        config: Settings.
        table: Table plane in the camera frame. The one of :func:`observed_table` unless told;
            without any, None, checks against it are left out.
        T_workspace_camera: Camera frame in the frame of ``config.workspace``; that of the camera
            when None.

    Returns:
        The same grasps in the same order with ``status``, ``widths``, ``poses`` and ``score``
        replaced. Widths are the openings that were checked: predicted plus margin, or wider where
        that touched something. Poses are advanced along the approach where the jaws can hold more
        of the object (``advance_steps``), and moved back where the hand would touch something
        (``retreat_steps``). What holds little loses score (``full_support``).
    """
    if len(grasps) == 0:
        return grasps
    if table == "observed":
        table = observed_table(image, config)
    status = grasps.status.copy()
    _mark(status, ~_in_workspace(grasps, config, T_workspace_camera), GraspStatus.OUTSIDE_WORKSPACE)
    _mark(status, ~_in_mask(grasps, image), GraspStatus.OUTSIDE_MASK)
    if table is not None:
        cosine = grasps.poses[:, :3, 0] @ -table.normal
        limit = np.cos(np.radians(config.max_approach_angle))
        _mark(status, cosine < limit - 1e-9, GraspStatus.APPROACH_ANGLE)
    if config.limit_width:
        widest = gripper.max_width + config.width_slack + 1e-9
        _mark(status, grasps.widths > widest, GraspStatus.TOO_WIDE)
    openings = candidate_openings(grasps.widths, gripper, config)
    widths, poses, score = openings[:, 0].copy(), grasps.poses.copy(), grasps.score.copy()
    if config.collision:
        alive = np.flatnonzero(status == OK)
        result = _check_hand(poses[alive], openings[alive], image, gripper, config, table)
        status[alive], widths[alive], poses[alive], between = result
        score[alive] *= support(between, config.full_support)
    grasps = grasps.updated(status=status, widths=widths, poses=poses, score=score)
    grasps = mark_duplicates(grasps, config.duplicate_distance, config.duplicate_angle)
    return _mark_beyond(grasps, config.max_grasps)


def observed_table(image: RGBDImage, config: FilterConfig) -> Plane | None:
    """The table plane in the camera frame, None where there is none or it is not asked for."""
    return find_table(image, config.table) if config.find_table else None


def support(between: NDArray[np.int64], full: int) -> FloatArray:
    """Factor on the score: 1/2 with nothing between the fingers, 1 from ``full`` points on."""
    share = np.minimum(between / full, 1.0) if full > 0 else np.ones(len(between))
    factor: FloatArray = 0.5 + 0.5 * share
    return factor


def accepted(grasps: GraspBatch) -> GraspBatch:
    """The grasps whose status is OK, best first; the others are added to ``rejected`` by reason."""
    rejected = dict(grasps.rejected)
    for value, count in enumerate(np.bincount(grasps.status).tolist()):
        if count and value != OK:
            reason = GraspStatus(value).name.lower()
            rejected[reason] = rejected.get(reason, 0) + count
    return grasps.select(grasps.status == OK).updated(rejected=rejected).sorted()


def candidate_openings(widths: FloatArray, gripper: Gripper, config: FilterConfig) -> FloatArray:
    """Openings to try [m], shape (N, K), for predicted openings (N,): narrowest first."""
    steps = np.array([0.0, *sorted(config.opening_steps)])
    largest = gripper.max_width if config.limit_width else np.inf
    openings = (widths + config.width_margin)[:, None] + steps
    clamped: FloatArray = np.clip(openings, gripper.min_width, largest)
    return clamped


def mark_duplicates(grasps: GraspBatch, distance: float, angle: float) -> GraspBatch:
    """Mark grasps close to a better one that is kept; the 180 degree twin counts as the same.

    Args:
        grasps: Grasps with scores; only those with status OK take part.
        distance: Distance of the origins [m] that two grasps have to be closer than; 0 keeps all.
        angle: Rotation [deg] that they have to be closer than.

    Returns:
        The same grasps, some with status DUPLICATE.
    """
    alive = np.flatnonzero(grasps.status == OK)
    if distance <= 0 or len(alive) < 2:
        return grasps
    order = alive[np.argsort(-grasps.score[alive], kind="stable")]
    origin, rotation = grasps.poses[order, :3, 3], grasps.poses[order, :3, :3]
    near = np.linalg.norm(origin[:, None] - origin[None], axis=-1) < distance
    dots = np.einsum("iab,jab->ijb", rotation, rotation)
    cosine = (dots[..., 0] + np.abs(dots[..., 1] + dots[..., 2]) - 1.0) / 2.0
    near &= cosine > np.cos(np.radians(angle))
    better = np.tril(near, k=-1)
    kept = np.ones(len(order), dtype=bool)
    while True:  # at most as many rounds as the longest chain of neighbours
        update = ~(better & kept).any(axis=1)
        if (update == kept).all():
            break
        kept = update
    status = grasps.status.copy()
    status[order[~kept]] = int(GraspStatus.DUPLICATE)
    return grasps.updated(status=status)


def _mark(status: NDArray[np.int64], bad: BoolArray, reason: GraspStatus) -> None:
    status[bad & (status == OK)] = int(reason)


def _mark_beyond(grasps: GraspBatch, most: int) -> GraspBatch:
    alive = np.flatnonzero(grasps.status == OK)
    if len(alive) <= most:
        return grasps
    order = alive[np.argsort(-grasps.score[alive], kind="stable")]
    status = grasps.status.copy()
    status[order[most:]] = int(GraspStatus.BEYOND_MAX_GRASPS)
    return grasps.updated(status=status)


def _in_workspace(
    grasps: GraspBatch, config: FilterConfig, T_workspace_camera: ArrayLike | None
) -> BoolArray:
    if config.workspace is None:
        return np.ones(len(grasps), dtype=bool)
    origins = grasps.poses[:, :3, 3]
    if T_workspace_camera is not None:
        matrix = check_transform(T_workspace_camera, "T_workspace_camera")
        if matrix.shape != (4, 4):
            raise FrameError(f"T_workspace_camera has shape {matrix.shape}; expected (4, 4)")
        origins = origins @ matrix[:3, :3].T + matrix[:3, 3]
    box = np.asarray(config.workspace)
    inside: BoolArray = ((origins >= box[:3]) & (origins <= box[3:])).all(axis=1)
    return inside


def _in_mask(grasps: GraspBatch, image: RGBDImage) -> BoolArray:
    if image.mask is None:
        return np.ones(len(grasps), dtype=bool)
    camera = image.camera
    pixels = np.nan_to_num(np.rint(camera.project(grasps.poses[:, :3, 3])), nan=-1.0)
    inside = ((pixels >= 0) & (pixels < (camera.width, camera.height))).all(axis=1)
    columns, rows = np.where(inside[:, None], pixels, 0).astype(int).T
    result: BoolArray = inside & image.mask[rows, columns]
    return result


def _check_hand(
    poses: FloatArray,
    openings: FloatArray,
    image: RGBDImage,
    gripper: Gripper,
    config: FilterConfig,
    table: Plane | None,
) -> tuple[NDArray[np.int64], FloatArray, FloatArray, NDArray[np.int64]]:
    """Find for each grasp the first step along the approach and opening that pass all checks.

    Args:
        poses: In the camera frame, shape (N, 4, 4).
        openings: Jaw openings to try [m], shape (N, K).
        image: Depth.
        gripper: Fingers and palm.
        config: Settings.
        table: Table plane in the camera frame, or None.

    Returns:
        Status (N,), opening (N,) [m], pose (N, 4, 4) and number of points between the fingers
        (N,); where nothing passes, opening and pose are the predicted ones and the status tells
        what was wrong with them.
    """
    if len(poses) == 0:
        return np.zeros(0, dtype=np.int64), openings[:, 0], poses, np.zeros(0, dtype=np.int64)
    points = collision.solid_points(image, table, config, float(np.median(poses[:, 2, 3])))
    forth, back = sorted(config.advance_steps), sorted(config.retreat_steps)
    steps = np.array((0.0, *forth, *(-step for step in back)))
    advances = float(steps.min()), float(steps.max())
    near = collision.near_hand(points, poses, openings, gripper, config, advances)
    contacts = near.contacts(steps)
    empty = contacts.between < config.min_points_between
    if config.max_missing_between < 1.0:
        _trust_glass(empty, poses, openings, steps, image, gripper, config)
    touches = contacts.hits > config.max_points_hit
    below = np.zeros(touches.shape, dtype=bool)
    if table is not None:
        gaps = collision.table_gaps(poses, openings, table, gripper, config)
        rise = steps[:, None] * (poses[:, :3, 0] @ table.normal)
        below = gaps + rise[..., None] < -config.table_tolerance
    found, choice = _first_opening(empty, touches, below)
    status, step = _first_step(found, steps, config)
    row = np.arange(len(poses))
    moved = poses.copy()
    moved[:, :3, 3] += steps[step, None] * moved[:, :3, 0]
    opening = choice[step, row]
    return status, openings[row, opening], moved, contacts.between[step, row, opening]


def _trust_glass(
    empty: BoolArray,
    poses: FloatArray,
    openings: FloatArray,
    steps: FloatArray,
    image: RGBDImage,
    gripper: Gripper,
    config: FilterConfig,
) -> None:
    """Take back, in ``empty`` (S, N, K), that jaws are empty where little could be measured."""
    step, row = np.nonzero(empty[..., 0])
    moved = poses[row]
    moved[:, :3, 3] += steps[step, None] * moved[:, :3, 0]
    missing = collision.missing_between(moved, openings[row, 0], image.depth, image.camera, gripper)
    unknown = missing > config.max_missing_between
    empty[step[unknown], row[unknown]] = False


def _first_opening(
    empty: BoolArray, touches: BoolArray, below: BoolArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What is wrong with the first of K openings that passes, and which it is; (S, N, K) -> (S, N).

    Where none passes, the first one of all is taken.
    """
    choice = (~(empty | touches | below)).argmax(axis=-1)
    # Indices into all of it: take_along_axis needs ten times as long for so few.
    chosen = np.arange(0, empty.size, empty.shape[-1]).reshape(choice.shape) + choice
    status = np.full(choice.shape, OK)
    for bad, reason in (
        (empty, GraspStatus.EMPTY),
        (touches, GraspStatus.COLLISION_CLOUD),
        (below, GraspStatus.COLLISION_TABLE),
    ):
        _mark(status, bad.take(chosen), reason)
    return status, choice


def _first_step(
    found: NDArray[np.int64], steps: FloatArray, config: FilterConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Status (N,) and number of the step taken (N,), of the status after each of S steps (S, N)."""
    status, taken = found[0].copy(), np.zeros(found.shape[1], dtype=np.int64)
    for number in range(1, len(steps)):
        good = _may_move(status, steps[number], config) & (found[number] == OK)
        status[good], taken[good] = OK, number
    return status, taken


def _may_move(status: NDArray[np.int64], step: float, config: FilterConfig) -> BoolArray:
    """Grasps that a step along the approach may help: forth when empty, back when touching."""
    if step < 0:
        first, second = GraspStatus.COLLISION_CLOUD, GraspStatus.COLLISION_TABLE
    else:
        first, second = GraspStatus.EMPTY, GraspStatus.OK if config.deepen else GraspStatus.EMPTY
    may: BoolArray = (status == int(first)) | (status == int(second))
    return may
