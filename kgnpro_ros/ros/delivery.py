# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Messages that the middleware does not take: they are lost and said to be, the node goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.impl.rcutils_logger import RcutilsLogger

#: rclpy's error has no public name; its text begins "Failed to publish" or names the feedback.
RCL_ERROR, PUBLISHING = "RCLError", "publish"
#: Least time between two warnings [s].
WARNING_PERIOD = 5.0


@contextmanager
def may_be_lost(logger: RcutilsLogger) -> Iterator[None]:
    """Publishing that must not end what it is part of.

    A reliable writer of Fast DDS gives a message up after 0.1 s, for instance on a machine with too
    little processor time or beside a reader that is stuck, and rclpy raises that. To a camera or an
    arm in the middle of a motion it is one message less.

    Args:
        logger: Gets a warning, not more often than every 5 s.

    Raises:
        RuntimeError: Whatever else rclpy raises.
    """
    try:
        yield
    except RuntimeError as error:
        if type(error).__name__ != RCL_ERROR or PUBLISHING not in str(error).lower():
            raise
        logger.warning(
            f"a message is lost: {error}; expected the middleware to take it within 0.1 s: is the "
            "machine overloaded, or a subscriber stuck?",
            throttle_duration_sec=WARNING_PERIOD,
        )
