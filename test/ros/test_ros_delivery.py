# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Messages that the middleware refuses end neither a node nor what it is doing."""

import signal

import pytest
from rclpy._rclpy_pybind11 import RCLError
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node

from kgnpro_ros.ros import spinning
from kgnpro_ros.ros.delivery import may_be_lost

REFUSED = "Failed to publish: cannot publish data, at rmw_publish.cpp:68"


class Listening:
    def __init__(self):
        self.warnings = []

    def warning(self, text, **_):
        self.warnings.append(text)


@pytest.mark.parametrize("text", [REFUSED, REFUSED.replace("publish:", "publish feedback:")])
def test_a_refused_message_is_a_warning(text):
    logger = Listening()
    with may_be_lost(logger):
        raise RCLError(text)
    assert len(logger.warnings) == 1
    assert text in logger.warnings[0]


@pytest.mark.parametrize(
    "error", [RCLError("failed to create guard condition"), RuntimeError(REFUSED), ValueError("x")]
)
def test_other_errors_pass(error):
    logger = Listening()
    with pytest.raises(type(error)), may_be_lost(logger):
        raise error
    assert not logger.warnings


class Unlucky(Node):
    """Has a timer whose first two messages are refused; at the fourth it is told to end."""

    def __init__(self):
        super().__init__("unlucky")
        self.ticks = 0
        self.create_timer(0.02, self.tick)

    def tick(self):
        self.ticks += 1
        if self.ticks <= 2:
            raise RCLError(REFUSED)
        if self.ticks == 4:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def handlers():
    """The signal handlers of pytest, again afterwards."""
    before = {number: signal.getsignal(number) for number in spinning.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("executor", [SingleThreadedExecutor, MultiThreadedExecutor])
@pytest.mark.reliability("fault: refused messages")
def test_a_node_goes_on_after_a_refused_message(ros, handlers, executor):
    nodes = []

    def make():
        nodes.append(Unlucky())
        return nodes[0]

    spinning._spin(make, executor)
    assert nodes[0].ticks >= 4
