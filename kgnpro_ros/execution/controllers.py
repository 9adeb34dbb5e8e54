# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What moves the joints of an arm that plans itself: a trajectory controller and a gripper.

The simulation implements it in its own process, the ROS node by the two controller actions.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.execution.arm import GripperState
from kgnpro_ros.execution.trajectory import JointTrajectory

FloatArray = NDArray[np.float64]


class Controllers(Protocol):
    """A joint trajectory controller and a gripper controller.

    Every method but ``stop`` and ``resume`` may raise
    :class:`~kgnpro_ros.execution.arm.ArmError`: REJECTED where a goal is not taken, ABORTED where
    a motion was given up (path or goal tolerance), TIMEOUT, CONNECTION, and STOPPED after ``stop``.
    """

    def joints(self) -> FloatArray:
        """Measured positions of the arm's joints [rad], shape (J,), in the planner's order."""
        ...

    def follow(self, trajectory: JointTrajectory) -> None:
        """Follow a trajectory; returns when the joints are at its end within the tolerance."""
        ...

    def move_gripper(self, width: float) -> GripperState:
        """Open or close to an opening [m]; a stall is a result, not an error."""
        ...

    def stop(self) -> None:
        """Halt where the joints are, from any thread.

        Calls that block end within 0.2 s with the failure STOPPED; ``follow`` and ``move_gripper``
        fail the same way until ``resume``, ``joints`` still answers. What the hand holds stays
        held: the fingers keep their force.
        """
        ...

    def resume(self) -> None:
        """Take goals again."""
        ...
