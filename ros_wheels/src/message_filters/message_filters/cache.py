# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A cache of the newest messages, ordered by stamp."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from rclpy.time import Time

from .simple_filter import SimpleFilter, stamp_of


class Cache(SimpleFilter):
    """Keeps the ``cache_size`` messages with the newest stamps and passes every message on."""

    def __init__(
        self, f: SimpleFilter | None = None, cache_size: int = 1, allow_headerless: bool = False
    ) -> None:
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self.cache_msgs: list[Any] = []
        self.cache_times: list[Time] = []
        if f is not None:
            self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        stamp = stamp_of(msg, self.allow_headerless, "Cache")
        if stamp is None:
            return
        position = bisect_right(self._keys(), stamp.nanoseconds)
        self.cache_msgs.insert(position, msg)
        self.cache_times.insert(position, stamp)
        if len(self.cache_msgs) > self.cache_size:
            del self.cache_msgs[0], self.cache_times[0]
        self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:
        """Returns the messages between the two stamps, both included."""
        keys = self._keys()
        first = bisect_left(keys, from_stamp.nanoseconds)
        return self.cache_msgs[first : bisect_right(keys, to_stamp.nanoseconds)]

    def getElemAfterTime(self, stamp: Time) -> Any | None:
        """Returns the oldest message at or after ``stamp``."""
        position = bisect_left(self._keys(), stamp.nanoseconds)
        return self.cache_msgs[position] if position < len(self.cache_msgs) else None

    def getElemBeforeTime(self, stamp: Time) -> Any | None:
        """Returns the newest message at or before ``stamp``."""
        position = bisect_right(self._keys(), stamp.nanoseconds)
        return self.cache_msgs[position - 1] if position > 0 else None

    def getLatestTime(self) -> Time | None:
        return self.cache_times[-1] if self.cache_times else None

    getLastestTime = getLatestTime  # upstream's older spelling, which people still call

    def getOldestTime(self) -> Time | None:
        return self.cache_times[0] if self.cache_times else None

    def getLast(self) -> Any | None:
        return self.cache_msgs[-1] if self.cache_msgs else None

    def _keys(self) -> list[int]:
        return [stamp.nanoseconds for stamp in self.cache_times]
