# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Transforms from tf2 as matrices, with errors that say what to start."""

from __future__ import annotations

from builtin_interfaces.msg import Time as TimeMsg
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from tf2_ros import Buffer, ExtrapolationException, TransformException, TransformListener

from kgnpro_ros.exceptions import FrameError
from kgnpro_ros.ros.conversions import matrix_from_transform
from kgnpro_ros.types import FloatArray


class TransformSource:
    """Listens to /tf and /tf_static. Lookups may wait, so never call them from its callbacks."""

    def __init__(self, node: Node) -> None:
        self._buffer = Buffer(node=node)
        self._listener = TransformListener(self._buffer, node)

    def lookup(
        self, target: str, source: str, stamp: TimeMsg, timeout: float, latest: bool = False
    ) -> FloatArray:
        """``T_target_source`` at the time of an image.

        Args:
            target: Frame that the result maps into.
            source: Frame that it maps from.
            stamp: Time of the image.
            timeout: Longest wait [s].
            latest: Take the newest transform where there is none at that time.

        Returns:
            Transform, shape (4, 4).

        Raises:
            FrameError: If there is no such transform.
        """
        if stamp.sec < 0:
            raise FrameError(
                f"the transform from {source!r} to {target!r} is asked for at {stamp.sec} s; "
                "expected a stamp that is not negative"
            )
        try:
            return self._lookup(target, source, Time.from_msg(stamp), timeout)
        except ExtrapolationException as error:
            if latest:
                return self._lookup_latest(target, source)
            raise FrameError(
                f"no transform from {source!r} to {target!r} at the stamp of the image within "
                f"{timeout:.1f} s: {error}; expected TF and images with the same clock"
            ) from error
        except TransformException as error:
            raise _missing(target, source, timeout, error) from error

    def _lookup(self, target: str, source: str, time: Time, timeout: float) -> FloatArray:
        found = self._buffer.lookup_transform(target, source, time, Duration(seconds=timeout))
        return matrix_from_transform(found.transform)

    def _lookup_latest(self, target: str, source: str) -> FloatArray:
        try:
            return self._lookup(target, source, Time(), 0.0)
        except TransformException as error:
            raise _missing(target, source, 0.0, error) from error


def _missing(target: str, source: str, timeout: float, error: Exception) -> FrameError:
    return FrameError(
        f"no transform from {source!r} to {target!r} within {timeout:.1f} s: {error} Expected "
        "both in one TF tree: is the static or hand-eye transform of the camera published?"
    )
