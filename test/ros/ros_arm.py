# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""An arm, a detector and transforms for tests of the executor: they do as they are told."""

from __future__ import annotations

import threading

import numpy as np
from geometry_msgs.msg import Pose, TransformStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from ros_graph import FRAME
from tf2_ros import StaticTransformBroadcaster

from kgnpro_ros.execution.arm import ArmError, ArmFailure, GripperState, Motion
from kgnpro_ros.msg import GraspCandidate
from kgnpro_ros.ros.conversions import transform_from_matrix
from kgnpro_ros.srv import DetectGrasps

BASE = "panda_link0"
#: The camera hangs 0.6 m over the table and looks down; its x points away from the arm.
T_BASE_CAMERA = np.array(
    [[1.0, 0, 0, 0.5], [0, -1, 0, 0.0], [0, 0, -1, 0.6], [0, 0, 0, 1]], dtype=np.float64
)


class ScriptedArm:
    """Plans anything, moves at once, and holds what it closes on.

    ``hang`` and ``fail`` map an operation and its number since the last goal, such as
    ``("execute", 2)``, to True (blocks until ``stop``) and to an :class:`ArmFailure`.
    """

    base_frame = BASE

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.hang: dict[tuple[str, int], bool] = {}
        self.fail: dict[tuple[str, int], ArmFailure] = {}
        self.counts: dict[str, int] = {}
        self.log: list[str] = []
        self.hanging = threading.Event()
        self.stopped = threading.Event()
        self.held_width = 0.03
        self.obstacles = None
        self.pose = np.eye(4)

    def _do(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        self.log.append(name)
        key = (name, self.counts[name])
        if self.hang.get(key):
            self.hanging.set()
            assert self.stopped.wait(30), "nobody stopped the arm"
        if self.stopped.is_set():
            raise ArmError(ArmFailure.STOPPED, "stopped")
        if key in self.fail:
            raise ArmError(self.fail[key], f"{name} {key[1]} went wrong")

    def joints(self):
        return np.zeros(7)

    def tool_pose(self):
        return self.pose

    def set_obstacles(self, obstacles) -> None:
        self.obstacles = obstacles

    def reachable(self, T_base_tool):
        return np.ones(len(T_base_tool), dtype=bool)

    def plan_free(self, T_base_tool, start=None):
        self._do("plan_free")
        return Motion(np.zeros(7), 0.1, handle=T_base_tool)

    def plan_joints(self, goal, start=None):
        self._do("plan_joints")
        return Motion(np.asarray(goal), 0.1)

    def plan_straight(self, T_base_tool, start=None, *, contact=False):
        self._do("plan_straight")
        return Motion(np.zeros(7), 0.1, handle=T_base_tool)

    def execute(self, motion) -> None:
        self._do("execute")
        if motion.handle is not None:
            self.pose = motion.handle

    def move_gripper(self, width):
        self._do("gripper")
        held = width < self.held_width
        return GripperState(max(width, self.held_width), held, not held)

    def attach(self, points) -> None:
        self.log.append("attach")

    def detach(self) -> None:
        self.log.append("detach")

    def stop(self) -> None:
        self.stopped.set()

    def resume(self) -> None:
        self.stopped.clear()


class Surroundings(Node):
    """The detector's service and the camera's transform."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.answer = self.good
        self.asked = threading.Event()
        self.release = threading.Event()
        self.targets = []
        self._service = self.create_service(
            DetectGrasps, "detect_grasps", self._on_detect, callback_group=ReentrantCallbackGroup()
        )
        self._broadcaster = StaticTransformBroadcaster(self)
        transform = TransformStamped(child_frame_id=FRAME)
        transform.header.frame_id = BASE
        transform.header.stamp = self.get_clock().now().to_msg()
        transform.transform = transform_from_matrix(T_BASE_CAMERA)
        self._broadcaster.sendTransform(transform)

    def _on_detect(self, request, response):
        self.targets.append(request.target_frame)
        self.asked.set()
        self.answer(response)
        return response

    def good(self, response) -> None:
        """Two grasps from above, in the camera's frame."""
        response.success, response.message = True, "2 grasps"
        response.header.frame_id = FRAME
        response.header.stamp = self.get_clock().now().to_msg()
        response.candidates = [candidate(0.9), candidate(0.8, x=0.05)]

    def slow(self, response) -> None:
        """The same, when it is released."""
        assert self.release.wait(30), "nobody released the detector"
        self.good(response)


def candidate(score: float, x: float = 0.0) -> GraspCandidate:
    """A grasp along the optical axis, 0.05 m over the table."""
    pose = Pose()
    pose.position.x, pose.position.z = x, 0.55
    # Approach (x) along the optical axis (z).
    pose.orientation.y, pose.orientation.w = -np.sqrt(0.5), np.sqrt(0.5)
    return GraspCandidate(
        pose=pose, width=0.05, score=score, confidence=score, tool_link="panda_hand", status="ok"
    )
