# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The transform buffer: whichever tf2_ros is there, upstream's or that of ros_wheels."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import rclpy.time
from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time
from scipy.spatial.transform import Rotation, Slerp
from tf2_ros import (
    Buffer,
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    StaticTransformBroadcaster,
    TransformBroadcaster,
    TransformException,
    TransformListener,
)

SECOND = 10**9


def message(parent, child, matrix, seconds=0.0):
    result = TransformStamped()
    result.header.frame_id = parent
    result.header.stamp = Time(nanoseconds=round(seconds * SECOND)).to_msg()
    result.child_frame_id = child
    t, q = result.transform.translation, result.transform.rotation
    t.x, t.y, t.z = matrix[:3, 3]
    q.x, q.y, q.z, q.w = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    return result


def matrix_of(stamped):
    t, q = stamped.transform.translation, stamped.transform.rotation
    result = np.eye(4)
    result[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    result[:3, 3] = t.x, t.y, t.z
    return result


def random_pose(rng):
    result = np.eye(4)
    result[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    result[:3, 3] = rng.uniform(-2, 2, 3)
    return result


@pytest.fixture
def rng():
    return np.random.RandomState(7)


@pytest.fixture
def buffer(ros):
    return Buffer()


def at(seconds):
    return Time(nanoseconds=round(seconds * SECOND))


def test_chain_of_static_and_moving_frames_multiplies_out(buffer, rng):
    T_map_base, T_base_tool, T_tool_cam, T_map_table = (random_pose(rng) for _ in range(4))
    buffer.set_transform_static(message("map", "base", T_map_base), "test")
    buffer.set_transform(message("base", "tool", T_base_tool, 5.0), "test")
    buffer.set_transform_static(message("tool", "cam", T_tool_cam), "test")
    buffer.set_transform_static(message("map", "table", T_map_table), "test")
    T_table_cam = buffer.lookup_transform("table", "cam", at(5.0))
    expected = np.linalg.inv(T_map_table) @ T_map_base @ T_base_tool @ T_tool_cam
    np.testing.assert_allclose(matrix_of(T_table_cam), expected, atol=1e-12)
    assert (T_table_cam.header.frame_id, T_table_cam.child_frame_id) == ("table", "cam")
    back = buffer.lookup_transform("cam", "table", at(5.0))
    np.testing.assert_allclose(matrix_of(back) @ expected, np.eye(4), atol=1e-12)


def test_between_two_stamps_it_interpolates(buffer, rng):
    first, second = random_pose(rng), random_pose(rng)
    buffer.set_transform(message("base", "tool", first, 1.0), "test")
    buffer.set_transform(message("base", "tool", second, 3.0), "test")
    result = matrix_of(buffer.lookup_transform("base", "tool", at(1.5)))
    slerp = Slerp([0, 1], Rotation.from_matrix([first[:3, :3], second[:3, :3]]))
    np.testing.assert_allclose(result[:3, :3], slerp(0.25).as_matrix(), atol=1e-9)
    np.testing.assert_allclose(
        result[:3, 3], 0.75 * first[:3, 3] + 0.25 * second[:3, 3], atol=1e-12
    )


def test_data_may_arrive_out_of_order(buffer):
    for seconds in (1.0, 3.0, 2.0):
        pose = np.eye(4)
        pose[0, 3] = seconds
        buffer.set_transform(message("base", "tool", pose, seconds), "test")
    for seconds in (1.0, 1.5, 2.0, 2.5, 3.0):
        found = buffer.lookup_transform("base", "tool", at(seconds))
        assert found.transform.translation.x == pytest.approx(seconds)


def test_time_zero_means_the_latest_time_that_the_whole_chain_has(buffer):
    for seconds in (1.0, 2.0, 3.0):
        pose = np.eye(4)
        pose[0, 3] = seconds
        buffer.set_transform(message("map", "base", pose, seconds), "test")
    buffer.set_transform(message("base", "tool", np.eye(4), 1.0), "test")
    buffer.set_transform(message("base", "tool", np.eye(4), 2.5), "test")
    found = buffer.lookup_transform("map", "tool", Time())
    assert found.transform.translation.x == pytest.approx(2.5)
    assert Time.from_msg(found.header.stamp).nanoseconds == 2.5 * SECOND


def test_static_chain_answers_at_any_time(buffer):
    buffer.set_transform_static(message("map", "cam", np.eye(4), 100.0), "test")
    for time in (Time(), at(1.0), at(1e6)):
        buffer.lookup_transform("map", "cam", time)


@pytest.mark.parametrize(("seconds", "word"), [(0.5, "past"), (3.5, "future")])
def test_outside_of_the_known_times_is_refused(buffer, seconds, word):
    for stamp in (1.0, 3.0):
        buffer.set_transform(message("base", "tool", np.eye(4), stamp), "test")
    with pytest.raises(ExtrapolationException, match=word):
        buffer.lookup_transform("base", "tool", at(seconds))
    assert not buffer.can_transform("base", "tool", at(seconds))


def test_a_single_stamp_cannot_be_extrapolated(buffer):
    buffer.set_transform(message("base", "tool", np.eye(4), 1.0), "test")
    buffer.lookup_transform("base", "tool", at(1.0))
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("base", "tool", at(1.1))


def test_unknown_frames_and_separate_trees(buffer):
    buffer.set_transform_static(message("map", "cam", np.eye(4)), "test")
    buffer.set_transform_static(message("other", "thing", np.eye(4)), "test")
    with pytest.raises(LookupException, match="nowhere"):
        buffer.lookup_transform("map", "nowhere", Time())
    with pytest.raises(ConnectivityException):
        buffer.lookup_transform("cam", "thing", Time())
    with pytest.raises(InvalidArgumentException):
        buffer.lookup_transform("", "cam", Time())
    for error in (LookupException, ConnectivityException, InvalidArgumentException):
        assert issubclass(error, TransformException)


@pytest.mark.parametrize("length", [0.0, 0.5, 2.0])
def test_quaternions_that_are_no_rotation_are_not_taken(buffer, length):
    bad = message("map", "cam", np.eye(4))
    bad.transform.rotation.w = length
    with contextlib.suppress(TransformException):  # it raises or logs, depending on the version
        buffer.set_transform_static(bad, "test")
    with pytest.raises(TransformException):
        buffer.lookup_transform("map", "cam", Time())


def test_old_data_leaves_the_buffer(ros):
    buffer = Buffer(cache_time=Duration(seconds=2.0))
    for stamp in (1.0, 2.0, 3.0, 4.5):
        buffer.set_transform(message("base", "tool", np.eye(4), stamp), "test")
    buffer.lookup_transform("base", "tool", at(3.5))
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("base", "tool", at(1.5))


def test_frame_may_get_another_parent(buffer):
    for child in ("left", "right"):
        pose = np.eye(4)
        pose[1, 3] = 1.0 if child == "left" else -1.0
        buffer.set_transform_static(message("map", child, pose), "test")
    buffer.set_transform(message("left", "box", np.eye(4), 1.0), "test")
    buffer.set_transform(message("right", "box", np.eye(4), 2.0), "test")
    assert buffer.lookup_transform("map", "box", at(1.0)).transform.translation.y == 1.0
    assert buffer.lookup_transform("map", "box", at(2.0)).transform.translation.y == -1.0


def test_through_a_fixed_frame_at_two_times(buffer):
    for stamp in (1.0, 2.0):
        pose = np.eye(4)
        pose[0, 3] = stamp
        buffer.set_transform(message("map", "base", pose, stamp), "test")
    found = buffer.lookup_transform_full("base", at(2.0), "base", at(1.0), "map")
    assert found.transform.translation.x == pytest.approx(-1.0)
    assert Time.from_msg(found.header.stamp) == Time.from_msg(at(2.0).to_msg())


def test_clear_forgets_moving_frames(buffer):
    buffer.set_transform(message("base", "tool", np.eye(4), 1.0), "test")
    buffer.clear()
    with pytest.raises(TransformException):
        buffer.lookup_transform("base", "tool", at(1.0))
    buffer.set_transform(message("base", "tool", np.eye(4), 0.5), "test")
    buffer.lookup_transform("base", "tool", at(0.5))


def test_waiting_ends_when_the_transform_arrives_or_the_time_is_up(spin):
    node = spin(rclpy.create_node("tf_waiting"))
    buffer = Buffer()
    start = node.get_clock().now()
    assert not buffer.can_transform("map", "cam", Time(), Duration(seconds=0.1))
    assert node.get_clock().now() - start >= Duration(seconds=0.1)
    timer = node.create_timer(
        0.1, lambda: buffer.set_transform_static(message("map", "cam", np.eye(4)), "test")
    )
    assert buffer.lookup_transform("map", "cam", Time(), Duration(seconds=10.0))
    timer.cancel()


def test_a_negative_stamp_is_ignored_and_hurts_no_look_up(buffer):
    old = message("map", "cam", np.eye(4))
    old.header.stamp.sec = -(2**31)
    buffer.set_transform(old, "test")
    assert not buffer.can_transform("map", "cam", Time())
    buffer.set_transform(message("map", "cam", np.eye(4), 1.0), "test")
    assert buffer.lookup_transform("map", "cam", Time()).header.stamp == at(1.0).to_msg()


def test_future_is_done_when_the_transform_arrives(buffer):
    future = buffer.wait_for_transform_async("map", "cam", at(1.0))
    buffer.set_transform(message("map", "cam", np.eye(4), 0.5), "test")
    assert not future.done()
    buffer.set_transform(message("map", "cam", np.eye(4), 1.5), "test")
    assert future.done()
    assert future.exception() is None


def test_broadcasters_reach_listeners_late_ones_too(spin):
    sender, receiver = spin(rclpy.create_node("tf_sender")), spin(rclpy.create_node("tf_receiver"))
    static, moving = StaticTransformBroadcaster(sender), TransformBroadcaster(sender)
    pose = np.eye(4)
    pose[2, 3] = 0.25
    static.sendTransform(message("map", "base", pose))
    static.sendTransform([message("tool", "cam", pose)])  # does not replace the first
    buffer = Buffer(node=receiver)
    listener = TransformListener(buffer, receiver)
    stamp = 0.0

    def send():
        nonlocal stamp
        stamp += 0.1
        moving.sendTransform(message("base", "tool", pose, stamp))

    timer = sender.create_timer(0.05, send)
    found = buffer.lookup_transform("map", "cam", Time(), Duration(seconds=10.0))
    timer.cancel()
    assert found.transform.translation.z == pytest.approx(0.75)
    listener.unregister()


def test_buffer_transforms_stamped_messages(buffer, rng):
    import tf2_geometry_msgs  # noqa: F401 - registers the types

    T_map_cam = random_pose(rng)
    buffer.set_transform(message("map", "cam", T_map_cam, 1.0), "test")
    pose = PoseStamped()
    pose.header.frame_id = "cam"
    pose.header.stamp = at(1.0).to_msg()
    pose.pose.position.x = 2.0
    pose.pose.orientation.w = 1.0
    moved = buffer.transform(pose, "map")
    expected = T_map_cam @ [2.0, 0.0, 0.0, 1.0]
    p = moved.pose.position
    np.testing.assert_allclose([p.x, p.y, p.z], expected[:3], atol=1e-12)
    assert moved.header.frame_id == "map"
