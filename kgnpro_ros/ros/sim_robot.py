# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What a simulated robot tells about itself: joint states, transforms of its links, the time."""

from __future__ import annotations

from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock as ClockMsg
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from kgnpro_ros.ros.conversions import transform_from_matrix
from kgnpro_ros.simulation import panda
from kgnpro_ros.simulation.world import PickWorld
from kgnpro_ros.types import FloatArray


class RobotPublisher:
    """Publishes ``/joint_states``, ``/tf`` and ``/tf_static`` of the simulated arm.

    Args:
        node: Owns the publishers.
        world: Only used in the thread that calls.
        base_frame: Parent of the arm's base.
    """

    def __init__(self, node: Node, world: PickWorld, base_frame: str) -> None:
        self._world = world
        self._joints = node.create_publisher(JointState, "joint_states", QoSProfile(depth=10))
        self._transforms = TransformBroadcaster(node)
        self._static = StaticTransformBroadcaster(node)
        stamp = node.get_clock().now().to_msg()
        self._static.sendTransform(_stamped(stamp, base_frame, panda.BASE, world.T_world_base))

    def publish(self, stamp: TimeMsg) -> None:
        """Publish the state of the world now."""
        world = self._world
        finger, rate = world.finger_width() / 2, world.finger_velocity() / 2
        effort = world.finger_effort()
        self._joints.publish(JointState(
            header=Header(stamp=stamp),
            name=[*panda.ARM_JOINTS, *panda.FINGER_JOINTS],
            position=[*world.joint_positions().tolist(), finger, finger],
            velocity=[*world.joint_velocities().tolist(), rate, rate],
            effort=[*world.joint_efforts().tolist(), effort, effort],
        ))  # fmt: skip
        self._transforms.sendTransform(
            [_stamped(stamp, *transform) for transform in world.link_transforms()]
        )


class ClockPublisher:
    """Publishes ``/clock``."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(ClockMsg, "/clock", QoSProfile(depth=1))

    def publish(self, stamp: TimeMsg) -> None:
        """Publish the simulated time."""
        self._publisher.publish(ClockMsg(clock=stamp))


def _stamped(stamp: TimeMsg, parent: str, child: str, matrix: FloatArray) -> TransformStamped:
    message = TransformStamped(header=Header(stamp=stamp, frame_id=parent), child_frame_id=child)
    message.transform = transform_from_matrix(matrix)
    return message
