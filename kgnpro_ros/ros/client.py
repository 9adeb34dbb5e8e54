# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Calls ``detect_grasps`` for one or more frames, prints the ranked grasps, saves the pictures.

``python -m kgnpro_ros.ros.client --out DIR [--camera-node rgbd_replay] [--frames N]``
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rclpy.client import Client
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.time import Time
from rclpy.utilities import remove_ros_args
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from kgnpro_ros.files import whole_file
from kgnpro_ros.ros.calling import ClientError, call_service, run_client
from kgnpro_ros.ros.conversions import color_from_image, matrix_from_pose
from kgnpro_ros.srv import DetectGrasps

#: How long the detector and the camera may take to appear, the model to load included [s].
START_TIMEOUT = 200.0
#: Time for one answer, and for the picture that belongs to it [s].
ANSWER_TIMEOUT = 20.0
PICTURE_TIMEOUT = 5.0
TABLE_ROWS = 10


class GraspClient(Node):
    """Asks for grasps and keeps the newest overlay picture.

    Args:
        camera_node: Name of a node with ``~/next`` and ``~/current``, or empty for any camera.
        detector_node: Name of the detector.
    """

    def __init__(self, camera_node: str, detector_node: str) -> None:
        super().__init__("grasp_client")
        self._detect = self.create_client(DetectGrasps, "detect_grasps")
        self._triggers = {
            name: self.create_client(Trigger, f"{camera_node}/{name}")
            for name in ("next", "current")
            if camera_node
        }
        self._pictures: dict[int, Image] = {}
        self._arrived = threading.Condition()
        self.create_subscription(Image, f"{detector_node}/debug_image", self._on_picture, 5)

    def trigger(self, name: str) -> tuple[bool, str]:
        """Call ``~/next`` or ``~/current`` of the camera node."""
        if name not in self._triggers:
            return name == "current", "frame"
        response = _call(self._triggers[name], Trigger.Request())
        return response.success, response.message

    def detect(self, target_frame: str, max_grasps: int) -> DetectGrasps.Response:
        """Grasps in a frame that was taken after this call.

        Raises:
            ClientError: If there is no service or no answer, or the answer is a failure.
        """
        asked = self.get_clock().now().nanoseconds
        request = DetectGrasps.Request(
            target_frame=target_frame, max_grasps=max_grasps, wait_for_new_frame=True
        )
        request.timeout = Duration(seconds=ANSWER_TIMEOUT).to_msg()
        while True:
            response = _call(self._detect, request)
            if not response.success:
                raise ClientError(f"detect_grasps: {response.message}")
            # A frame from before the camera moved on may still have been on its way.
            if _nanoseconds(response.header.stamp) >= asked:
                return response

    def picture(self, stamp: Any) -> Image | None:
        """The overlay of the frame with a stamp; None when it does not come."""
        key, deadline = _nanoseconds(stamp), time.monotonic() + PICTURE_TIMEOUT
        with self._arrived:
            while key not in self._pictures and time.monotonic() < deadline:
                self._arrived.wait(0.1)
            return self._pictures.get(key)

    def _on_picture(self, message: Image) -> None:
        with self._arrived:
            while len(self._pictures) > 3:
                self._pictures.pop(min(self._pictures))
            self._pictures[_nanoseconds(message.header.stamp)] = message
            self._arrived.notify_all()


def _call(client: Client, request: Any) -> Any:
    return call_service(client, request, START_TIMEOUT, START_TIMEOUT)


def _nanoseconds(stamp: Any) -> int:
    return int(Time.from_msg(stamp).nanoseconds)


def grasp_table(response: DetectGrasps.Response) -> Table:
    """The best grasps of an answer as a table."""
    frame = response.header.frame_id
    in_camera = frame.endswith("optical_frame")
    direction = "the viewing direction" if in_camera else "straight down"
    table = Table(
        caption=f"positions in {frame}; tilt: angle of the approach to {direction}",
        caption_justify="left",
    )
    for name in ("rank", "score", "confidence", "width [mm]", "x [m]", "y [m]", "z [m]", "tilt"):
        table.add_column(name, justify="right", no_wrap=True)
    reference = np.array([0.0, 0, 1] if in_camera else [0.0, 0, -1])
    for rank, grasp in enumerate(response.candidates[:TABLE_ROWS], start=1):
        pose = matrix_from_pose(grasp.pose)
        tilt = np.rad2deg(np.arccos(np.clip(pose[:3, 0] @ reference, -1, 1)))
        table.add_row(
            str(rank), f"{grasp.score:.3f}", f"{grasp.confidence:.3f}",
            f"{1e3 * grasp.width:.0f}", *(f"{value:+.3f}" for value in pose[:3, 3]),
            f"{tilt:.0f}°",
        )  # fmt: skip
    return table


def save_picture(message: Image, path: Path) -> None:
    """Write an image message as PNG; it appears complete or not at all."""
    ok, data = cv2.imencode(".png", color_from_image(message)[..., ::-1])
    if not ok:
        raise ClientError(f"cannot encode {path}")
    with whole_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def show_grasps(client: GraspClient, options: argparse.Namespace, console: Console) -> None:
    """Go through the frames; each gives a table and a picture.

    Raises:
        ClientError: If something expected did not come.
    """
    number, (more, name) = 0, client.trigger("current")
    while more:
        response = client.detect(options.target_frame, options.max_grasps)
        text = f"{name}: {response.message}; {response.inference_ms:.0f} ms"
        console.print(text, soft_wrap=True)
        if response.candidates:
            console.print(grasp_table(response))
        picture = client.picture(response.header.stamp)
        if picture is None:
            raise ClientError(f"no overlay picture of {name} within {PICTURE_TIMEOUT} s")
        path = Path(options.out) / f"{name}.png"
        save_picture(picture, path)
        console.print(f"picture: {path}\n", soft_wrap=True)
        number += 1
        more, name = (False, "") if number == options.frames else client.trigger("next")


def parse(args: Sequence[str]) -> argparse.Namespace:
    """Command line of the client without its ROS arguments."""
    parser = argparse.ArgumentParser(description="Ask grasp_detector for grasps.")
    parser.add_argument("--out", default="outputs/demo", help="folder of the pictures")
    parser.add_argument("--camera-node", default="", help="node with ~/next and ~/current")
    parser.add_argument("--detector-node", default="grasp_detector")
    parser.add_argument("--frames", type=int, default=0, help="how many; 0 is all there are")
    parser.add_argument("--target-frame", default="", help="TF frame of the grasps")
    parser.add_argument("--max-grasps", type=int, default=0, help="0 is the node's parameter")
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point; 0 after the last frame, 1 when something did not come."""
    argv = list(sys.argv if args is None else args)
    options = parse(remove_ros_args(argv)[1:])

    def act(client: GraspClient) -> int:
        show_grasps(client, options, Console())
        return 0

    return run_client(
        lambda: GraspClient(options.camera_node, options.detector_node),
        SingleThreadedExecutor, argv, act,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
