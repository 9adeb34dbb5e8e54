# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""How wide the jaws open, and how deep the real fingertips go, among the observed points.

The grasp frame of a gripper file may lie behind the ends of its fingers (``tip_overhang``): where
the filter of the detector finds nothing, the tips may still come to press on something.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import CandidateConfig, FilterConfig
from kgnpro_ros.execution.collision import count_contacts
from kgnpro_ros.geometry.gripper import Box, Gripper

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class HandFit:
    """Grasps that were fitted between the observed points.

    Attributes:
        poses: ``T_base_grasp``, moved back where the fingers would touch something, (N, 4, 4).
        widths: Jaw openings for the approach [m], shape (N,): as wide as there is space.
        least_widths: Narrowest openings that were free [m], shape (N,); the given ones where none.
        fits: Whether the hand touches nothing that was observed, shape (N,).
    """

    poses: FloatArray
    widths: FloatArray
    least_widths: FloatArray
    fits: BoolArray

    def select(self, rows: BoolArray) -> HandFit:
        """Some of them; a mask of shape (N,)."""
        return HandFit(
            self.poses[rows], self.widths[rows], self.least_widths[rows], self.fits[rows]
        )


def fit_hand(
    poses: FloatArray,
    widths: FloatArray,
    points: FloatArray,
    gripper: Gripper,
    config: CandidateConfig,
    table_height: float | None = None,
) -> HandFit:
    """Open the jaws as wide as the scene lets them, and move the hand back where it would touch.

    A detected opening that is too narrow makes a finger come down on the object: the side that the
    camera does not see says nothing about it, so that the widest free opening is the safest. Wider
    ones than the narrowest free one count only up to the first that is blocked: what stands between
    would be pushed along when the jaws close.

    Args:
        poses: ``T_base_grasp``, shape (N, 4, 4).
        widths: Detected openings within the gripper's range [m], shape (N,).
        points: Observed points without the table, in the base frame [m], shape (P, 3); without any,
            everything stays as it is.
        gripper: The gripper that the arm carries.
        config: ``widening``, ``fit_retreat_steps`` and the fingertips.
        table_height: Top of the table along z of the base frame [m], None where unknown; the jaws
            are not opened so wide that tips of a tilted hand would reach it.

    Returns:
        The fitted grasps, in the same order.
    """
    if len(points) == 0 or len(poses) == 0:
        return HandFit(poses, widths, widths, np.ones(len(poses), dtype=bool))
    openings = _openings(widths, gripper, config)
    allowed = np.ones(openings.shape, dtype=bool)
    if table_height is not None:
        heights = tip_heights(poses, openings, table_height, gripper, config)
        allowed = heights >= np.minimum(heights[:, :1], config.tip_clearance)
    fitted, chosen, least = poses.copy(), openings[:, 0].copy(), openings[:, 0].copy()
    fits = np.zeros(len(poses), dtype=bool)
    hand, settings = _whole_hand(gripper, config.tip_overhang), FilterConfig()
    cloud = points.astype(np.float32)
    for step in (0.0, *sorted(config.fit_retreat_steps)):
        rows = np.flatnonzero(~fits)
        if len(rows) == 0:
            break
        moved = poses[rows].copy()
        moved[:, :3, 3] -= step * moved[:, :3, 0]
        tips = moved.copy()
        tips[:, :3, 3] += config.tip_overhang * tips[:, :3, 0]
        contacts = count_contacts(cloud, tips, openings[rows], hand, settings)
        free = (contacts.hits <= settings.max_points_hit) & allowed[rows]
        free &= (contacts.between >= settings.min_points_between) | (step == 0.0)
        found = free.any(axis=1)
        first = free.argmax(axis=1)
        # Blocked ones behind the first free one end the run of openings to choose from.
        blocked = ~free & (np.arange(free.shape[1]) > first[:, None])
        last = np.where(blocked.any(axis=1), blocked.argmax(axis=1), free.shape[1]) - 1
        index, row = rows[found], np.flatnonzero(found)
        fitted[index], fits[index] = moved[row], True
        least[index] = openings[index, first[row]]
        chosen[index] = openings[index, last[row]]
    return HandFit(fitted, chosen, least, fits)


def leveled(
    poses: FloatArray, widths: FloatArray, table: float, gripper: Gripper, config: CandidateConfig
) -> FloatArray:
    """Turn hands whose lower finger would reach the table first until both fingers do.

    What lies on a table is best held across its upright sides; a tilted hand is stopped by its
    lower finger, and holds a low thing above its middle, where it slips. The hand turns about the
    grasp frame's y, and its origin stays where it is.

    Args:
        poses: ``T_base_grasp``, shape (N, 4, 4).
        widths: Jaw openings [m], shape (N,).
        table: Its top along z of the base frame [m].
        gripper: Breadth and thickness of the fingers.
        config: ``max_leveling`` and the fingertips.

    Returns:
        The poses, shape (N, 4, 4); those that are not near the table, or tilted by more than
        ``max_leveling``, stay as they are.
    """
    low = tip_heights(poses, widths[:, None], table, gripper, config)[:, 0] < config.tip_clearance
    up = poses[:, 2, :3]
    angle = np.arctan2(-up[:, 2] * np.sign(up[:, 0]), np.abs(up[:, 0]))
    turned = low & (np.abs(angle) <= np.radians(config.max_leveling))
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    result = poses.copy()
    x, z = poses[:, :3, 0], poses[:, :3, 2]
    result[turned, :3, 0] = (cosine * x - sine * z)[turned]
    result[turned, :3, 2] = (sine * x + cosine * z)[turned]
    return result


def tip_heights(
    poses: FloatArray, openings: FloatArray, table: float, gripper: Gripper, config: CandidateConfig
) -> FloatArray:
    """Height of the lowest corner of the real fingertips above the table [m].

    Args:
        poses: ``T_base_grasp``, shape (N, 4, 4).
        openings: Jaw openings [m], shape (N, K).
        table: Its top along z of the base frame [m].
        gripper: Breadth and thickness of the fingers.
        config: ``tip_overhang`` is used.

    Returns:
        Shape (N, K).
    """
    up = poses[:, 2, :3]
    reach = np.abs(up[:, 2:]) * (openings / 2 + gripper.finger_thickness)
    reach = reach + np.abs(up[:, 1:2]) * gripper.finger_breadth / 2
    heights: FloatArray = (poses[:, 2, 3] + config.tip_overhang * up[:, 0] - table)[:, None] - reach
    return heights


def _openings(widths: FloatArray, gripper: Gripper, config: CandidateConfig) -> FloatArray:
    """Openings to look at [m], shape (N, K), narrowest first, within the gripper's range."""
    count = round(config.widening / config.widening_step) + 1
    steps = config.widening_step * np.arange(count)
    openings: FloatArray = np.minimum(widths[:, None] + steps, gripper.max_width)
    return openings


def _whole_hand(gripper: Gripper, overhang: float) -> Gripper:
    """The gripper with fingers that reach to their real ends; its frame is moved there."""
    lower, upper = gripper.palm.lower, gripper.palm.upper
    palm = Box((lower[0] - overhang, *lower[1:]), (upper[0] - overhang, *upper[1:]))
    return replace(gripper, finger_length=gripper.finger_length + overhang, palm=palm)
