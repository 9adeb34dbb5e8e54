# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The two controllers of an arm over ROS: joint states in, trajectory and gripper goals out."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory, GripperCommand
from rclpy.action import ActionClient
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMsg
from trajectory_msgs.msg import JointTrajectoryPoint

from kgnpro_ros.config import ControllerConfig
from kgnpro_ros.execution.arm import ArmError, ArmFailure, GripperState
from kgnpro_ros.execution.trajectory import JointTrajectory
from kgnpro_ros.ros.action_calls import STATUS_WORDS, GoalCall
from kgnpro_ros.ros.inputs import publisher_problem, type_name, who_publishes
from kgnpro_ros.types import FloatArray

#: After a stop the controller gets this time to say that the arm stands [s].
STOP_GRACE = 0.15
#: Between two looks for a server that is not there yet [s].
SERVER_POLL = 0.05
#: Joint states come on a way of their own, and may be older than the result of a motion: they are
#: waited for this long [s] until they are this near its end [rad]. Contact may hold the arm off it.
SETTLE_TIME, SETTLED = 0.5, 0.01
JOINTS_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class RosControllers:
    """:class:`~kgnpro_ros.execution.controllers.Controllers` over two action servers.

    Its methods block: call them from threads that the executor of the node does not need.

    Args:
        node: Owns clients and the subscription.
        config: Names and limits.
        joint_names: Joints of the arm in the planner's order.
    """

    def __init__(self, node: Node, config: ControllerConfig, joint_names: Sequence[str]) -> None:
        self._node, self._config = node, config
        self._names = tuple(joint_names)
        self._changed = threading.Condition()
        self._positions: dict[str, tuple[float, float]] = {}
        self._call: GoalCall | None = None
        self._stopped = False
        group = ReentrantCallbackGroup()
        self._arm = ActionClient(
            node, FollowJointTrajectory, config.arm_action, callback_group=group
        )
        self._gripper = ActionClient(
            node, GripperCommand, config.gripper_action, callback_group=group
        )
        self._actions = {
            id(self._arm): node.resolve_service_name(config.arm_action),
            id(self._gripper): node.resolve_service_name(config.gripper_action),
        }
        self._topic = node.resolve_topic_name("joint_states")
        self._subscription = node.create_subscription(
            JointState, "joint_states", self._on_joints, JOINTS_QOS, callback_group=group
        )

    def missing(self) -> list[str]:
        """What does not answer, with types: actions without a server, or the silent topic."""
        clients = ((self._arm, FollowJointTrajectory), (self._gripper, GripperCommand))
        missing = [
            f"action {self._actions[id(client)]} ({type_name(kind)}): no server"
            for client, kind in clients
            if not client.server_is_ready()
        ]
        if self._silence() <= self._config.joints_timeout:
            return missing
        problem = publisher_problem(self._node, self._topic, JointState, JOINTS_QOS) or (
            f"{who_publishes(self._node, self._topic)} is there but sends none of the arm"
        )
        kind = f"{type_name(JointState)}, {JOINTS_QOS.reliability.name.lower()}"
        return [*missing, f"joint states on {self._topic} ({kind}): {problem}"]

    def joints(self) -> FloatArray:
        """Measured positions of the arm's joints [rad], shape (J,)."""
        deadline = time.monotonic() + self._config.joints_timeout
        with self._changed:
            while self._silence() > self._config.joints_timeout:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise ArmError(ArmFailure.CONNECTION, self._explain_silence())
                self._changed.wait(remaining)
            positions = np.array([self._positions[name][0] for name in self._names])
        if not np.isfinite(positions).all():
            raise ArmError(
                ArmFailure.CONNECTION, f"{self._topic} holds positions that are not finite"
            )
        return positions

    def follow(self, trajectory: JointTrajectory) -> None:
        """Follow a trajectory; returns when the controller says that the arm is at its end."""
        goal = FollowJointTrajectory.Goal(trajectory=trajectory_message(trajectory))
        limit = trajectory.duration * self._config.time_scale + self._config.time_margin
        call = self._run(self._arm, goal, limit)
        result = call.result
        good = result.error_code == FollowJointTrajectory.Result.SUCCESSFUL
        if call.status == GoalStatus.STATUS_SUCCEEDED and good:
            self.settle(trajectory.positions[-1])
            return
        word = STATUS_WORDS.get(call.status, f"ended with status {call.status}")
        reason = result.error_string or f"error code {result.error_code}"
        raise ArmError(
            ArmFailure.ABORTED, f"{self._actions[id(self._arm)]} {word} the trajectory: {reason}"
        )

    def settle(self, end: FloatArray) -> None:
        """Wait a moment until the measured joints are where a motion ended [rad], shape (J,)."""
        deadline = time.monotonic() + SETTLE_TIME
        while np.abs(self.joints() - end).max() > SETTLED:
            with self._changed:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._stopped:
                    return
                self._changed.wait(remaining)

    def move_gripper(self, width: float) -> GripperState:
        """Open or close to an opening [m]."""
        goal = GripperCommand.Goal()
        goal.command.position = width * self._config.gripper_scale
        goal.command.max_effort = self._config.gripper_effort
        call = self._run(self._gripper, goal, self._config.gripper_timeout)
        result = call.result
        # Some controllers abort when the fingers stall, although that is what holding looks like.
        if call.status != GoalStatus.STATUS_SUCCEEDED and not result.stalled:
            word = STATUS_WORDS.get(call.status, f"ended with status {call.status}")
            raise ArmError(
                ArmFailure.ABORTED,
                f"{self._actions[id(self._gripper)]} {word} at position {result.position:.4f}; "
                f"commanded {goal.command.position:.4f}",
            )
        return GripperState(
            width=float(result.position) / self._config.gripper_scale,
            stalled=bool(result.stalled),
            reached=bool(result.reached_goal),
        )

    def stop(self) -> None:
        """Halt where the joints are; from any thread, returns at once."""
        with self._changed:
            self._stopped, call = True, self._call
        if call is not None:
            call.cancel()
            call.wake()

    def resume(self) -> None:
        """Take goals again."""
        with self._changed:
            self._stopped = False

    def _run(self, client: ActionClient, goal: Any, limit: float) -> GoalCall:
        """Send a goal and wait for its result; whatever fails, the goal is cancelled."""
        self._await_server(client)
        name = self._actions[id(client)]
        with self._changed:
            self._check_stopped()
            call = self._call = GoalCall(client, goal)
        begin = time.monotonic()
        try:
            if not call.wait(lambda: call.answered or self._stopped, self._config.answer_timeout):
                raise ArmError(
                    ArmFailure.CONNECTION,
                    f"{name} did not answer within {self._config.answer_timeout:.1f} s",
                )
            if call.answered and not call.accepted:
                raise ArmError(ArmFailure.REJECTED, f"{name} rejected the goal")
            if not call.wait(lambda: call.done or self._interrupted(client, begin), limit):
                raise ArmError(ArmFailure.TIMEOUT, f"{name} was not done within {limit:.1f} s")
            if self._stopped:
                call.wait(lambda: call.done, STOP_GRACE)
            self._check_stopped()
        except ArmError:
            call.cancel()
            raise
        finally:
            with self._changed:
                self._call = None
        return call

    def _await_server(self, client: ActionClient) -> None:
        deadline = time.monotonic() + self._config.connect_timeout
        while not client.server_is_ready():
            with self._changed:
                self._check_stopped()
            if time.monotonic() > deadline:
                raise ArmError(
                    ArmFailure.CONNECTION,
                    f"no action server {self._actions[id(client)]} within "
                    f"{self._config.connect_timeout:.1f} s: is the controller started?",
                )
            time.sleep(SERVER_POLL)

    def _interrupted(self, client: ActionClient, begin: float) -> bool:
        """Whether someone stopped the arm, in a motion that began at a time [s].

        Raises:
            ArmError: If the robot is gone.
        """
        if self._stopped:
            return True
        if not client.server_is_ready():
            name = self._actions[id(client)]
            raise ArmError(ArmFailure.CONNECTION, f"the action server {name} is gone")
        # A process that was killed stays in the graph for a while; its topics fall silent at once.
        if min(self._silence(), time.monotonic() - begin) > self._config.joints_timeout:
            raise ArmError(ArmFailure.CONNECTION, self._explain_silence())
        return False

    def _check_stopped(self) -> None:
        if self._stopped:
            raise ArmError(ArmFailure.STOPPED, "stopped")

    def _silence(self) -> float:
        """Age of the oldest joint position [s]; infinite while one has never come."""
        times = [self._positions.get(name, (0.0, -np.inf))[1] for name in self._names]
        return time.monotonic() - min(times)

    def _explain_silence(self) -> str:
        absent = [name for name in self._names if name not in self._positions]
        if not self._positions:
            return f"nothing comes on {self._topic}: is the robot's driver started?"
        if absent:
            known = ", ".join(sorted(self._positions))
            return f"{self._topic} has no joint {', '.join(absent)}; it has {known}"
        return f"{self._topic} has been silent for {self._silence():.1f} s: the robot is gone"

    def _on_joints(self, message: JointState) -> None:
        now = time.monotonic()
        with self._changed:
            for name, position in zip(message.name, message.position, strict=False):
                self._positions[name] = (float(position), now)
            self._changed.notify_all()


def trajectory_message(trajectory: JointTrajectory) -> JointTrajectoryMsg:
    """A trajectory as a message that starts as soon as it arrives."""
    message = JointTrajectoryMsg(joint_names=list(trajectory.names))
    rows = zip(
        trajectory.times.tolist(), trajectory.positions.tolist(), trajectory.velocities.tolist(),
        strict=True,
    )  # fmt: skip
    for time_, positions, velocities in rows:
        message.points.append(JointTrajectoryPoint(
            positions=positions, velocities=velocities,
            time_from_start=Duration(seconds=time_).to_msg(),
        ))  # fmt: skip
    return message
