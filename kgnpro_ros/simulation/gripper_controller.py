# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The controller of the simulated fingers, after control_msgs/action/GripperCommand.

Like the trajectory controller it is a plain stepping state machine. Widths are jaw openings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kgnpro_ros.config import SimControllerConfig
from kgnpro_ros.exceptions import PlanningError
from kgnpro_ros.simulation.controllers import GoalState


@dataclass(frozen=True)
class GripperStatus:
    """How a gripper goal goes.

    Attributes:
        state: The state of the goal.
        width: Measured jaw opening [m].
        effort: Force of each finger, positive when it opens [N].
        stalled: The fingers do not move although they are not there.
        reached: They are there.
    """

    state: GoalState
    width: float
    effort: float
    stalled: bool = False
    reached: bool = False


class GripperController:
    """Opens and closes the fingers at a limited speed, and notices when something stops them.

    Args:
        width: Opening at the start [m].
        max_width: Largest opening [m].
        max_effort: Force of each finger where a goal names none [N].
        config: Speed and tolerances.
    """

    def __init__(
        self,
        width: float,
        max_width: float,
        max_effort: float,
        config: SimControllerConfig | None = None,
    ) -> None:
        self._config = config or SimControllerConfig()
        self._max_width, self._default_effort = max_width, max_effort
        self._goal = self._setpoint = width
        self.max_effort = max_effort
        self._time = self._moved = 0.0
        self._best = math.inf
        self.status: GripperStatus | None = None

    @property
    def active(self) -> bool:
        """Whether a goal is under way."""
        return self.status is not None and self.status.state is GoalState.ACTIVE

    def start(self, width: float, time: float, measured: float, max_effort: float = 0.0) -> None:
        """Take a goal; one that is active counts as canceled.

        Args:
            width: Jaw opening [m]; a little beyond the range is cut to it.
            time: Now [s].
            measured: Jaw opening now [m].
            max_effort: Greatest force of each finger [N]; 0 is the default one.

        Raises:
            PlanningError: If a number is not finite, or far outside the range.
        """
        slack = self._config.gripper_tolerance
        if not math.isfinite(width) or not -slack <= width <= self._max_width + slack:
            raise PlanningError(
                f"a jaw opening of {width:g} m was asked for; expected 0 to {self._max_width:g}"
            )
        if not math.isfinite(max_effort) or max_effort < 0:
            raise PlanningError(f"max_effort must be 0 or more newtons, got {max_effort:g}")
        self._goal = min(max(width, 0.0), self._max_width)
        self.max_effort = min(max_effort or self._default_effort, self._default_effort)
        # An opening hand starts from where it is, a closing one keeps its grip.
        self._setpoint = max(self._setpoint, measured) if width > measured else self._setpoint
        self._setpoint = min(self._setpoint, measured) if width < measured else self._setpoint
        self._time = self._moved = time
        self._best = abs(measured - self._goal)
        self.status = GripperStatus(GoalState.ACTIVE, measured, 0.0)

    def update(self, time: float, width: float, velocity: float, effort: float) -> float:
        """One control period.

        Args:
            time: Now [s].
            width: Measured opening [m].
            velocity: Its rate [m/s]; positions alone tell a stall.
            effort: Measured force of each finger [N].

        Returns:
            Set-point of the opening [m]; it stays after the goal, so what is held stays held.
        """
        reach = self._config.gripper_speed * max(time - self._time, 0.0)
        self._time = time
        step = min(max(self._goal - self._setpoint, -reach), reach)
        self._setpoint += step
        if self.active:
            self._check(time, width, effort)
        return self._setpoint

    def _check(self, time: float, width: float, effort: float) -> None:
        config = self._config
        # Only what comes nearer to the goal moves: a load that swings makes fingers tremble.
        away = abs(width - self._goal)
        if away < self._best - config.stall_speed * config.stall_time:
            self._moved, self._best = time, away
        reached = away <= config.gripper_tolerance
        stalled = not reached and time - self._moved >= config.stall_time
        state = GoalState.ACTIVE
        if reached or (stalled and config.allow_stalling):
            state = GoalState.SUCCEEDED
        elif stalled:
            state = GoalState.ABORTED
        self.status = GripperStatus(state, width, effort, stalled, reached)

    def cancel(self, time: float) -> None:
        """Give the goal up: fingers that move stay where they are, a grip keeps its force."""
        if not self.active:
            return
        assert self.status is not None
        if time - self._moved < self._config.stall_time / 3:
            self._goal = self._setpoint = self.status.width
        status = self.status
        self.status = GripperStatus(GoalState.CANCELED, status.width, status.effort)
