# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""One subscribed topic: how fast it comes, and why it does not come."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import (
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.subscription import Subscription

RATE_WINDOW = 30
SUBSCRIPTION_DEPTH = 5
NOBODY = "nobody publishes it"
INCOMPATIBLE = "has incompatible quality of service"


class InputTopic:
    """A subscription that knows its rate and can explain its silence.

    Args:
        node: Subscribes.
        name: What people call it, for messages ("colour image").
        topic: Relative name, so that users can remap it.
        message_type: Of the messages.
        expected: What the content has to be, for messages.
        reliability: Asked of the publisher.
        callback: Gets each message.
        group: Callback group of the subscription.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        topic: str,
        message_type: type,
        expected: str,
        reliability: ReliabilityPolicy,
        callback: Callable[[Any], None],
        group: CallbackGroup,
    ) -> None:
        self.name = name
        self.count = 0
        self.last_stamp: float | None = None
        self._node = node
        self._relative = topic
        self._group = group
        self._type = message_type
        self._expected = expected
        self._qos = input_qos(reliability)
        self._callback = callback
        self._times: deque[float] = deque(maxlen=RATE_WINDOW)
        self._subscription: Subscription | None = None

    def open(self) -> None:
        """Subscribe; from now on the callback is called."""
        self._subscription = self._subscribe()

    def _subscribe(self) -> Subscription:
        # Without event handlers: rclpy's executor fails when one is destroyed while it waits, and
        # explain_silence tells what they would.
        return self._node.create_subscription(
            self._type, self._relative, self._on_message, self._qos, callback_group=self._group,
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        )  # fmt: skip

    def accept_best_effort(self) -> bool:
        """Subscribe again as best effort if that is all the publisher offers.

        Returns:
            Whether it was necessary.
        """
        if (
            self._subscription is None
            or self.count
            or self._qos.reliability != ReliabilityPolicy.RELIABLE
        ):
            return False
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        offered = {publisher.qos_profile.reliability for publisher in publishers}
        if offered != {ReliabilityPolicy.BEST_EFFORT}:
            return False
        self._node.destroy_subscription(self._subscription)
        self._qos = input_qos(ReliabilityPolicy.BEST_EFFORT)
        self._subscription = self._subscribe()
        return True

    @property
    def topic(self) -> str:
        """Name after remapping."""
        name: str = self._node.resolve_topic_name(self._relative)
        return name

    @property
    def age(self) -> float:
        """Time since the last message arrived [s]; infinite before the first."""
        return time.monotonic() - self._times[-1] if self._times else float("inf")

    @property
    def rate(self) -> float:
        """Messages per second over the last ones [Hz]; 0 when they stopped."""
        times = list(self._times)
        if len(times) < 2:
            return 0.0
        elapsed = times[-1] - times[0]
        silent = time.monotonic() - times[-1] > 3.0 * elapsed / (len(times) - 1) + 1.0
        return 0.0 if silent or elapsed <= 0 else (len(times) - 1) / elapsed

    def close(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _on_message(self, message: Any) -> None:
        self.count += 1
        self._times.append(time.monotonic())
        self._callback(message)

    def explain_silence(self) -> str:
        """Why nothing arrives, from what the graph shows."""
        kind, qos = type_name(self._type), self._qos.reliability.name.lower()
        intro = f"no {self.name} on {self.topic} ({kind}, {qos}, {self._expected})"
        if self.count:
            intro += f" for {self.age:.1f} s"
        problem = publisher_problem(self._node, self.topic, self._type, self._qos)
        if problem == NOBODY:
            return f"{intro}: " + ("its publisher is gone" if self.count else NOBODY)
        if not problem:
            return f"{intro}: {who_publishes(self._node, self.topic)} is there but sends nothing"
        return f"{intro}: {problem}{self._hint() if INCOMPATIBLE in problem else ''}"

    def _hint(self) -> str:
        if self._qos.reliability == ReliabilityPolicy.RELIABLE:
            return "; set the parameter reliability: auto or best_effort"
        return ""


def input_qos(reliability: ReliabilityPolicy) -> QoSProfile:
    """Quality of service of sensor data: newest messages, never latched."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=SUBSCRIPTION_DEPTH, reliability=reliability
    )


def publisher_problem(node: Node, topic: str, message_type: type, qos: QoSProfile) -> str:
    """Why nothing can arrive, from what the graph shows; empty where somebody can send.

    Args:
        node: Any that sees the graph.
        topic: Name after remapping.
        message_type: What is subscribed to.
        qos: Asked of the publisher.
    """
    publishers, kind = node.get_publishers_info_by_topic(topic), type_name(message_type)
    if not publishers:
        return NOBODY
    for publisher in publishers:
        who = f"node {publisher.node_name}"
        if publisher.topic_type != kind:
            return f"{who} publishes {publisher.topic_type} there; expected {kind}"
        verdict, why = qos_check_compatible(publisher.qos_profile, qos)
        if verdict == QoSCompatibility.ERROR:
            return f"{who} {INCOMPATIBLE}: {why.removeprefix('ERROR: ').rstrip('; ')}"
    return ""


def who_publishes(node: Node, topic: str) -> str:
    """Name of the first node that publishes a topic."""
    return next((p.node_name for p in node.get_publishers_info_by_topic(topic)), "its publisher")


def type_name(message_type: type) -> str:
    """Name of an interface type as the graph has it, such as ``sensor_msgs/msg/Image``."""
    package, kind = message_type.__module__.split(".")[:2]
    return f"{package}/{kind}/{message_type.__name__}"
