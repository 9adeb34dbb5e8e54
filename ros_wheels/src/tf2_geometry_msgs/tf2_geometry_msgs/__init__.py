# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Transforming geometry messages; importing this registers them with ``Buffer.transform``."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from geometry_msgs.msg import (
    Point,
    PointStamped,
    PolygonStamped,
    Pose,
    PoseStamped,
    PoseWithCovarianceStamped,
    TransformStamped,
    Vector3,
    Vector3Stamped,
)
from tf2_ros import TransformRegistration

__all__ = [
    "do_transform_point",
    "do_transform_polygon_stamped",
    "do_transform_pose",
    "do_transform_pose_stamped",
    "do_transform_pose_with_covariance_stamped",
    "do_transform_vector3",
]


def do_transform_point(point: PointStamped, transform: TransformStamped) -> PointStamped:
    """Returns the point in the transform's parent frame."""
    rotation, translation = _matrix(transform)
    p = rotation @ _array(point.point) + translation
    return PointStamped(header=transform.header, point=Point(x=p[0], y=p[1], z=p[2]))


def do_transform_vector3(vector3: Vector3Stamped, transform: TransformStamped) -> Vector3Stamped:
    """Returns the free vector in the transform's parent frame: rotated, not moved."""
    rotation, _ = _matrix(transform)
    v = rotation @ _array(vector3.vector)
    return Vector3Stamped(header=transform.header, vector=Vector3(x=v[0], y=v[1], z=v[2]))


def do_transform_pose(pose: Pose, transform: TransformStamped) -> Pose:
    """Returns the bare pose in the transform's parent frame."""
    rotation, translation = _matrix(transform)
    p = rotation @ _array(pose.position) + translation
    result = Pose(position=Point(x=p[0], y=p[1], z=p[2]))
    q = _multiply(_quaternion(transform.transform.rotation), _quaternion(pose.orientation))
    o = result.orientation
    o.x, o.y, o.z, o.w = (float(c) for c in q)
    return result


def do_transform_pose_stamped(pose: PoseStamped, transform: TransformStamped) -> PoseStamped:
    """Returns the stamped pose in the transform's parent frame."""
    return PoseStamped(header=transform.header, pose=do_transform_pose(pose.pose, transform))


def do_transform_pose_with_covariance_stamped(
    pose: PoseWithCovarianceStamped, transform: TransformStamped
) -> PoseWithCovarianceStamped:
    """Returns pose and covariance (REP 103 order, axes of the frame) in the parent frame."""
    rotation, _ = _matrix(transform)
    turn = np.kron(np.eye(2), rotation)  # position and rotation part turn alike
    covariance = turn @ np.asarray(pose.pose.covariance).reshape(6, 6) @ turn.T
    result = PoseWithCovarianceStamped(header=transform.header)
    result.pose.pose = do_transform_pose(pose.pose.pose, transform)
    result.pose.covariance = covariance.ravel()
    return result


def do_transform_polygon_stamped(
    polygon: PolygonStamped, transform: TransformStamped
) -> PolygonStamped:
    """Returns the polygon in the transform's parent frame."""
    rotation, translation = _matrix(transform)
    result = deepcopy(polygon)
    result.header = transform.header
    for point in result.polygon.points:
        point.x, point.y, point.z = (float(c) for c in rotation @ _array(point) + translation)
    return result


def _array(xyz: Any) -> np.ndarray:
    return np.array([xyz.x, xyz.y, xyz.z], dtype=np.float64)


def _quaternion(q: Any) -> np.ndarray:
    return np.array([q.x, q.y, q.z, q.w], dtype=np.float64)


def _matrix(transform: TransformStamped) -> tuple[np.ndarray, np.ndarray]:
    x, y, z, w = _quaternion(transform.transform.rotation)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation = np.eye(3) + 2.0 * (w * cross + cross @ cross)
    return rotation, _array(transform.transform.translation)


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.append(vector, a[3] * b[3] - a[:3] @ b[:3])


_registration = TransformRegistration()
_registration.add(PointStamped, do_transform_point)
_registration.add(Vector3Stamped, do_transform_vector3)
_registration.add(PoseStamped, do_transform_pose_stamped)
_registration.add(PoseWithCovarianceStamped, do_transform_pose_with_covariance_stamped)
_registration.add(PolygonStamped, do_transform_polygon_stamped)
