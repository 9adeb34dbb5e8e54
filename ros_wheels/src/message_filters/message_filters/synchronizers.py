# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Synchronisers: one callback for messages of several topics that belong together."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

from rclpy.duration import Duration

from .simple_filter import SimpleFilter, stamp_of


class TimeSynchronizer(SimpleFilter):
    """Passes on messages with identical stamps, in the order of the filters ``fs``.

    Each topic has a queue of ``queue_size`` messages; when it is full, the message with the
    smallest stamp leaves, as upstream does it.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        stamp = stamp_of(msg, False, type(self).__name__)
        if stamp is not None:
            self._insert(stamp.nanoseconds, msg, my_queue)

    def _insert(self, stamp: int, msg: Any, queue: dict[int, Any]) -> None:
        # The callback runs under the lock, so that matches arrive in order; `with` gives the
        # lock back when the callback raises.
        with self.lock:
            queue[stamp] = msg
            while len(queue) > self.queue_size:
                del queue[min(queue)]
            for stamps in self._matches(stamp, queue):
                matched = [q.pop(s) for q, s in zip(self.queues, stamps, strict=True)]
                self.signalMessage(*matched)

    def _matches(self, stamp: int, queue: dict[int, Any]) -> list[tuple[int, ...]]:
        """Returns the stamps, one for each queue, of the set that the new message completes."""
        if stamp in queue and all(stamp in q for q in self.queues):
            return [(stamp,) * len(self.queues)]
        return []


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Passes on messages whose stamps differ by less than ``slop`` seconds.

    A new message is matched with the closest messages of the other queues. The bound is strict:
    ``slop=0.0`` never matches.
    """

    def __init__(
        self,
        fs: Sequence[SimpleFilter],
        queue_size: int,
        slop: float,
        allow_headerless: bool = False,
    ) -> None:
        super().__init__(fs, queue_size)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        stamp = stamp_of(msg, self.allow_headerless, type(self).__name__)
        if stamp is not None:
            self._insert(stamp.nanoseconds, msg, my_queue)

    def _matches(self, stamp: int, queue: dict[int, Any]) -> list[tuple[int, ...]]:
        if stamp not in queue:  # older than everything in a full queue: it left at once
            return []
        slop = self.slop.nanoseconds
        choices = []
        for other in self.queues:
            near = [stamp] if other is queue else [s for s in other if abs(s - stamp) < slop]
            choices.append(sorted(near, key=lambda s: abs(s - stamp)))
        for stamps in itertools.product(*choices):
            if max(stamps) - min(stamps) < slop:
                return [stamps]
        return []
