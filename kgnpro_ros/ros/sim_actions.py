# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The two actions of the simulated arm: trajectories and the gripper, as MoveIt expects them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time as TimeMsg
from control_msgs.action import FollowJointTrajectory, GripperCommand
from control_msgs.msg import JointTolerance
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.time import Time
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMsg
from trajectory_msgs.msg import JointTrajectoryPoint

from kgnpro_ros.exceptions import KGNProError, PlanningError
from kgnpro_ros.execution.trajectory import JointTrajectory
from kgnpro_ros.ros.delivery import may_be_lost
from kgnpro_ros.ros.inputs import type_name
from kgnpro_ros.ros.sim_loop import SimLoop
from kgnpro_ros.simulation.controllers import (
    GoalState,
    Tolerances,
    TrajectoryCode,
    TrajectoryStatus,
)
from kgnpro_ros.simulation.gripper_controller import GripperStatus
from kgnpro_ros.types import FloatArray

ARM_ACTION = "panda_arm_controller/follow_joint_trajectory"
GRIPPER_ACTION = "panda_hand_controller/gripper_cmd"
#: Gripper position per metre of opening: the position is that of one finger joint, as Franka's is.
GRIPPER_SCALE = 0.5

#: Between two looks at a goal, and between two feedback messages [s].
POLL, FEEDBACK_PERIOD = 0.01, 0.1
#: A stamp of a trajectory may differ from now by this much [s].
STAMP_TOLERANCE = 1.0


class SimActions:
    """Serves both actions of a simulated arm.

    A new goal takes the place of the one before, which is aborted.

    Args:
        node: Owns the servers.
        loop: Runs the world.
        now: Time that the robot stamps with.
    """

    def __init__(self, node: Node, loop: SimLoop, now: Callable[[], TimeMsg]) -> None:
        arm = _Arm(loop, now)
        gripper = _Gripper(loop)
        self._servers = [
            _Server(node, loop, FollowJointTrajectory, ARM_ACTION, arm),
            _Server(node, loop, GripperCommand, GRIPPER_ACTION, gripper),
        ]
        kinds = ((ARM_ACTION, FollowJointTrajectory), (GRIPPER_ACTION, GripperCommand))
        self._names = [
            f"{node.resolve_service_name(name)} ({type_name(kind)})" for name, kind in kinds
        ]

    def describe(self) -> str:
        """Names and types of the actions."""
        return " and ".join(self._names)


class _Server:
    """One action server over one controller."""

    def __init__(self, node: Node, loop: SimLoop, kind: type, name: str, part: Any) -> None:
        self._logger = node.get_logger()
        self._name = name
        self._loop = loop
        self._part = part
        self._lock = threading.Lock()
        self._newest: Any = None
        self._server = ActionServer(
            node, kind, name, self._execute, callback_group=ReentrantCallbackGroup(),
            goal_callback=self._on_goal, cancel_callback=lambda handle: CancelResponse.ACCEPT,
        )  # fmt: skip

    def _on_goal(self, goal: Any) -> GoalResponse:
        """Hand the goal to the controller, which says at once whether it takes it."""
        try:
            with self._lock:
                self._loop.call(lambda: self._part.start(goal))
                self._newest = goal
        except KGNProError as error:
            self._logger.warning(f"{self._name} rejects a goal: {error}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _execute(self, handle: ServerGoalHandle) -> Any:
        told = time.monotonic()
        while True:
            with self._lock:
                current = self._newest is handle.request
                status = self._part.status()
            if not current or self._loop.ended:
                handle.abort()
                reason = "the simulation has ended" if current else "another goal took its place"
                return self._part.result(status, reason)
            if status.state is not GoalState.ACTIVE:
                return self._end(handle, status)
            if handle.is_cancel_requested:
                self._loop.call(self._part.cancel)
            elif time.monotonic() - told > FEEDBACK_PERIOD:
                told = time.monotonic()
                with may_be_lost(self._logger):
                    handle.publish_feedback(self._part.feedback(status))
            time.sleep(POLL)

    def _end(self, handle: ServerGoalHandle, status: Any) -> Any:
        result = self._part.result(status, "")
        if status.state is GoalState.SUCCEEDED:
            handle.succeed()
        elif status.state is GoalState.CANCELED and handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result


class _Arm:
    """Trajectory goals."""

    def __init__(self, loop: SimLoop, now: Callable[[], TimeMsg]) -> None:
        self._loop = loop
        self._now = now

    def start(self, goal: FollowJointTrajectory.Goal) -> None:
        """In the thread of the loop."""
        world, arm = self._loop.world, self._loop.controlled.arm
        self._check_stamp(goal.trajectory)
        measured = world.joint_positions()
        trajectory = trajectory_from_message(goal.trajectory, arm.names, measured)
        tolerances = _tolerances(goal, arm.names, arm.default_tolerances())
        arm.start(trajectory, world.time, measured, tolerances)

    def _check_stamp(self, message: JointTrajectoryMsg) -> None:
        if message.header.stamp.sec < 0:
            raise PlanningError(
                f"the trajectory is stamped {message.header.stamp.sec} s; expected now, or zero"
            )
        stamp = Time.from_msg(message.header.stamp)
        if stamp.nanoseconds == 0:
            return
        offset = (stamp - Time.from_msg(self._now())).nanoseconds * 1e-9
        if abs(offset) > STAMP_TOLERANCE:
            raise PlanningError(
                f"the trajectory is to start {offset:+.1f} s from now; expected now, or a zero "
                "stamp: is use_sim_time set alike in all nodes?"
            )

    def cancel(self) -> None:
        """In the thread of the loop."""
        self._loop.controlled.arm.cancel(self._loop.world.time)

    def status(self) -> TrajectoryStatus:
        status = self._loop.controlled.arm.status
        if status is None:  # the scene was reset under the goal
            zero = np.zeros(len(self._loop.controlled.arm.names))
            return TrajectoryStatus(
                GoalState.ABORTED, TrajectoryCode.INVALID_GOAL, "the scene was reset", 0.0,
                zero, zero,
            )  # fmt: skip
        return status

    def feedback(self, status: TrajectoryStatus) -> FollowJointTrajectory.Feedback:
        names = list(self._loop.controlled.arm.names)
        feedback = FollowJointTrajectory.Feedback(joint_names=names)
        feedback.header.stamp = self._now()
        feedback.desired = JointTrajectoryPoint(positions=status.desired.tolist())
        feedback.actual = JointTrajectoryPoint(positions=(status.desired - status.error).tolist())
        feedback.error = JointTrajectoryPoint(positions=status.error.tolist())
        return feedback

    def result(self, status: TrajectoryStatus, why: str) -> FollowJointTrajectory.Result:
        result = FollowJointTrajectory.Result(error_string=why or status.message)
        result.error_code = int(TrajectoryCode.INVALID_GOAL if why else status.code)
        return result


class _Gripper:
    """Gripper goals."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def start(self, goal: GripperCommand.Goal) -> None:
        """In the thread of the loop."""
        world, command = self._loop.world, goal.command
        self._loop.controlled.gripper.start(
            command.position / GRIPPER_SCALE, world.time, world.finger_width(), command.max_effort
        )

    def cancel(self) -> None:
        """In the thread of the loop."""
        self._loop.controlled.gripper.cancel(self._loop.world.time)

    def status(self) -> GripperStatus:
        status = self._loop.controlled.gripper.status
        return GripperStatus(GoalState.ABORTED, 0.0, 0.0) if status is None else status

    def feedback(self, status: GripperStatus) -> GripperCommand.Feedback:
        return GripperCommand.Feedback(**_gripper_fields(status))

    def result(self, status: GripperStatus, why: str) -> GripperCommand.Result:
        return GripperCommand.Result(**_gripper_fields(status))


def _gripper_fields(status: GripperStatus) -> dict[str, Any]:
    return {
        "position": float(status.width * GRIPPER_SCALE), "effort": float(status.effort),
        "stalled": bool(status.stalled), "reached_goal": bool(status.reached),
    }  # fmt: skip


def trajectory_from_message(
    message: JointTrajectoryMsg, names: tuple[str, ...], measured: FloatArray
) -> JointTrajectory:
    """A trajectory that starts at time 0.

    Args:
        message: Its first point may come later: the way there starts where the arm is. Points
            without velocities get those of the slope, and zero at both ends.
        names: The arm's joints, in the order of ``measured``.
        measured: Joint positions now [rad], shape (J,).

    Raises:
        PlanningError: If it is empty or incomplete.
        ShapeError: If its numbers are no trajectory.
    """
    if not message.points:
        raise PlanningError("the trajectory has no points")
    joints = tuple(message.joint_names)
    if sorted(joints) != sorted(names):
        raise PlanningError(f"the trajectory moves {list(joints)}; expected {list(names)}")
    lengths = {len(point.positions) for point in message.points}
    if lengths != {len(joints)}:
        raise PlanningError(f"points have {sorted(lengths)} positions; expected {len(joints)} each")
    times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in message.points]
    positions = [list(point.positions) for point in message.points]
    velocities = [list(point.velocities) for point in message.points]
    if times[0] > 0.0:
        times.insert(0, 0.0)
        positions.insert(0, [float(measured[names.index(name)]) for name in joints])
        velocities.insert(0, [0.0] * len(joints) if velocities[0] else [])
    array, when = np.array(positions, dtype=np.float64), np.array(times)
    if all(len(row) == len(joints) for row in velocities):
        rates = np.array(velocities, dtype=np.float64)
    else:
        rates = np.zeros_like(array)
        if len(when) > 2 and (np.diff(when) > 0).all():
            rates[1:-1] = np.gradient(array, when, axis=0)[1:-1]
    return JointTrajectory(joints, when, array, rates)


def _tolerances(
    goal: FollowJointTrajectory.Goal, names: tuple[str, ...], defaults: Tolerances
) -> Tolerances:
    duration = goal.goal_time_tolerance
    seconds = duration.sec + duration.nanosec * 1e-9
    return Tolerances(
        _overridden(defaults.path, goal.path_tolerance, names),
        _overridden(defaults.goal, goal.goal_tolerance, names),
        seconds if seconds > 0 else defaults.goal_time,
    )


def _overridden(
    values: FloatArray, tolerances: list[JointTolerance], names: tuple[str, ...]
) -> FloatArray:
    """0 in a message keeps the default, a negative number lifts the limit."""
    result = values.copy()
    for item in tolerances:
        if item.name not in names:
            raise PlanningError(f"a tolerance names the joint {item.name!r}; expected {names}")
        if math.isnan(item.position):
            raise PlanningError(f"the tolerance of {item.name} is not a number; expected rad")
        if item.position != 0.0:
            result[names.index(item.name)] = max(item.position, 0.0)
    return result
