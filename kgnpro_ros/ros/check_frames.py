# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``check_frames``: does the camera see the gripper where TF and the gripper file have it?

Projects the gripper into the live image, saves and publishes the picture, and prints what
disagrees. Exit code 0: nothing does; 1: something does; 2: it could not be checked.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from kgnpro_ros.config import NodeConfig
from kgnpro_ros.exceptions import ConfigError, FrameError, KGNProError
from kgnpro_ros.execution.hand_view import PARTS, box_corners, find_shift, hand_boxes, view_hand
from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.geometry.gripper import Gripper, load_gripper
from kgnpro_ros.geometry.se3 import transform_points
from kgnpro_ros.ros.calling import spin
from kgnpro_ros.ros.camera_publisher import COLOR_TOPIC, DEPTH_TOPIC, INFO_TOPIC
from kgnpro_ros.ros.conversions import InputOptions, image_to_message, rgbd_from_messages
from kgnpro_ros.ros.frame_source import Frame, FrameSource
from kgnpro_ros.ros.problems import ProblemLog
from kgnpro_ros.ros.transforms import TransformSource
from kgnpro_ros.types import FloatArray, RGBDImage

NODE_NAME = "check_frames"
#: Share of the points that must be where they should.
AGREEMENT = 0.5
#: The palm of a gripper file is a box around a rounded body: its depth may differ by this much [m].
PALM_TOLERANCE = 0.03
#: Largest difference of the stamps of colour and depth; images older than this are late, older than
#: that come from another clock [s].
STAMP_GAP, LATE, CLOCK_GAP = 0.02, 1.0, 5.0
MISSING = 0.7
#: RGB of the fingers, the palm and the grasp frame's approach axis.
COLORS = ((46, 204, 87), (46, 160, 230), (245, 200, 66))
EDGES = tuple((a, a | 1 << bit) for a in range(8) for bit in range(3) if not a >> bit & 1)


class Findings:
    """What was found, printed as it comes."""

    def __init__(self) -> None:
        self.disagree = 0

    def ok(self, text: str) -> None:
        """Something that is as it should be."""
        print(f"  ok        {text}", flush=True)

    def note(self, text: str) -> None:
        """Something odd that need not be wrong."""
        print(f"  note      {text}", flush=True)

    def wrong(self, text: str) -> None:
        """Something that disagrees."""
        self.disagree += 1
        print(f"  DISAGREES {text}", flush=True)


class CheckFrames(Node):
    """Gets frames and transforms, and compares.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        topics = {
            "color/image_raw": options.color_topic,
            "color/camera_info": options.info_topic,
            "depth/image_raw": options.depth_topic,
        }
        remaps = [word for a, b in topics.items() for word in ("-r", f"{a}:={b}")]
        super().__init__(NODE_NAME, cli_args=["--ros-args", *remaps])
        self._options = options
        self._gripper = load_gripper(options.gripper)
        self._width = self._gripper.max_width if options.opening is None else options.opening
        if not 0 <= self._width <= self._gripper.max_width:
            raise ConfigError(
                f"opening is {self._width}; expected 0 to {self._gripper.max_width} m"
            )
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._pictures = self.create_publisher(Image, "~/picture", latched)
        self._transforms = TransformSource(self)
        config = NodeConfig(
            depth_unit=options.depth_unit, depth_is_registered=options.depth_is_registered
        )
        problems = ProblemLog(self.get_logger(), config.log_period)
        self._source = FrameSource(self, config, problems, lambda: None)
        self._number = 0

    def close(self) -> None:
        """End the subscriptions."""
        self._source.close()

    def check(self) -> int:
        """Check the next frame; returns how many things disagree.

        Raises:
            KGNProError: If nothing can be compared: no images, no transform.
        """
        found = Findings()
        frame = self._next_frame()
        print(f"frame {self._number} of {self._options.color_topic}", flush=True)
        self._check_headers(frame, found)
        options = InputOptions(self._options.depth_unit, self._options.depth_is_registered, False)
        image = rgbd_from_messages(frame.color, frame.depth, frame.info, options)
        found.ok(f"images of {image.camera.width}x{image.camera.height}, fx {image.camera.fx:.1f}")
        T_camera_grasp = self._tool_pose(frame, found) @ self._gripper.T_tool_grasp
        self._show(image, T_camera_grasp, frame.color.header)
        self._compare(image, T_camera_grasp, found)
        return found.disagree

    def _next_frame(self) -> Frame:
        deadline = time.monotonic() + self._options.timeout
        while time.monotonic() < deadline and self.context.ok():
            frame = self._source.wait_newer(self._number, min(deadline, time.monotonic() + 0.5))
            if frame is not None:
                self._number = frame.number
                return frame
            self._source.adapt()
        raise KGNProError(self._source.waiting_for(0.0) or "told to end")

    def _check_headers(self, frame: Frame, found: Findings) -> None:
        name = frame.color.header.frame_id
        if name.endswith("optical_frame"):
            found.ok(f"images are in {name!r}")
        else:
            found.wrong(
                f"images are in {name!r}; expected an optical frame (x right, y down, z forward), "
                "which by convention ends with optical_frame"
            )
        color, depth = (Time.from_msg(m.header.stamp) for m in (frame.color, frame.depth))
        gap = abs((color - depth).nanoseconds) * 1e-9
        text = f"stamps of colour and depth are {1e3 * gap:.1f} ms apart"
        if gap > STAMP_GAP:
            found.wrong(f"{text}: switch on synchronisation (RealSense: enable_sync:=true)")
        else:
            found.ok(text)
        age = (self.get_clock().now() - color).nanoseconds * 1e-9
        text = f"the image is {age:.2f} s old by the clock of this node"
        if not -0.1 < age < CLOCK_GAP:
            found.wrong(f"{text}: set use_sim_time as the other nodes do, or the machines' clocks")
        elif age > LATE:
            found.note(f"{text}: the camera or this machine is slow")
        else:
            found.ok(text)

    def _tool_pose(self, frame: Frame, found: Findings) -> FloatArray:
        """``T_camera_tool`` at the stamp of the image."""
        header, tool = frame.color.header, self._gripper.tool_link
        patience = self._options.tf_timeout
        try:
            pose = self._transforms.lookup(header.frame_id, tool, header.stamp, patience)
            found.ok(f"TF has {tool!r} in {header.frame_id!r} at the stamp of the image")
        except FrameError as error:
            pose = self._transforms.lookup(
                header.frame_id, tool, header.stamp, patience, latest=True
            )
            found.wrong(f"TF has {tool!r} only at other times: {error}")
        x, y, z = pose[:3, 3]
        found.ok(f"{tool!r} is at ({x:+.3f}, {y:+.3f}, {z:+.3f}) m of the camera")
        return pose

    def _compare(self, image: RGBDImage, T_camera_grasp: FloatArray, found: Findings) -> None:
        camera, tolerance = image.camera, self._options.tolerance
        given = (image.depth, camera, self._gripper, T_camera_grasp, self._width)
        views = view_hand(*given)
        u, v = camera.project(T_camera_grasp[:3, 3])
        place = f"the middle between the fingertips is at pixel ({u:.0f}, {v:.0f})"
        if T_camera_grasp[2, 3] <= 0:
            place = "the fingertips are behind the camera"
        if not any(view.inside.any() for view in views):
            found.wrong(
                f"the gripper is outside the image of {camera.width}x{camera.height}: {place}. "
                "Move it into view; if it is in view, the camera's transform is wrong"
            )
            return
        found.note(place)
        suspicious = False
        for view in views:
            if not len(view.pixels) or not view.inside.any():
                found.note(f"{view.name}: not in view")
                continue
            near = tolerance if view.name != PARTS[2] else PALM_TOLERANCE
            share, inside = view.agreement(near), view.inside.mean()
            text = (
                f"{view.name}: {100 * inside:.0f} % in the image, depth at its surface differs by "
                f"{1e3 * view.median:+.0f} mm in the middle, {100 * share:.0f} % within "
                f"{1e3 * near:.0f} mm, {100 * view.missing:.0f} % without depth"
            )
            if view.missing > MISSING:
                found.note(f"{text}: too little to judge (too near, or shiny?)")
            elif share < AGREEMENT:
                suspicious = True
                found.wrong(text)
            else:
                found.ok(text)
        if suspicious:
            self._hint(given, found)

    def _hint(
        self, given: tuple[np.ndarray, Camera, Gripper, FloatArray, float], found: Findings
    ) -> None:
        (du, dv), share, before = find_shift(*given, self._options.tolerance)
        depth = float(given[3][2, 3])
        if share > max(AGREEMENT, before + 0.2):
            camera = given[1]
            found.note(
                f"{du:+d} px to the right and {dv:+d} px down it would fit better "
                f"({100 * before:.0f} to {100 * share:.0f} %): that is "
                f"{1e3 * du * depth / camera.fx:+.0f} mm and {1e3 * dv * depth / camera.fy:+.0f} mm"
                " in the camera's frame; check the hand-eye transform, T_tool_grasp and --opening"
            )
        else:
            found.note(
                "no shift in the image explains it: something may be in front of the gripper, the "
                "opening may not be --opening, or the transform is off in depth or by more"
            )

    def _show(self, image: RGBDImage, T_camera_grasp: FloatArray, header: Header) -> None:
        picture = draw_hand(image.color, image.camera, self._gripper, T_camera_grasp, self._width)
        self._pictures.publish(image_to_message(picture, "rgb8", header))
        if self._options.out:
            if not cv2.imwrite(str(self._options.out), picture[..., ::-1]):
                raise KGNProError(f"cannot write {self._options.out}")
            print(f"  picture   {self._options.out}", flush=True)


def draw_hand(
    color: np.ndarray, camera: Camera, gripper: Gripper, T_camera_grasp: FloatArray, width: float
) -> np.ndarray:
    """The edges of fingers and palm, and the approach axis at the fingertips, over an RGB image."""
    picture = np.ascontiguousarray(color).copy()
    thick = max(1, round(color.shape[1] / 400))
    lines = []
    for part, (lower, upper) in enumerate(zip(*hand_boxes(gripper, width), strict=True)):
        corners = box_corners(lower, upper)
        lines += [(corners[a], corners[b], COLORS[part // 2]) for a, b in EDGES]
    lines.append((np.zeros(3), np.array([0.05, 0, 0]), COLORS[2]))
    for begin, end, shade in lines:
        pixels = camera.project(transform_points(T_camera_grasp, np.stack([begin, end])))
        if np.isfinite(pixels).all():
            a, b = (tuple(p) for p in np.clip(np.rint(pixels), -4000, 8000).astype(int).tolist())
            cv2.line(picture, a, b, shade, thick, cv2.LINE_AA)
    return picture


def parse(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line without its ROS arguments."""
    parser = argparse.ArgumentParser(prog=NODE_NAME, description=(__doc__ or "").split("\n\n")[0])
    add = parser.add_argument
    add("--gripper", default="franka_hand", help="preset name or gripper file")
    add("--opening", type=float, help="jaw opening now [m]; the widest when left out")
    add("--out", type=Path, default=Path("check_frames.png"), help="picture to write")
    add("--tolerance", type=float, default=0.01, help="depth may differ by this much [m]")
    add("--timeout", type=float, default=10.0, help="longest wait for images [s]")
    add("--tf-timeout", type=float, default=2.0, help="longest wait for a transform [s]")
    add("--watch", action="store_true", help="go on, once a second, until interrupted")
    add("--color-topic", default=COLOR_TOPIC)
    add("--info-topic", default=INFO_TOPIC)
    add("--depth-topic", default=DEPTH_TOPIC, help="depth registered to colour")
    add("--depth-unit", type=float, default=0.001, help="metres per unit of 16-bit depth")
    add("--depth-is-registered", action="store_true", help="whatever frame depth names")
    return parser.parse_args(list(args))


def run(options: argparse.Namespace) -> int:
    """Check once, or again and again; returns the exit code."""
    node = CheckFrames(options)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=spin, args=(executor,), daemon=True)
    thread.start()
    try:
        while True:
            disagree = node.check()
            print("everything agrees" if not disagree else f"{disagree} disagree", flush=True)
            if not options.watch:
                return 1 if disagree else 0
            time.sleep(1.0)
    finally:
        node.close()
        executor.shutdown(timeout_sec=2.0)
        thread.join(2.0)
        node.destroy_node()


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of ``ros2 run kgnpro_ros check_frames``."""
    given = list(sys.argv[1:] if args is None else args)
    options = parse(remove_ros_args(args=[NODE_NAME, *given])[1:])
    rclpy.init(args=given)
    try:
        return run(options)
    except KGNProError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    raise SystemExit(main())
