# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Planning for the Panda: real mplib, checked with geometry of our own."""

import threading

import numpy as np
import pytest
from pick_fakes import BASE, GRIPPER, batch, grasp_at
from scipy.spatial.transform import Rotation

from kgnpro_ros.config import MotionConfig
from kgnpro_ros.execution import mplib_planner
from kgnpro_ros.execution.arm import (
    Arm,
    ArmError,
    ArmFailure,
    GripperState,
    Obstacles,
    PlansOpening,
)
from kgnpro_ros.execution.kinematics import Kinematics
from kgnpro_ros.execution.mplib_arm import MplibArm
from kgnpro_ros.execution.mplib_planner import MplibPlanner
from kgnpro_ros.execution.pick import PickSequence
from kgnpro_ros.execution.report import Place, Scene
from kgnpro_ros.execution.robot_model import panda_model

HOME = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])
MODEL = panda_model()
NOTHING = Obstacles(np.zeros((0, 3)), 0.0)


@pytest.fixture(scope="module")
def shared():
    return MplibPlanner(MODEL)


@pytest.fixture(scope="module")
def kinematics():
    return Kinematics(MODEL)


@pytest.fixture
def planner(shared):
    shared.resume()
    shared.release()
    shared.expect_opening(0.08)
    shared.set_obstacles(NOTHING, HOME)
    return shared


def tool(x, y, z, angle=0.0, about="y"):
    """Pose of the hand, pointing down, turned by an angle [deg]."""
    pose = np.eye(4)
    turn = Rotation.from_euler(about, angle, degrees=True).as_matrix()
    pose[:3, :3] = turn @ np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = (x, y, z)
    return pose


def wall(height=0.30):
    """Points of a wall along x, at y = 0."""
    axes = np.arange(0.3, 0.8, 0.01), np.arange(-0.02, 0.03, 0.01), np.arange(0.01, height, 0.01)
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3)


def check_motion(motion, start):
    """Rest at both ends, the right start, and velocities within a fifth of the limits."""
    trajectory = motion.trajectory
    np.testing.assert_allclose(trajectory.positions[0], start, atol=1e-9)
    np.testing.assert_array_equal(trajectory.positions[-1], motion.end)
    assert trajectory.duration == motion.duration
    assert trajectory.names == MODEL.joint_names
    np.testing.assert_array_equal(trajectory.velocities[[0, -1]], 0.0)
    assert (np.abs(trajectory.velocities) <= 0.2 * MODEL.velocity).all()
    moved = np.diff(trajectory.positions, axis=0) / np.diff(trajectory.times)[:, None]
    assert (np.abs(moved) <= 0.2 * MODEL.velocity).all()
    change = np.diff(trajectory.velocities, axis=0) / np.diff(trajectory.times)[:, None]
    assert (np.abs(change) <= 0.2 * MODEL.acceleration * 1.02).all()
    assert (trajectory.positions >= MODEL.lower - 1e-6).all()
    assert (trajectory.positions <= MODEL.upper + 1e-6).all()


def hand_points(kinematics, joints, opening=0.08):
    """Clearly inside the hand: tips of the fingers and middle of the palm, (N, P, 3)."""
    tips = [(0.0, side * (opening / 2 + 0.006), 0.108) for side in (-1, 1)]
    local = np.array([*tips, (0.0, 0.0, 0.03), (0.0, 0.09, 0.03), (0.0, -0.09, 0.03)])
    poses = kinematics.forward(joints)
    return local @ poses[:, :3, :3].swapaxes(1, 2) + poses[:, None, :3, 3]


# ---------------------------------------------------------------------- free motions


@pytest.mark.parametrize("goal", [tool(0.5, 0.2, 0.3), tool(0.4, -0.3, 0.25, 30.0, "x"),
                                  tool(0.6, 0.0, 0.4, -40.0)])  # fmt: skip
def test_a_free_motion_reaches_its_pose(planner, kinematics, goal):
    motion = planner.plan_free(goal, HOME)
    check_motion(motion, HOME)
    np.testing.assert_allclose(kinematics.forward(motion.end[None])[0], goal, atol=2e-4)


def test_a_free_motion_goes_around_what_was_observed(planner, kinematics):
    start = planner.plan_free(tool(0.5, -0.3, 0.2), HOME).end
    goal = tool(0.5, 0.3, 0.2)
    through = planner.plan_free(goal, start).trajectory.positions
    points = wall()

    def inside(joints):
        path = hand_points(kinematics, joints).reshape(-1, 3)
        return ((np.abs(path[:, 1]) < 0.02) & (path[:, 2] < 0.29) & (path[:, 0] > 0.3)).any()

    assert inside(through), "without the wall the hand passes there"
    planner.set_obstacles(Obstacles(points, 0.0), HOME)
    motion = planner.plan_free(goal, start)
    check_motion(motion, start)
    assert not inside(motion.trajectory.positions)
    np.testing.assert_allclose(kinematics.forward(motion.end[None])[0], goal, atol=2e-4)


def test_the_same_calls_give_the_same_motions(planner, monkeypatch):
    # As on a machine with time to spare: a search that is cut off is another search.
    monkeypatch.setattr(mplib_planner, "SEARCH_SLICE", 10.0)
    other = MplibPlanner(MODEL)
    motions = []
    for one in (planner, other):
        one.set_obstacles(NOTHING, HOME)
        start = one.plan_free(tool(0.5, -0.3, 0.2), HOME).end
        one.set_obstacles(Obstacles(wall(), 0.0), HOME)
        motions.append(one.plan_free(tool(0.5, 0.3, 0.2), start).trajectory.positions)
    np.testing.assert_array_equal(*motions)


def test_asked_again_it_prefers_another_posture(planner):
    goal = tool(0.5, 0.1, 0.3)
    ends = [planner.plan_free(goal, HOME).end for _ in range(2)]
    assert np.abs(ends[0] - ends[1]).max() > 0.1


def test_a_motion_to_joints(planner):
    goal = HOME + 0.3
    motion = planner.plan_joints(goal, HOME)
    check_motion(motion, HOME)
    np.testing.assert_allclose(motion.end, goal, atol=1e-9)
    assert planner.plan_joints(HOME, HOME).duration == 0.0


@pytest.mark.parametrize(
    ("goal", "failure", "text"),
    [(tool(1.2, 0.0, 0.3), ArmFailure.UNREACHABLE, "no joint solution"),
     (tool(0.5, 0.0, 0.05), ArmFailure.IN_COLLISION, "touches table"),
     (tool(0.5, 0.0, 0.2), ArmFailure.IN_COLLISION, "touches observed points")],
)  # fmt: skip
def test_goals_that_cannot_be(planner, goal, failure, text):
    if "observed" in text:
        planner.set_obstacles(Obstacles(wall(), 0.0), HOME)
    with pytest.raises(ArmError, match=text) as caught:
        planner.plan_free(goal, HOME)
    assert caught.value.failure is failure


def test_a_start_outside_the_limits_names_the_joint(planner):
    start = HOME.copy()
    start[3] = 0.2
    with pytest.raises(ArmError, match=r"panda_joint4 is at 0\.200 rad, outside -3\.07"):
        planner.plan_free(tool(0.5, 0.0, 0.3), start)
    start[3] = MODEL.upper[3] + 0.005  # a measurement
    assert planner.plan_free(tool(0.5, 0.0, 0.3), start).duration > 0
    with pytest.raises(ArmError, match="panda_joint2"):
        planner.plan_joints(np.array([0, 2.0, 0, -2, 0, 2, 0]), HOME)


def test_points_on_the_arm_are_the_arm(planner, kinematics):
    on_arm = hand_points(kinematics, HOME[None])[0]
    planner.set_obstacles(Obstacles(on_arm, 0.0), HOME)
    assert planner.plan_free(tool(0.5, 0.2, 0.3), HOME).duration > 0
    elsewhere = planner.plan_joints(HOME - 0.3, HOME).end
    planner.set_obstacles(Obstacles(on_arm, 0.0), elsewhere)
    with pytest.raises(ArmError, match="touches observed points"):
        planner.plan_joints(HOME, elsewhere)


# ---------------------------------------------------------------------- straight motions


@pytest.mark.parametrize("seed", range(4))
def test_straight_motions_are_straight(planner, kinematics, seed):
    rng = np.random.default_rng(seed)
    begin = tool(rng.uniform(0.4, 0.6), rng.uniform(-0.25, 0.25), 0.35, rng.uniform(-30, 30))
    start = planner.plan_free(begin, HOME).end
    goal = begin.copy()
    goal[:3, 3] += 0.10 * begin[:3, 2]
    motion = planner.plan_straight(goal, start, contact=False)
    check_motion(motion, start)
    fine = np.concatenate([
        motion.trajectory.at(time)[None] for time in np.linspace(0, motion.duration, 300)
    ])  # fmt: skip
    poses = kinematics.forward(fine)
    way = poses[:, :3, 3] - begin[:3, 3]
    along = way @ begin[:3, 2]
    assert np.linalg.norm(way - along[:, None] * begin[:3, 2], axis=1).max() < 0.001
    assert (np.diff(along) > -1e-5).all()
    assert along[-1] == pytest.approx(0.10, abs=1e-4)
    turn = Rotation.from_matrix(begin[:3, :3].T @ poses[:, :3, :3]).magnitude()
    assert turn.max() < np.radians(0.5)


def test_the_whole_way_is_checked(planner):
    start = planner.plan_free(tool(0.5, -0.2, 0.2), HOME).end
    planner.set_obstacles(Obstacles(wall(), 0.0), HOME)
    with pytest.raises(ArmError, match=r"on the way .* touches observed points") as caught:
        planner.plan_straight(tool(0.5, 0.2, 0.2), start, contact=False)
    assert caught.value.failure is ArmFailure.IN_COLLISION


def test_contact_is_for_fingers_and_points_only(planner):
    start = planner.plan_free(tool(0.5, 0.0, 0.3), HOME).end
    tip = np.array([[0.5, 0.045, 0.14]])  # where a finger ends, not the palm
    goal = tool(0.5, 0.0, 0.2)
    planner.set_obstacles(Obstacles(tip - (0, 0, 0.04), 0.0), HOME)
    with pytest.raises(ArmError, match="finger touches observed points"):
        planner.plan_straight(goal, start, contact=False)
    assert planner.plan_straight(goal, start, contact=True).duration > 0
    with pytest.raises(ArmError, match="finger touches observed points"):
        planner.plan_straight(goal, start, contact=False)  # the leave has ended
    planner.set_obstacles(Obstacles(np.array([[0.5, 0.0, 0.19]]), 0.0), HOME)
    with pytest.raises(ArmError, match="panda_hand touches observed points"):
        planner.plan_straight(goal, start, contact=True)
    planner.set_obstacles(NOTHING, HOME)
    with pytest.raises(ArmError, match="finger touches table"):
        planner.plan_straight(tool(0.5, 0.0, 0.10), start, contact=True)


def test_the_expected_opening_counts(planner):
    start = planner.plan_free(tool(0.5, 0.0, 0.3), HOME).end
    side = np.array([[0.5, 0.04, 0.11]])
    planner.set_obstacles(Obstacles(side, 0.0), HOME)
    goal = tool(0.5, 0.0, 0.2)
    with pytest.raises(ArmError, match="finger touches observed points"):
        planner.plan_straight(goal, start, contact=False)
    planner.expect_opening(0.02)
    assert planner.plan_straight(goal, start, contact=False).duration > 0


def test_a_line_that_leaves_the_reach(planner):
    start = planner.plan_free(tool(0.6, 0.0, 0.3), HOME).end
    with pytest.raises(ArmError) as caught:
        planner.plan_straight(tool(1.0, 0.0, 0.3), start, contact=False)
    assert caught.value.failure in (ArmFailure.UNREACHABLE, ArmFailure.NO_PLAN)


# ---------------------------------------------------------------------- what is held


def held_box(pose, depth=0.12):
    """Points on a box between the fingers that hangs below them."""
    rng = np.random.default_rng(0)
    local = rng.uniform((-0.02, -0.02, 0.09), (0.02, 0.02, 0.09 + depth), (400, 3))
    return local @ pose[:3, :3].T + pose[:3, 3]


def test_what_is_held_does_not_go_through_the_table(planner):
    planner.set_obstacles(Obstacles(np.zeros((0, 3)), None), HOME)
    above = planner.plan_free(tool(0.5, 0.0, 0.4), HOME).end
    planner.hold(held_box(planner.forward(above)), above)
    planner.set_obstacles(NOTHING, HOME)
    low = tool(0.5, 0.2, 0.15)
    with pytest.raises(ArmError, match=r"held object touches table|table.*held object"):
        planner.plan_free(low, above)
    assert planner.plan_free(tool(0.5, 0.2, 0.3), above).duration > 0
    planner.release()
    assert planner.plan_free(low, above).duration > 0


def test_what_is_held_may_touch_in_contact(planner):
    planner.set_obstacles(Obstacles(np.zeros((0, 3)), None), HOME)
    above = planner.plan_free(tool(0.5, 0.0, 0.3), HOME).end
    planner.hold(held_box(planner.forward(above)), above)
    planner.set_obstacles(NOTHING, HOME)
    low = tool(0.5, 0.0, 0.19)
    with pytest.raises(ArmError, match="held object"):
        planner.plan_straight(low, above, contact=False)
    assert planner.plan_straight(low, above, contact=True).duration > 0


def test_what_is_held_goes_around_obstacles(planner):
    planner.set_obstacles(Obstacles(np.zeros((0, 3)), None), HOME)
    start = planner.plan_free(tool(0.5, -0.25, 0.45), HOME).end
    goal = tool(0.5, 0.25, 0.45)
    planner.set_obstacles(Obstacles(wall(0.30), 0.0), HOME)
    direct = planner.plan_free(goal, start)
    planner.hold(held_box(planner.forward(start), depth=0.20), start)
    around = planner.plan_free(goal, start)
    assert around.duration > direct.duration


def test_a_held_object_of_few_points(planner):
    planner.hold(np.array([[0.3, 0.0, 0.5]]), HOME)
    planner.hold(np.zeros((0, 3)), HOME)
    assert planner.plan_free(tool(0.5, 0.2, 0.3), HOME).duration > 0


# ---------------------------------------------------------------------- the arm


class Controllers:
    """Moves at once; remembers what it was asked."""

    def __init__(self):
        self.q, self.followed, self.stopped = HOME.copy(), [], False

    def joints(self):
        return self.q

    def follow(self, trajectory):
        self.followed.append(trajectory)
        self.q = trajectory.positions[-1]

    def move_gripper(self, width):
        return GripperState(max(width, 0.03), width < 0.03, width >= 0.03)

    def stop(self):
        self.stopped = True

    def resume(self):
        self.stopped = False


@pytest.fixture
def arm(planner):
    return MplibArm(planner, Controllers())


def controllers_of(arm):
    return arm._controllers


def test_it_is_an_arm(arm):
    one: Arm = arm
    assert one.base_frame == BASE
    assert isinstance(arm, PlansOpening)


def test_a_motion_from_elsewhere_is_refused(arm):
    motion = arm.plan_joints(HOME + 0.2)
    controllers_of(arm).q = HOME + 0.1
    with pytest.raises(ArmError, match=r"0\.100 rad away") as caught:
        arm.execute(motion)
    assert caught.value.failure is ArmFailure.START_MISMATCH
    assert not controllers_of(arm).followed


def test_a_motion_to_where_the_arm_is_moves_nothing(arm):
    arm.execute(arm.plan_joints(HOME + 3e-5))
    arm.execute(arm.plan_joints(HOME))
    assert not controllers_of(arm).followed
    arm.execute(arm.plan_joints(HOME + 1e-3))
    assert len(controllers_of(arm).followed) == 1


def test_a_stopped_arm_neither_plans_nor_moves(arm):
    motion = arm.plan_joints(HOME + 0.2)
    arm.stop()
    assert controllers_of(arm).stopped
    for call in (
        lambda: arm.execute(motion), lambda: arm.move_gripper(0.0),
        lambda: arm.plan_joints(HOME + 0.2), lambda: arm.plan_free(tool(0.5, 0.0, 0.3)),
        lambda: arm.plan_straight(tool(0.5, 0.0, 0.3)),
    ):  # fmt: skip
        with pytest.raises(ArmError) as caught:
            call()
        assert caught.value.failure is ArmFailure.STOPPED
    arm.resume()
    arm.execute(motion)
    np.testing.assert_allclose(controllers_of(arm).q, HOME + 0.2)


def test_a_long_search_can_be_stopped(planner, monkeypatch):
    arm = MplibArm(planner, Controllers())
    begun = threading.Event()

    def never(start, goals, seconds, seed):
        begun.set()

    monkeypatch.setattr(planner._world, "search", never)
    monkeypatch.setattr(planner._world, "touching_on", lambda path: "everything")
    monkeypatch.setattr(planner, "_config", MotionConfig(planning_time=60.0))
    errors = []

    def plan():
        with pytest.raises(ArmError) as caught:
            arm.plan_joints(HOME + 0.2)
        errors.append(caught.value.failure)

    thread = threading.Thread(target=plan)
    thread.start()
    assert begun.wait(10.0)
    arm.stop()
    thread.join(10.0)
    assert errors == [ArmFailure.STOPPED]


def test_no_time_no_plan(planner, monkeypatch):
    monkeypatch.setattr(planner._world, "touching_on", lambda path: "everything")
    monkeypatch.setattr(planner, "_config", MotionConfig(planning_time=0.01))
    with pytest.raises(ArmError, match=r"no free motion found in 0\.01 s") as caught:
        planner.plan_joints(HOME + 0.2, HOME)
    assert caught.value.failure is ArmFailure.NO_PLAN


def test_controllers_with_other_joints_are_refused(arm):
    controllers_of(arm).q = np.zeros(6)
    with pytest.raises(ArmError, match=r"shape \(6,\); expected \(7,\)"):
        arm.joints()


@pytest.mark.parametrize("seed", range(3))
def test_a_pick_among_points_from_end_to_end(arm, kinematics, seed):
    rng = np.random.default_rng(seed)
    grasp = grasp_at(rng.uniform(0.4, 0.6), rng.uniform(-0.2, 0.2), 0.03)
    turn = Rotation.from_euler("zy", [rng.uniform(-180, 180), rng.uniform(-20, 20)], degrees=True)
    grasp[:3, :3] = turn.as_matrix() @ grasp[:3, :3]
    target = grasp[:3, 3] + rng.uniform(-0.02, 0.02, (300, 3)) * (1, 1, 0.7)
    other = target + np.array([0.0, 0.12, 0.0])
    scene = Scene(batch([grasp], widths=0.07), Obstacles(np.concatenate([target, other]), 0.0))
    place = Place(grasp_at(0.4, -0.45, 0.05), BASE)
    runner = PickSequence(arm, GRIPPER, wait=lambda seconds: None)
    report = runner.run(scene, place=place)
    assert report.success, [(s.stage.value, s.message) for s in report.stages if not s.ok]
    ends = [motion.positions[-1] for motion in controllers_of(arm).followed]
    pregrasp, at, lifted, above, down, left = kinematics.forward(np.stack(ends))[:, :3, 3]
    approach = grasp[:3, 0]
    np.testing.assert_allclose(at - pregrasp, 0.10 * approach, atol=1e-4)
    np.testing.assert_allclose(at + 0.1034 * approach, grasp[:3, 3], atol=1e-4)
    np.testing.assert_allclose(lifted - at, (0, 0, 0.10), atol=1e-4)
    np.testing.assert_allclose(above - down, (0, 0, 0.10), atol=1e-4)
    np.testing.assert_allclose(down, (0.4, -0.45, 0.05 + 0.1034), atol=1e-4)
    np.testing.assert_allclose(left - down, (0, 0, 0.10), atol=1e-4)
