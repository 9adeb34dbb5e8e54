# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The buffer that nodes use: queries that can wait, and clearing when time jumps back."""

from __future__ import annotations

import threading
import time as steady
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time
from tf2_msgs.srv import FrameGraph

from .buffer_core import BufferCore
from .buffer_interface import NO_WAIT, BufferInterface


class Buffer(BufferCore, BufferInterface):
    """Transforms of the last ``cache_time`` (10 s unless told).

    With ``node``, it serves ``tf2_frames`` and follows the node's clock: when time jumps back,
    the moving frames are forgotten.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        BufferCore.__init__(self, cache_time)
        BufferInterface.__init__(self)
        self._changed = threading.Condition()
        self._waiting: list[Callable[[], None]] = []
        if node is not None:
            self.srv = node.create_service(FrameGraph, "tf2_frames", self._on_frame_graph)
            threshold = JumpThreshold(
                min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True
            )
            self.jump_handle = node.get_clock().create_jump_callback(
                threshold, post_callback=self.time_jump_callback
            )

    def time_jump_callback(self, time_jump: TimeJump) -> None:
        get_logger("tf2_buffer").warning("time jumped back: clearing the transform buffer")
        self.clear()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        super().set_transform(transform, authority)
        self._notify()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        super().set_transform_static(transform, authority)
        self._notify()

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration = NO_WAIT
    ) -> TransformStamped:
        """Returns the transform from source into target; ``Time()`` means the latest.

        A timeout above 0 blocks this thread until another one delivers the transform.
        """
        self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
    ) -> TransformStamped:
        """Returns source at its time in target at its time, through a frame that stands still."""
        query = (target_frame, target_time, source_frame, source_time, fixed_frame)
        self.can_transform_full(*query, timeout)
        return self.lookup_transform_full_core(*query)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> Any:
        """Returns whether the lookup would succeed; optionally with the reason."""
        result = self._wait(
            lambda: self.can_transform_core(target_frame, source_frame, time), timeout
        )
        return result if return_debug_tuple else result[0]

    def can_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> Any:
        """Returns whether the full lookup would succeed; optionally with the reason."""
        query = (target_frame, target_time, source_frame, source_time, fixed_frame)
        result = self._wait(lambda: self.can_transform_full_core(*query), timeout)
        return result if return_debug_tuple else result[0]

    def wait_for_transform_async(self, target_frame: str, source_frame: str, time: Time) -> Future:
        """Returns a future that gets the transform once it is available."""
        query = (target_frame, source_frame, time)
        return self._future(
            lambda: self.can_transform_core(*query)[0],
            lambda: self.lookup_transform_core(*query),
        )

    def wait_for_transform_full_async(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
    ) -> Future:
        """Returns a future that gets the full transform once it is available."""
        query = (target_frame, target_time, source_frame, source_time, fixed_frame)
        return self._future(
            lambda: self.can_transform_full_core(*query)[0],
            lambda: self.lookup_transform_full_core(*query),
        )

    async def lookup_transform_async(
        self, target_frame: str, source_frame: str, time: Time
    ) -> TransformStamped:
        return await self.wait_for_transform_async(target_frame, source_frame, time)

    async def lookup_transform_full_async(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
    ) -> TransformStamped:
        return await self.wait_for_transform_full_async(
            target_frame, target_time, source_frame, source_time, fixed_frame
        )

    def _on_frame_graph(
        self, request: FrameGraph.Request, response: FrameGraph.Response
    ) -> FrameGraph.Response:
        response.frame_yaml = self.all_frames_as_yaml()
        return response

    def _wait(self, check: Callable[[], tuple[bool, str]], timeout: Duration) -> tuple[bool, str]:
        deadline = steady.monotonic() + timeout.nanoseconds / 1e9
        with self._changed:
            while not (result := check())[0]:
                remaining = deadline - steady.monotonic()
                if remaining <= 0.0:
                    break
                self._changed.wait(remaining)
        return result

    def _future(self, ready: Callable[[], bool], lookup: Callable[[], TransformStamped]) -> Future:
        future = Future()

        def attempt() -> None:
            if not future.done() and ready():
                future.set_result(lookup())

        with self._changed:
            attempt()
            if not future.done():
                self._waiting.append(attempt)
                future.add_done_callback(lambda _: self._forget(attempt))
        return future

    def _forget(self, attempt: Callable[[], None]) -> None:
        with self._changed:
            if attempt in self._waiting:
                self._waiting.remove(attempt)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
            waiting = list(self._waiting)
        for attempt in waiting:
            attempt()
