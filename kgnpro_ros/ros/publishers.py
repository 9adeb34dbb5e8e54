# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the detector publishes: poses, candidates, markers, and a picture when someone looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from kgnpro_ros.msg import GraspCandidateArray
from kgnpro_ros.ros.conversions import image_to_message
from kgnpro_ros.ros.delivery import may_be_lost
from kgnpro_ros.ros.grasp_messages import GraspMessages
from kgnpro_ros.ros.markers import grasps_to_markers
from kgnpro_ros.ros.processing import Detection
from kgnpro_ros.viz import draw_grasps

#: Never latched: who comes late must not act on a scene that is gone.
OUTPUT_QOS = QoSProfile(
    depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE
)


class GraspPublishers:
    """Managed publishers of a lifecycle node; silent unless it is active."""

    def __init__(self, node: LifecycleNode) -> None:
        def publisher(message_type: type, name: str):  # noqa: ANN202
            return node.create_lifecycle_publisher(message_type, f"~/{name}", OUTPUT_QOS)

        self._candidates = publisher(GraspCandidateArray, "candidates")
        self._poses = publisher(PoseArray, "grasps")
        self._markers = publisher(MarkerArray, "markers")
        self._picture = publisher(Image, "debug_image")
        self._messages = GraspMessages()
        self._logger = node.get_logger()

    @property
    def listeners(self) -> int:
        """How many subscriptions there are, of all topics together."""
        topics = (self._candidates, self._poses, self._markers, self._picture)
        return sum(topic.get_subscription_count() for topic in topics)

    def publish(self, detection: Detection) -> None:
        """Publish one result where someone listens; without grasps the arrays are empty.

        What an arm waits for goes first, pictures for people last.
        """
        grasps, stamp = detection.grasps, detection.header.stamp
        gripper, instances = detection.gripper, detection.instances
        self._send(
            self._candidates,
            lambda: self._messages.candidates(grasps, gripper, stamp, instances),
        )
        self._send(self._poses, lambda: self._messages.pose_array(grasps, stamp))
        self._send(self._markers, lambda: grasps_to_markers(grasps, gripper, stamp))
        self._send(self._picture, lambda: _overlay(detection))

    def _send(self, topic: LifecyclePublisher, make: Callable[[], Any]) -> None:
        if topic.get_subscription_count():
            with may_be_lost(self._logger):
                topic.publish(make())


def _overlay(detection: Detection) -> Image:
    image = detection.image
    picture = draw_grasps(image.color, image.camera, detection.camera_grasps)
    return image_to_message(picture, "rgb8", detection.header)
