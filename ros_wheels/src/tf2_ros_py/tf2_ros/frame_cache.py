# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What is known about one frame: its parent and its pose in it, over time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from .exceptions import ExtrapolationException
from .rigid import Rigid


class StaticFrame:
    """A frame that never moves in its parent."""

    is_static = True

    def __init__(self, parent: str, pose: Rigid) -> None:
        self._parent = parent
        self._pose = pose

    def parent(self, stamp: int) -> str:
        return self._parent

    def pose(self, stamp: int, query: str) -> Rigid:
        return self._pose


class DynamicFrame:
    """Poses of a moving frame, ordered by stamp [ns], for ``cache_time`` [ns] back."""

    is_static = False

    def __init__(self, cache_time: int) -> None:
        self._cache_time = cache_time
        self._stamps: list[int] = []
        self._entries: list[tuple[str, Rigid]] = []

    def insert(self, stamp: int, parent: str, pose: Rigid) -> str | None:
        """Adds one pose; returns why it was not taken, or None."""
        if self._stamps and stamp < self._stamps[-1] - self._cache_time:
            return "it is older than the buffer reaches back"
        position = bisect_left(self._stamps, stamp)
        if position < len(self._stamps) and self._stamps[position] == stamp:
            return "there is one with this stamp already"
        self._stamps.insert(position, stamp)
        self._entries.insert(position, (parent, pose))
        expired = bisect_left(self._stamps, self._stamps[-1] - self._cache_time)
        del self._stamps[:expired], self._entries[:expired]
        return None

    def latest(self) -> int | None:
        return self._stamps[-1] if self._stamps else None

    def clear(self) -> None:
        self._stamps.clear()
        self._entries.clear()

    def parent(self, stamp: int) -> str | None:
        """Returns the parent at ``stamp``; outside of the known times, the closest one."""
        if not self._entries:
            return None
        return self._entries[max(0, bisect_right(self._stamps, stamp) - 1)][0]

    def pose(self, stamp: int, query: str) -> Rigid:
        position = bisect_left(self._stamps, stamp)
        if position < len(self._stamps) and self._stamps[position] == stamp:
            return self._entries[position][1]
        if position in (0, len(self._stamps)):
            raise ExtrapolationException(self._extrapolation(stamp, position, query))
        before, after = self._entries[position - 1], self._entries[position]
        if before[0] != after[0]:  # got another parent in between: no path to interpolate on
            return before[1]
        span = self._stamps[position] - self._stamps[position - 1]
        ratio = (stamp - self._stamps[position - 1]) / span
        return before[1].interpolate(after[1], ratio)

    def _extrapolation(self, stamp: int, position: int, query: str) -> str:
        if len(self._stamps) == 1:
            direction, bound = "", f"only time is {seconds(self._stamps[0])}"
        elif position == 0:
            direction, bound = (
                " into the past",
                f"earliest data is at time {seconds(self._stamps[0])}",
            )
        else:
            direction, bound = (
                " into the future",
                f"latest data is at time {seconds(self._stamps[-1])}",
            )
        return (
            f"Lookup would require extrapolation{direction}. Requested time {seconds(stamp)} "
            f"but the {bound}, when looking up transform {query}"
        )


def seconds(stamp: int) -> str:
    """Formats nanoseconds as seconds without rounding."""
    return f"{stamp // 10**9}.{stamp % 10**9:09d}"
