# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the arm that MoveIt plans for."""

from __future__ import annotations

from dataclasses import dataclass

from kgnpro_ros.config.checks import check_ranges, ranged, require


@dataclass(frozen=True)
class MoveItConfig:
    """Names of a MoveIt configuration, and what this adapter adds to it.

    Attributes:
        parameters: Parameters of MoveIt as YAML text, or the name of a YAML file: robot
            description, kinematics, pipelines, controllers. grasp.launch.py fills it in.
        group: Planning group of the arm.
        hand_group: Group of the hand; its links may touch what is grasped.
        finger_scale: Position of the joints of the hand's group per metre of jaw opening; 0.5 for
            fingers that slide half the opening each.
        base_frame: Link that the arm stands on: all poses are in it, and it may touch the table.
        free_set: Named set of plan_request_params for motions around obstacles.
        straight_set: Named set for straight lines (Pilz LIN).
        planning_slice: Planning is cut into pieces of this time [s]: MoveIt keeps Python waiting
            while it plans, and a stop is only noticed in between.
        ik_timeout: Time for one inverse kinematics solution [s].
        start_tolerance: A motion may start this far [rad] from where the joints are.
        table_center: Middle of the table in the base frame (x, y) [m].
        table_size: Extent of the table (x, y) [m]; it is taken to be level.
        table_thickness: Thickness of the table [m].
    """

    parameters: str = ""
    group: str = "panda_arm"
    hand_group: str = "hand"
    finger_scale: float = ranged(0.5, -1000.0, 1000.0)
    base_frame: str = "panda_link0"
    free_set: str = "ompl_rrtc"
    straight_set: str = "pilz_lin"
    planning_slice: float = ranged(0.1, 0.01, 10.0)
    ik_timeout: float = ranged(0.02, 0.001, 1.0)
    start_tolerance: float = ranged(0.02, 0.001, 0.5)
    table_center: tuple[float, float] = (0.6, 0.0)
    table_size: tuple[float, float] = (1.8, 2.0)
    table_thickness: float = ranged(0.1, 0.01, 2.0)

    def __post_init__(self) -> None:
        require(min(self.table_size) > 0, f"table_size must be positive, got {self.table_size}")
        for name in ("group", "hand_group", "base_frame", "free_set", "straight_set"):
            require(bool(getattr(self, name)), f"{name} must not be empty")
        check_ranges(self)
