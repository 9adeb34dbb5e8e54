# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Every message field that executor and simulated arm read: goals, answers, joint states."""

from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from control_msgs.action import FollowJointTrajectory, GripperCommand
from control_msgs.msg import GripperCommand as GripperCommandMsg
from control_msgs.msg import JointTolerance
from geometry_msgs.msg import PoseStamped
from hypothesis import strategies as st
from rclpy.node import Node
from ros_arm import BASE, ScriptedArm, candidate
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from test_ros_fuzz_messages import FLOAT, FRAMES, INT32, TEXT, UINT32, one_of, set_field
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from kgnpro_ros.action import Pick
from kgnpro_ros.config import ControllerConfig, ExecutorConfig, PickConfig
from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.execution.cancellation import Cancellation
from kgnpro_ros.execution.pick import PickSequence
from kgnpro_ros.geometry import load_gripper
from kgnpro_ros.msg import RejectionCount
from kgnpro_ros.ros.controllers import RosControllers
from kgnpro_ros.ros.pick_goal import PickGoal, Robot
from kgnpro_ros.ros.pick_scene import SceneSource
from kgnpro_ros.ros.sim_actions import _Arm, _Gripper
from kgnpro_ros.simulation.controllers import TrajectoryController
from kgnpro_ros.simulation.gripper_controller import GripperController
from kgnpro_ros.srv import DetectGrasps

#: What a message may hold as a 32-bit float: larger numbers are infinite on the wire.
FLOAT32 = st.floats(width=32) | st.sampled_from([0.0, 0.05, 0.5, -1.0])
STAMPS = st.builds(Time, sec=INT32, nanosec=st.sampled_from([0, 10**9, 2**32 - 1]))
JOINTS = ("joint_0", "joint_1", "joint_2")
AT_HOME = np.array([0.1, -0.2, 0.3])

CANDIDATE = one_of(
    pose__position__x=FLOAT, pose__position__z=FLOAT, pose__orientation__w=FLOAT,
    pose__orientation__x=FLOAT, tool_pose__position__x=FLOAT, tool_link=TEXT, width=FLOAT32,
    max_width=FLOAT32, score=FLOAT32, confidence=FLOAT32, reprojection_error=FLOAT32,
    covariance=st.lists(FLOAT, min_size=36, max_size=36),
    keypoints=st.lists(FLOAT32, min_size=8, max_size=8), instance_id=INT32, id=TEXT,
    status=TEXT | st.sampled_from(["ok", "OK", "too_wide", "low_score"]),
)  # fmt: skip


def set_fields(message, edits):
    """As ``set_field``, through any number of inner messages."""
    for name, value in edits:
        *inner, last = name.split("__")
        owner = message
        for part in inner:
            owner = getattr(owner, part)
        setattr(owner, last, value)
    return message


def mostly(value, others):
    """A value, and every fourth time another one."""
    return st.integers(0, 3).flatmap(lambda n: others if n == 3 else st.just(value))


@st.composite
def candidates(draw):
    """A grasp from above in the base frame, with some of it changed."""
    message = candidate(0.9)
    message.pose.position.x, message.pose.position.z = 0.5, 0.05
    message.pose.orientation.y = np.sqrt(0.5)
    edits = draw(mostly([], st.lists(CANDIDATE, min_size=1, max_size=2)))
    return set_fields(message, edits)


HEADERS = st.builds(Header, frame_id=mostly(BASE, FRAMES), stamp=mostly(Time(), STAMPS))


@st.composite
def places(draw):
    place = PoseStamped(header=draw(HEADERS))
    place.pose.orientation.w = 1.0
    edits = one_of(pose__position__y=FLOAT, pose__orientation__z=FLOAT)
    return set_fields(place, draw(st.lists(edits, max_size=1)))


GOALS = st.builds(
    Pick.Goal, use_candidate=st.just(True) | st.booleans(), header=HEADERS,
    candidate=candidates(), target_frame=mostly("", FRAMES), max_attempts=UINT32,
    dry_run=st.booleans(), use_place_pose=st.booleans(), place_pose=places(),
)  # fmt: skip
ANSWERS = st.builds(
    DetectGrasps.Response, success=mostly(True, st.booleans()), message=TEXT, header=HEADERS,
    candidates=st.lists(candidates(), max_size=3),
    rejected=st.lists(st.builds(RejectionCount, reason=TEXT, count=UINT32), max_size=2),
)  # fmt: skip


class Answering:
    """A detector's service that answers at once."""

    srv_name = "/detect_grasps"

    def __init__(self, answer):
        self.answer = answer

    def service_is_ready(self):
        return True

    def call_async(self, request):
        future = Future()
        future.set_result(self.answer)
        return future


@pytest.fixture(scope="module")
def picker(ros):
    """Runs a goal with an answer of the detector, on an arm that does as it is told."""
    node = Node("fuzz_picks", use_global_arguments=False)
    pick = replace(PickConfig(), hold_time=0.0, max_grasp_age=60.0)
    config = replace(ExecutorConfig(), obstacles=False, tf_timeout=0.0, pick=pick)
    gripper, arm = load_gripper(config.gripper), ScriptedArm()
    scenes = SceneSource(node, config, gripper, problems=None)
    sequence = PickSequence(arm, gripper, pick)

    def run(goal, answer):
        arm.reset()
        scenes._client = Answering(answer)
        acting = Robot(arm, sequence, scenes, config)
        goal = PickGoal(acting, goal, Cancellation(), lambda feedback: None, lambda: 0.0)
        result = goal.run(node.get_logger())
        assert np.isfinite(arm.pose).all()
        return result

    yield run
    node.destroy_node()


@pytest.mark.reliability("fuzz: pick goals and what the detector answers")
def test_pick_goals_and_detections(fuzz, picker):
    """Picked, or a stage says why not; never by an error that nobody thought of."""
    seen = set()

    def check(case):
        result = picker(*case)
        words = [result.message, *(stage.message for stage in result.stages)]
        assert not any("internal_error" in text for text in words), words
        seen.add(result.success)
        if not result.success:
            assert not all(stage.ok for stage in result.stages) or not result.stages
            raise KGNProError(result.message)

    fuzz(st.tuples(GOALS, ANSWERS), check, quick=40, many=2000)
    assert seen == {True, False}


@pytest.fixture(scope="module")
def controllers(ros):
    node = Node("fuzz_joints", use_global_arguments=False)
    config = replace(ControllerConfig(), joints_timeout=0.05)
    yield RosControllers(node, config, JOINTS)
    node.destroy_node()


STATES = st.builds(
    JointState, header=st.builds(Header, stamp=STAMPS, frame_id=FRAMES),
    name=st.lists(st.sampled_from(JOINTS) | TEXT, max_size=4), position=st.lists(FLOAT, max_size=4),
    velocity=st.lists(FLOAT, max_size=4), effort=st.lists(FLOAT, max_size=4),
)  # fmt: skip


@pytest.mark.reliability("fuzz: joint states")
def test_joint_states(fuzz, controllers):
    """A position of each joint, all finite, or an error."""
    good = JointState(name=list(JOINTS), position=AT_HOME.tolist())

    def check(message):
        controllers._on_joints(good)
        controllers._on_joints(message)
        joints = controllers.joints()
        assert joints.shape == (3,)
        assert np.isfinite(joints).all()

    fuzz(STATES, check, quick=60, many=3000)


class Loop:
    """The simulated robot without its physics: it is where it is told to be."""

    def __init__(self):
        limits = np.tile((-2.0, 2.0), (3, 1))
        arm = TrajectoryController(JOINTS, limits, np.full(3, 2.0))
        gripper = GripperController(0.04, 0.08, 40.0)
        self.world = SimpleNamespace(
            time=5.0, joint_positions=lambda: AT_HOME, finger_width=lambda: 0.04
        )
        self.controlled = SimpleNamespace(arm=arm, gripper=gripper)

    def step(self):
        """What the servos are told over the next seconds."""
        for seconds in (0.0, 0.01, 1.0, 5.0):
            time = self.world.time + seconds
            yield from self.controlled.arm.update(time, AT_HOME, np.zeros(3))
            yield self.controlled.gripper.update(time, 0.04, 0.0, 0.0)


DURATIONS = st.builds(
    Duration, sec=st.integers(0, 3) | INT32, nanosec=st.sampled_from([0, 5 * 10**8, 2**32 - 1])
)
NUMBERS = st.floats(-1.0, 1.0) | FLOAT
ROWS = st.lists(NUMBERS, min_size=3, max_size=3) | st.lists(FLOAT, max_size=4)
TOLERANCES = st.lists(
    st.builds(JointTolerance, name=st.sampled_from([*JOINTS, "other"]), position=FLOAT,
              velocity=FLOAT, acceleration=FLOAT), max_size=2,
)  # fmt: skip


@st.composite
def trajectories(draw):
    """One that the arm could follow, with some of it changed."""
    points = [
        JointTrajectoryPoint(positions=(AT_HOME + 0.1 * k).tolist(), velocities=[0.0] * 3,
                             time_from_start=Duration(sec=k)) for k in range(4)
    ]  # fmt: skip
    change = one_of(
        positions=ROWS,
        velocities=ROWS | st.just([]),
        accelerations=ROWS,
        effort=ROWS,
        time_from_start=DURATIONS,
    )
    for index, edit in draw(st.lists(st.tuples(st.integers(0, 3), change), max_size=2)):
        set_field(points[index], *edit)
    message = JointTrajectory(joint_names=list(JOINTS), points=points[: draw(st.integers(0, 4))])
    edits = one_of(
        header__stamp=STAMPS,
        header__frame_id=FRAMES,
        joint_names=st.permutations(JOINTS).map(list) | st.lists(TEXT, max_size=4),
    )
    return set_fields(message, draw(st.lists(edits, max_size=1)))


TRAJECTORY_GOALS = st.builds(
    FollowJointTrajectory.Goal, trajectory=trajectories(), path_tolerance=TOLERANCES,
    goal_tolerance=TOLERANCES, goal_time_tolerance=DURATIONS,
)  # fmt: skip


@pytest.mark.reliability("fuzz: goals of the simulated arm and hand")
def test_trajectory_goals(fuzz):
    """The servos get finite set-points within the limits, or the goal is refused."""
    seen = set()

    def check(goal):
        loop = Loop()
        arm = _Arm(loop, lambda: Time(sec=10))
        arm.start(goal)
        for values in loop.step():
            assert np.isfinite(values).all()
        arm.feedback(arm.status())
        arm.result(arm.status(), "")
        tolerances = loop.controlled.arm._goal
        if tolerances is not None:
            tolerances = tolerances.tolerances
            for values in (tolerances.path, tolerances.goal):
                assert (values >= 0.0).all()
        seen.add(True)

    fuzz(TRAJECTORY_GOALS, check, quick=60, many=3000)
    assert seen


@pytest.mark.reliability("fuzz: goals of the simulated arm and hand")
def test_gripper_goals(fuzz):
    def check(command):
        loop = Loop()
        hand = _Gripper(loop)
        hand.start(GripperCommand.Goal(command=command))
        for values in loop.step():
            assert np.isfinite(values).all()
        assert np.isfinite(loop.controlled.gripper.max_effort)
        hand.feedback(hand.status())
        hand.result(hand.status(), "")

    commands = st.builds(GripperCommandMsg, position=NUMBERS | st.floats(0, 0.04), max_effort=FLOAT)
    fuzz(commands, check, quick=60, many=3000)
