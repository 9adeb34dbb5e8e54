# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Transforming stamped messages with whatever can look transforms up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time
from std_msgs.msg import Header

# Default of every timeout: answer at once.
NO_WAIT = Duration()


class TypeException(Exception):
    """Nobody registered how to transform this type."""

    def __init__(self, errstr: str) -> None:
        super().__init__(errstr)
        self.errstr = errstr


class NotImplementedException(Exception):
    """A subclass of BufferInterface lacks a method."""

    def __init__(self) -> None:
        self.errstr = "lookup_transform or can_transform is not implemented"
        super().__init__(self.errstr)


class TransformRegistration:
    """How to transform each message type; shared by all buffers."""

    _functions: ClassVar[dict[type, Callable[[Any, TransformStamped], Any]]] = {}

    def add(self, key: type, callback: Callable[[Any, TransformStamped], Any]) -> None:
        self._functions[key] = callback

    def get(self, key: type) -> Callable[[Any, TransformStamped], Any]:
        if key not in self._functions:
            raise TypeException(
                f"cannot transform a {key.__name__}; for geometry_msgs import tf2_geometry_msgs"
            )
        return self._functions[key]


class BufferInterface:
    """What a buffer offers, given that it can look transforms up."""

    def __init__(self) -> None:
        self.registration = TransformRegistration()

    def transform(self, object_stamped: Any, target_frame: str, timeout: Duration = NO_WAIT) -> Any:
        """Returns a stamped message expressed in ``target_frame``, at its own stamp."""
        do_transform = self.registration.get(type(object_stamped))
        header = object_stamped.header
        return do_transform(
            object_stamped,
            self.lookup_transform(
                target_frame, header.frame_id, Time.from_msg(header.stamp), timeout
            ),
        )

    def transform_full(
        self,
        object_stamped: Any,
        target_frame: str,
        target_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
    ) -> Any:
        """Returns a stamped message expressed in ``target_frame`` at another time."""
        do_transform = self.registration.get(type(object_stamped))
        header = object_stamped.header
        return do_transform(
            object_stamped,
            self.lookup_transform_full(
                target_frame,
                target_time,
                header.frame_id,
                Time.from_msg(header.stamp),
                fixed_frame,
                timeout,
            ),
        )

    def lookup_transform(self, *args: Any, **kwargs: Any) -> TransformStamped:
        raise NotImplementedException

    def lookup_transform_full(self, *args: Any, **kwargs: Any) -> TransformStamped:
        raise NotImplementedException

    def can_transform(self, *args: Any, **kwargs: Any) -> bool:
        raise NotImplementedException

    def can_transform_full(self, *args: Any, **kwargs: Any) -> bool:
        raise NotImplementedException


def Stamped(obj: Any, stamp: Any, frame_id: str) -> Any:
    """Gives ``obj`` a header and returns it."""
    obj.header = Header(frame_id=frame_id, stamp=stamp)
    return obj
