# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""moveit_py as its documentation has it: the only module that imports it, and only when used.

Rules of moveit_py that this module keeps for its callers: one MoveItPy for a process, never made
again; nothing plans, executes or changes the monitor while a scene is held; a scene is not used
after its ``with``; allowed collisions are assigned back; every False is an error; a frame that the
scene does not know is an error (MoveIt would answer with the identity).
"""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from trajectory_msgs.msg import JointTrajectoryPoint

from kgnpro_ros.config.moveit import MoveItConfig
from kgnpro_ros.exceptions import ConfigError, PlanningError
from kgnpro_ros.execution.arm import ArmError, ArmFailure
from kgnpro_ros.execution.lines import pose_error
from kgnpro_ros.execution.trajectory import JointTrajectory
from kgnpro_ros.ros.conversions import poses_to_messages
from kgnpro_ros.ros.moveit_scene import MoveItScene, way_points
from kgnpro_ros.types import FloatArray

#: Name of the node inside MoveIt; some versions give it parameters under this name only.
NODE_NAME = "moveit_py"

SUPPORTED = "expected that of ROS 2 Jazzy (moveit 2.12) or Kilted (2.14)"

#: What MoveIt's error codes mean for an arm; whatever is not here is NO_PLAN.
FAILURES = {
    "INVALID_MOTION_PLAN": ArmFailure.IN_COLLISION,
    "MOTION_PLAN_INVALIDATED_BY_ENVIRONMENT_CHANGE": ArmFailure.IN_COLLISION,
    "START_STATE_IN_COLLISION": ArmFailure.IN_COLLISION,
    "GOAL_IN_COLLISION": ArmFailure.IN_COLLISION,
    "NO_IK_SOLUTION": ArmFailure.UNREACHABLE,
    "FRAME_TRANSFORM_FAILURE": ArmFailure.CONNECTION,
    "UNABLE_TO_AQUIRE_SENSOR_DATA": ArmFailure.CONNECTION,
    "PREEMPTED": ArmFailure.STOPPED,
    "CONTROL_FAILED": ArmFailure.ABORTED,
}
#: Codes of a search that another one may end better.
WORTH_ANOTHER_TRY = ("PLANNING_FAILED", "TIMED_OUT", "FAILURE")

_made = threading.Lock()


@dataclass(frozen=True)
class Plan:
    """What a planner answered.

    Attributes:
        trajectory: MoveIt's trajectory, or None.
        code: Name of the error code.
    """

    trajectory: Any
    code: str

    def error(self, what: str) -> ArmError:
        """The failure as an exception; ``what`` was planned."""
        failure = FAILURES.get(self.code, ArmFailure.NO_PLAN)
        return ArmError(failure, f"MoveIt has no {what}: {self.code}")


class MoveItSession:
    """MoveIt in this process.

    All poses are in the planning frame of the scene unless a name says otherwise.

    Args:
        config: Names of groups and parameter sets.
        parameters: Parameters of MoveIt, plain values as ``MoveItConfigs.to_dict`` gives them.
        tool_link: Link that poses are for.

    Attributes:
        scene: What is in the world and in the hand.
        joint_names: Joints of the arm, in the order of its group.
        hand_links: Links of the hand.
        hand_position: Position of the hand's joints in plans; None plans with the measured one.

    Raises:
        PlanningError: If MoveIt is missing, too old, cannot start, or was started before.
        ConfigError: If it does not know a name of ``config``.
    """

    def __init__(self, config: MoveItConfig, parameters: dict[str, Any], tool_link: str) -> None:
        self._config = config
        self._tool = tool_link
        self.hand_position: float | None = None
        self._load()
        for name in (config.free_set, config.straight_set):
            if name not in parameters:
                raise ConfigError(
                    f"MoveIt's parameters have no set {name!r}; expected one with "
                    "plan_request_params, as in config/moveit/moveit_cpp.yaml"
                )
        # Released by nobody: even a MoveItPy that failed to start leaves a thread behind.
        if not _made.acquire(blocking=False):
            raise PlanningError("MoveIt was already started in this process; start the node again")
        try:
            self._moveit = self._planning.MoveItPy(node_name=NODE_NAME, config_dict=parameters)
        except RuntimeError as error:
            raise PlanningError(
                f"MoveIt cannot start: {error}. Expected /joint_states from another process and a "
                "complete robot description"
            ) from error
        self._monitor = self._moveit.get_planning_scene_monitor()
        self._manager = self._moveit.get_trajectory_execution_manager()
        self._check_binding()
        self._model = self._moveit.get_robot_model()
        self.joint_names, self.hand_links, self._hand_joints = self._groups()
        self._component = self._moveit.get_planning_component(config.group)
        self.scene = MoveItScene(
            self._monitor, self._messages, config.group, tool_link, self.hand_links
        )
        self.scene.frame_pose(tool_link)
        self._check_kinematics()

    def _load(self) -> None:
        try:
            import moveit.planning
            import moveit_msgs.msg
            from moveit.core.robot_state import RobotState
            from moveit.core.robot_trajectory import RobotTrajectory
        except ImportError as error:
            raise PlanningError(
                f"the arm moveit needs moveit_py ({error}): apt install ros-$ROS_DISTRO-moveit "
                "ros-$ROS_DISTRO-moveit-py, or use the arm mplib"
            ) from error
        self._planning, self._messages = moveit.planning, moveit_msgs.msg
        self._RobotState, self._RobotTrajectory = RobotState, RobotTrajectory

    def _check_binding(self) -> None:
        """Find out once whether the signatures are the expected ones.

        Raises:
            PlanningError: If this is another generation of moveit_py.
        """
        try:
            # Wrong on purpose: the refusal names the arguments, and nothing moves.
            self._moveit.execute()
        except TypeError as error:
            if "controllers" not in str(error) or "group_name" in str(error):
                raise PlanningError(
                    f"MoveItPy.execute has another signature; {SUPPORTED}"
                ) from None
        else:
            raise PlanningError(f"execute takes no trajectory; {SUPPORTED}")
        for name in ("process_collision_object", "process_attached_collision_object"):
            if not hasattr(self._monitor, name):
                raise PlanningError(f"moveit_py has no {name}; {SUPPORTED}")
        try:
            with self._monitor.read_write() as scene:
                scene.allowed_collision_matrix = scene.allowed_collision_matrix
        except AttributeError as error:
            raise PlanningError(f"allowed collisions cannot be set; {SUPPORTED}") from error
        for name in (self._config.free_set, self._config.straight_set):
            self._request(name, 1.0, 0.1, 0.1)

    def _request(self, name: str, time: float, speed: float, acceleration: float) -> Any:
        try:
            request = self._planning.PlanRequestParameters(self._moveit, name)
        except TypeError as error:
            raise PlanningError(
                f"PlanRequestParameters has another signature ({error}); {SUPPORTED}"
            ) from error
        # MoveIt fills an incomplete set with empty names and plans with whatever comes first.
        if not request.planning_pipeline or not request.planner_id:
            raise ConfigError(
                f"MoveIt's set {name!r} names pipeline {request.planning_pipeline!r} and planner "
                f"{request.planner_id!r}; expected both"
            )
        request.planning_attempts = 1
        request.planning_time = time
        request.max_velocity_scaling_factor = speed
        request.max_acceleration_scaling_factor = acceleration
        return request

    def _groups(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Joints of the arm; links and joints of the hand."""
        known = list(self._model.joint_model_group_names)
        # Asked for an unknown group, MoveIt hands out a null pointer.
        for name in (self._config.group, self._config.hand_group):
            if name not in known:
                raise ConfigError(f"the robot has no group {name!r}; it has {', '.join(known)}")
        arm = self._model.get_joint_model_group(self._config.group)
        hand = self._model.get_joint_model_group(self._config.hand_group)
        joints, links = arm.active_joint_model_names, hand.link_model_names
        return tuple(joints), tuple(links), tuple(hand.active_joint_model_names)

    def _check_kinematics(self) -> None:
        """Solve for where the tool is: it fails when no solver is loaded for the group."""
        state = self.state()
        if self.solve(state, self.tool_pose(state)) is None:
            raise PlanningError(
                f"MoveIt cannot solve for the pose that {self._tool!r} already has; expected "
                f"robot_description_kinematics for the group {self._config.group!r}, and a tool "
                "link that is fixed to its tip"
            )

    def state(self, joints: FloatArray | None = None) -> Any:
        """A copy of the robot's state, with other arm joints [rad] where given."""
        with self._monitor.read_only() as scene:
            state = copy.deepcopy(scene.current_state)
        if joints is not None:
            state.set_joint_group_positions(self._config.group, np.asarray(joints, np.float64))
        if self.hand_position is not None:
            state.joint_positions = dict.fromkeys(self._hand_joints, self.hand_position)
        state.update()
        return state

    def arm_joints(self, state: Any) -> FloatArray:
        """Joint positions of the arm in a state [rad], shape (J,)."""
        return np.array(state.get_joint_group_positions(self._config.group), dtype=np.float64)

    def tool_pose(self, state: Any) -> FloatArray:
        """``T_planning_tool`` in a state, shape (4, 4)."""
        return np.array(state.get_global_link_transform(self._tool), dtype=np.float64)

    def solve(self, seed: Any, T_planning_tool: FloatArray) -> FloatArray | None:
        """Joint positions [rad] near those of a state for a pose of the tool, or None."""
        state = copy.deepcopy(seed)
        pose = poses_to_messages(T_planning_tool[None])[0]
        found = state.set_from_ik(self._config.group, pose, self._tool, self._config.ik_timeout)
        if not found:
            return None
        state.update()
        # A solver that stops early reports success all the same.
        distance, angle = pose_error(self.tool_pose(state), T_planning_tool)
        if distance > 1e-3 or angle > 1e-2:
            return None
        return self.arm_joints(state)

    def plan_pose(
        self, name: str, start: Any, T_planning_tool: FloatArray, limits: tuple[float, float, float]
    ) -> Plan:
        """Plan to a pose of the tool with the set ``name``; see :meth:`_plan` for ``limits``."""
        goal = PoseStamped(pose=poses_to_messages(T_planning_tool[None])[0])
        goal.header.frame_id = self.scene.planning_frame
        return self._plan(name, start, {"pose_stamped_msg": goal, "pose_link": self._tool}, limits)

    def plan_state(
        self, name: str, start: Any, goal: Any, limits: tuple[float, float, float]
    ) -> Plan:
        """Plan to a state with the set ``name``; see :meth:`_plan` for ``limits``."""
        return self._plan(name, start, {"robot_state": goal}, limits)

    def _plan(
        self, name: str, start: Any, goal: dict[str, Any], limits: tuple[float, float, float]
    ) -> Plan:
        """``limits``: time [s], share of velocity limits, share of acceleration limits."""
        for text, accepted in (
            ("start", self._component.set_start_state(robot_state=start)),
            ("goal", self._component.set_goal_state(**goal)),
        ):
            if not accepted:
                raise ArmError(ArmFailure.NO_PLAN, f"MoveIt does not take the {text} of a motion")
        response = self._component.plan(single_plan_parameters=self._request(name, *limits))
        code = self._code_name(int(response.error_code.val))
        if not response:
            return Plan(None, code)
        if response.trajectory is None or len(response.trajectory) == 0:
            raise ArmError(ArmFailure.NO_PLAN, "MoveIt reports success without a trajectory")
        return Plan(response.trajectory, code)

    def _code_name(self, value: int) -> str:
        codes = self._messages.MoveItErrorCodes
        for name in dir(codes):
            if name.isupper() and getattr(codes, name) == value:
                return name
        return f"error code {value}"

    def timed(
        self, start: Any, joints: NDArray[Any], speed: float, acceleration: float, tolerance: float
    ) -> Any:
        """A trajectory of MoveIt through joint positions [rad] (T, J), as fast as the limits allow.

        Args:
            start: State that holds all other joints.
            joints: The first row is the start.
            speed: Share of the velocity limits.
            acceleration: Share of the acceleration limits.
            tolerance: How far corners may be rounded [rad].
        """
        message = self._messages.RobotTrajectory()
        message.joint_trajectory.joint_names = list(self.joint_names)
        message.joint_trajectory.points = [
            JointTrajectoryPoint(
                positions=row, time_from_start=Duration(seconds=0.1 * index).to_msg()
            )
            for index, row in enumerate(np.asarray(joints, np.float64).tolist())
        ]
        trajectory = self._RobotTrajectory(self._model)
        trajectory.joint_model_group_name = self._config.group
        trajectory.set_robot_trajectory_msg(start, message)
        if not trajectory.apply_totg_time_parameterization(
            velocity_scaling_factor=speed, acceleration_scaling_factor=acceleration,
            path_tolerance=tolerance, resample_dt=0.05,
        ):  # fmt: skip
            raise ArmError(ArmFailure.NO_PLAN, "MoveIt cannot time a straight motion")
        return trajectory

    def tool_path(self, trajectory: Any) -> FloatArray:
        """``T_planning_tool`` at the way points of a trajectory, shape (T, 4, 4)."""
        return np.stack([self.tool_pose(state) for state in way_points(trajectory)])

    def joint_trajectory(self, trajectory: Any) -> JointTrajectory:
        """The arm's part of a trajectory, joints in the order of the group."""
        message = trajectory.get_robot_trajectory_msg().joint_trajectory
        names = list(message.joint_names)
        if set(names) != set(self.joint_names):
            raise ArmError(
                ArmFailure.NO_PLAN, f"MoveIt planned for {names}; expected {self.joint_names}"
            )
        columns = [names.index(name) for name in self.joint_names]
        positions = np.array([point.positions for point in message.points])[:, columns]
        velocities = np.zeros_like(positions)
        if all(len(point.velocities) == len(names) for point in message.points):
            velocities = np.array([point.velocities for point in message.points])[:, columns]
        times = [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in message.points]
        return JointTrajectory(self.joint_names, np.array(times), positions, velocities)

    def execute(self, trajectory: Any) -> str:
        """Move; blocks without holding Python. Returns MoveIt's word for how it ended."""
        return str(self._moveit.execute(trajectory, controllers=[]).status)

    def stop_execution(self) -> None:
        """Stop whatever moves."""
        manager = self._manager
        if manager is not None:
            manager.stop_execution()

    def close(self) -> None:
        """End MoveIt; the process has to end after it."""
        # In this order: planning components that outlive MoveIt crash at exit.
        self.scene.close()
        self._component = self._manager = self._monitor = self._model = None
        self._moveit.shutdown()
