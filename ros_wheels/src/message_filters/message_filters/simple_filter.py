# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A source of messages with callbacks, and the one that subscribes to a topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.time import Time


class SimpleFilter:
    """Passes messages on to the callbacks that were registered."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self._next_connection = 0

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Calls ``cb(*messages, *args)`` for every match; returns the connection's number."""
        connection = self._next_connection
        self._next_connection += 1
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        for cb, args in list(self.callbacks.values()):
            cb(*msg, *args)


class Subscriber(SimpleFilter):
    """Subscribes ``node`` to a topic; what follows the topic goes to ``create_subscription``."""

    def __init__(self, node: Node, msg_type: Any, topic: str, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        qos = args[0] if args else kwargs.pop("qos_profile", 10)
        self.sub = node.create_subscription(
            msg_type, topic, self.callback, qos, *args[1:], **kwargs
        )

    def callback(self, msg: Any) -> None:
        self.signalMessage(msg)

    def getTopic(self) -> str:
        return self.topic


def stamp_of(msg: Any, allow_headerless: bool, hint: str) -> Time | None:
    """Returns the stamp of a message, or the arrival time, or None with a warning."""
    if hasattr(msg, "header") and hasattr(msg.header, "stamp"):
        return Time.from_msg(msg.header.stamp)
    if allow_headerless:
        return Clock(clock_type=ClockType.ROS_TIME).now()
    get_logger("message_filters").warning(
        f"{hint} got a {type(msg).__name__} without a header; the message is dropped. "
        "Pass allow_headerless=True to use the time of arrival"
    )
    return None
