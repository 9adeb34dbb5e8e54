# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Moves the arm of a world in the same process, as fast as the physics runs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import SimControllerConfig
from kgnpro_ros.exceptions import PlanningError
from kgnpro_ros.execution.arm import ArmError, ArmFailure, GripperState
from kgnpro_ros.execution.trajectory import JointTrajectory
from kgnpro_ros.simulation import panda
from kgnpro_ros.simulation.controllers import (
    GoalRejectedError,
    GoalState,
    TrajectoryController,
)
from kgnpro_ros.simulation.gripper_controller import GripperController
from kgnpro_ros.simulation.world import PickWorld

FloatArray = NDArray[np.float64]

#: Longest motion of the fingers [s].
_GRIPPER_TIMEOUT = 10.0


class ControlledWorld:
    """A world and its two controllers, stepped together.

    Args:
        world: The world.
        config: Tolerances of the controllers.

    Attributes:
        world: The world.
        arm: The controller of the arm.
        gripper: The controller of the fingers.
    """

    def __init__(self, world: PickWorld, config: SimControllerConfig | None = None) -> None:
        self.world, self.config = world, config or SimControllerConfig()
        self.restart()

    def restart(self) -> None:
        """Forget all goals, after a reset of the world."""
        world = self.world
        self.arm = TrajectoryController(
            panda.ARM_JOINTS, world.joint_limits, panda.VELOCITY_LIMITS, self.config
        )
        self.gripper = GripperController(
            world.finger_width(), panda.MAX_WIDTH, world.config.grip_force, self.config
        )

    def tick(self) -> None:
        """One control period."""
        world = self.world
        now = world.time
        world.set_joint_targets(
            *self.arm.update(now, world.joint_positions(), world.joint_velocities())
        )
        width, rate = world.finger_width(), world.finger_velocity()
        target = self.gripper.update(now, width, rate, world.finger_effort())
        world.set_gripper(target, self.gripper.max_effort)
        world.step(self.config.period)


class SimControllers:
    """The ``Controllers`` of ``execution`` for a world in the same process.

    Args:
        world: The world; it is stepped whenever something moves.
        config: Tolerances of the controllers.
        on_tick: Called after every control period, to film or to watch.
    """

    def __init__(
        self,
        world: PickWorld,
        config: SimControllerConfig | None = None,
        on_tick: Callable[[PickWorld], None] | None = None,
    ) -> None:
        self.controlled = ControlledWorld(world, config)
        self.world = world
        self._on_tick = on_tick
        self._stopped = threading.Event()

    def restart(self) -> None:
        """Forget all goals, after a reset of the world."""
        self.controlled.restart()
        self._stopped.clear()

    def joints(self) -> FloatArray:
        """Measured positions of the arm's joints [rad], shape (7,)."""
        return self.world.joint_positions()

    def follow(self, trajectory: JointTrajectory) -> None:
        """Follow a trajectory; returns when the joints are at its end.

        Raises:
            ArmError: START_MISMATCH, REJECTED, ABORTED or STOPPED.
        """
        self._refuse_if_stopped()
        arm = self.controlled.arm
        try:
            arm.start(trajectory, self.world.time, self.world.joint_positions())
        except GoalRejectedError as error:
            mismatch = error.start_mismatch
            failure = ArmFailure.START_MISMATCH if mismatch else ArmFailure.REJECTED
            raise ArmError(failure, str(error)) from error
        while arm.active:
            self._tick_or_stop()
        assert arm.status is not None
        if arm.status.state is not GoalState.SUCCEEDED:
            raise ArmError(
                ArmFailure.ABORTED, f"{arm.status.code.name.lower()}: {arm.status.message}"
            )

    def move_gripper(self, width: float) -> GripperState:
        """Open or close to an opening [m]; a stall is a result, not an error.

        Raises:
            ArmError: REJECTED, ABORTED, TIMEOUT or STOPPED.
        """
        self._refuse_if_stopped()
        world, gripper = self.world, self.controlled.gripper
        start = world.time
        try:
            gripper.start(width, start, world.finger_width())
        except PlanningError as error:
            raise ArmError(ArmFailure.REJECTED, str(error)) from error
        while gripper.active:
            if world.time - start > _GRIPPER_TIMEOUT:
                gripper.cancel(world.time)
                raise ArmError(
                    ArmFailure.TIMEOUT, f"the fingers still move after {_GRIPPER_TIMEOUT:g} s"
                )
            self._tick_or_stop()
        status = gripper.status
        assert status is not None
        if status.state is GoalState.ABORTED:
            raise ArmError(ArmFailure.ABORTED, f"the fingers stalled at {status.width:.4f} m")
        return GripperState(status.width, status.stalled, status.reached)

    def wait(self, seconds: float) -> None:
        """Hold still for a while of simulated time.

        Raises:
            ArmError: STOPPED.
        """
        end = self.world.time + seconds
        while self.world.time < end - 1e-9:
            self._tick_or_stop()

    def stop(self) -> None:
        """Halt, from any thread; whoever blocks ends with STOPPED."""
        self._stopped.set()

    def resume(self) -> None:
        """Take goals again."""
        self._stopped.clear()

    def _refuse_if_stopped(self) -> None:
        if self._stopped.is_set():
            raise ArmError(ArmFailure.STOPPED, "the arm was stopped and has not been resumed")

    def _tick_or_stop(self) -> None:
        if self._stopped.is_set():
            self._come_to_rest()
            raise ArmError(ArmFailure.STOPPED, "the motion was stopped")
        self._tick()

    def _come_to_rest(self) -> None:
        """Cancel both goals and let the arm decelerate, which takes ``stop_time``."""
        now = self.world.time
        self.controlled.arm.cancel(now)
        self.controlled.gripper.cancel(now)
        while self.world.time < now + self.controlled.config.stop_time + 0.05:
            self._tick()

    def _tick(self) -> None:
        self.controlled.tick()
        if self._on_tick is not None:
            self._on_tick(self.world)
