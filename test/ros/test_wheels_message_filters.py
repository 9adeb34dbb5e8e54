# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Synchronising topics: upstream's message_filters or that of ros_wheels."""

from __future__ import annotations

import threading

import message_filters
import pytest
import rclpy
from message_filters import (
    ApproximateTimeSynchronizer,
    Cache,
    SimpleFilter,
    Subscriber,
    TimeSynchronizer,
)
from rclpy.qos import qos_profile_sensor_data
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String


def image(milliseconds, kind=Image):
    result = kind()
    result.header.stamp = Time(nanoseconds=round(milliseconds * 10**6)).to_msg()
    return result


def millis(msg):
    return round(Time.from_msg(msg.header.stamp).nanoseconds / 10**6)


@pytest.fixture
def inputs(ros):
    return SimpleFilter(), SimpleFilter()


def collect(synchroniser):
    got = []
    synchroniser.registerCallback(lambda *msgs: got.append(tuple(millis(m) for m in msgs)))
    return got


def test_equal_stamps_match_in_the_order_of_the_filters(inputs):
    got = []
    synchroniser = TimeSynchronizer(inputs, 10)
    synchroniser.registerCallback(lambda *args: got.append(args), "extra")
    info, colour = image(5, CameraInfo), image(5)
    inputs[1].signalMessage(info)
    inputs[0].signalMessage(image(4))
    assert not got
    inputs[0].signalMessage(colour)
    assert got == [(colour, info, "extra")]


def test_approximate_matches_lie_strictly_within_the_slop(inputs):
    got = collect(ApproximateTimeSynchronizer(inputs, 10, 0.010))
    inputs[0].signalMessage(image(0))
    inputs[1].signalMessage(image(10))
    assert got == []
    inputs[0].signalMessage(image(1))
    assert got == [(1, 10)]


def test_a_match_uses_the_closest_message_and_each_only_once(inputs):
    got = collect(ApproximateTimeSynchronizer(inputs, 10, 0.020))
    for stamp in (0, 8, 15):
        inputs[0].signalMessage(image(stamp))
    inputs[1].signalMessage(image(9))
    inputs[1].signalMessage(image(10))
    assert got == [(8, 9), (15, 10)]


def test_full_queue_drops_the_smallest_stamp(inputs):
    got = collect(TimeSynchronizer(inputs, 2))
    for stamp in (1, 2, 3):
        inputs[0].signalMessage(image(stamp))
    for stamp in (1, 2, 3):
        inputs[1].signalMessage(image(stamp))
    assert got == [(2, 2), (3, 3)]


def test_after_a_jump_back_a_new_synchroniser_matches_again(inputs):
    collect(ApproximateTimeSynchronizer(inputs, 2, 0.005))
    for stamp in (1000, 1001):
        inputs[0].signalMessage(image(stamp))
    fresh = SimpleFilter(), SimpleFilter()
    got = collect(ApproximateTimeSynchronizer(fresh, 2, 0.005))
    for source in fresh:
        source.signalMessage(image(1))
    assert got == [(1, 1)]


def test_message_without_header_needs_permission(inputs):
    strict = collect(ApproximateTimeSynchronizer(inputs, 10, 0.1))
    inputs[0].signalMessage(String())
    inputs[1].signalMessage(String())
    assert strict == []
    got = []
    relaxed = SimpleFilter(), SimpleFilter()
    synchroniser = ApproximateTimeSynchronizer(relaxed, 10, 5.0, allow_headerless=True)
    synchroniser.registerCallback(lambda *msgs: got.append(msgs))
    relaxed[0].signalMessage(String(data="a"))
    relaxed[1].signalMessage(String(data="b"))
    assert [tuple(m.data for m in msgs) for msgs in got] == [("a", "b")]


def test_cache_keeps_the_newest_and_finds_by_time(ros):
    source = SimpleFilter()
    cache = Cache(source, cache_size=3)
    for stamp in (10, 20, 30, 40):
        source.signalMessage(image(stamp))

    def time(milliseconds):
        # Of the clock that the cache uses for stamps.
        return Time(nanoseconds=milliseconds * 10**6, clock_type=cache.getOldestTime().clock_type)

    assert [millis(m) for m in cache.getInterval(time(0), time(35))] == [20, 30]
    assert millis(cache.getElemBeforeTime(time(35))) == 30
    assert millis(cache.getElemAfterTime(time(35))) == 40
    assert cache.getElemBeforeTime(time(15)) is None
    assert cache.getElemAfterTime(time(45)) is None
    assert cache.getOldestTime() == time(20)


def test_subscribers_synchronise_topics(spin):
    node = spin(rclpy.create_node("sync_test"))
    subscribers = [
        Subscriber(node, kind, topic, qos_profile=qos_profile_sensor_data)
        for kind, topic in ((Image, "sync/image"), (CameraInfo, "sync/info"))
    ]
    assert subscribers[0].topic == "sync/image"
    matched = threading.Event()
    synchroniser = message_filters.TimeSynchronizer(subscribers, 5)
    synchroniser.registerCallback(lambda *msgs: matched.set())
    publishers = [
        node.create_publisher(kind, topic, qos_profile_sensor_data)
        for kind, topic in ((Image, "sync/image"), (CameraInfo, "sync/info"))
    ]

    def send():
        stamp = node.get_clock().now().to_msg()
        for publisher, kind in zip(publishers, (Image, CameraInfo), strict=True):
            msg = kind()
            msg.header.stamp = stamp
            publisher.publish(msg)

    timer = node.create_timer(0.05, send)
    assert matched.wait(10.0)
    timer.cancel()
    for subscriber in subscribers:
        assert node.destroy_subscription(subscriber.sub)
