# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the pick sequence and of the motion planner."""

from __future__ import annotations

from dataclasses import dataclass, field

from kgnpro_ros.config.checks import check_ranges, ranged, require


@dataclass(frozen=True)
class CandidateConfig:
    """Which grasps are attempted, in the base frame of the arm.

    Attributes:
        min_score: Grasps with a lower score are not attempted.
        workspace: Box (x_min, y_min, z_min, x_max, y_max, z_max) [m] for grasp origins in the base
            frame, or None for no limit.
        max_approach_angle: Largest angle [deg] between approach axis and straight down (-z of the
            base frame); 180 is no limit.
        pregrasp_distance: Length of the straight approach [m].
        outward_axis: Axis of the tool link that best points away from the base: it decides which of
            a grasp and its twin (turned by 180 degrees about the approach) is tried first. For the
            Panda, x keeps the last joint away from its limits.
        tip_overhang: How far the fingertips reach beyond the origin of the grasp frame [m]; in the
            file of the Franka hand that origin is the middle of the pads. A grasp whose tips would
            reach the table is moved back along its approach by up to this length.
        tip_clearance: Height above the table [m] that the tips keep, as far as that allows.
        tip_penetration: Tips that are then farther than this [m] below the table reject the grasp.
        max_leveling: A hand whose lower finger would reach the table is turned until its closing
            axis lies level, if it is tilted by up to this angle [deg]: it holds low things better.
        widening: The jaws open wider than detected by up to this [m], as far as nothing that was
            observed is in the way: nobody has seen the far side of the object.
        widening_step: Openings that are looked at are this far [m] apart.
        fit_retreat_steps: How far [m] a grasp is moved back along its approach, smallest first,
            where the fingers, ends included, would touch observed points at every opening.
        misfit_factor: Candidates that touch observed points all the same are tried in the order of
            their score times this.
    """

    min_score: float = ranged(0.0, 0.0, 1.0)
    workspace: tuple[float, float, float, float, float, float] | None = None
    max_approach_angle: float = ranged(100.0, 1.0, 180.0)
    pregrasp_distance: float = ranged(0.10, 0.01, 0.5)
    outward_axis: tuple[float, float, float] = (1.0, 0.0, 0.0)
    tip_overhang: float = ranged(0.0095, 0.0, 0.1)
    tip_clearance: float = ranged(0.001, 0.0, 0.1)
    tip_penetration: float = ranged(0.002, 0.0, 0.1)
    max_leveling: float = ranged(30.0, 0.0, 89.0)
    widening: float = ranged(0.04, 0.0, 0.2)
    widening_step: float = ranged(0.005, 0.001, 0.1)
    fit_retreat_steps: tuple[float, ...] = (0.005, 0.01)
    misfit_factor: float = ranged(0.5, 0.0, 1.0)

    def __post_init__(self) -> None:
        if self.workspace is not None:
            low, high = self.workspace[:3], self.workspace[3:]
            ordered = all(a < b for a, b in zip(low, high, strict=True))
            require(ordered, f"workspace corners are not ordered: {low} to {high}")
        require(
            all(0 < step <= 0.1 for step in self.fit_retreat_steps),
            f"fit_retreat_steps must be positive and up to 0.1 m, got {self.fit_retreat_steps}",
        )
        check_ranges(self)


@dataclass(frozen=True)
class PickConfig:
    """The pick sequence.

    Attributes:
        candidates: Which grasps are attempted.
        max_attempts: Most candidates that are tried with motion in one goal; candidates that cannot
            be planned do not count.
        max_plan_failures: Most candidates without a plan before the goal ends.
        max_grasp_age: Oldest detection [s] that the first motion may follow.
        max_retry_age: Oldest detection [s] that a further attempt of the same goal may use.
        lift_height: Length of the straight lift along z of the base frame [m].
        hold_time: Time after the lift [s] after which the object must still be in the hand.
        min_gap: The jaws hold something when they end this far [m] or more from closed.
        min_stalled_gap: The same where the gripper reports that it stalled.
        retreat_steps: How far [m] a grasp is moved back along its approach, smallest first, when
            the hand would touch something on the way there.
        plan_tries: How often the motions of one pose are planned before it is given up; each try
            may end in another posture of the arm.
        place_height: The object is moved to this height above its place [m], and down from there.
        object_gap: Observed points closer than this [m] to one another are one object.
        object_radius: Farthest [m] that a point of the held object lies from the fingertips.
    """

    candidates: CandidateConfig = field(default_factory=CandidateConfig)
    max_attempts: int = ranged(5, 1, 1000)
    max_plan_failures: int = ranged(20, 1, 10000)
    max_grasp_age: float = ranged(10.0, 0.0, 3600.0)
    max_retry_age: float = ranged(180.0, 0.0, 36000.0)
    lift_height: float = ranged(0.10, 0.01, 1.0)
    hold_time: float = ranged(1.0, 0.0, 60.0)
    min_gap: float = ranged(0.002, 0.0, 0.05)
    min_stalled_gap: float = ranged(0.0005, 0.0, 0.05)
    retreat_steps: tuple[float, ...] = (0.005, 0.01)
    plan_tries: int = ranged(3, 1, 20)
    place_height: float = ranged(0.10, 0.0, 0.5)
    object_gap: float = ranged(0.012, 0.001, 0.1)
    object_radius: float = ranged(0.15, 0.01, 1.0)

    def __post_init__(self) -> None:
        require(
            all(0 < step <= 0.1 for step in self.retreat_steps),
            f"retreat_steps must be positive and up to 0.1 m, got {self.retreat_steps}",
        )
        check_ranges(self)


@dataclass(frozen=True)
class MotionConfig:
    """How motions are planned by the arm that plans itself.

    Attributes:
        speed: Share of the joints' velocity limits.
        acceleration: Share of the joints' acceleration limits.
        seed: Seed of the planner; the same calls give the same motions.
        planning_time: Longest search for one free motion, in processor time [s].
        straight_step: Distance [m] between checked poses of a straight motion.
        straight_tolerance: Largest distance [m] of the tool from the straight line.
        max_joint_step: Largest change of a joint [rad] from one checked pose to the next: more is a
            jump to another posture.
        point_spacing: Edge [m] of the cubes that stand for observed points.
        table_margin: The hand may come this far [m] below the table before it counts as a
            collision, and no other part may come closer to it than this.
        self_margin: Observed points closer than this [m] to the arm are the arm.
    """

    speed: float = ranged(0.2, 0.01, 1.0)
    acceleration: float = ranged(0.2, 0.01, 1.0)
    seed: int = ranged(0, 0, 2**31 - 1)
    planning_time: float = ranged(1.0, 0.01, 60.0)
    straight_step: float = ranged(0.005, 0.0005, 0.05)
    straight_tolerance: float = ranged(0.001, 0.0001, 0.05)
    max_joint_step: float = ranged(0.2, 0.01, 3.0)
    point_spacing: float = ranged(0.005, 0.002, 0.05)
    table_margin: float = ranged(0.003, 0.0, 0.05)
    self_margin: float = ranged(0.01, 0.0, 0.1)

    def __post_init__(self) -> None:
        check_ranges(self)
