# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""An arm that plans with mplib and moves through two controllers."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.execution.arm import ArmError, ArmFailure, GripperState, Motion, Obstacles
from kgnpro_ros.execution.controllers import Controllers
from kgnpro_ros.execution.mplib_planner import MplibPlanner

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: A motion is executed only if the arm is this close to its start [rad], every joint.
START_TOLERANCE = 0.03

#: A motion in which no joint moves farther [rad] is not worth the controller's time.
STILL = 1e-4


class MplibArm:
    """:class:`~kgnpro_ros.execution.arm.Arm` over a planner and two controllers.

    Poses are those of the planner's tool link in its base link.

    Args:
        planner: Plans.
        controllers: Move the joints and the gripper.
    """

    def __init__(self, planner: MplibPlanner, controllers: Controllers) -> None:
        self._planner = planner
        self._controllers = controllers
        self._stopped = threading.Event()

    @property
    def base_frame(self) -> str:
        """The base link of the robot."""
        return self._planner.model.base

    def joints(self) -> FloatArray:
        """Measured joint positions [rad], shape (J,)."""
        joints = np.asarray(self._controllers.joints(), dtype=np.float64)
        expected = (len(self._planner.model.joint_names),)
        if joints.shape != expected:
            text = f"the controllers report joints of shape {joints.shape}; expected {expected}"
            raise ArmError(ArmFailure.CONNECTION, text)
        return joints

    def tool_pose(self) -> FloatArray:
        """Pose of the tool link at the measured joints, ``T_base_tool``, shape (4, 4)."""
        return self._planner.forward(self.joints())

    def set_obstacles(self, obstacles: Obstacles) -> None:
        """Replace what plans must avoid; points on the arm itself are left out."""
        self._planner.set_obstacles(obstacles, self.joints())

    def expect_opening(self, width: float) -> None:
        """Plan with the jaws this far open [m] from now on."""
        self._planner.expect_opening(width)

    def reachable(self, T_base_tool: FloatArray) -> BoolArray:
        """Which poses, shape (N, 4, 4), have a joint solution within the limits, shape (N,)."""
        return self._planner.reachable(T_base_tool)

    def plan_free(self, T_base_tool: FloatArray, start: FloatArray | None = None) -> Motion:
        """A collision-free motion to a pose, from ``start`` [rad] or from where the arm is."""
        return self._planner.plan_free(T_base_tool, self._from(start))

    def plan_joints(self, goal: FloatArray, start: FloatArray | None = None) -> Motion:
        """A collision-free motion to joint positions [rad]."""
        return self._planner.plan_joints(goal, self._from(start))

    def plan_straight(
        self, T_base_tool: FloatArray, start: FloatArray | None = None, *, contact: bool = False
    ) -> Motion:
        """A straight motion of the tool; with ``contact`` the fingers may touch points."""
        return self._planner.plan_straight(T_base_tool, self._from(start), contact)

    def execute(self, motion: Motion) -> None:
        """Follow a planned motion; returns when the arm is there."""
        self._check_stopped()
        if motion.trajectory is None:
            raise ArmError(ArmFailure.REJECTED, "the motion has no trajectory: not of this arm")
        away = np.abs(self.joints() - motion.trajectory.positions[0]).max()
        if away > START_TOLERANCE:
            text = f"the arm is {away:.3f} rad away from the start of the motion"
            raise ArmError(ArmFailure.START_MISMATCH, text)
        if np.ptp(motion.trajectory.positions, axis=0).max() > STILL:
            self._controllers.follow(motion.trajectory)

    def move_gripper(self, width: float) -> GripperState:
        """Open or close to an opening [m]; a stall is a result, not an error."""
        self._check_stopped()
        return self._controllers.move_gripper(width)

    def attach(self, points: FloatArray) -> None:
        """Plan with points [m], shape (N, 3), in the base frame, that now move with the hand."""
        self._planner.hold(points, self.joints())

    def detach(self) -> None:
        """Forget the attached points."""
        self._planner.release()

    def stop(self) -> None:
        """Stop every motion and every plan now; from any thread."""
        self._stopped.set()
        self._planner.interrupt()
        self._controllers.stop()

    def resume(self) -> None:
        """Allow motions again after ``stop``."""
        self._controllers.resume()
        self._planner.resume()
        self._stopped.clear()

    def _from(self, start: FloatArray | None) -> FloatArray:
        return self.joints() if start is None else start

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise ArmError(ArmFailure.STOPPED, "the arm was stopped; resume it first")
