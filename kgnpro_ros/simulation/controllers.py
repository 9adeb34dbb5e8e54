# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The controllers of the simulated arm and hand, as plain stepping state machines.

Their words, error codes and tolerances are those of ``control_msgs`` (FollowJointTrajectory and
GripperCommand). Each holds one goal at a time: a new one takes the place of the old one. They know
no simulator; whoever steps it calls ``update`` at every control period.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline

from kgnpro_ros.config import SimControllerConfig
from kgnpro_ros.exceptions import PlanningError
from kgnpro_ros.execution.trajectory import JointTrajectory

FloatArray = NDArray[np.float64]


class GoalState(Enum):
    """What became of a goal."""

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    ABORTED = "aborted"
    CANCELED = "canceled"


class TrajectoryCode(IntEnum):
    """Error codes of the result of control_msgs/action/FollowJointTrajectory."""

    SUCCESSFUL = 0
    INVALID_GOAL = -1
    INVALID_JOINTS = -2
    OLD_HEADER_TIMESTAMP = -3
    PATH_TOLERANCE_VIOLATED = -4
    GOAL_TOLERANCE_VIOLATED = -5


class GoalRejectedError(PlanningError):
    """A controller does not take a goal.

    Attributes:
        code: The reason.
        start_mismatch: The arm is not where the trajectory starts.
    """

    def __init__(self, code: TrajectoryCode, message: str, start_mismatch: bool = False) -> None:
        super().__init__(message)
        self.code, self.start_mismatch = code, start_mismatch


@dataclass(frozen=True)
class Tolerances:
    """Of one trajectory; see :class:`~kgnpro_ros.config.SimControllerConfig`.

    Attributes:
        path: Greatest error of each joint on the way [rad], shape (J,); 0 is unlimited.
        goal: At the end [rad], shape (J,); 0 is unlimited.
        goal_time: Time past the end until the goal must be reached [s].
    """

    path: FloatArray
    goal: FloatArray
    goal_time: float


@dataclass(frozen=True)
class TrajectoryStatus:
    """How a trajectory goes.

    Attributes:
        state: The state of the goal.
        code: Reason of an abort, else SUCCESSFUL.
        message: The same in words.
        time: Since the start [s].
        desired: Where the joints should be [rad], shape (J,).
        error: Desired minus measured positions [rad], shape (J,).
    """

    state: GoalState
    code: TrajectoryCode
    message: str
    time: float
    desired: FloatArray
    error: FloatArray


class TrajectoryController:
    """Follows joint trajectories.

    Args:
        names: Joint names, J of them, in the order of all arrays.
        limits: Position limits [rad], shape (J, 2).
        velocity_limits: [rad/s], shape (J,).
        config: Tolerances.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        limits: FloatArray,
        velocity_limits: FloatArray,
        config: SimControllerConfig | None = None,
    ) -> None:
        self.names, self._limits, self._velocity_limits = names, limits, velocity_limits
        self._config = config or SimControllerConfig()
        self._goal: _Goal | None = None
        self._hold: _Hold | None = None
        self.status: TrajectoryStatus | None = None

    @property
    def active(self) -> bool:
        """Whether a trajectory is being followed."""
        return self._goal is not None

    def default_tolerances(self) -> Tolerances:
        """Those of the configuration."""
        config, ones = self._config, np.ones(len(self.names))
        return Tolerances(
            config.path_tolerance * ones, config.goal_tolerance * ones, config.goal_time_tolerance
        )

    def start(
        self,
        trajectory: JointTrajectory,
        time: float,
        positions: FloatArray,
        tolerances: Tolerances | None = None,
    ) -> None:
        """Take a goal; one that is active counts as canceled.

        Args:
            trajectory: What to follow; joints may come in any order.
            time: Now [s].
            positions: Measured joint positions [rad], shape (J,).
            tolerances: Instead of the default ones.

        Raises:
            GoalRejectedError: If its joints are others, it breaks a limit, or the arm is not where
                it starts; what was active stays active.
        """
        trajectory = self._in_order(trajectory)
        self._check(trajectory, positions)
        self._goal = _Goal(trajectory, time, tolerances or self.default_tolerances())
        self._hold = None
        desired = trajectory.positions[0]
        self._report(GoalState.ACTIVE, 0.0, desired, positions)

    def update(
        self, time: float, positions: FloatArray, velocities: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """One control period.

        Args:
            time: Now [s].
            positions: Measured joint positions [rad], shape (J,).
            velocities: Their rates [rad/s], shape (J,).

        Returns:
            Set-points for the servos [rad, rad/s].
        """
        goal = self._goal
        if goal is None:
            self._hold = self._hold or _Hold(time, positions, np.zeros(len(self.names)), 0.0)
            return self._hold.at(time)
        elapsed = time - goal.start
        desired, rate = goal.at(elapsed)
        self._report(GoalState.ACTIVE, elapsed, desired, positions)
        error = np.abs(desired - positions)
        if elapsed < goal.duration:
            self._check_path(goal, error, time)
        else:
            self._check_goal(goal, error, velocities, elapsed, time)
        return (desired, rate) if self._hold is None else self._hold.at(time)

    def cancel(self, time: float) -> None:
        """Give the goal up: slow down along the motion, come to rest and stay there."""
        if self._goal is not None:
            self._end(GoalState.CANCELED, TrajectoryCode.SUCCESSFUL, "canceled", time)

    def _in_order(self, trajectory: JointTrajectory) -> JointTrajectory:
        if sorted(trajectory.names) != sorted(self.names):
            raise GoalRejectedError(
                TrajectoryCode.INVALID_JOINTS,
                f"the trajectory moves {list(trajectory.names)}; expected {list(self.names)}",
            )
        order = [trajectory.names.index(name) for name in self.names]
        return JointTrajectory(
            self.names, trajectory.times, trajectory.positions[:, order],
            trajectory.velocities[:, order],
        )  # fmt: skip

    def _check(self, trajectory: JointTrajectory, measured: FloatArray) -> None:
        low, high = self._limits.T
        for joint, name in enumerate(self.names):
            column = trajectory.positions[:, joint]
            if column.min() < low[joint] - 1e-6 or column.max() > high[joint] + 1e-6:
                raise GoalRejectedError(
                    TrajectoryCode.INVALID_GOAL,
                    f"{name} would go from {column.min():.4f} to {column.max():.4f} rad; its "
                    f"limits are {low[joint]:.4f} and {high[joint]:.4f}",
                )
            fastest, limit = np.abs(trajectory.velocities[:, joint]).max(), self._velocity_limits
            if fastest > 1.001 * limit[joint]:
                raise GoalRejectedError(
                    TrajectoryCode.INVALID_GOAL,
                    f"{name} would turn at {fastest:.3f} rad/s; its limit is {limit[joint]:.3f}",
                )
        off = np.abs(trajectory.positions[0] - measured)
        worst = int(off.argmax())
        if off[worst] > self._config.start_tolerance:
            raise GoalRejectedError(
                TrajectoryCode.INVALID_GOAL,
                f"{self.names[worst]} is {off[worst]:.4f} rad from where the trajectory starts; "
                f"the tolerance is {self._config.start_tolerance:g}",
                start_mismatch=True,
            )

    def _check_path(self, goal: _Goal, error: FloatArray, time: float) -> None:
        limit = np.where(goal.tolerances.path > 0, goal.tolerances.path, np.inf)
        if (error > limit).any():
            worst = int((error - limit).argmax())
            message = (
                f"{self.names[worst]} is {error[worst]:.4f} rad off its path; the tolerance is "
                f"{limit[worst]:g}"
            )
            self._end(GoalState.ABORTED, TrajectoryCode.PATH_TOLERANCE_VIOLATED, message, time)

    def _check_goal(
        self,
        goal: _Goal,
        error: FloatArray,
        velocities: FloatArray,
        elapsed: float,
        time: float,
    ) -> None:
        limit = np.where(goal.tolerances.goal > 0, goal.tolerances.goal, np.inf)
        still = (np.abs(velocities) <= self._config.stopped_velocity).all()
        if still and (error <= limit).all():
            self._end(GoalState.SUCCEEDED, TrajectoryCode.SUCCESSFUL, "reached", time)
        elif elapsed > goal.duration + goal.tolerances.goal_time:
            worst = int((error - limit).argmax())
            message = (
                f"{self.names[worst]} is {error[worst]:.4f} rad from its goal "
                f"{goal.tolerances.goal_time:g} s after the end; the tolerance is {limit[worst]:g}"
            )
            self._end(GoalState.ABORTED, TrajectoryCode.GOAL_TOLERANCE_VIOLATED, message, time)

    def _end(self, state: GoalState, code: TrajectoryCode, message: str, time: float) -> None:
        assert self._goal is not None
        assert self.status is not None
        desired, rate = self._goal.at(time - self._goal.start)
        slow_down = 0.0 if state is GoalState.SUCCEEDED else self._config.stop_time
        self._hold = _Hold(time, desired, rate, slow_down, self._limits)
        measured = self.status.desired - self.status.error
        self._report(state, time - self._goal.start, desired, measured, code, message)
        self._goal = None

    def _report(
        self,
        state: GoalState,
        elapsed: float,
        desired: FloatArray,
        measured: FloatArray,
        code: TrajectoryCode = TrajectoryCode.SUCCESSFUL,
        message: str = "",
    ) -> None:
        error = desired - measured
        self.status = TrajectoryStatus(state, code, message, elapsed, desired, error)


class _Goal:
    """A trajectory from a start time on, cubic between way points."""

    def __init__(self, trajectory: JointTrajectory, start: float, tolerances: Tolerances) -> None:
        self.start, self.tolerances, self.duration = start, tolerances, trajectory.duration
        self._last = trajectory.positions[-1]
        self._curve = None
        if len(trajectory.times) > 1:
            self._curve = CubicHermiteSpline(
                trajectory.times, trajectory.positions, trajectory.velocities
            )
            self._rate = self._curve.derivative()

    def at(self, elapsed: float) -> tuple[FloatArray, FloatArray]:
        """Positions and velocities at a time since the start [s]; at rest after the end."""
        if self._curve is None or elapsed >= self.duration:
            return self._last, np.zeros_like(self._last)
        elapsed = max(elapsed, 0.0)
        return self._curve(elapsed), self._rate(elapsed)


class _Hold:
    """Comes to rest at constant deceleration, and stays."""

    def __init__(
        self,
        start: float,
        positions: FloatArray,
        velocities: FloatArray,
        duration: float,
        limits: FloatArray | None = None,
    ) -> None:
        self._start, self._positions, self._velocities = start, positions, velocities
        self._duration, self._limits = duration, limits

    def at(self, time: float) -> tuple[FloatArray, FloatArray]:
        """Positions and velocities at a time."""
        if self._duration <= 0.0:
            return self._positions, np.zeros_like(self._velocities)
        elapsed = min(max(time - self._start, 0.0), self._duration)
        rest = 1.0 - elapsed / self._duration
        way = elapsed - elapsed**2 / (2 * self._duration)
        positions = self._positions + way * self._velocities
        if self._limits is not None:
            positions = np.clip(positions, *self._limits.T)
        return positions, rest * self._velocities
