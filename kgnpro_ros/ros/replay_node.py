# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``rgbd_replay``: folders of colour, depth and camera files as a camera.

Publishes under the RealSense topic names: rgb8 colour, 16UC1 depth [mm] registered to it, and the
static transforms base -> camera_link -> camera_color_optical_frame.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rclpy.node import Node
from std_srvs.srv import Trigger

from kgnpro_ros.config import ReplayConfig
from kgnpro_ros.exceptions import ConfigError, ImageError, KGNProError
from kgnpro_ros.predictions import find_frames, read_frame
from kgnpro_ros.ros.camera_publisher import (
    CameraMessages,
    CameraPublisher,
    camera_link_pose,
    make_messages,
)
from kgnpro_ros.ros.clock_watch import ClockWatch
from kgnpro_ros.ros.inputs import type_name
from kgnpro_ros.ros.params import Parameters, fixed_at_start
from kgnpro_ros.ros.spinning import run_node

NODE_NAME, NEXT = "rgbd_replay", "~/next"


@dataclass(frozen=True)
class StoredFrame:
    """One frame, ready to publish.

    Attributes:
        name: Of its folder.
        messages: Its images and intrinsics.
    """

    name: str
    messages: CameraMessages


class ReplayNode(Node):
    """Publishes the frames of a folder in a row.

    Raises:
        KGNProError: If the parameters are not valid or no frame can be read.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(NODE_NAME, **options)
        self._settings = Parameters(self, ReplayConfig(), may_change=fixed_at_start)
        self._config = self._settings.get(ReplayConfig)
        self._frames = self._load()
        self._index = 0
        self._shown_since: float | None = None
        pose = camera_link_pose(self._config.camera_pose)
        self._camera = CameraPublisher(
            self, self._config.reliability, self._config.base_frame, pose
        )
        self._next_service = self.create_service(Trigger, NEXT, self._on_next)
        self._current_service = self.create_service(Trigger, "~/current", self._on_current)
        self._timer = self.create_timer(1.0 / self._config.rate, self._publish)
        self._clock_watch = ClockWatch(self)
        names = ", ".join(frame.name for frame in self._frames)
        period, call = self._config.frame_period, f"calls of {self.resolve_service_name(NEXT)}"
        until = f"the next comes after {period:g} s or on {call}" if period > 0 else (
            f"waiting for {call} to show the next")  # fmt: skip
        self.get_logger().info(
            f"replaying {len(self._frames)} frames: {names}; {until} ({type_name(Trigger)})"
        )

    def _load(self) -> list[StoredFrame]:
        if not self._config.frames:
            raise ConfigError(
                "parameter frames is empty; expected a folder with color.png, depth.png and "
                "camera.json, or a folder of such folders"
            )
        frames = []
        for folder in find_frames(self._config.frames):
            try:
                frames.append(load_frame(folder))
            except KGNProError as error:
                self.get_logger().error(f"skipping frame {folder}: {error}")
        if not frames:
            raise ImageError(f"no frame in {self._config.frames} can be read")
        return frames

    def _publish(self) -> None:
        now, period = time.monotonic(), self._config.frame_period
        if self._shown_since is None:
            self._shown_since = now
        elif period > 0 and now - self._shown_since >= period:
            self._advance()
        frame = self._frames[self._index]
        self._camera.send(frame.messages)

    def _advance(self) -> bool:
        """Go to the next frame; False at the end when not looping."""
        self._shown_since = time.monotonic()
        if self._index + 1 == len(self._frames) and not self._config.loop:
            return False
        self._index = (self._index + 1) % len(self._frames)
        return True

    def _on_next(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Advance; the message is the name of the frame shown from now on. False at the end."""
        response.success = self._advance()
        response.message = self._frames[self._index].name
        return response

    def _on_current(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The message is the name of the frame that is shown."""
        response.success, response.message = True, self._frames[self._index].name
        return response


def load_frame(folder: Path) -> StoredFrame:
    """Read one frame folder.

    Raises:
        KGNProError: If a file is missing or does not fit the others.
    """
    image = read_frame(folder)
    return StoredFrame(folder.name, make_messages(image.color, image.depth, image.camera))


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of ``ros2 run kgnpro_ros rgbd_replay``."""
    return run_node(ReplayNode, args=args)


if __name__ == "__main__":
    raise SystemExit(main())
