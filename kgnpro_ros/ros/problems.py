# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Complaints of a node: each kind once, then at most every so many seconds."""

from __future__ import annotations

import re
import threading
import time

from rclpy.impl.rcutils_logger import RcutilsLogger


class ProblemLog:
    """Logs problems without flooding the terminal and remembers the last one.

    Messages that differ only in their numbers are the same problem.

    Args:
        logger: Of the node.
        period: The same problem is repeated at most this often [s].
    """

    def __init__(self, logger: RcutilsLogger, period: float) -> None:
        self._logger = logger
        self._period = period
        self._logged: dict[str, float] = {}
        self._lock = threading.Lock()
        self._last = ""
        self._last_time = 0.0

    @property
    def last(self) -> str:
        """The newest problem with its age, or an empty string."""
        with self._lock:
            if not self._last:
                return ""
            return f"{self._last} ({time.monotonic() - self._last_time:.0f} s ago)"

    @property
    def unresolved(self) -> bool:
        """Whether a problem was reported after things last worked."""
        with self._lock:
            return bool(self._logged)

    def report(self, message: str, *, error: bool = True) -> None:
        """Note a problem, and log it unless the same one was logged a short while ago."""
        kind = re.sub(r"-?\d[\d.]*(e[+-]?\d+)?", "#", message)
        now = time.monotonic()
        with self._lock:
            self._last, self._last_time = message, now
            if now - self._logged.get(kind, -self._period) < self._period:
                return
            self._logged[kind] = now
        # Two calls: rclpy refuses one call site that logs with changing severity.
        if error:
            self._logger.error(message)
        else:
            self._logger.warning(message)

    def resolved(self, message: str) -> None:
        """Say that things work (again), once after each problem."""
        with self._lock:
            if not self._logged:
                return
            self._logged.clear()
        self._logger.info(message)
