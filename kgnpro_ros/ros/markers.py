# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Grasps as RViz markers: gripper wireframes coloured by score, the best one highlighted."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.geometry.se3 import transform_points
from kgnpro_ros.types import FloatArray, GraspBatch

NAMESPACE = "grasps"
LINE_WIDTH = 0.002
BEST_LINE_WIDTH = 0.005
TEXT_HEIGHT = 0.02
BEST_COLOR = (0.1, 0.6, 1.0, 1.0)


def gripper_lines(widths: FloatArray, finger_length: float) -> FloatArray:
    """End points of the four lines of gripper wireframes in the grasp frame.

    Args:
        widths: Jaw openings [m], shape (N,).
        finger_length: From the palm to the fingertips [m].

    Returns:
        Points [m], shape (N, 8, 3): two fingers, the palm, the wrist; two points each.
    """
    back = -finger_length
    x = np.array([0.0, back, 0.0, back, back, back, back, 1.7 * back])
    side = np.array([0.5, 0.5, -0.5, -0.5, 0.5, -0.5, 0.0, 0.0])
    points = np.zeros((len(widths), 8, 3))
    points[..., 0] = x
    points[..., 2] = widths[:, None] * side
    return points


def score_colors(scores: FloatArray) -> NDArray[np.float64]:
    """Red for the lowest score over yellow to green for the highest, RGBA, shape (N, 4)."""
    spread = np.ptp(scores) if len(scores) else 0.0
    value = (scores - scores.min()) / spread if spread > 0 else np.ones_like(scores)
    red, green = np.clip(2.0 - 2.0 * value, 0.0, 1.0), np.clip(2.0 * value, 0.0, 1.0)
    return np.stack([red, green, np.zeros_like(value), np.full_like(value, 0.8)], axis=-1)


def grasps_to_markers(grasps: GraspBatch, gripper: Gripper, stamp: TimeMsg) -> MarkerArray:
    """One line list for all grasps, one for the best, and its score; old ones are deleted first."""
    header = Header(stamp=stamp, frame_id=grasps.frame)
    clear = Marker(header=header, ns=NAMESPACE, action=Marker.DELETEALL)
    clear.pose.orientation.w = 1.0
    if len(grasps) == 0:
        return MarkerArray(markers=[clear])
    lines = gripper_lines(grasps.widths, gripper.finger_length)
    points = transform_points(grasps.poses, lines)
    colors = np.repeat(score_colors(grasps.score), points.shape[1], axis=0)
    everything = _line_list(header, 0, LINE_WIDTH, points.reshape(-1, 3))
    everything.colors = [ColorRGBA(r=r, g=g, b=b, a=a) for r, g, b, a in colors.tolist()]
    best = _line_list(header, 1, BEST_LINE_WIDTH, points[0])
    best.color = _color(BEST_COLOR)
    return MarkerArray(markers=[clear, everything, best, _label(header, grasps, points[0, -1])])


def _line_list(header: Header, number: int, width: float, points: FloatArray) -> Marker:
    marker = Marker(header=header, ns=NAMESPACE, id=number, type=Marker.LINE_LIST)
    marker.pose.orientation.w = 1.0
    marker.scale.x = width
    marker.color.a = 1.0
    marker.points = [Point(x=x, y=y, z=z) for x, y, z in points.tolist()]
    return marker


def _label(header: Header, grasps: GraspBatch, position: FloatArray) -> Marker:
    marker = Marker(header=header, ns=NAMESPACE, id=2, type=Marker.TEXT_VIEW_FACING)
    x, y, z = position.tolist()
    marker.pose.position = Point(x=x, y=y, z=z)
    marker.pose.orientation.w = 1.0
    marker.scale.z = TEXT_HEIGHT
    marker.color = _color((1.0, 1.0, 1.0, 1.0))
    marker.text = f"#1 of {len(grasps)}: {grasps.score[0]:.2f}"
    return marker


def _color(values: tuple[float, float, float, float]) -> ColorRGBA:
    r, g, b, a = values
    return ColorRGBA(r=r, g=g, b=b, a=a)
