# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""moveit_py for the contract tests: the documented signatures, and nothing else.

What the real binding refuses is refused here (unknown arguments, the None default of is_path_valid,
changes of a read-only scene), and what would hang or crash it (planning while a scene is held, a
scene after its ``with``, an unknown group, a second MoveItPy) ends the test. The robot behind it is
a Panda with its published dimensions; collisions are those of spheres on its hand and wrist with
boxes. ``ROBOT`` is what a test looks at and tampers with.
"""

# ruff: noqa: RUF012 (the classes are as short as the real ones are long)
from __future__ import annotations

import copy
import itertools
import threading
import time
from types import ModuleType

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped
from rclpy.duration import Duration
from scipy.spatial.transform import Rotation
from shape_msgs.msg import SolidPrimitive
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

JOINTS = tuple(f"panda_joint{k}" for k in range(1, 8))
FINGER = "panda_finger_joint1"
HAND_LINKS = ["panda_hand", "panda_leftfinger", "panda_rightfinger"]
LOWER = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
UPPER = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
READY = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])
#: a, d, alpha of Craig's convention (Franka's manual).
DH = ((0, 0.333, 0), (0, 0, -1), (0, 0.316, 1), (0.0825, 0, 1), (-0.0825, 0.384, -1), (0, 0, 1),
      (0.088, 0, 1))  # fmt: skip


def matrix(rotation=None, position=(0, 0, 0)):
    result = np.eye(4)
    if rotation is not None:
        result[:3, :3] = rotation.as_matrix()
    result[:3, 3] = position
    return result


#: The robot does not stand at the world's origin, nor along its axes.
T_WORLD_BASE = matrix(Rotation.from_rotvec([0, 0, 0.4]), (0.1, -0.2, 0.5))


def _about_z(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


#: Transforms before and after each joint's rotation.
BEFORE = [matrix(Rotation.from_rotvec([t * np.pi / 2, 0, 0]), (a, 0, 0)) for a, _, t in DH]
AFTER = [matrix(None, (0, 0, d)) for _, d, _ in DH]


def link_poses(joints):
    """``T_world_link`` of the links by name."""
    poses, pose = {"panda_link0": T_WORLD_BASE}, T_WORLD_BASE
    for number, angle in enumerate(joints):
        pose = pose @ BEFORE[number] @ _about_z(angle) @ AFTER[number]
        poses[f"panda_link{number + 1}"] = pose
    poses["panda_link8"] = pose @ matrix(None, (0, 0, 0.107))
    poses["panda_hand"] = poses["panda_link8"] @ _about_z(-np.pi / 4)
    return poses


def solve(joints, goal, tip="panda_hand", steps=150):
    """Inverse kinematics by damped least squares from the joints; None without a solution."""
    q, best, since = np.array(joints, float), np.inf, 0
    for _ in range(steps):
        poses = link_poses(q)
        pose = poses[tip]
        error = _twist(pose, goal)
        size = np.abs(error).max()
        if size < 1e-6:
            return q
        since = 0 if size < 0.95 * best else since + 1
        best = min(best, size)
        if since > 8:
            return None
        frames = np.stack([poses[f"panda_link{k}"] for k in range(1, 8)])
        axes = frames[:, :3, 2]
        J = np.concatenate([np.cross(axes, pose[:3, 3] - frames[:, :3, 3]), axes], axis=1).T
        step = J.T @ np.linalg.solve(J @ J.T + 1e-4 * np.eye(6), error)
        q = np.clip(q + np.clip(step, -0.3, 0.3), LOWER, UPPER)
    return None


def _twist(pose, goal):
    turn = Rotation.from_matrix(goal[:3, :3] @ pose[:3, :3].T).as_rotvec()
    return np.concatenate([goal[:3, 3] - pose[:3, 3], turn])


def pose_matrix(pose):
    q, p = pose.orientation, pose.position
    assert abs(np.linalg.norm([q.x, q.y, q.z, q.w]) - 1) < 1e-6
    return matrix(Rotation.from_quat([q.x, q.y, q.z, q.w]), (p.x, p.y, p.z))


# --- moveit_msgs: the fields that exist, with their types ---------------------------------------


class Message:
    fields: dict = {}

    def __init__(self, **values):
        for name, default in self.fields.items():
            object.__setattr__(self, name, default())
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name, value):
        if name not in self.fields:
            raise AttributeError(f"{type(self).__name__} has no field {name}")
        kind = type(self.fields[name]())
        assert isinstance(value, kind), f"{name}: {type(value).__name__} is no {kind.__name__}"
        object.__setattr__(self, name, value)


class CollisionObject(Message):
    ADD, REMOVE, APPEND, MOVE = b"\x00", b"\x01", b"\x02", b"\x03"
    fields = {
        "header": Header, "pose": Pose, "id": str, "primitives": list, "primitive_poses": list,
        "meshes": list, "mesh_poses": list, "operation": lambda: b"\x00",
    }  # fmt: skip


class AttachedCollisionObject(Message):
    fields = {
        "link_name": str, "object": CollisionObject, "touch_links": list,
        "detach_posture": JointTrajectory, "weight": float,
    }  # fmt: skip


class RobotTrajectoryMsg(Message):
    fields = {"joint_trajectory": JointTrajectory}


class MoveItErrorCodes(Message):
    SUCCESS, FAILURE, PLANNING_FAILED, INVALID_MOTION_PLAN, TIMED_OUT = 1, 99999, -1, -2, -6
    START_STATE_IN_COLLISION, GOAL_IN_COLLISION, NO_IK_SOLUTION = -10, -12, -31
    fields = {"val": int}


# --- robot, state, trajectory ------------------------------------------------------------------


class Robot:
    """The robot that MoveIt is connected with, for the tests."""

    def __init__(self):
        self.joints = READY.copy()
        self.known_joints = None  # what MoveIt believes where that is not the same
        self.finger = 0.0
        self.speedup = 30.0
        self.execution = "ok"  # or: abort, timeout, fail, hang, deaf (a stop does not help)
        self.codes = []  # next error codes of planners, by name; "" plans
        self.line_planner = True
        self.kinematics = True
        self.executed = []
        self.stops = 0
        self.moving = threading.Event()
        self.stop = threading.Event()
        self.plans = []
        self.on_plan = lambda: None


ROBOT = Robot()


class JointModelGroup:
    def __init__(self, name):
        self.name = name
        arm, hand = name != "hand", name != "panda_arm"
        self.active_joint_model_names = [*(JOINTS if arm else ()), *((FINGER,) if hand else ())]
        self.link_model_names = HAND_LINKS if hand else [f"panda_link{k}" for k in range(9)]


class RobotModel:
    joint_model_group_names = ["panda_arm", "hand", "panda_arm_hand"]
    model_frame = "world"

    def get_joint_model_group(self, joint_model_group_name):
        assert joint_model_group_name in self.joint_model_group_names, "a null pointer: crash"
        return JointModelGroup(joint_model_group_name)


class RobotState:
    def __init__(self, robot_model):
        assert isinstance(robot_model, RobotModel)
        self._joints, self._finger, self._attached = np.full(7, np.nan), np.nan, {}
        self._dirty = True

    def __deepcopy__(self, memo):
        other = RobotState(RobotModel())
        other._joints, other._finger = self._joints.copy(), self._finger
        other._attached, other._dirty = dict(self._attached), self._dirty
        return other

    def set_joint_group_positions(self, joint_model_group_name, position_values):
        assert joint_model_group_name == "panda_arm"
        if np.shape(position_values) != (7,):
            raise ValueError("Expected 7 values")
        self._joints, self._dirty = np.array(position_values, float), True

    def get_joint_group_positions(self, joint_model_group_name):
        assert joint_model_group_name == "panda_arm"
        return self._joints.copy()

    @property
    def joint_positions(self):
        return {**dict(zip(JOINTS, self._joints.tolist(), strict=True)), FINGER: self._finger}

    @joint_positions.setter
    def joint_positions(self, values):
        for name, value in values.items():
            if name == FINGER:
                self._finger = value
            else:
                self._joints[JOINTS.index(name)] = value
        self._dirty = True

    def update(self, force=False, type="all"):
        assert type in ("all", "links_only", "collisions_only")
        self._dirty = False

    def get_global_link_transform(self, link_name):
        assert not self._dirty, "a state must be updated before transforms are read"
        poses = link_poses(self._joints)
        if link_name not in poses:
            raise RuntimeError(f"Invalid link {link_name}")
        return poses[link_name]

    def set_from_ik(self, joint_model_group_name, geometry_pose, tip_name, timeout=0.0):
        assert joint_model_group_name == "panda_arm"
        assert isinstance(geometry_pose, Pose)
        if not ROBOT.kinematics:
            return False
        found = solve(self._joints, pose_matrix(geometry_pose), tip_name, 60)
        if found is None:
            return False
        self._joints, self._dirty = found, True
        return True


class RobotTrajectory:
    def __init__(self, robot_model):
        assert isinstance(robot_model, RobotModel)
        self.joint_model_group_name = ""
        self._states, self._message = [], None

    def __len__(self):
        return len(self._states)

    def __getitem__(self, idx):
        return copy.deepcopy(self._states[idx])

    def __iter__(self):
        return iter([(state, 0.1) for state in self._states])

    @property
    def duration(self):
        last = self._message.joint_trajectory.points[-1].time_from_start
        return last.sec + 1e-9 * last.nanosec

    def set_robot_trajectory_msg(self, robot_state, msg):
        assert self.joint_model_group_name == "panda_arm"
        assert isinstance(msg, RobotTrajectoryMsg)
        names = msg.joint_trajectory.joint_names
        order = [names.index(name) for name in JOINTS]
        self._states, self._message = [], msg
        for point in msg.joint_trajectory.points:
            state = copy.deepcopy(robot_state)
            state.set_joint_group_positions("panda_arm", np.array(point.positions)[order])
            self._states.append(state)
        return self

    def get_robot_trajectory_msg(self, joint_filter=()):
        return copy.deepcopy(self._message)

    def apply_totg_time_parameterization(
        self, velocity_scaling_factor, acceleration_scaling_factor, *, path_tolerance=0.1,
        resample_dt=0.1, min_angle_change=0.001,
    ):  # fmt: skip
        assert 0 < velocity_scaling_factor <= 1
        assert 0 < acceleration_scaling_factor <= 1
        points = self._message.joint_trajectory.points
        rows = np.array([point.positions for point in points])
        steps = np.abs(np.diff(rows, axis=0)).max(1) / (2.175 * velocity_scaling_factor) + 1e-3
        times = np.concatenate([[0.0], np.cumsum(steps)])
        for point, t in zip(points, times, strict=True):
            point.time_from_start = Duration(seconds=float(t)).to_msg()
            point.velocities = [0.0] * 7
        return True


def trajectory_of(start, rows, speed):
    result = RobotTrajectory(RobotModel())
    result.joint_model_group_name = "panda_arm"
    # Not in the order of the group: a planner may name the joints in any.
    names = list(reversed(JOINTS))
    message = RobotTrajectoryMsg(joint_trajectory=JointTrajectory(joint_names=names))
    message.joint_trajectory.points = [
        JointTrajectoryPoint(positions=row[::-1].tolist()) for row in rows
    ]
    result.set_robot_trajectory_msg(start, message)
    result.apply_totg_time_parameterization(speed, speed)
    return result


# --- scene -------------------------------------------------------------------------------------


class AllowedCollisionMatrix:
    def __init__(self, pairs=()):
        self._pairs = set(pairs)

    def set_entry(self, name1, name2, allowed):
        assert isinstance(allowed, bool)
        (self._pairs.add if allowed else self._pairs.discard)(frozenset((name1, name2)))

    def remove_entry(self, name1, name2):
        self._pairs.discard(frozenset((name1, name2)))

    def get_entry(self, name1, name2):
        found = frozenset((name1, name2)) in self._pairs
        return found, "ALWAYS" if found else "UNKNOWN"


def spheres(state):
    """Link, middle in the world [m] and radius of the collision shapes of a state."""
    poses = link_poses(state._joints)
    for number, radius in ((0, 0.05), (4, 0.05), (5, 0.05), (6, 0.05), (7, 0.04)):
        name = f"panda_link{number}"
        yield name, poses[name][:3, 3], radius
    hand = poses["panda_hand"]
    for y in (-0.06, -0.03, 0.0, 0.03, 0.06):
        yield "panda_hand", (hand @ (0, y, 0.03, 1))[:3], 0.025
    for name, side in (("panda_leftfinger", 1), ("panda_rightfinger", -1)):
        for z in (0.07, 0.085, 0.098):
            yield name, (hand @ (0, side * (state._finger + 0.006), z, 1))[:3], 0.005


class World:
    """Objects as (T_world_object, centers, half sizes), and what may touch."""

    def __init__(self):
        self.objects, self.attached, self.allowed = {}, {}, set()

    def contact(self, state):
        shapes = list(spheres(state))
        poses = link_poses(state._joints)
        touch = {}
        for name, (link, touch_links, boxes) in state._attached.items():
            touch[name] = touch_links
            for center in boxes[1]:
                shapes.append((name, (poses[link] @ boxes[0] @ (*center, 1))[:3], 0.002))
        for name, (pose, centers, halves) in self.objects.items():
            for link, point, radius in shapes:
                if frozenset((name, link)) in self.allowed:
                    continue
                local = (np.linalg.inv(pose) @ (*point, 1))[:3]
                outside = np.maximum(np.abs(local - centers) - halves, 0)
                if len(centers) and np.linalg.norm(outside, axis=1).min() < radius:
                    return name, link
        return None


class PlanningScene:
    """What a ``with`` hands out: dead after it."""

    planning_frame = "world"

    def __init__(self, monitor, writable):
        object.__setattr__(self, "_monitor", monitor)
        object.__setattr__(self, "_writable", writable)
        object.__setattr__(self, "_alive", True)

    def __getattribute__(self, name):
        get = object.__getattribute__
        assert get(self, "_alive"), "the scene is used after its with block"
        return get(self, name)

    def __setattr__(self, name, value):
        if name != "allowed_collision_matrix":
            raise AttributeError(f"can't set attribute {name}")
        assert self._writable, "a read-only scene is changed"
        assert isinstance(value, AllowedCollisionMatrix)
        self._monitor.world.allowed = set(value._pairs)

    @property
    def allowed_collision_matrix(self):
        # A copy: without assigning back the change is lost.
        return AllowedCollisionMatrix(self._monitor.world.allowed)

    @property
    def current_state(self):
        return self._monitor.current_state()

    def knows_frame_transform(self, frame_id):
        known = link_poses(ROBOT.joints).keys() | self._monitor.world.objects.keys()
        return frame_id == "world" or frame_id in known

    def get_frame_transform(self, frame_id):
        return link_poses(ROBOT.joints).get(frame_id, np.eye(4))

    def is_state_colliding(self, *args, **kwargs):
        if isinstance(args[0], str):
            args = (self.current_state, *args)
        return self._colliding(*args, **kwargs)

    def _colliding(self, robot_state, joint_model_group_name, verbose=False):
        assert joint_model_group_name == "panda_arm"
        return self._monitor.world.contact(robot_state) is not None

    def is_path_valid(self, trajectory, joint_model_group_name, verbose=False, invalid_index=None):
        if not isinstance(invalid_index, list):
            raise TypeError("is_path_valid(): incompatible function arguments")
        assert joint_model_group_name == "panda_arm"
        world = self._monitor.world
        return all(world.contact(state) is None for state in trajectory._states)


class Lock:
    def __init__(self, monitor, writable):
        self._monitor, self._writable = monitor, writable

    def __enter__(self):
        self._monitor.free("a scene inside a scene")
        self._monitor.held = self._scene = PlanningScene(self._monitor, self._writable)
        return self._scene

    def __exit__(self, type, value, traceback):
        object.__setattr__(self._scene, "_alive", False)
        self._monitor.held = None


class PlanningSceneMonitor:
    name = "planning_scene_monitor"

    def __init__(self):
        self.world, self.held = World(), None
        self.refuse = set()

    def free(self, what):
        assert self.held is None, f"deadlock: {what} while a scene is held"

    def current_state(self):
        state = RobotState(RobotModel())
        known = ROBOT.known_joints
        state._joints = ROBOT.joints.copy() if known is None else np.array(known)
        state._finger, state._attached = ROBOT.finger, dict(self.world.attached)
        return state

    def read_only(self):
        return Lock(self, False)

    def read_write(self):
        return Lock(self, True)

    def process_collision_object(self, collision_object_msg, color_msg=None):
        self.free("process_collision_object")
        message = collision_object_msg
        assert isinstance(message, CollisionObject)
        if message.id in self.refuse or message.header.frame_id != "world":
            return False
        if message.operation == CollisionObject.REMOVE:
            return self.world.objects.pop(message.id, None) is not None
        boxes = self._boxes(message)
        if boxes is None:
            return False
        self.world.objects[message.id] = boxes
        return True

    def _boxes(self, message):
        if not message.primitives or len(message.primitives) != len(message.primitive_poses):
            return None
        assert message.operation == CollisionObject.ADD
        assert all(p.type == SolidPrimitive.BOX for p in message.primitives)
        centers = np.array([pose_matrix(pose)[:3, 3] for pose in message.primitive_poses])
        halves = np.array([list(p.dimensions) for p in message.primitives]) / 2
        assert (halves > 0).all()
        return pose_matrix(message.pose), centers, halves

    def process_attached_collision_object(self, attached_collision_object_msg):
        self.free("process_attached_collision_object")
        message = attached_collision_object_msg
        assert isinstance(message, AttachedCollisionObject)
        poses = link_poses(ROBOT.joints)
        thing = message.object
        if thing.operation == CollisionObject.REMOVE:
            if thing.id not in self.world.attached:
                return False
            link, _, (pose, centers, halves) = self.world.attached.pop(thing.id)
            self.world.objects[thing.id] = (poses[link] @ pose, centers, halves)
            return True
        boxes = self._boxes(thing)
        if boxes is None or message.link_name not in poses or thing.header.frame_id not in poses:
            return False
        T_link_frame = np.linalg.inv(poses[message.link_name]) @ poses[thing.header.frame_id]
        self.world.objects.pop(thing.id, None)
        self.world.attached[thing.id] = (
            message.link_name, tuple(message.touch_links), (T_link_frame @ boxes[0], *boxes[1:])
        )  # fmt: skip
        return True


# --- planning and execution --------------------------------------------------------------------


class PlanRequestParameters:
    def __init__(self, moveit_cpp, namespace):
        assert isinstance(moveit_cpp, MoveItPy)
        given = moveit_cpp.config.get(namespace, {}).get("plan_request_params", {})
        # As the real one: what is absent is filled in without a word.
        self.planner_id = given.get("planner_id", "")
        self.planning_pipeline = given.get("planning_pipeline", "")
        self.planning_attempts = given.get("planning_attempts", 5)
        self.planning_time = given.get("planning_time", 1.0)
        self.max_velocity_scaling_factor = given.get("max_velocity_scaling_factor", 1.0)
        self.max_acceleration_scaling_factor = given.get("max_acceleration_scaling_factor", 1.0)


class MotionPlanResponse:
    def __init__(self, code, trajectory=None):
        self.error_code = MoveItErrorCodes(val=getattr(MoveItErrorCodes, code))
        self.trajectory, self.planning_time = trajectory, 0.01

    def __bool__(self):
        return self.error_code.val == MoveItErrorCodes.SUCCESS


class PlanningComponent:
    def __init__(self, moveit):
        self._moveit, self._rng = moveit, np.random.default_rng(0)
        self._start = self._goal = None

    def set_start_state(self, configuration_name=None, robot_state=None):
        if (configuration_name is None) == (robot_state is None):
            raise ValueError("exactly one start")
        assert isinstance(robot_state, RobotState), "named states are not used here"
        self._start = copy.deepcopy(robot_state)
        return True

    def set_goal_state(
        self, configuration_name=None, robot_state=None, pose_stamped_msg=None, pose_link=None,
        motion_plan_constraints=None,
    ):  # fmt: skip
        given = (configuration_name, robot_state, pose_stamped_msg, motion_plan_constraints)
        if sum(item is not None for item in given) != 1:
            raise ValueError("Cannot specify more than one kind of goal, and at least one")
        if (pose_stamped_msg is None) != (pose_link is None):
            raise ValueError("Must specify both message and corresponding link")
        if pose_stamped_msg is not None:
            assert isinstance(pose_stamped_msg, PoseStamped)
            assert pose_stamped_msg.header.frame_id == "world"
            self._goal = pose_matrix(pose_stamped_msg.pose), pose_link
        else:
            self._goal = copy.deepcopy(robot_state)
        return True

    def plan(
        self, single_plan_parameters=None, multi_plan_parameters=None, planning_scene=None,
        solution_selection_function=None, stopping_criterion_callback=None,
    ):  # fmt: skip
        monitor = self._moveit.get_planning_scene_monitor()
        monitor.free("plan")
        request = single_plan_parameters
        assert isinstance(request, PlanRequestParameters)
        assert 0 < request.max_velocity_scaling_factor <= 1
        ROBOT.plans.append(copy.copy(request))
        ROBOT.on_plan()
        code = ROBOT.codes.pop(0) if ROBOT.codes else ""
        if code:
            return MotionPlanResponse(code)
        if monitor.world.contact(self._start) is not None:
            return MotionPlanResponse("START_STATE_IN_COLLISION")
        if request.planner_id == "LIN":
            return self._line(request, monitor.world)
        return self._free(request, monitor.world)

    def _answer(self, rows, request, world, code):
        found = trajectory_of(self._start, rows, request.max_velocity_scaling_factor)
        valid = all(world.contact(state) is None for state in found._states)
        return MotionPlanResponse("SUCCESS", found) if valid else MotionPlanResponse(code)

    def _line(self, request, world):
        if not ROBOT.line_planner:
            return MotionPlanResponse("FAILURE")
        goal, link = self._goal
        first = link_poses(self._start._joints)[link]
        rows = [self._start._joints]
        turn = Rotation.from_matrix(first[:3, :3].T @ goal[:3, :3]).as_rotvec()
        for share in np.linspace(0, 1, 9)[1:]:
            pose = matrix(
                Rotation.from_matrix(first[:3, :3]) * Rotation.from_rotvec(share * turn),
                first[:3, 3] + share * (goal[:3, 3] - first[:3, 3]),
            )
            joints = solve(rows[-1], pose, link)
            if joints is None:
                return MotionPlanResponse("NO_IK_SOLUTION")
            rows.append(joints)
        return self._answer(np.array(rows), request, world, "INVALID_MOTION_PLAN")

    def _free(self, request, world):
        start = self._start._joints
        if isinstance(self._goal, RobotState):
            goal = self._goal._joints
        else:
            goal = solve(start, *self._goal)
            if goal is None:
                return MotionPlanResponse("PLANNING_FAILED")
        corners = [start, goal]
        if request.planner_id != "PTP":
            corners.insert(
                1, np.clip((start + goal) / 2 + self._rng.normal(0, 0.1, 7), LOWER, UPPER)
            )
        rows = [corners[0]]
        for a, b in itertools.pairwise(corners):
            rows += [a + s * (b - a) for s in np.linspace(0, 1, 8)[1:]]
        return self._answer(np.array(rows), request, world, "PLANNING_FAILED")


class ExecutionStatus:
    def __init__(self, status):
        self.status = status

    def __bool__(self):
        return self.status == "SUCCEEDED"


class TrajectoryExecutionManager:
    def stop_execution(self, auto_clear=True):
        ROBOT.stops += 1
        if ROBOT.moving.is_set() and ROBOT.execution != "deaf":
            ROBOT.stop.set()


class MoveItPy:
    made = 0

    def __init__(
        self, node_name="moveit_py", name_space="", launch_params_filepaths=None, config_dict=None,
        provide_planning_service=True, remappings=None,
    ):  # fmt: skip
        type(self).made += 1
        assert type(self).made == 1, "a second MoveItPy in one process"
        assert isinstance(config_dict, dict)
        if "robot_description" not in config_dict or config_dict.get("fail"):
            raise RuntimeError("Unable to configure planning scene monitor")
        self.config = config_dict
        self._monitor, self._manager = PlanningSceneMonitor(), TrajectoryExecutionManager()
        self.down = False

    def get_planning_component(self, planning_component_name):
        assert planning_component_name == "panda_arm"
        return PlanningComponent(self)

    def get_planning_scene_monitor(self):
        return self._monitor

    def get_trajectory_execution_manager(self):
        return self._manager

    def get_robot_model(self):
        return RobotModel()

    def shutdown(self):
        self.down = True

    def execute(self, robot_trajectory, controllers):
        self._monitor.free("execute")
        assert controllers == []
        assert robot_trajectory.joint_model_group_name == "panda_arm"
        ROBOT.executed.append(robot_trajectory)
        rows = [state._joints for state in robot_trajectory._states]
        if np.abs(rows[0] - ROBOT.joints).max() > 0.02 or ROBOT.execution == "abort":
            return ExecutionStatus("ABORTED")
        if ROBOT.execution == "fail":
            raise RuntimeError("the controller manager is not there")
        ROBOT.stop.clear()
        ROBOT.moving.set()
        try:
            return ExecutionStatus(self._move(rows, robot_trajectory.duration))
        finally:
            ROBOT.moving.clear()

    def _move(self, rows, duration):
        for row in rows:
            ROBOT.joints = row.copy()
            endless = ROBOT.execution in ("hang", "deaf")
            pause = 5.0 if endless else duration / len(rows) / ROBOT.speedup
            if ROBOT.stop.wait(pause):
                return "PREEMPTED"
            if endless:
                break
        return "TIMED_OUT" if ROBOT.execution in ("timeout", "hang", "deaf") else "SUCCEEDED"


class HumblePlanRequestParameters:
    def __init__(self, moveit_cpp):
        raise AssertionError("not reached: the wrong call is a TypeError")


class HumbleMoveItPy(MoveItPy):
    made = 0

    def execute(self, group_name, robot_trajectory, blocking=True):
        raise AssertionError("the wrong signature is called with the right arguments")


def modules(moveit_class=MoveItPy, parameters_class=PlanRequestParameters):
    """Modules by name, for ``sys.modules``."""
    content = {
        "moveit": {},
        "moveit.core": {},
        "moveit.core.robot_state": {"RobotState": RobotState},
        "moveit.core.robot_trajectory": {"RobotTrajectory": RobotTrajectory},
        "moveit.planning": {
            "MoveItPy": moveit_class, "PlanRequestParameters": parameters_class,
        },
        "moveit_msgs": {},
        "moveit_msgs.msg": {
            "CollisionObject": CollisionObject, "RobotTrajectory": RobotTrajectoryMsg,
            "AttachedCollisionObject": AttachedCollisionObject,
            "MoveItErrorCodes": MoveItErrorCodes,
        },
    }  # fmt: skip
    made = {name: ModuleType(name) for name in content}
    for name, items in content.items():
        made[name].__dict__.update(items)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(made[parent], child, made[name])
    return made


class Controllers:
    """The joints of ``ROBOT`` measured, and a gripper that closes on ``thickness``."""

    def __init__(self):
        self.thickness = 0.0
        self.stopped = False
        self.widths = []

    def joints(self):
        return ROBOT.joints.copy()

    def move_gripper(self, width):
        from kgnpro_ros.execution.arm import ArmError, ArmFailure, GripperState

        if self.stopped:
            raise ArmError(ArmFailure.STOPPED, "stopped")
        self.widths.append(width)
        reached = width >= self.thickness
        ROBOT.finger = max(width, self.thickness) / 2
        return GripperState(2 * ROBOT.finger, not reached, reached)

    def stop(self):
        self.stopped = True

    def resume(self):
        self.stopped = False


def reset():
    """A fresh robot, and no MoveItPy yet."""
    ROBOT.__init__()
    MoveItPy.made = HumbleMoveItPy.made = 0
    time.sleep(0)
