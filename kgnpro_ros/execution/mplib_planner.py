# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Plans motions of an arm from its URDF: free ones (RRT-Connect) and straight ones."""

from __future__ import annotations

import threading
import time

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import MotionConfig
from kgnpro_ros.exceptions import PlanningError
from kgnpro_ros.execution.arm import ArmError, ArmFailure, Motion, Obstacles
from kgnpro_ros.execution.collision_world import CollisionWorld, dense
from kgnpro_ros.execution.kinematics import Kinematics
from kgnpro_ros.execution.lines import bend_of, line
from kgnpro_ros.execution.robot_model import RobotModel, convex_shape
from kgnpro_ros.execution.time_scaling import time_path
from kgnpro_ros.geometry.se3 import invert, transform_points

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Seeds of the inverse kinematics for one free motion, and most goals that are looked at.
SEEDS, MOST_GOALS = 24, 4

#: Joint solutions closer than this [rad] are one.
SAME_POSTURE = 0.1

#: Cost of a posture per share of a joint's range that it is away from the middle, to the power 4.
LIMIT_COST = 2.0

#: A search is restarted after this processor time [s]: a new tree often finds what an old one does
#: not. It is measured on the clock, which is stretched by the share of the processor that this
#: process got before, down to the least share.
SEARCH_SLICE, LEAST_SHARE = 0.1, 0.1

#: Tries to cut corners of a path, and the distance [rad] of the states that are joined.
SHORTCUTS, SHORTCUT_STEP = 40, 0.15

#: Distance [rad] of the states that a path is timed through.
PATH_STEP = 0.1

#: A measured position may be this far [rad] outside the limits.
LIMIT_TOLERANCE = 0.01

#: Half the thickness [m] that is given to held points that lie in a plane.
HELD_MARGIN = 0.002


class MplibPlanner:
    """Plans for one arm; deterministic: the same calls give the same motions.

    Args:
        model: The arm.
        config: Speed, times and distances; the defaults when None.
        opening: Jaw opening [m] that motions are planned with at first.
    """

    def __init__(
        self, model: RobotModel, config: MotionConfig | None = None, opening: float = 0.08
    ) -> None:
        self.model = model
        self._config = config or MotionConfig()
        self._kinematics = Kinematics(model, self._config.seed)
        self._world = CollisionWorld(model, opening, self._config.point_spacing)
        self._table: float | None = None
        self._obstacles: Obstacles | None = None
        self._seen_from = np.zeros(0)
        self._interrupted = threading.Event()
        self._last_goal, self._tries = b"", 0

    # ------------------------------------------------------------------ the scene

    def set_obstacles(self, obstacles: Obstacles, joints: FloatArray) -> None:
        """Replace what motions avoid; points on the arm itself at ``joints`` are left out."""
        if obstacles is self._obstacles and np.array_equal(joints, self._seen_from):
            return
        self._obstacles, self._seen_from = obstacles, joints.copy()
        on_arm = self._world.on_robot(obstacles.points, joints, self._config.self_margin)
        self._table = obstacles.table_height
        self._world.set_points(obstacles.points[~on_arm])
        margin = self._config.table_margin
        self._world.set_table(None if self._table is None else self._table - margin)

    def expect_opening(self, width: float) -> None:
        """Plan with the jaws this far open [m]."""
        self._world.set_opening(width)

    def hold(self, points: FloatArray, joints: FloatArray) -> None:
        """Plan with the convex hull of points [m], in the base frame, fixed to the hand.

        The hull reaches down to the table, as far as it is known: what stands on it was not seen
        from below.
        """
        if len(points) == 0:
            self._world.release()
            return
        pose = self.forward(joints)
        if self._table is not None:
            below = points.copy()
            below[:, 2] = np.minimum(points[:, 2], self._table + HELD_MARGIN)
            points = np.concatenate([points, below])
        corners = np.stack(np.meshgrid(*[(-HELD_MARGIN, HELD_MARGIN)] * 3), axis=-1).reshape(-1, 3)
        local = transform_points(invert(pose), points)
        shape = convex_shape((local[:, None] + corners).reshape(-1, 3))
        self._world.hold(shape, pose)

    def release(self) -> None:
        """Forget the held points."""
        self._world.release()

    # ------------------------------------------------------------------ questions

    def forward(self, joints: FloatArray) -> FloatArray:
        """Pose of the tool in the base frame at joint positions [rad], (J,) -> (4, 4)."""
        pose: FloatArray = self._kinematics.forward(joints[None])[0]
        return pose

    def reachable(self, T_base_tool: FloatArray) -> BoolArray:
        """Which poses (N, 4, 4) have a joint solution within the limits, (N,)."""
        return self._kinematics.reachable(T_base_tool)

    def interrupt(self) -> None:
        """Make the plan that is being made, and later ones, fail with STOPPED; any thread."""
        self._interrupted.set()

    def resume(self) -> None:
        """Plan again after ``interrupt``."""
        self._interrupted.clear()

    # ------------------------------------------------------------------ motions

    def plan_free(self, T_base_tool: FloatArray, start: FloatArray) -> Motion:
        """A free motion to a pose; asked again for the same pose, it prefers another posture."""
        start = self._checked_start(start)
        goals = self._goals(T_base_tool, start)
        key = T_base_tool.tobytes() + start.tobytes()
        self._tries = self._tries + 1 if key == self._last_goal else 0
        self._last_goal = key
        shift = self._tries % len(goals)
        return self._free_motion(start, goals[shift:] + goals[:shift])

    def plan_joints(self, goal: FloatArray, start: FloatArray) -> Motion:
        """A free motion to joint positions [rad], shape (J,)."""
        start = self._checked_start(start)
        if not self._kinematics.within_limits(goal):
            raise ArmError(ArmFailure.UNREACHABLE, f"goal {goal.round(3)}: {self._limits(goal)}")
        contact = self._world.touching(goal)
        if contact is not None:
            raise ArmError(ArmFailure.IN_COLLISION, f"at the goal {contact}")
        return self._free_motion(start, [goal])

    def plan_straight(self, T_base_tool: FloatArray, start: FloatArray, contact: bool) -> Motion:
        """A straight motion of the tool, its rotation turning evenly along it."""
        start = self._checked_start(start)
        path = [start]
        with self._world.contact(contact):
            for pose in line(self.forward(start), T_base_tool, self._config.straight_step):
                self._check_interrupted()
                path.append(self._next_state(pose, path[-1]))
            self._check_path(np.stack(path), ArmFailure.IN_COLLISION)
        motion = self._timed(np.stack(path))
        self._check_straight(motion)
        return motion

    # ------------------------------------------------------------------ free motions

    def _goals(self, T_base_tool: FloatArray, start: FloatArray) -> list[FloatArray]:
        """Free joint solutions of a pose, best first."""
        joints, solved = self._kinematics.solutions(T_base_tool[None], SEEDS, start)
        found = joints[0][solved[0]]
        if len(found) == 0:
            raise ArmError(
                ArmFailure.UNREACHABLE,
                f"no joint solution for the tool at {T_base_tool[:3, 3].round(3)} m",
            )
        goals: list[FloatArray] = []
        contact: str | None = None
        for goal in found[np.argsort(self._posture_cost(found, start), kind="stable")]:
            if any(np.abs(goal - other).max() < SAME_POSTURE for other in goals):
                continue
            touching = self._world.touching(goal)
            contact = contact or touching
            if touching is None:
                goals.append(goal)
            if len(goals) == MOST_GOALS:
                break
        if not goals:
            raise ArmError(ArmFailure.IN_COLLISION, f"at the goal {contact}")
        return goals

    def _posture_cost(self, joints: FloatArray, start: FloatArray) -> FloatArray:
        """Time of a direct motion, and nearness to joint limits."""
        lower, upper = self._kinematics.lower, self._kinematics.upper
        share = 2 * (joints - lower) / (upper - lower) - 1
        way = (np.abs(joints - start) / self.model.velocity).max(axis=1)
        cost: FloatArray = way + LIMIT_COST * (share**4).max(axis=1)
        return cost

    def _free_motion(self, start: FloatArray, goals: list[FloatArray]) -> Motion:
        contact = self._world.touching(start)
        if contact is not None:
            raise ArmError(ArmFailure.IN_COLLISION, f"at the start {contact}")
        for goal in goals[:2]:
            direct = np.stack([start, goal])
            if self._world.touching_on(direct) is None:
                return self._timed(dense(direct, PATH_STEP))
        seed, share, begin = self._config.seed, 1.0, time.thread_time()
        # Processor time: a busy machine plans later, but not worse.
        while time.thread_time() - begin < self._config.planning_time:
            self._check_interrupted()
            wall, spent = time.monotonic(), time.thread_time()
            path = self._world.search(start, goals, SEARCH_SLICE / share, seed)
            wall, spent = time.monotonic() - wall, time.thread_time() - spent
            share = float(np.clip(spent / max(wall, 1e-9), LEAST_SHARE, 1.0))
            seed += 1
            motion = None if path is None else self._smooth(path, seed)
            if motion is not None:
                return motion
        raise ArmError(
            ArmFailure.NO_PLAN, f"no free motion found in {self._config.planning_time:g} s"
        )

    def _smooth(self, path: FloatArray, seed: int) -> Motion | None:
        """The motion along a path that was found, None where a closer look finds it blocked."""
        if self._world.touching_on(path) is not None:
            return None
        motion = self._timed(self._shortened(path, seed))
        assert motion.trajectory is not None
        free = self._world.touching_on(motion.trajectory.positions) is None
        return motion if free else None

    def _shortened(self, path: FloatArray, seed: int) -> FloatArray:
        """The path with corners cut where that is free."""
        rng = np.random.default_rng(seed)
        path = dense(path, SHORTCUT_STEP)
        for _ in range(SHORTCUTS):
            self._check_interrupted()
            if len(path) < 3:
                break
            first, last = np.sort(rng.choice(len(path), 2, replace=False))
            if last - first < 2 or self._world.touching_on(path[[first, last]]) is not None:
                continue
            between = dense(path[[first, last]], SHORTCUT_STEP)
            path = np.concatenate([path[:first], between, path[last + 1 :]])
        return dense(path, PATH_STEP)

    # ------------------------------------------------------------------ straight motions

    def _next_state(self, pose: FloatArray, before: FloatArray) -> FloatArray:
        """The state for the next pose on the line."""
        joints = self._kinematics.follow(pose, before)
        if joints is None:
            failure, what = ArmFailure.UNREACHABLE, "no joint solution"
        elif not self._kinematics.within_limits(joints):
            failure, what = ArmFailure.UNREACHABLE, self._limits(joints)
        elif np.abs(joints - before).max() > self._config.max_joint_step:
            failure, what = ArmFailure.NO_PLAN, "the joints would jump"
        else:
            return joints
        raise ArmError(failure, f"{what} at {pose[:3, 3].round(3)} m on the straight line")

    def _check_straight(self, motion: Motion) -> None:
        assert motion.trajectory is not None
        bend = bend_of(self._kinematics.forward(motion.trajectory.positions)[:, :3, 3])
        if bend > self._config.straight_tolerance:
            text = f"the tool would leave the straight line by {1000 * bend:.1f} mm"
            raise ArmError(ArmFailure.NO_PLAN, text)

    # ------------------------------------------------------------------ shared

    def _check_path(self, path: FloatArray, failure: ArmFailure) -> None:
        contact = self._world.touching_on(path)
        if contact is not None:
            raise ArmError(failure, f"on the way {contact}")

    def _timed(self, path: FloatArray) -> Motion:
        self._check_interrupted()
        config = self._config
        velocity = config.speed * self.model.velocity
        acceleration = config.acceleration * self.model.acceleration
        try:
            trajectory = time_path(self.model.joint_names, path, velocity, acceleration)
        except PlanningError as error:
            raise ArmError(ArmFailure.NO_PLAN, str(error)) from error
        return Motion(trajectory.positions[-1], trajectory.duration, trajectory)

    def _checked_start(self, joints: FloatArray) -> FloatArray:
        self._check_interrupted()
        lower, upper = self._kinematics.lower, self._kinematics.upper
        if not np.isfinite(joints).all() or (
            np.maximum(lower - joints, joints - upper).max() > LIMIT_TOLERANCE
        ):
            raise ArmError(ArmFailure.NO_PLAN, f"at the start {self._limits(joints)}")
        clipped: FloatArray = np.clip(joints, lower, upper)
        return clipped

    def _limits(self, joints: FloatArray) -> str:
        """Which joints are outside their limits."""
        outside = [
            f"{joint.name} is at {value:.3f} rad, outside {joint.lower:g} to {joint.upper:g}"
            for joint, value in zip(self.model.joints, joints, strict=True)
            if not joint.lower <= value <= joint.upper
        ]
        return ", ".join(outside)

    def _check_interrupted(self) -> None:
        if self._interrupted.is_set():
            raise ArmError(ArmFailure.STOPPED, "the arm was stopped")
