# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A robot driver for the tests: joint states and the two controller actions, as told."""

from __future__ import annotations

import threading
import time

import numpy as np
from control_msgs.action import FollowJointTrajectory, GripperCommand
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import JointState

JOINTS = tuple(f"joint_{k}" for k in range(3))


class ScriptedRobot(Node):
    """Goes where a trajectory ends, at once, unless ``arm`` or ``gripper`` say otherwise.

    ``arm`` and ``gripper`` are one of: ok, reject, abort, hang (until cancelled), deaf (no answer
    to the goal for a second), stall (gripper: aborts as stalled). Between fingers that close there
    is something of the finger position ``held``, until the arm has reached ``drop_after`` goals.
    Joint states show the end of a motion ``lag`` seconds after its result.
    """

    def __init__(self, name: str, joints=JOINTS) -> None:
        super().__init__(name)
        self.arm = self.gripper = "ok"
        self.silent = False
        self.lag = 0.0
        self.held: float | None = None
        self.drop_after = 1000
        self.reached = 0
        self.joints = joints
        self.positions = np.zeros(len(joints))
        self.width_position = 0.0
        self.goals = []
        self.cancelled = threading.Event()
        self.started = threading.Event()
        self.released = threading.Event()
        group = ReentrantCallbackGroup()
        self._publisher = self.create_publisher(JointState, f"{name}/joint_states", 10)
        self._timer = self.create_timer(0.02, self._publish)
        self._servers = [
            ActionServer(
                self, kind, f"{name}/{action}", execute, callback_group=group,
                goal_callback=lambda goal, part=part: self._on_goal(part),
                cancel_callback=lambda handle: CancelResponse.ACCEPT,
            )
            for kind, action, execute, part in (
                (FollowJointTrajectory, "arm/follow_joint_trajectory", self._follow, "arm"),
                (GripperCommand, "hand/gripper_cmd", self._grip, "gripper"),
            )
        ]  # fmt: skip

    def close(self) -> None:
        """Let a goal that hangs end."""
        self.released.set()

    def _publish(self) -> None:
        if not self.silent:
            message = JointState(name=list(self.joints), position=self.positions.tolist())
            message.header.stamp = self.get_clock().now().to_msg()
            self._publisher.publish(message)

    def _on_goal(self, part):
        mode = getattr(self, part)
        if mode == "deaf":
            time.sleep(1.0)
        return GoalResponse.REJECT if mode == "reject" else GoalResponse.ACCEPT

    def _hang(self, handle) -> bool:
        """Wait for a cancel, or for the end of the test; whether a cancel came."""
        while not self.released.is_set():
            if handle.is_cancel_requested:
                handle.canceled()
                self.cancelled.set()
                return True
            time.sleep(0.005)
        handle.abort()
        return False

    def _follow(self, handle):
        self.goals.append(handle.request)
        self.started.set()
        result = FollowJointTrajectory.Result()
        if self.arm in ("hang", "deaf"):
            self._hang(handle)
        elif self.arm == "abort":
            result.error_code = result.PATH_TOLERANCE_VIOLATED
            result.error_string = "joint_1 is 0.4 rad off its path"
            handle.abort()
        else:
            end = np.array(handle.request.trajectory.points[-1].positions)
            if self.lag:
                timer = threading.Timer(self.lag, setattr, (self, "positions", end))
                timer.daemon = True
                timer.start()
            else:
                self.positions = end
            self.reached += 1
            handle.succeed()
        return result

    def _grip(self, handle):
        self.goals.append(handle.request)
        self.started.set()
        result = GripperCommand.Result(position=handle.request.command.position)
        if self.gripper == "hang":
            self._hang(handle)
        elif self.gripper == "abort":
            handle.abort()
        elif self.gripper == "stall":
            result.position, result.stalled = 0.012, True
            handle.abort()
        elif self._holds() and result.position < self.held:
            result.position, result.stalled = self.held, True
            handle.succeed()
        else:
            result.reached_goal = True
            handle.succeed()
        return result

    def _holds(self) -> bool:
        return self.held is not None and self.reached < self.drop_after
