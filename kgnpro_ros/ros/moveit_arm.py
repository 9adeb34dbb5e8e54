# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""An arm that MoveIt plans for and moves; the gripper is moved through its own action.

MoveIt's word for a gripper motion says nothing about a stall, so opening and closing go through
:class:`~kgnpro_ros.execution.controllers.Controllers`, which also measures the joints. This arm
must not share a process with whatever publishes the joint states: MoveIt keeps Python waiting while
it starts and plans.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import MotionConfig
from kgnpro_ros.config.moveit import MoveItConfig
from kgnpro_ros.exceptions import FrameError, ShapeError
from kgnpro_ros.execution.arm import ArmError, ArmFailure, GripperState, Motion, Obstacles
from kgnpro_ros.execution.boxes import Boxes, boxes_of, without_cells
from kgnpro_ros.execution.controllers import Controllers
from kgnpro_ros.execution.lines import pose_error
from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.geometry.se3 import invert, transform_points
from kgnpro_ros.ros.moveit_lines import MoveItLines
from kgnpro_ros.ros.moveit_motion import MoveItMotion
from kgnpro_ros.ros.moveit_parameters import has_fixed_base, load_parameters
from kgnpro_ros.ros.moveit_session import WORTH_ANOTHER_TRY, MoveItSession, Plan
from kgnpro_ros.types import FloatArray, check_transform

#: Names of our objects in MoveIt's planning scene.
TABLE, CLOUD, HELD = "kgnpro_table", "kgnpro_cloud", "kgnpro_held"

#: A plan may end this far from its goal [m], [rad]; MoveIt's pose goals have 0.001 and 0.01.
GOAL_TOLERANCE = (0.003, 0.03)
#: What MoveIt knows of the robot may differ by this much from what is measured [rad], [m].
JOINTS_AGREE, BASE_AGREES = 0.05, 1e-3

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class _Handle:
    """What :meth:`MoveItArm.execute` needs to know of a motion."""

    trajectory: Any
    start: FloatArray
    allowed: tuple[tuple[str, str], ...]


class MoveItArm:
    """:class:`~kgnpro_ros.execution.arm.Arm` on moveit_py.

    Args:
        config: Names of the MoveIt configuration.
        motion: Speeds and steps; ``seed`` is not used, MoveIt's planners have their own.
        gripper: Its tool link is what poses are for.
        controllers: Measures the joints, in the order of the group, and moves the gripper.
        use_sim_time: MoveIt takes the time from /clock.
        find_transform: ``T_target_source`` from TF by the names of two frames, to check once that
            MoveIt has the robot where TF has it, if it is to follow TF; left out when None.
        halt: A second way to stop, past MoveIt, called first: ``moveit_motion.cancel_all``.

    Raises:
        ArmError: If the joints are not measured yet; another try is welcome.
        KGNProError: If MoveIt is missing, does not start, or disagrees with what is given here.
    """

    def __init__(
        self,
        config: MoveItConfig,
        motion: MotionConfig,
        gripper: Gripper,
        controllers: Controllers,
        *,
        use_sim_time: bool = False,
        find_transform: Callable[[str, str], FloatArray] | None = None,
        halt: Callable[[], None] = lambda: None,
    ) -> None:
        self._config, self._motion = config, motion
        self._gripper, self._controllers = gripper, controllers
        # Before MoveIt, which starts once only: without joint states it would fail.
        controllers.joints()
        parameters = load_parameters(config.parameters)
        if use_sim_time:
            parameters["use_sim_time"] = True
        self._objects: set[str] = set()
        self._points: FloatArray = np.zeros((0, 3))
        self._session = MoveItSession(config, parameters, gripper.tool_link)
        self._scene = self._session.scene
        self._T_planning_base = self._scene.frame_pose(config.base_frame)
        self._runner = MoveItMotion(self._session, halt)
        self._lines = MoveItLines(self._session, config.straight_set, motion, self._runner)
        # A fixed virtual joint makes a world of MoveIt's own, which need not be that of TF.
        self._find_transform = None if has_fixed_base(parameters) else find_transform
        self._verified = False

    def _verify(self, measured: FloatArray) -> None:
        """Compare MoveIt's robot with the measured one, once the node receives messages."""
        known = self._session.arm_joints(self._session.state())
        if measured.shape != known.shape or np.abs(measured - known).max() > JOINTS_AGREE:
            raise ArmError(
                ArmFailure.CONNECTION,
                f"the joints {', '.join(self._session.joint_names)} are at {known.round(3)} for "
                f"MoveIt and at {measured.round(3)} for the controllers; expected the same joints "
                "in the same order, and an arm that stands still",
            )
        planning, base = self._scene.planning_frame, self._config.base_frame
        if self._find_transform is not None and planning != base:
            try:
                found = self._find_transform(planning, base)
            except FrameError as problem:
                raise ArmError(ArmFailure.CONNECTION, str(problem)) from problem
            error = float(np.abs(found - self._T_planning_base).max())
            if error > BASE_AGREES:
                raise ArmError(
                    ArmFailure.CONNECTION,
                    f"MoveIt's transform from {base!r} to {planning!r} differs from that of TF by "
                    f"{error:.3f}; expected the same: is the virtual joint of the SRDF published?",
                )
        self._verified = True

    @property
    def base_frame(self) -> str:
        """Name of the frame of all poses and obstacles."""
        return self._config.base_frame

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joints of the planning group, in its order."""
        return self._session.joint_names

    def joints(self) -> FloatArray:
        """Measured joint positions [rad], shape (J,)."""
        measured = self._controllers.joints()
        if not self._verified:
            self._verify(measured)
        return measured

    def tool_pose(self) -> FloatArray:
        """Pose of the tool link at the measured joints, ``T_base_tool``, shape (4, 4)."""
        return self._tool_pose(self._session.state(self.joints()))

    def expect_opening(self, width: float) -> None:
        """Plan with the jaws this far open [m] from now on, instead of as they are."""
        self._session.hand_position = width * self._config.finger_scale

    def set_obstacles(self, obstacles: Obstacles) -> None:
        """Replace what plans must avoid; points on the hand itself are left out."""
        self._T_planning_base = self._scene.frame_pose(self._config.base_frame)
        self._points = self._without_hand(np.asarray(obstacles.points, np.float64))
        self._put(CLOUD, boxes_of(self._points, self._motion.point_spacing))
        if obstacles.table_height is None:
            self._put(TABLE, None)
            return
        thickness = self._config.table_thickness
        middle = obstacles.table_height - self._motion.table_margin - thickness / 2
        center = np.array([[*self._config.table_center, middle]])
        self._put(TABLE, Boxes(center, np.array([[*self._config.table_size, thickness]])))
        self._scene.allow([(TABLE, self._config.base_frame)])

    def _put(self, name: str, boxes: Boxes | None) -> None:
        if boxes is not None and len(boxes):
            self._scene.put_object(name, self._T_planning_base, boxes)
            self._objects.add(name)
        elif name in self._objects:
            self._scene.remove_object(name)
            self._objects.discard(name)

    def _without_hand(self, points: FloatArray) -> FloatArray:
        """Points that are not on the hand where it is now."""
        gripper, margin = self._gripper, self._motion.self_margin
        T_base_grasp = self.tool_pose() @ gripper.T_tool_grasp
        local = transform_points(invert(T_base_grasp), points)
        fingers = gripper.finger_boxes(np.array([gripper.max_width]))
        boxes = [
            (fingers[0].min(axis=(0, 1)), fingers[1].max(axis=(0, 1))),
            (np.asarray(gripper.palm.lower), np.asarray(gripper.palm.upper)),
        ]
        on_hand = np.zeros(len(points), dtype=bool)
        for lower, upper in boxes:
            on_hand |= ((local >= lower - margin) & (local <= upper + margin)).all(axis=1)
        return points[~on_hand]

    def reachable(self, T_base_tool: FloatArray) -> NDArray[np.bool_]:
        """Which poses, shape (N, 4, 4), have a joint solution within the limits, shape (N,)."""
        poses = check_transform(T_base_tool, "T_base_tool")
        seed = self._session.state(self.joints())
        found = np.zeros(len(poses), dtype=bool)
        # One by one: MoveIt's binding solves for single poses only.
        for index, pose in enumerate(self._T_planning_base @ poses):
            self._runner.check_stopped()
            found[index] = self._session.solve(seed, pose) is not None
        return found

    def plan_free(self, T_base_tool: FloatArray, start: FloatArray | None = None) -> Motion:
        """A collision-free motion to a pose, from ``start`` [rad] or from where the arm is."""
        begin = self._begin(start)
        goal = self._T_planning_base @ check_transform(T_base_tool, "T_base_tool")
        state = self._session.state(begin)
        joints = self._session.solve(state, goal)
        if joints is None:
            raise ArmError(ArmFailure.UNREACHABLE, "the arm has no joint solution for the pose")
        target = self._session.state(joints)
        blocked = self._scene.colliding(target)

        def search(attempt: int) -> Plan:
            # To the solution that is known, and by turns to any other one.
            if blocked or attempt % 2:
                return self._session.plan_pose(self._config.free_set, state, goal, self._limits())
            return self._session.plan_state(self._config.free_set, state, target, self._limits())

        motion = self._search(search, state, begin, target)
        self._check_goal(motion, goal)
        return motion

    def plan_joints(self, goal: FloatArray, start: FloatArray | None = None) -> Motion:
        """A collision-free motion to joint positions [rad]."""
        begin = self._begin(start)
        if np.shape(goal) != begin.shape:
            raise ArmError(ArmFailure.UNREACHABLE, f"{goal} are not {len(begin)} joint positions")
        state, target = self._session.state(begin), self._session.state(goal)

        def search(attempt: int) -> Plan:
            return self._session.plan_state(self._config.free_set, state, target, self._limits())

        return self._search(search, state, begin, target)

    def _limits(self) -> tuple[float, float, float]:
        """Time of one search [s], shares of velocity and acceleration limits."""
        return (self._config.planning_slice, self._motion.speed, self._motion.acceleration)

    def _search(
        self, search: Callable[[int], Plan], start: Any, begin: FloatArray, goal: Any
    ) -> Motion:
        """Plan in slices until there is a motion or the time is over.

        Args:
            search: Plans once; gets the number of the attempt.
            start: State at the start, for the reason of a failure.
            begin: Joints at the start [rad].
            goal: One state at the goal, for the reason of a failure.
        """
        deadline = time.monotonic() + self._motion.planning_time
        for attempt in itertools.count():
            self._runner.check_stopped()
            plan = search(attempt)
            if plan.trajectory is not None:
                return self._checked(plan.trajectory, begin, ())
            if plan.code not in WORTH_ANOTHER_TRY or time.monotonic() > deadline:
                break
        for name, state in (("start", start), ("goal", goal)):
            if self._scene.colliding(state):
                raise ArmError(ArmFailure.IN_COLLISION, f"the {name} of the motion collides")
        raise plan.error("free motion")

    def plan_straight(
        self, T_base_tool: FloatArray, start: FloatArray | None = None, *, contact: bool = False
    ) -> Motion:
        """A straight motion of the tool; with ``contact`` the hand may touch what it grasps.

        A held object may touch the table: lifting and putting down begin and end like that.
        """
        begin = self._begin(start)
        goal = self._T_planning_base @ check_transform(T_base_tool, "T_base_tool")
        allowed = self._contacts(contact)
        trajectory = self._lines.plan(begin, goal, self._config.planning_slice, allowed)
        motion = self._checked(trajectory, begin, allowed)
        self._check_goal(motion, goal)
        return motion

    def _contacts(self, contact: bool) -> tuple[tuple[str, str], ...]:
        """Pairs that may touch in a straight motion."""
        held = HELD in self._objects
        pairs = [(HELD, TABLE)] if held else []
        if contact:
            pairs += [(CLOUD, link) for link in self._session.hand_links]
            pairs += [(HELD, CLOUD)] if held else []
        return tuple(pairs)

    def _check_goal(self, motion: Motion, goal: FloatArray) -> None:
        """Refuse a plan that ends elsewhere than at a pose in the planning frame."""
        reached = self._session.tool_pose(self._session.state(motion.end))
        distance, angle = pose_error(reached, goal)
        if distance > GOAL_TOLERANCE[0] or angle > GOAL_TOLERANCE[1]:
            raise ArmError(
                ArmFailure.NO_PLAN,
                f"MoveIt's plan ends {1e3 * distance:.1f} mm and {angle:.3f} rad from its goal",
            )

    def _checked(self, trajectory: Any, begin: FloatArray, allowed: Pairs) -> Motion:
        """A motion that starts where it should and touches nothing that it may not."""
        try:
            found = self._session.joint_trajectory(trajectory)
        except ShapeError as error:
            raise ArmError(
                ArmFailure.NO_PLAN, f"MoveIt's trajectory is not usable: {error}"
            ) from error
        gap = float(np.abs(found.positions[0] - begin).max())
        if gap > self._config.start_tolerance:
            raise ArmError(
                ArmFailure.START_MISMATCH, f"the plan starts {gap:.3f} rad from where it should"
            )
        with self._scene.allowing(allowed):
            problem = self._scene.path_problem(trajectory)
        if problem is not None:
            raise ArmError(ArmFailure.IN_COLLISION, f"the path is blocked: {problem}")
        handle = _Handle(trajectory, found.positions[0], tuple(allowed))
        return Motion(found.positions[-1].copy(), found.duration, found, handle)

    def execute(self, motion: Motion) -> None:
        """Move; returns when the arm is there."""
        handle = motion.handle
        if not isinstance(handle, _Handle):
            raise ArmError(ArmFailure.REJECTED, "the motion was not planned by this arm")
        self._runner.check_stopped()
        gap = float(np.abs(self.joints() - handle.start).max())
        if gap > self._config.start_tolerance:
            raise ArmError(
                ArmFailure.START_MISMATCH,
                f"the arm stands {gap:.3f} rad from where the motion starts; at most "
                f"{self._config.start_tolerance} rad are allowed",
            )
        # The scene may have changed since the motion was planned.
        with self._scene.allowing(handle.allowed):
            problem = self._scene.path_problem(handle.trajectory)
        if problem is not None:
            raise ArmError(ArmFailure.IN_COLLISION, f"the path is blocked by now: {problem}")
        self._runner.run(handle.trajectory)

    def move_gripper(self, width: float) -> GripperState:
        """Open or close to an opening [m]; a stall is a result, not an error."""
        self._runner.check_stopped()
        return self._controllers.move_gripper(width)

    def attach(self, points: FloatArray) -> None:
        """Plan with points [m], shape (N, 3), in the base frame, that now move with the hand."""
        points = np.asarray(points, np.float64)
        self.detach()
        if len(points) == 0:
            return
        local = transform_points(invert(self.tool_pose()), points)
        spacing = self._motion.point_spacing
        self._scene.attach(HELD, boxes_of(local, spacing))
        self._objects.add(HELD)
        self._points = without_cells(self._points, points, spacing)
        self._put(CLOUD, boxes_of(self._points, spacing))

    def detach(self) -> None:
        """Forget the attached points."""
        if HELD in self._objects:
            self._scene.detach(HELD)
            self._objects.discard(HELD)

    def stop(self) -> None:
        """Stop every motion now, from any thread."""
        self._runner.stop()
        self._controllers.stop()

    def resume(self) -> None:
        """Allow motions again after ``stop``."""
        self._controllers.resume()
        self._runner.resume()

    def close(self) -> None:
        """End MoveIt; the process has to end after it, with an explicit exit code."""
        self._runner.close()
        self._session.close()

    def _begin(self, start: FloatArray | None) -> FloatArray:
        self._runner.check_stopped()
        return self.joints() if start is None else np.asarray(start, np.float64)

    def _tool_pose(self, state: Any) -> FloatArray:
        pose: FloatArray = invert(self._T_planning_base) @ self._session.tool_pose(state)
        return pose
