# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the detector publishes: poses, candidates, markers, and a picture when someone looks."""

from __future__ import annotations

from geometry_msgs.msg import PoseArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from kgnpro_ros.msg import GraspCandidateArray
from kgnpro_ros.ros.conversions import image_to_message
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
        if self._candidates.get_subscription_count():
            self._candidates.publish(
                self._messages.candidates(grasps, detection.gripper, stamp, detection.instances)
            )
        if self._poses.get_subscription_count():
            self._poses.publish(self._messages.pose_array(grasps, stamp))
        if self._markers.get_subscription_count():
            self._markers.publish(grasps_to_markers(grasps, detection.gripper, stamp))
        if self._picture.get_subscription_count():
            image = detection.image
            picture = draw_grasps(image.color, image.camera, detection.camera_grasps)
            self._picture.publish(image_to_message(picture, "rgb8", detection.header))
