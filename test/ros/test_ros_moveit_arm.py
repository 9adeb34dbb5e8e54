# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The arm on MoveIt against a fake with exactly the documented signatures."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import fake_moveit
import numpy as np
import pytest
import yaml
from control_msgs.action import FollowJointTrajectory
from fake_moveit import READY, ROBOT, T_WORLD_BASE, link_poses
from rclpy.action import ActionClient
from rclpy.node import Node
from ros_graph import wait_until
from ros_robot import ScriptedRobot
from scipy.spatial.transform import Rotation

from kgnpro_ros.config import ExecutorConfig, MotionConfig, PickConfig
from kgnpro_ros.config.moveit import MoveItConfig
from kgnpro_ros.exceptions import ConfigError, PlanningError
from kgnpro_ros.execution.arm import ArmError, ArmFailure, Motion, Obstacles, PlansOpening
from kgnpro_ros.execution.cancellation import Cancellation
from kgnpro_ros.execution.pick import PickSequence
from kgnpro_ros.execution.report import Place, Scene, Stage
from kgnpro_ros.geometry import load_gripper
from kgnpro_ros.ros import moveit_session
from kgnpro_ros.ros.arms import make_arm as make_executor_arm
from kgnpro_ros.ros.moveit_arm import CLOUD, HELD, TABLE, MoveItArm
from kgnpro_ros.ros.moveit_motion import cancel_all
from kgnpro_ros.types import GraspBatch

ROOT = Path(__file__).parents[2]
GRIPPER = load_gripper("franka_hand")
#: Above the origin of this the hand can reach down to a table at z = 0.
SPOT = (0.5, 0.05)


def moveit_parameters(**changes):
    data = yaml.safe_load((ROOT / "config" / "moveit" / "moveit_cpp.yaml").read_text())
    data |= {"robot_description": "<robot/>", "robot_description_semantic": "<robot/>"}
    return data | changes


FLOATING = moveit_parameters(
    robot_description_semantic='<robot><virtual_joint name="v" type="floating"/></robot>'
)
FIXED = moveit_parameters(
    robot_description_semantic='<robot><virtual_joint name="v" type="fixed"/></robot>'
)


@pytest.fixture
def install(monkeypatch):
    """Puts the fake where moveit_py would be."""

    def put(**classes):
        fake_moveit.reset()
        for name, module in fake_moveit.modules(**classes).items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(moveit_session, "_made", threading.Lock())

    put()
    return put


def make_arm(parameters=None, controllers=None, config=None, motion=None, **options):
    config = config or {}
    return MoveItArm(
        MoveItConfig(parameters=json.dumps(parameters or moveit_parameters()), **config),
        MotionConfig(**{"planning_time": 20.0, **(motion or {})}), GRIPPER,
        controllers or fake_moveit.Controllers(),
        **options,
    )  # fmt: skip


@pytest.fixture
def arm(install):
    return make_arm()


def world(arm):
    return arm._session._monitor.world


def down(x=SPOT[0], y=SPOT[1], z=0.3, yaw=0.0):
    """``T_base_tool`` with the hand pointing down, its fingertips at a height z."""
    pose = np.eye(4)
    turn = Rotation.from_rotvec([0, 0, yaw]) * Rotation.from_rotvec([np.pi, 0, 0])
    pose[:3, :3] = turn.as_matrix()
    pose[:3, 3] = x, y, z + 0.1034
    return pose


def tool_now():
    """``T_base_tool`` of the robot behind the fake."""
    return np.linalg.inv(T_WORLD_BASE) @ link_poses(ROBOT.joints)["panda_hand"]


def block(x=SPOT[0], y=SPOT[1], size=0.04, height=0.06, bottom=0.0, spacing=0.004):
    """Points on the visible faces of a block."""
    s = np.arange(-size / 2, size / 2 + 1e-9, spacing)
    z = np.arange(bottom + 0.005, bottom + height, spacing)
    top = np.stack([*np.meshgrid(s, s), np.full((len(s),) * 2, bottom + height)], -1).reshape(-1, 3)
    side = np.stack([*np.meshgrid(s, z), np.full((len(z), len(s)), size / 2)], -1).reshape(-1, 3)
    faces = [top, side[:, [0, 2, 1]], side[:, [0, 2, 1]] * (1, -1, 1), side[:, [2, 0, 1]]]
    return np.concatenate(faces) + np.array([x, y, 0])


class failing:  # noqa: N801
    """``with failing(FAILURE, words):`` expects an ArmError of that kind."""

    def __init__(self, failure, words=""):
        self._failure, self._raises = failure, pytest.raises(ArmError, match=words or None)

    def __enter__(self):
        self._caught = self._raises.__enter__()

    def __exit__(self, *details):
        result = self._raises.__exit__(*details)
        assert self._caught.value.failure is self._failure
        return result


# --- start --------------------------------------------------------------------------------------


def test_without_moveit_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "moveit", None)
    with pytest.raises(PlanningError, match=r"moveit-py.*mplib"):
        make_arm()


def test_the_moveit_of_humble_is_refused(install):
    install(
        moveit_class=fake_moveit.HumbleMoveItPy,
        parameters_class=fake_moveit.HumblePlanRequestParameters,
    )
    with pytest.raises(PlanningError, match=r"execute has another signature.*Jazzy"):
        make_arm()
    install(parameters_class=fake_moveit.HumblePlanRequestParameters)
    with pytest.raises(PlanningError, match=r"PlanRequestParameters has another signature.*Jazzy"):
        make_arm()


def test_a_binding_that_cannot_set_allowed_collisions_is_refused(install, monkeypatch):
    class Scene(fake_moveit.PlanningScene):
        def __setattr__(self, name, value):
            raise AttributeError("can't set attribute")

    monkeypatch.setattr(fake_moveit, "PlanningScene", Scene)
    with pytest.raises(PlanningError, match=r"allowed collisions cannot be set.*Jazzy"):
        make_arm()


def test_moveit_is_made_once_in_a_process(install):
    make_arm()
    with pytest.raises(PlanningError, match="already started"):
        make_arm()


def test_a_start_that_failed_is_not_tried_again(install):
    with pytest.raises(PlanningError, match="another process"):
        make_arm(moveit_parameters(fail=True))
    with pytest.raises(PlanningError, match="already started"):
        make_arm()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"group": "arm"}, "no group 'arm'; it has panda_arm, hand"),
        ({"hand_group": "gripper"}, "no group 'gripper'"),
        ({"base_frame": "base"}, "knows no frame 'base'"),
        ({"free_set": "rrt"}, "no set 'rrt'"),
    ],
)
def test_names_that_moveit_does_not_know_are_refused(install, names, words):
    with pytest.raises(ConfigError, match=words):
        make_arm(config=names)


def test_a_set_without_a_planner_is_refused(install):
    # moveit_py would fill in empty names and plan with the first planner that it has.
    parameters = moveit_parameters(pilz_lin={"plan_request_params": {"planning_time": 1.0}})
    with pytest.raises(ConfigError, match="'pilz_lin' names pipeline ''"):
        make_arm(parameters)


def test_without_joint_states_moveit_is_not_started(install):
    """So that it can be tried again: MoveIt starts once only."""

    class Silent(fake_moveit.Controllers):
        def joints(self):
            raise ArmError(ArmFailure.CONNECTION, "nothing comes on /joint_states")

    with failing(ArmFailure.CONNECTION, "joint_states"):
        make_arm(controllers=Silent())
    assert fake_moveit.MoveItPy.made == 0
    make_arm()


def test_missing_kinematics_are_noticed_at_start(install):
    ROBOT.kinematics = False
    with pytest.raises(PlanningError, match="robot_description_kinematics"):
        make_arm()


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: 1", "{}", "{broken", "nothing.yaml"])
def test_parameters_that_are_none_are_refused(install, text):
    with pytest.raises(ConfigError):
        MoveItArm(MoveItConfig(parameters=text), MotionConfig(), GRIPPER, fake_moveit.Controllers())


def test_parameters_may_be_a_file(install, tmp_path):
    file = tmp_path / "moveit.yaml"
    file.write_text(yaml.safe_dump(moveit_parameters(tiny=1e-05)))
    arm = MoveItArm(
        MoveItConfig(parameters=str(file)), MotionConfig(), GRIPPER, fake_moveit.Controllers(),
        use_sim_time=True,
    )  # fmt: skip
    given = arm._session._moveit.config
    assert given["use_sim_time"] is True
    assert given["tiny"] == 1e-05


def test_joints_that_are_not_those_of_the_controllers_are_noticed(install):
    ROBOT.known_joints = READY[::-1].copy()
    arm = make_arm()
    with failing(ArmFailure.CONNECTION, "same order"):
        arm.joints()


def test_a_base_that_tf_has_elsewhere_is_noticed(install):
    arm = make_arm(FLOATING, find_transform=lambda target, source: np.eye(4))
    with failing(ArmFailure.CONNECTION, "virtual joint"):
        arm.joints()
    found = []

    def find(target, source):
        found.append((target, source))
        return T_WORLD_BASE

    install()
    arm = make_arm(FLOATING, find_transform=find)
    arm.joints()
    np.testing.assert_allclose(arm.joints(), READY)
    assert found == [("world", "panda_link0")]


def test_a_world_of_moveits_own_need_not_be_that_of_tf(install):
    arm = make_arm(FIXED, find_transform=lambda target, source: np.eye(4))
    arm.execute(arm.plan_free(down()))
    np.testing.assert_allclose(tool_now(), down(), atol=1e-3)


def test_a_semantic_description_that_is_none_is_refused(install):
    with pytest.raises(ConfigError, match="no SRDF"):
        make_arm(moveit_parameters(robot_description_semantic="robot"))


# --- planning -----------------------------------------------------------------------------------


def test_reachable(arm):
    poses = np.stack([down(), down(x=1.5), down(x=0.4, y=-0.3)])
    assert arm.reachable(poses).tolist() == [True, False, True]
    assert arm.base_frame == "panda_link0"


def test_a_free_motion_ends_at_the_pose_in_the_base_frame(arm):
    motion = arm.plan_free(down(yaw=0.5))
    assert isinstance(motion, Motion)
    arm.execute(motion)
    np.testing.assert_allclose(tool_now(), down(yaw=0.5), atol=1e-3)
    np.testing.assert_allclose(motion.end, ROBOT.joints)
    assert motion.trajectory.names == fake_moveit.JOINTS
    assert motion.duration == pytest.approx(motion.trajectory.duration)
    np.testing.assert_allclose(motion.trajectory.positions[0], READY)


def test_speeds_are_those_of_the_configuration(install):
    arm = make_arm(motion={"speed": 0.15, "acceleration": 0.05})
    arm.plan_free(down())
    request = ROBOT.plans[-1]
    assert (request.max_velocity_scaling_factor, request.max_acceleration_scaling_factor) == (
        0.15, 0.05)  # fmt: skip
    assert (request.planning_pipeline, request.planner_id) == ("ompl", "RRTConnectkConfigDefault")
    assert request.planning_time <= 0.2  # nobody can stop MoveIt while it plans


def test_a_pose_out_of_reach(arm):
    with failing(ArmFailure.UNREACHABLE):
        arm.plan_free(down(x=1.2))


def test_plans_can_follow_one_another_before_anything_moves(arm):
    first = arm.plan_free(down(z=0.2))
    second = arm.plan_straight(down(z=0.1), first.end)
    third = arm.plan_joints(READY, second.end)
    assert not ROBOT.executed
    for motion in (first, second, third):
        arm.execute(motion)
    np.testing.assert_allclose(ROBOT.joints, READY, atol=1e-6)


def test_a_search_that_times_out_is_repeated(arm):
    ROBOT.codes = ["TIMED_OUT", "PLANNING_FAILED"]
    arm.plan_free(down())
    assert len(ROBOT.plans) == 3


def test_a_search_ends(install):
    arm = make_arm(motion={"planning_time": 0.05})
    ROBOT.codes = ["TIMED_OUT"] * 100_000
    with failing(ArmFailure.NO_PLAN, "TIMED_OUT"):
        arm.plan_free(down())


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("GOAL_IN_COLLISION", ArmFailure.IN_COLLISION),
        ("NO_IK_SOLUTION", ArmFailure.UNREACHABLE),
        ("INVALID_MOTION_PLAN", ArmFailure.IN_COLLISION),
    ],
)
def test_error_codes(arm, code, failure):
    ROBOT.codes = [code]
    with failing(failure, code):
        arm.plan_joints(READY + 0.1)


def test_joints_of_another_number_are_refused(arm):
    with failing(ArmFailure.UNREACHABLE, "not 7"):
        arm.plan_joints(np.zeros(6))


# --- straight lines -----------------------------------------------------------------------------


def tips(motion):
    """Positions of the tool along a motion, in the base frame."""
    return np.array([
        (np.linalg.inv(T_WORLD_BASE) @ link_poses(q)["panda_hand"])[:3, 3]
        for q in motion.trajectory.positions
    ])  # fmt: skip


def off_line(points):
    a, b = points[0], points[-1]
    along = (b - a) / np.linalg.norm(b - a)
    offset = points - a
    return np.linalg.norm(offset - np.outer(offset @ along, along), axis=1).max()


def at_pregrasp(arm, z=0.2, **place):
    motion = arm.plan_free(down(z=z, **place))
    arm.execute(motion)


def test_a_line_of_pilz(arm):
    at_pregrasp(arm)
    motion = arm.plan_straight(down(z=0.1))
    assert ROBOT.plans[-1].planner_id == "LIN"
    assert off_line(tips(motion)) < 5e-4
    assert tips(motion)[-1][2] - tips(motion)[0][2] == pytest.approx(-0.1, abs=1e-3)


def test_a_line_that_is_too_fast_is_planned_slower(arm):
    at_pregrasp(arm)
    ROBOT.codes = ["PLANNING_FAILED", "PLANNING_FAILED"]
    arm.plan_straight(down(z=0.15))
    speeds = [r.max_velocity_scaling_factor for r in ROBOT.plans if r.planner_id == "LIN"]
    np.testing.assert_allclose(speeds, [0.2, 0.1, 0.05])


def test_without_pilz_the_line_is_our_own(arm):
    at_pregrasp(arm)
    ROBOT.line_planner = False
    motion = arm.plan_straight(down(z=0.1))
    points = tips(motion)
    assert off_line(points) < 5e-4
    assert np.linalg.norm(np.diff(points, axis=0), axis=1).max() < 0.0051
    arm.execute(motion)
    np.testing.assert_allclose(tool_now(), down(z=0.1), atol=1e-3)


def test_a_set_that_calls_a_curve_a_line_is_not_believed(install):
    parameters = moveit_parameters()
    parameters["pilz_lin"]["plan_request_params"]["planner_id"] = "PTP"
    arm = make_arm(parameters)
    at_pregrasp(arm, z=0.3)
    # A curve of joint space bends on the way to the side.
    motion = arm.plan_straight(down(y=-0.25, z=0.3))
    assert off_line(tips(motion)) < 1e-3


def test_a_line_that_leaves_the_reach(arm):
    at_pregrasp(arm)
    with failing(ArmFailure.UNREACHABLE, "straight line from"):
        arm.plan_straight(down(x=1.1, z=0.2))


def test_a_change_of_posture_on_the_line_is_refused(arm, monkeypatch):
    at_pregrasp(arm)
    ROBOT.line_planner = False
    solve = arm._session.solve
    monkeypatch.setattr(arm._session, "solve", lambda s, T: solve(s, T) + 0.3)
    with failing(ArmFailure.NO_PLAN, "posture"):
        arm.plan_straight(down(z=0.1))


def test_a_plan_that_ends_elsewhere_is_refused(arm, monkeypatch):
    at_pregrasp(arm)
    shifted = arm._session.plan_pose

    def wrong(name, start, goal, limits):
        goal = goal.copy()
        goal[2, 3] += 0.02
        return shifted(name, start, goal, limits)

    monkeypatch.setattr(arm._session, "plan_pose", wrong)
    with failing(ArmFailure.NO_PLAN, "20.0 mm"):
        arm.plan_straight(down(z=0.1))


# --- obstacles and contact ----------------------------------------------------------------------


def test_the_table_stops_the_hand_with_contact_too(arm):
    at_pregrasp(arm)
    arm.set_obstacles(Obstacles(np.zeros((0, 3)), 0.0))
    arm.plan_straight(down(z=0.01), contact=True)
    for contact in (False, True):
        with failing(ArmFailure.IN_COLLISION, r"way point"):
            arm.plan_straight(down(z=-0.02), contact=contact)


def test_the_table_is_where_it_was_seen(arm):
    arm.set_obstacles(Obstacles(np.zeros((0, 3)), 0.12))
    pose, centers, halves = world(arm).objects[TABLE]
    np.testing.assert_allclose(pose, T_WORLD_BASE, atol=1e-9)
    assert centers[0, 2] + halves[0, 2] == pytest.approx(0.12 - MotionConfig().table_margin)
    arm.set_obstacles(Obstacles(np.zeros((0, 3)), None))
    assert TABLE not in world(arm).objects


def test_the_robot_may_stand_on_the_table(arm):
    arm.set_obstacles(Obstacles(np.zeros((0, 3)), 0.0))
    arm.plan_joints(READY + 0.1)
    assert world(arm).allowed == {frozenset((TABLE, "panda_link0"))}


def test_only_the_hand_may_touch_only_the_cloud_and_only_with_contact(arm):
    at_pregrasp(arm)
    arm.set_obstacles(Obstacles(block(), 0.0))
    before = set(world(arm).allowed)
    with failing(ArmFailure.IN_COLLISION):
        arm.plan_straight(down(z=0.03))
    motion = arm.plan_straight(down(z=0.03), contact=True)
    assert world(arm).allowed == before
    arm.execute(motion)
    assert world(arm).allowed == before


def test_the_wrist_may_not_touch_the_cloud(arm):
    at_pregrasp(arm)
    shelf = block(x=SPOT[0] - 0.088, size=0.06, height=0.05, bottom=0.2)
    arm.set_obstacles(Obstacles(shelf, 0.0))
    with failing(ArmFailure.IN_COLLISION):
        arm.plan_straight(down(z=0.03), contact=True)


def test_what_may_touch_is_taken_back_after_a_failure(arm):
    at_pregrasp(arm)
    arm.set_obstacles(Obstacles(block(), 0.0))
    before = set(world(arm).allowed)
    with failing(ArmFailure.IN_COLLISION):
        arm.plan_straight(down(z=-0.03), contact=True)
    assert world(arm).allowed == before


def test_points_on_the_hand_are_no_obstacle(arm):
    at_pregrasp(arm)
    on_hand = (tool_now() @ np.array([[0.0, 0.05, 0.03, 1], [0.0, 0.02, 0.09, 1]]).T).T[:, :3]
    arm.set_obstacles(Obstacles(np.concatenate([on_hand, block()]), 0.0))
    arm.plan_straight(down(z=0.15))
    boxes = world(arm).objects[CLOUD]
    assert boxes[1][:, 2].max() < 0.08


def test_no_points_are_no_object(arm):
    arm.set_obstacles(Obstacles(block(), 0.0))
    assert CLOUD in world(arm).objects
    arm.set_obstacles(Obstacles(np.zeros((0, 3)), 0.0))
    assert CLOUD not in world(arm).objects


def test_plans_expect_the_opening_that_the_jaws_will_have(arm):
    """A post that the closed hand passes is hit by a finger that stands out."""
    at_pregrasp(arm, x=0.45)
    beside = tool_now() @ (0, 0.035, 0.1034, 1)
    post = np.array([[*beside[:2], z] for z in np.arange(0.02, 0.12, 0.004)])
    arm.set_obstacles(Obstacles(post, 0.0))
    arm.plan_straight(down(x=0.45, z=0.08))
    arm.expect_opening(0.06)
    with failing(ArmFailure.IN_COLLISION):
        arm.plan_straight(down(x=0.45, z=0.08))
    arm.expect_opening(0.02)
    arm.plan_straight(down(x=0.45, z=0.08))


def test_an_object_that_the_scene_refuses_is_an_error(arm):
    arm._session._monitor.refuse.add(CLOUD)
    with failing(ArmFailure.CONNECTION, "refused the object"):
        arm.set_obstacles(Obstacles(block(), 0.0))


def test_a_goal_inside_an_obstacle(install):
    arm = make_arm(motion={"planning_time": 0.05})
    arm.set_obstacles(Obstacles(block(size=0.1, height=0.3), 0.0))
    with failing(ArmFailure.IN_COLLISION, "goal"):
        arm.plan_free(down(z=0.1))


# --- attached objects ---------------------------------------------------------------------------


NOTHING = np.zeros((0, 3))


def grasp(arm, rest=NOTHING):
    """Go to the grasp of the block and hold it."""
    at_pregrasp(arm)
    arm.set_obstacles(Obstacles(np.concatenate([block(), rest]), 0.0))
    arm.execute(arm.plan_straight(down(z=0.03), contact=True))
    arm.move_gripper(0.04)
    arm.attach(block())


def test_a_held_object_moves_with_the_hand_and_leaves_the_cloud(arm):
    grasp(arm)
    assert CLOUD not in world(arm).objects
    link, touch, (pose, centers, _) = world(arm).attached[HELD]
    assert link == "panda_hand"
    assert set(touch) == set(fake_moveit.HAND_LINKS)
    in_base = (tool_now() @ pose @ np.c_[centers, np.ones(len(centers))].T).T[:, :3]
    assert np.abs(in_base - (*SPOT, 0.03)).max() < 0.04
    # It stands on the table, and can be lifted from it.
    arm.execute(arm.plan_straight(down(z=0.13), contact=True))
    # High up it must not be swung through a wall.
    wall = block(x=SPOT[0], y=SPOT[1] + 0.16, size=0.1, height=0.25)
    arm.set_obstacles(Obstacles(wall, 0.0))
    with failing(ArmFailure.IN_COLLISION):
        arm.plan_straight(down(y=SPOT[1] + 0.10, z=0.13))
    arm.detach()
    assert HELD not in world(arm).objects
    assert not world(arm).attached
    arm.detach()


def test_neighbours_stay_in_the_cloud(arm):
    rest = block(x=SPOT[0] + 0.12)
    grasp(arm, rest)
    boxes = world(arm).objects[CLOUD]
    assert boxes[1][:, 0].min() > SPOT[0] + 0.09


def test_nothing_to_attach_is_nothing_attached(arm):
    arm.attach(np.zeros((0, 3)))
    assert not world(arm).attached


# --- motion -------------------------------------------------------------------------------------


def test_a_path_that_got_blocked_is_not_executed(arm):
    motion = arm.plan_free(down(z=0.1))
    arm.set_obstacles(Obstacles(block(size=0.1, height=0.3), 0.0))
    with failing(ArmFailure.IN_COLLISION, "by now"):
        arm.execute(motion)
    assert not ROBOT.executed


def test_an_arm_that_stands_elsewhere_is_not_moved(arm):
    motion = arm.plan_free(down())
    ROBOT.joints = READY + 0.05
    with failing(ArmFailure.START_MISMATCH, r"0\.050 rad"):
        arm.execute(motion)
    assert not ROBOT.executed


@pytest.mark.parametrize(
    ("execution", "failure"),
    [
        ("abort", ArmFailure.ABORTED), ("timeout", ArmFailure.TIMEOUT), ("fail", ArmFailure.ABORTED)
    ],
)  # fmt: skip
def test_executions_that_fail(arm, execution, failure):
    motion = arm.plan_free(down())
    ROBOT.execution = execution
    with failing(failure):
        arm.execute(motion)
    ROBOT.execution = "ok"
    arm.execute(arm.plan_free(down()))


def test_motions_of_others_are_refused(arm):
    with failing(ArmFailure.REJECTED, "not planned by this arm"):
        arm.execute(Motion(READY, 1.0))


def in_thread(call):
    caught = []

    def work():
        try:
            call()
        except ArmError as error:
            caught.append((time.monotonic(), error))

    thread = threading.Thread(target=work)
    thread.start()
    return thread, caught


def test_a_stop_ends_a_motion(arm):
    halted = []
    arm._runner._halt = lambda: halted.append(time.monotonic())
    motion = arm.plan_free(down())
    ROBOT.execution = "hang"
    thread, caught = in_thread(lambda: arm.execute(motion))
    assert ROBOT.moving.wait(5)
    begin = time.monotonic()
    arm.stop()
    assert time.monotonic() - begin < 0.1
    thread.join(5)
    ((_, error),) = caught
    assert error.failure is ArmFailure.STOPPED
    assert halted
    assert not ROBOT.moving.is_set()
    with failing(ArmFailure.STOPPED):
        arm.plan_free(down())
    with failing(ArmFailure.STOPPED):
        arm.move_gripper(0.05)
    np.testing.assert_array_equal(arm.joints(), ROBOT.joints)
    ROBOT.execution = "ok"
    arm.resume()
    arm.execute(arm.plan_free(down()))
    arm.move_gripper(0.05)


def test_a_stop_before_the_motion_has_begun_is_not_lost(arm, monkeypatch):
    motion = arm.plan_free(down())
    ROBOT.execution = "hang"
    execute, entered = arm._session.execute, threading.Event()

    def late(trajectory):
        entered.set()
        time.sleep(0.1)
        return execute(trajectory)

    monkeypatch.setattr(arm._session, "execute", late)
    thread, caught = in_thread(lambda: arm.execute(motion))
    assert entered.wait(5)
    arm.stop()
    thread.join(5)
    assert caught[0][1].failure is ArmFailure.STOPPED
    deadline = time.monotonic() + 3
    while arm._runner._moving.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not arm._runner._moving.is_alive()


def test_a_controller_that_does_not_stop_keeps_nobody_waiting(arm):
    motion = arm.plan_free(down())
    ROBOT.execution = "deaf"
    thread, caught = in_thread(lambda: arm.execute(motion))
    assert ROBOT.moving.wait(5)
    arm.stop()
    thread.join(3)
    assert caught[0][1].failure is ArmFailure.STOPPED
    # The old motion is still running: nothing new may start.
    arm.resume()
    ROBOT.joints = READY.copy()
    with failing(ArmFailure.CONNECTION, "has not ended"):
        arm.execute(motion)
    ROBOT.stop.set()


def test_a_stop_ends_a_search(install):
    arm = make_arm(motion={"planning_time": 60.0})
    ROBOT.codes = ["TIMED_OUT"] * 1_000_000
    planning = threading.Event()
    ROBOT.on_plan = lambda: (planning.set(), time.sleep(0.01))
    thread, caught = in_thread(lambda: arm.plan_free(down()))
    assert planning.wait(10)
    arm.stop()
    thread.join(10)
    assert caught[0][1].failure is ArmFailure.STOPPED


def test_the_gripper_says_that_it_stalled(install):
    controllers = fake_moveit.Controllers()
    controllers.thickness = 0.03
    arm = make_arm(controllers=controllers)
    state = arm.move_gripper(0.0)
    assert (state.width, state.stalled, state.reached) == (pytest.approx(0.03), True, False)


def test_moveit_is_shut_down_once_at_the_end(arm):
    moveit = arm._session._moveit
    arm.close()
    assert moveit.down
    with failing(ArmFailure.STOPPED):
        arm.plan_free(down())


def test_only_one_module_imports_moveit():
    for path in (ROOT / "kgnpro_ros").rglob("*.py"):
        text = path.read_text()
        if path.name != "moveit_session.py":
            assert "from moveit" not in text.replace("from moveit_configs_utils", "")
            assert "import moveit" not in text.replace("import moveit_configs_utils", "")


# --- a whole pick -------------------------------------------------------------------------------


def grasps():
    """One grasp of the block from above, and one that is out of reach but has a better score."""
    poses = np.stack([down(x=1.3, z=0.035), down(z=0.035)]) @ GRIPPER.T_tool_grasp
    scores = np.array([0.9, 0.8])
    return GraspBatch(
        poses, "panda_link0", np.full(2, 0.06), scores, scores, np.full(2, 0.5),
        np.tile(1e-6 * np.eye(6), (2, 1, 1)), np.zeros((2, 4, 2)), np.zeros(2, np.int64), {},
    )  # fmt: skip


def scene():
    neighbour = block(x=SPOT[0] + 0.13, y=SPOT[1])
    return Scene(grasps(), Obstacles(np.concatenate([block(), neighbour]), 0.0))


@pytest.fixture
def pick(install):
    controllers = fake_moveit.Controllers()
    controllers.thickness = 0.04
    arm = make_arm(controllers=controllers)
    sequence = PickSequence(arm, GRIPPER, PickConfig(hold_time=0.01, max_grasp_age=600.0))
    sequence.arm, sequence.controllers = arm, controllers
    return sequence


def test_a_pick_lifts_and_places(pick):
    heights = []
    wait = pick.arm.execute

    def execute(motion):
        wait(motion)
        heights.append(round(tool_now()[2, 3] - 0.1034, 2))

    pick.arm.execute = execute
    place = Place(down(x=0.4, y=-0.3, z=0.04) @ GRIPPER.T_tool_grasp, "panda_link0")
    report = pick.run(scene(), place=place)
    assert report.success, report.message
    assert (report.picked, report.attempts) == (1, 1)
    assert report.rejected == {"unreachable_grasp": 1}
    # Pre-grasp, grasp, lift; above the place, down, away.
    np.testing.assert_allclose(heights, [0.135, 0.035, 0.135, 0.14, 0.04, 0.14], atol=0.006)
    assert not world(pick.arm).attached
    assert pick.controllers.widths[-1] > 0.05


def test_a_dry_run_moves_nothing(pick):
    report = pick.run(scene(), dry_run=True)
    assert report.success, report.message
    assert not ROBOT.executed
    assert not pick.controllers.widths


def test_a_pick_of_nothing_goes_back(pick):
    pick.controllers.thickness = 0.0
    report = pick.run(scene())
    assert not report.success
    assert "closed_on_nothing" in [stage.cause for stage in report.stages]
    assert tool_now()[2, 3] - 0.1034 == pytest.approx(0.135, abs=0.006)
    assert not world(pick.arm).attached


def test_an_aborted_approach_ends_in_a_report(pick):
    seen = []

    def feedback(item):
        seen.append(item.stage)
        ROBOT.execution = "abort" if item.stage is Stage.APPROACH else "ok"

    report = pick.run(scene(), feedback=feedback)
    assert not report.success
    assert any(s.stage is Stage.APPROACH and s.cause == "aborted" for s in report.stages)
    assert Stage.RETREAT in seen
    assert pick.run(scene()).success


def test_a_cancelled_pick_stands_still(pick):
    cancellation = Cancellation()

    def feedback(item):
        if item.stage is Stage.MOVE_PREGRASP:
            ROBOT.execution = "hang"
            threading.Timer(0.1, cancellation.request).start()

    begin = time.monotonic()
    report = pick.run(scene(), feedback=feedback, cancellation=cancellation)
    assert time.monotonic() - begin < 60
    assert not report.success
    assert not ROBOT.moving.is_set()
    ROBOT.execution = "ok"
    assert pick.run(scene()).success


# --- in the executor ---------------------------------------------------------------------------


def test_the_executor_makes_the_arm(install, spin):
    node = spin(Node("moveit_executor", use_global_arguments=False))
    config = ExecutorConfig(
        arm="moveit", moveit=MoveItConfig(parameters=json.dumps(moveit_parameters()))
    )
    arm = make_executor_arm(node, config, GRIPPER, fake_moveit.Controllers())
    assert isinstance(arm, MoveItArm)
    assert isinstance(arm, PlansOpening)
    assert arm.joint_names == config.controllers.joints
    arm.execute(arm.plan_free(down()))
    arm.close()


LEAVING = """
import atexit, sys, types
sys.modules[{module!r}] = types.ModuleType("moveit.planning")
atexit.register(lambda: print("late"))
from kgnpro_ros.ros.arms import leave
print("before")
raise SystemExit(leave(3))
"""


@pytest.mark.parametrize(
    ("module", "output"), [("moveit.planning", ["before"]), ("other", ["before", "late"])]
)
def test_the_exit_code_survives_what_moveit_does_at_exit(module, output):
    command = [sys.executable, "-c", LEAVING.format(module=module)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.split() == output


# --- over DDS -----------------------------------------------------------------------------------


def test_all_goals_of_a_controller_can_be_cancelled(spin):
    """Whoever sent them: MoveIt's own goals end too when its process is in trouble."""
    robot = spin(ScriptedRobot("halted"))
    node = spin(Node("halting", use_global_arguments=False))
    robot.arm = "hang"
    action = "halted/arm/follow_joint_trajectory"
    halt = cancel_all(node, action)
    halt()  # nothing to cancel, perhaps nobody there yet
    client = ActionClient(node, FollowJointTrajectory, action)
    assert client.wait_for_server(60)
    client.send_goal_async(FollowJointTrajectory.Goal())
    assert robot.started.wait(60)

    def cancelled():
        halt()
        return robot.cancelled.wait(0.2)

    assert wait_until(cancelled)
