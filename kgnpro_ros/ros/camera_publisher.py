# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Images published the way realsense2_camera does it: topic names, encodings, frames, stamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster

from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.ros.conversions import camera_to_info, image_to_message, transform_from_matrix
from kgnpro_ros.types import FloatArray

NAMESPACE = "/camera/camera"
COLOR_TOPIC = f"{NAMESPACE}/color/image_raw"
INFO_TOPIC = f"{NAMESPACE}/color/camera_info"
DEPTH_TOPIC = f"{NAMESPACE}/aligned_depth_to_color/image_raw"
DEPTH_INFO_TOPIC = f"{NAMESPACE}/aligned_depth_to_color/camera_info"
LINK_FRAME = "camera_link"
OPTICAL_FRAME = "camera_color_optical_frame"

#: Unit of 16UC1 depth [m].
DEPTH_UNIT = 0.001

#: Optical axes (x right, y down, z forward) in body axes (x forward, y left, z up).
T_LINK_OPTICAL = make_transform(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))


@dataclass(frozen=True)
class CameraMessages:
    """One frame as it is sent; all share one header."""

    color: Image
    depth: Image
    info: CameraInfo


def make_messages(
    color: NDArray[np.uint8], depth: NDArray[np.float32], camera: Camera
) -> CameraMessages:
    """The messages of one frame.

    Args:
        color: RGB, shape (height, width, 3).
        depth: z-depth [m], NaN where missing, shape (height, width).
        camera: Intrinsics of both.
    """
    header = Header(frame_id=OPTICAL_FRAME)
    return CameraMessages(
        image_to_message(color, "rgb8", header),
        image_to_message(depth_to_millimetres(depth), "16UC1", header),
        camera_to_info(camera, header),
    )


class CameraPublisher:
    """Publishers and static transforms of one simulated or replayed camera.

    Args:
        node: Owns them.
        reliability: ``reliable`` or ``best_effort``.
        base_frame: Parent of ``camera_link``.
        T_base_link: Pose of ``camera_link`` in it, shape (4, 4).
    """

    def __init__(
        self, node: Node, reliability: str, base_frame: str, T_base_link: FloatArray
    ) -> None:
        reliable = reliability == "reliable"
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=5, reliability=policy)
        self._clock = node.get_clock()
        self._color = node.create_publisher(Image, COLOR_TOPIC, qos)
        self._depth = node.create_publisher(Image, DEPTH_TOPIC, qos)
        self._infos = [
            node.create_publisher(CameraInfo, topic, qos)
            for topic in (INFO_TOPIC, DEPTH_INFO_TOPIC)
        ]
        self._broadcaster = StaticTransformBroadcaster(node)
        self.move(base_frame, T_base_link)

    def move(self, base_frame: str, T_base_link: FloatArray) -> None:
        """Send the static transforms of the camera at another place."""
        stamp = self._clock.now().to_msg()
        self._broadcaster.sendTransform(
            [
                _stamped(stamp, base_frame, LINK_FRAME, T_base_link),
                _stamped(stamp, LINK_FRAME, OPTICAL_FRAME, T_LINK_OPTICAL),
            ]
        )

    def publish(
        self,
        color: NDArray[np.uint8],
        depth: NDArray[np.float32],
        camera: Camera,
        stamp: TimeMsg | None = None,
    ) -> None:
        """Make the messages of one frame and publish them.

        Args:
            color: RGB, shape (height, width, 3).
            depth: z-depth [m], NaN where missing, shape (height, width).
            camera: Intrinsics of both.
            stamp: When it was taken; now where None.
        """
        stamp = stamp or self._clock.now().to_msg()
        self.send(make_messages(color, depth, camera), stamp)

    def send(self, messages: CameraMessages, stamp: TimeMsg | None = None) -> None:
        """Publish messages, again or for the first time.

        Args:
            messages: Get the stamp.
            stamp: When the frame was taken; now where None.
        """
        messages.color.header.stamp = stamp or self._clock.now().to_msg()
        self._color.publish(messages.color)
        self._depth.publish(messages.depth)
        for publisher in self._infos:
            publisher.publish(messages.info)


def depth_to_millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Depth [m] as 16-bit millimetres; missing or beyond 65.535 m is 0."""
    millimetres = np.nan_to_num(np.rint(depth / DEPTH_UNIT), nan=0.0, posinf=0.0, neginf=0.0)
    millimetres[(millimetres < 0) | (millimetres > np.iinfo(np.uint16).max)] = 0
    return millimetres.astype(np.uint16)


def camera_link_pose(values: tuple[float, ...]) -> FloatArray:
    """``T_base_link`` of x, y, z [m] and fixed-axis roll, pitch, yaw [rad], shape (4, 4)."""
    return make_transform(Rotation.from_euler("xyz", values[3:]).as_matrix(), values[:3])


def _stamped(stamp: TimeMsg, parent: str, child: str, matrix: FloatArray) -> TransformStamped:
    message = TransformStamped(header=Header(stamp=stamp, frame_id=parent), child_frame_id=child)
    message.transform = transform_from_matrix(matrix)
    return message
