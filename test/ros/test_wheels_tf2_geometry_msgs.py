# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Transforming geometry messages: upstream's tf2_geometry_msgs or that of ros_wheels."""

from __future__ import annotations

import numpy as np
import pytest
import tf2_geometry_msgs
from geometry_msgs.msg import (
    PointStamped,
    Pose,
    PoseStamped,
    PoseWithCovarianceStamped,
    TransformStamped,
    Vector3Stamped,
)
from scipy.spatial.transform import Rotation

OFFSET = np.array([0.1, -0.2, 0.3])


@pytest.fixture
def rng():
    return np.random.RandomState(3)


@pytest.fixture
def turn(rng):
    return Rotation.random(random_state=rng)


@pytest.fixture
def transform(turn):
    result = TransformStamped()
    result.header.frame_id = "map"
    result.child_frame_id = "cam"
    t, q = result.transform.translation, result.transform.rotation
    t.x, t.y, t.z = OFFSET
    q.x, q.y, q.z, q.w = turn.as_quat()
    return result


def xyz(value):
    return [value.x, value.y, value.z]


def random_pose(rng):
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = rng.uniform(-1, 1, 3)
    q = pose.orientation
    q.x, q.y, q.z, q.w = Rotation.random(random_state=rng).as_quat()
    return pose


def check_pose(actual, pose, turn):
    expected = turn.apply(xyz(pose.position)) + OFFSET
    np.testing.assert_allclose(xyz(actual.position), expected, atol=1e-12)
    q, r = pose.orientation, actual.orientation
    expected = turn * Rotation.from_quat([q.x, q.y, q.z, q.w])
    angle = (expected.inv() * Rotation.from_quat([r.x, r.y, r.z, r.w])).magnitude()
    assert angle < 1e-7


def test_bare_pose(transform, turn, rng):
    pose = random_pose(rng)
    check_pose(tf2_geometry_msgs.do_transform_pose(pose, transform), pose, turn)


def test_stamped_pose_gets_the_frame(transform, turn, rng):
    pose = PoseStamped(pose=random_pose(rng))
    pose.header.frame_id = "cam"
    result = tf2_geometry_msgs.do_transform_pose_stamped(pose, transform)
    check_pose(result.pose, pose.pose, turn)
    assert result.header.frame_id == "map"


def test_points_move_and_vectors_only_turn(transform, turn):
    point, vector = PointStamped(), Vector3Stamped()
    point.point.x = vector.vector.x = 1.0
    moved = tf2_geometry_msgs.do_transform_point(point, transform).point
    np.testing.assert_allclose(xyz(moved), turn.apply([1, 0, 0]) + OFFSET, atol=1e-12)
    turned = tf2_geometry_msgs.do_transform_vector3(vector, transform).vector
    np.testing.assert_allclose(xyz(turned), turn.apply([1, 0, 0]), atol=1e-12)


def test_covariance_turns_with_the_axes(transform, turn, rng):
    pose = PoseWithCovarianceStamped()
    pose.pose.pose = random_pose(rng)
    half = rng.standard_normal((6, 6))
    pose.pose.covariance = (half @ half.T).ravel()
    result = tf2_geometry_msgs.do_transform_pose_with_covariance_stamped(pose, transform)
    check_pose(result.pose.pose, pose.pose.pose, turn)
    actual = np.asarray(result.pose.covariance).reshape(6, 6)
    # The spread along a direction does not depend on the frame that it is written in.
    for along in rng.standard_normal((10, 6)):
        turned = np.concatenate([turn.apply(along[:3]), turn.apply(along[3:])])
        assert turned @ actual @ turned == pytest.approx(along @ half @ half.T @ along)
