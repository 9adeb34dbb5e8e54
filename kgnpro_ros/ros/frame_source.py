# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""From topics to the newest RGB-D frame: subscriptions, pairing by stamp, and one slot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from message_filters import ApproximateTimeSynchronizer, SimpleFilter
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image

from kgnpro_ros.config import NodeConfig
from kgnpro_ros.ros.conversions import COLOR_ENCODINGS, DEPTH_ENCODINGS, MASK_ENCODINGS
from kgnpro_ros.ros.inputs import NOBODY, InputTopic
from kgnpro_ros.ros.problems import ProblemLog


@dataclass(frozen=True)
class Frame:
    """Messages that belong together.

    Attributes:
        number: Counts the frames of a source from 1.
        color, depth: Paired by their stamps.
        info: The newest camera_info when they were paired.
        mask: Paired too, where the source subscribes to it.
        received: Time of arrival, monotonic clock [s].
    """

    number: int
    color: Image
    depth: Image
    info: CameraInfo
    mask: Image | None
    received: float


class FrameSource:
    """Subscribes to a camera and keeps its newest frame.

    Callbacks only store: nothing slow happens in them. A time that jumps back (a recording that
    starts again, a simulator that was reset) restarts the pairing.

    Args:
        node: Subscribes.
        config: Of the node.
        problems: Where time jumps are reported.
        on_frame: Called after a new frame is in the slot; must return at once.
    """

    def __init__(
        self, node: Node, config: NodeConfig, problems: ProblemLog, on_frame: Callable[[], None]
    ) -> None:
        self._config = config
        self._problems = problems
        self._on_frame = on_frame
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._info: CameraInfo | None = None
        self._frames = 0
        self._refused = ""
        self._closed = False
        self._started = time.monotonic()
        self._last_pair = self._started
        self._pairing: dict[str, SimpleFilter] = {}
        self.inputs = self._make_inputs(node)
        self._restart()
        for item in self.inputs.values():
            item.open()

    def _make_inputs(self, node: Node) -> dict[str, InputTopic]:
        best_effort = self._config.reliability == "best_effort"
        qos = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        group = MutuallyExclusiveCallbackGroup()

        def image(
            key: str, name: str, topic: str, encodings: tuple[str, ...], frame: str
        ) -> InputTopic:
            expected = f"encodings {', '.join(encodings)}, in {frame}"
            return InputTopic(
                node, name, topic, Image, expected, qos, lambda m: self._on_image(key, m), group
            )

        same = "the frame of the colour image"
        if self._config.depth_is_registered:
            same = "any frame"
        inputs = {
            "color": image(
                "color", "colour image", "color/image_raw", COLOR_ENCODINGS, "its optical frame"
            ),
            "depth": image("depth", "depth image", "depth/image_raw", DEPTH_ENCODINGS, same),
        }
        if self._config.use_mask:
            inputs["mask"] = image("mask", "mask", "mask", MASK_ENCODINGS, same)
        inputs["info"] = InputTopic(
            node, "camera_info", "color/camera_info", CameraInfo, "with fx in k[0]", qos,
            self._on_info, group,
        )  # fmt: skip
        return inputs

    @property
    def frames(self) -> int:
        """How many frames were paired so far."""
        return self._frames

    def newest(self) -> Frame | None:
        """The newest frame, or None before the first."""
        with self._changed:
            return self._newest

    def wait_newer(self, number: int, deadline: float) -> Frame | None:
        """The newest frame after a given one.

        Args:
            number: Frames up to this number will not do.
            deadline: Until when to wait, monotonic clock [s].

        Returns:
            The frame, or None when the deadline passed or the source was closed.
        """
        with self._changed:
            while not self._closed:
                if self._newest is not None and self._newest.number > number:
                    return self._newest
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                self._changed.wait(remaining)
        return None

    def close(self) -> None:
        """End the subscriptions and wake everyone who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for item in self.inputs.values():
            item.close()

    def adapt(self) -> None:
        """Accept publishers that offer no reliable delivery, if the configuration says so."""
        if self._config.reliability == "auto" and not self._closed:
            for item in self.inputs.values():
                item.accept_best_effort()

    def waiting_for(self, silence: float) -> str:
        """What keeps frames from coming, or an empty string when they come.

        Args:
            silence: An input counts as missing after this time without a message [s].
        """
        now = time.monotonic()
        if now - self._started < silence or now - self._last_pair < silence:
            return ""
        # Once is enough for camera_info: some drivers send it a single time.
        silent = [self.inputs[key] for key in self._pairing if self.inputs[key].age > silence]
        if self._info is None:
            silent.append(self.inputs["info"])
        if silent:
            text = "; ".join(item.explain_silence() for item in silent)
            hint = ": start the camera, or remap the topics of this node"
            return text + hint if NOBODY in text else text
        if self._refused:
            return self._refused
        stamps = {key: self.inputs[key].last_stamp or 0.0 for key in self._pairing}
        gap = max(stamps.values()) - min(stamps.values())
        names = " and ".join(self.inputs[key].name for key in self._pairing)
        return (
            f"{names} arrive but do not pair: their newest stamps are {gap:.3f} s apart; expected "
            f"less than sync_slop, {self._config.sync_slop} s: synchronise the streams "
            "(RealSense: enable_sync:=true), or raise sync_slop"
        )

    def _restart(self) -> None:
        """Start pairing with empty queues; the old synchroniser is simply dropped."""
        keys = [key for key in self.inputs if key != "info"]
        self._pairing = {key: SimpleFilter() for key in keys}
        synchronizer = ApproximateTimeSynchronizer(
            list(self._pairing.values()), self._config.sync_queue, self._config.sync_slop
        )
        synchronizer.registerCallback(self._on_pair)

    def _on_image(self, key: str, message: Image) -> None:
        item = self.inputs[key]
        seconds = message.header.stamp.sec
        if seconds < 0:
            # rclpy has no such time: it would raise, here and in the pairing.
            self._refused = (
                f"the {item.name} on {item.topic} is stamped {seconds} s; expected the time of its "
                "exposure, not one before 1970"
            )
            self._problems.report(self._refused)
            return
        stamp = Time.from_msg(message.header.stamp).nanoseconds * 1e-9
        last, item.last_stamp = item.last_stamp, stamp
        if last is not None and stamp < last - self._config.time_jump:
            self._on_jump(item, last - stamp)
            item.last_stamp = stamp
        self._pairing[key].signalMessage(message)

    def _on_jump(self, item: InputTopic, amount: float) -> None:
        self._problems.report(
            f"the stamps of {item.topic} jumped back by {amount:.3f} s; expected rising stamps "
            "(a recording that started again, or a simulator that was reset): pairing starts anew",
            error=False,
        )
        # The other inputs jump too: what they had before must not count as a jump of its own.
        for other in self.inputs.values():
            other.last_stamp = None
        with self._changed:
            self._newest = None
        self._restart()

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_pair(self, *messages: Any) -> None:
        if self._info is None:
            return
        pair = dict(zip(self._pairing, messages, strict=True))
        with self._changed:
            self._last_pair = time.monotonic()
            self._refused = ""
            self._frames += 1
            self._newest = Frame(
                self._frames, pair["color"], pair["depth"], self._info, pair.get("mask"),
                self._last_pair,
            )  # fmt: skip
            self._changed.notify_all()
        self._on_frame()
