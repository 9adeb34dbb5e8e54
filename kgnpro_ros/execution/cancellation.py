# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Ending a pick from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancellation:
    """A request to end one goal; may come before, while or after the goal runs.

    ``request`` may be called from any thread, more than once. It returns after the arm was told to
    stop.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._stop: Callable[[], None] | None = None

    @property
    def requested(self) -> bool:
        """The goal is to end."""
        return self._event.is_set()

    def request(self) -> None:
        """End the goal now; nothing happens when no goal runs."""
        self._event.set()
        with self._lock:
            if self._stop is not None:
                self._stop()

    def wait(self, seconds: float) -> bool:
        """Sleep, but not beyond a request; returns whether there was one."""
        return self._event.wait(seconds)

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """While inside, a request calls ``stop``; it is called at once if the request was first."""
        with self._lock:
            self._stop = stop
            if self.requested:
                stop()
        try:
            yield
        finally:
            with self._lock:
                self._stop = None
