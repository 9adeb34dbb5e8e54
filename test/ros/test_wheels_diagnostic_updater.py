# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Publishing diagnostics: upstream's diagnostic_updater or that of ros_wheels."""

from __future__ import annotations

import queue
import time

import diagnostic_updater
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from diagnostic_updater import (
    DiagnosticStatusWrapper,
    FrequencyStatus,
    FrequencyStatusParam,
    HeaderlessTopicDiagnostic,
    TimeStampStatus,
    TimeStampStatusParam,
    TopicDiagnostic,
    Updater,
)


def values(status):
    return {item.key: item.value for item in status.values}


@pytest.fixture
def published(spin):
    """A node with an updater that never fires by itself, and what arrives on /diagnostics."""
    listener = spin(rclpy.create_node("diagnostics_listener"))
    arrived = queue.Queue()
    listener.create_subscription(DiagnosticArray, "/diagnostics", arrived.put, 10)
    node = spin(rclpy.create_node("diagnosed"))
    updater = Updater(node, period=1000.0)
    deadline = time.monotonic() + 10.0
    while node.count_subscribers("/diagnostics") == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    return updater, arrived


def wait_for(arrived, message):
    """Returns the next status with this message."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        for status in arrived.get(timeout=10.0).status:
            if status.message == message:
                return status
    raise AssertionError(f"no status with message {message!r}")


def test_function_fills_the_status(published):
    updater, arrived = published
    updater.setHardwareID("camera-7")

    def task(stat):
        stat.summary(DiagnosticStatus.WARN, "depth is late")
        stat.add("delay [ms]", "41")
        return stat

    updater.add("depth", task)
    updater.force_update()
    status = wait_for(arrived, "depth is late")
    assert status.name == "diagnosed: depth"
    assert status.level == DiagnosticStatus.WARN
    assert status.hardware_id == "camera-7"
    assert values(status) == {"delay [ms]": "41"}


def test_rates_are_judged_against_their_bounds(ros):
    bounds = {"min": 5.0, "max": 1e9}
    frequency = FrequencyStatus(FrequencyStatusParam(bounds, tolerance=0.0, window_size=2))
    assert frequency.run(DiagnosticStatusWrapper()).level == DiagnosticStatus.ERROR
    for _ in range(1000):
        frequency.tick()
    time.sleep(0.01)
    status = frequency.run(DiagnosticStatusWrapper())
    assert status.level == DiagnosticStatus.OK
    assert float(values(status)["Actual frequency (Hz)"]) > 5.0
    bounds["max"] = 6.0
    for _ in range(1000):
        frequency.tick()
    assert frequency.run(DiagnosticStatusWrapper()).level == DiagnosticStatus.WARN


def test_stamps_are_judged_by_their_age(ros):
    stamps = TimeStampStatus(TimeStampStatusParam(min_acceptable=-1, max_acceptable=5))
    now = rclpy.clock.Clock(clock_type=rclpy.clock.ClockType.ROS_TIME).now().nanoseconds / 1e9
    for stamp, level in (
        (now, DiagnosticStatus.OK),
        (now - 60.0, DiagnosticStatus.ERROR),
        (now + 60.0, DiagnosticStatus.ERROR),
    ):
        stamps.tick(stamp)
        assert stamps.run(DiagnosticStatusWrapper()).level == level


def test_topic_diagnostics_add_themselves(published):
    updater, arrived = published
    params = FrequencyStatusParam({"min": 0.0, "max": 1e9})
    headerless = HeaderlessTopicDiagnostic("grasps", updater, params)
    stamped = TopicDiagnostic("colour", updater, params, TimeStampStatusParam())
    headerless.tick()
    stamped.tick(updater.node.get_clock().now())
    updater.force_update()
    names = set()
    deadline = time.monotonic() + 10.0
    expected = {"diagnosed: grasps topic status", "diagnosed: colour topic status"}
    while names != expected and time.monotonic() < deadline:
        for status in arrived.get(timeout=10.0).status:
            if any("frequency" in item.key for item in status.values):
                names.add(status.name)
    assert names == expected


def test_merging_keeps_the_worse_level():
    status = DiagnosticStatusWrapper()
    status.summary(DiagnosticStatus.WARN, "slow")
    status.mergeSummary(DiagnosticStatus.OK, "fine")
    assert (status.level, status.message) == (DiagnosticStatus.WARN, "slow")
    status.mergeSummary(DiagnosticStatus.ERROR, "broken")
    assert status.level == DiagnosticStatus.ERROR
    assert "slow" in status.message
    assert "broken" in status.message
    assert diagnostic_updater.DiagnosticStatusWrapper is DiagnosticStatusWrapper
