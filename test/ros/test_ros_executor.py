# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The action ``pick`` over DDS with an arm that does as it is told: stages, faults, cancelling."""

import threading
import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_arm import BASE, ScriptedArm, Surroundings, candidate
from ros_graph import FRAME, PATIENCE, TestCamera, wait_until
from ros_robot import ScriptedRobot

from kgnpro_ros.action import Pick
from kgnpro_ros.execution.arm import ArmFailure
from kgnpro_ros.ros.action_calls import GoalCall
from kgnpro_ros.ros.executor_node import GraspExecutorNode

REMAPPINGS = [
    "color/image_raw:=eye/color/image_raw", "color/camera_info:=eye/color/camera_info",
    "depth/image_raw:=eye/depth/image_raw", "joint_states:=driver/joint_states",
]  # fmt: skip
PARAMETERS = {
    "controllers.arm_action": "driver/arm/follow_joint_trajectory",
    "controllers.gripper_action": "driver/hand/gripper_cmd",
    "controllers.joints": ["joint_0", "joint_1", "joint_2"],
    "controllers.joints_timeout": 30.0, "pick.hold_time": 0.05, "home": [0.5] * 7,
    "detect_timeout": 5.0, "connect_timeout": PATIENCE, "observe_timeout": PATIENCE,
    "pick.max_grasp_age": 30.0, "tf_timeout": 1.0,
}  # fmt: skip
PICKED = [
    "detect", "transform", "observe", "check", "plan_pregrasp", "plan_approach", "plan_lift",
    "open", "move_pregrasp", "approach", "close", "attach", "lift", "hold",
]  # fmt: skip


class User(Node):
    """Sends goals and keeps the feedback."""

    def __init__(self):
        super().__init__("pick_user")
        self.client = ActionClient(self, Pick, "pick")
        self.feedback = []

    def send(self, **fields):
        assert self.client.wait_for_server(PATIENCE)
        self.feedback = []
        call = GoalCall(self.client, Pick.Goal(**fields), self.feedback.append)
        assert call.wait(lambda: call.answered, PATIENCE)
        return call

    def pick(self, **fields):
        call = self.send(**fields)
        assert call.accepted
        return self.result(call)

    def result(self, call):
        assert call.wait(lambda: call.done, PATIENCE)
        return call.status, call.result


@pytest.fixture(scope="module")
def arm():
    return ScriptedArm()


@pytest.fixture(scope="module")
def surroundings(spin):
    return spin(Surroundings("surroundings"))


@pytest.fixture(scope="module")
def make_executor(spin, arm, surroundings):
    spin(TestCamera("eye"))
    spin(ScriptedRobot("driver"))

    def make(**changes):
        remappings = [part for item in REMAPPINGS for part in ("-r", item)]
        overrides = [Parameter(k, value=v) for k, v in {**PARAMETERS, **changes}.items()]
        node = GraspExecutorNode(
            lambda *_: arm, cli_args=["--ros-args", *remappings], parameter_overrides=overrides,
            use_global_arguments=False,
        )  # fmt: skip
        spin(node)
        assert wait_until(lambda: not node.missing()), node.missing()
        return node

    return make


@pytest.fixture(scope="module")
def executor(make_executor):
    return make_executor()


@pytest.fixture(scope="module")
def user(spin, executor):
    return spin(User())


@pytest.fixture(autouse=True)
def everything_works(arm, surroundings, executor):
    arm.reset()
    surroundings.answer = surroundings.good
    surroundings.asked.clear()
    surroundings.release.clear()


def stages(result):
    return [stage.stage for stage in result.stages]


def failed(result):
    return [stage for stage in result.stages if not stage.ok]


def assert_next_goal_works(user, arm):
    arm.reset()
    status, result = user.pick()
    assert result.success, result.message
    assert status == GoalStatus.STATUS_SUCCEEDED


def test_a_pick_reports_every_stage_in_order(user, arm):
    status, result = user.pick()
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.success
    assert stages(result) == PICKED  # in the hand: the arm does not go home with it
    assert all(stage.ok for stage in result.stages)
    assert (result.picked_candidate, result.lifted_height) == (0, pytest.approx(0.1))
    assert "2 grasps in camera_color_optical_frame" in result.stages[0].message
    assert "points, table at " in result.stages[2].message
    assert arm.obstacles.table_height == pytest.approx(0.0, abs=1e-3)
    assert arm.counts == {"plan_free": 1, "plan_straight": 2, "execute": 3, "gripper": 3}


def over_the_table():
    """A place that the camera looks at."""
    place = PoseStamped()
    place.header.frame_id = FRAME
    place.pose.position.z = 0.4
    place.pose.orientation.w = 1.0
    return place


def test_what_was_picked_is_put_where_the_goal_says_and_the_arm_goes_home(user, arm):
    _, result = user.pick(use_place_pose=True, place_pose=over_the_table())
    assert result.success
    assert stages(result)[-5:] == ["move_place", "lower", "release", "leave", "home"]
    assert arm.log[-2:] == ["plan_joints", "execute"]
    assert "placed" in result.message


def test_a_dry_run_plans_and_moves_nothing(user, arm):
    _, result = user.pick(dry_run=True)
    assert result.success
    assert "nothing moved" in result.message
    assert stages(result) == PICKED[:7]
    assert "execute" not in arm.counts
    assert "gripper" not in arm.counts


def test_a_given_grasp_is_taken_without_the_detector(user, surroundings):
    goal = {"use_candidate": True, "candidate": candidate(0.5)}
    header = Pick.Goal().header
    header.frame_id = FRAME
    _, result = user.pick(header=header, **goal)
    assert result.success, result.message
    assert not surroundings.asked.is_set()


def test_the_target_frame_is_asked_of_the_detector(user, surroundings):
    user.pick(target_frame=BASE)
    assert surroundings.targets[-1] == BASE


def test_another_candidate_follows_a_failure(user, arm):
    arm.fail[("execute", 2)] = ArmFailure.ABORTED
    _, result = user.pick()
    assert result.success
    assert result.picked_candidate == 1
    assert [(s.candidate, s.stage) for s in failed(result)] == [(0, "approach")]
    assert failed(result)[0].message.startswith("aborted: ")
    arm.reset()
    arm.fail[("execute", 2)] = ArmFailure.REJECTED
    status, result = user.pick(max_attempts=1)
    assert status == GoalStatus.STATUS_ABORTED
    assert not result.success
    assert "approach" in result.message
    assert "execute 2 went wrong" in result.message
    assert_next_goal_works(user, arm)


def test_an_empty_hand_is_noticed(user, arm):
    arm.held_width = 0.0
    _, result = user.pick()
    assert not result.success
    causes = [(stage.stage, stage.message.partition(":")[0]) for stage in failed(result)]
    assert causes == [("close", "closed_on_nothing")] * 2
    assert "home" in stages(result)
    assert_next_goal_works(user, arm)


#: Stage, and the call of the arm that the stage hangs in.
HANGING = {
    "plan_pregrasp": ("plan_free", 1), "plan_approach": ("plan_straight", 1),
    "plan_lift": ("plan_straight", 2), "open": ("gripper", 1), "move_pregrasp": ("execute", 1),
    "approach": ("execute", 2), "close": ("gripper", 2), "lift": ("execute", 3),
    "hold": ("gripper", 3),
}  # fmt: skip


@pytest.mark.parametrize("stage", HANGING)
def test_cancel_stops_the_arm_in_every_stage(user, arm, stage):
    arm.hang[HANGING[stage]] = True
    call = user.send()
    assert arm.hanging.wait(PATIENCE)
    assert wait_until(lambda: user.feedback and user.feedback[-1].stage == stage)
    told = [item.stage for item in user.feedback]
    # What came before the client knew its goal is lost to it.
    assert told == [name for name in PICKED if name in told]
    assert user.feedback[-1].candidate_index == 0
    assert user.feedback[-1].attempt == 1
    began = time.monotonic()
    call.cancel()
    assert arm.stopped.wait(PATIENCE)
    waited = time.monotonic() - began
    status, result = user.result(call)
    assert status == GoalStatus.STATUS_CANCELED
    assert not result.success
    assert (result.stages[-1].stage, result.stages[-1].ok) == (stage, False)
    assert result.stages[-1].message.startswith("cancelled")
    assert "home" not in stages(result)
    assert waited < PATIENCE / 2
    assert_next_goal_works(user, arm)


#: The same after the object is in the air, with the number of the call in a pick with a place.
HANGING_PLACE = {
    "plan_place": ("plan_free", 2), "move_place": ("execute", 4), "lower": ("execute", 5),
    "release": ("gripper", 5), "leave": ("execute", 6),
}  # fmt: skip


@pytest.mark.parametrize("stage", HANGING_PLACE)
def test_cancel_on_the_way_to_the_place(user, arm, stage):
    arm.hang[HANGING_PLACE[stage]] = True
    call = user.send(use_place_pose=True, place_pose=over_the_table())
    assert arm.hanging.wait(PATIENCE)
    assert wait_until(lambda: user.feedback[-1].stage == stage)
    call.cancel()
    assert arm.stopped.wait(PATIENCE)
    status, result = user.result(call)
    assert status == GoalStatus.STATUS_CANCELED
    assert (result.stages[-1].stage, result.stages[-1].ok) == (stage, False)
    assert result.stages[-1].message.startswith("cancelled")
    assert_next_goal_works(user, arm)


#: Way back after a failed lift: stage, and the number of its motion.
HANGING_BACK = {"put_back": ("execute", 4), "release": ("gripper", 3), "retreat": ("execute", 5)}


@pytest.mark.parametrize("stage", HANGING_BACK)
def test_cancel_on_the_way_back_after_a_failure(user, arm, stage):
    arm.fail[("execute", 3)] = ArmFailure.ABORTED
    arm.hang[HANGING_BACK[stage]] = True
    call = user.send()
    assert arm.hanging.wait(PATIENCE)
    assert wait_until(lambda: user.feedback[-1].stage == stage)
    call.cancel()
    status, result = user.result(call)
    assert status == GoalStatus.STATUS_CANCELED
    assert arm.stopped.is_set()
    assert [item.stage for item in failed(result)] == ["lift", stage]
    assert "could not be brought away" in result.message
    assert_next_goal_works(user, arm)


def test_cancel_on_the_way_home_stops_the_arm_after_a_finished_pick(user, arm):
    arm.hang[("execute", 7)] = True
    call = user.send(use_place_pose=True, place_pose=over_the_table())
    assert arm.hanging.wait(PATIENCE)
    assert wait_until(lambda: user.feedback[-1].stage == "home")
    call.cancel()
    _, result = user.result(call)
    assert arm.stopped.is_set()
    assert result.success
    assert "did not get home" in result.message
    assert failed(result)[-1].stage == "home"
    assert_next_goal_works(user, arm)


def test_a_plan_that_fails_is_reported_for_every_candidate(user, arm):
    for number in range(1, 20):
        arm.fail[("plan_free", number)] = ArmFailure.NO_PLAN
    status, result = user.pick()
    assert status == GoalStatus.STATUS_ABORTED
    causes = {(s.candidate, s.stage, s.message.partition(":")[0]) for s in failed(result)}
    assert causes == {(0, "plan_pregrasp", "no_plan"), (1, "plan_pregrasp", "no_plan")}
    assert "plan_pregrasp" in result.message
    assert "execute" not in arm.counts
    assert_next_goal_works(user, arm)


def test_cancel_while_the_detector_works(user, arm, surroundings):
    surroundings.answer = surroundings.slow
    call = user.send()
    assert surroundings.asked.wait(PATIENCE)
    call.cancel()
    status, result = user.result(call)
    surroundings.release.set()
    assert status == GoalStatus.STATUS_CANCELED
    assert stages(result) == ["detect"]
    assert result.stages[0].message == "cancelled: cancelled"
    assert arm.log == []
    surroundings.answer = surroundings.good
    assert_next_goal_works(user, arm)


def test_one_goal_at_a_time(user, arm):
    arm.hang[("execute", 1)] = True
    first = user.send()
    assert arm.hanging.wait(PATIENCE)
    second = user.send()
    assert not second.accepted
    assert not first.done
    first.cancel()
    user.result(first)
    assert_next_goal_works(user, arm)


def no_grasp(response):
    response.success, response.message = True, "no grasp was found; rejected candidates: empty 3"
    response.header.frame_id = FRAME


def dead_camera(response):
    response.message = "the camera has stopped"


def other_frame(response, surroundings):
    surroundings.good(response)
    response.header.frame_id = "moon"


def old(response, surroundings):
    surroundings.good(response)
    then = surroundings.get_clock().now() - Duration(seconds=100)
    response.header.stamp = then.to_msg()


def other_hand(response, surroundings):
    surroundings.good(response)
    response.candidates[0].tool_link = "robotiq_base"


def no_rotation(response, surroundings):
    surroundings.good(response)
    response.candidates[1].pose.orientation.w = 7.0


@pytest.mark.parametrize(
    ("answer", "stage", "words"),
    [
        (no_grasp, "detect", ("no_detection", "no grasp was found; rejected")),
        (dead_camera, "detect", ("no_detection", "the camera has stopped")),
        (other_frame, "transform", ("no_transform", "'moon'", "panda_link0")),
        (old, "check", ("stale_detection", "at most 30 s")),
        (other_hand, "detect", ("wrong_frame", "robotiq_base", "panda_hand")),
        (no_rotation, "detect", ("wrong_frame", "quaternion of grasp 1")),
    ],
)
def test_an_unusable_detection_ends_the_goal_before_anything_moves(
    user, arm, surroundings, answer, stage, words
):
    takes_two = answer.__code__.co_argcount == 2
    surroundings.answer = (lambda r: answer(r, surroundings)) if takes_two else answer
    status, result = user.pick()
    assert status == GoalStatus.STATUS_ABORTED
    assert (failed(result)[-1].stage, result.stages[-1].ok) == (stage, False)
    for word in words:
        assert word in failed(result)[-1].message
    assert stage in result.message
    assert "execute" not in arm.counts
    surroundings.answer = surroundings.good
    assert_next_goal_works(user, arm)


def test_a_target_frame_that_does_not_exist_is_named(user, arm, surroundings):
    _, result = user.pick(target_frame="atlantis")
    assert not result.success
    assert stages(result) == ["detect"]
    assert result.stages[0].message.startswith("no_transform: target_frame: ")
    assert "atlantis" in result.message
    assert not surroundings.asked.is_set()
    assert_next_goal_works(user, arm)


@pytest.mark.parametrize(
    ("frame", "w", "words"),
    [("", 1.0, "empty frame_id"), ("nowhere", 1.0, "nowhere"), (BASE, 0.0, "length 0.000")],
)
def test_an_impossible_place_is_refused(user, arm, frame, w, words):
    place = PoseStamped()
    place.header.frame_id = frame
    place.pose.orientation.w = w
    _, result = user.pick(use_place_pose=True, place_pose=place)
    assert not result.success
    assert result.stages[-1].stage == "transform"
    assert words in result.message
    assert arm.log == []


def test_a_robot_that_is_gone_ends_the_goal_and_the_next_one_works(user, arm):
    arm.fail[("execute", 2)] = ArmFailure.CONNECTION
    _, result = user.pick()
    assert not result.success
    assert failed(result)[0].message.startswith("connection: ")
    assert failed(result)[0].stage == "approach"
    assert result.stages[0].candidate == -1
    assert_next_goal_works(user, arm)


def test_a_defect_of_ours_stops_the_arm_and_is_said(user, arm, executor, monkeypatch):
    """Outside the stages of the sequence, which have their own net."""

    def broken(*args, **options):
        raise RuntimeError("a screw is loose")

    with monkeypatch.context() as patch:
        patch.setattr(executor._get_robot().sequence, "run", broken)
        status, result = user.pick()
    assert status == GoalStatus.STATUS_ABORTED
    assert result.message == "internal_error: RuntimeError: a screw is loose"
    assert stages(result) == ["detect", "transform", "observe"]
    assert arm.stopped.is_set()
    assert_next_goal_works(user, arm)


def test_a_node_that_was_told_to_move_nothing_moves_nothing(make_executor, spin, local, arm):
    """With ``dry_run`` as a parameter, whatever the goal says."""
    dry = make_executor(dry_run=True)
    try:
        done = threading.Event()
        goal = Pick.Goal()
        result = run_directly(dry, goal, done)
        assert result.success
        assert "nothing moved" in result.message
        assert "execute" not in arm.counts
    finally:
        spin.drop(dry)


def run_directly(node, goal, done):
    """The goal of a second executor: its action has the name of the first one's."""
    from kgnpro_ros.execution.cancellation import Cancellation
    from kgnpro_ros.ros.pick_goal import PickGoal

    pick = PickGoal(
        node._get_robot(), goal, Cancellation(), lambda feedback: None, lambda: time.monotonic()
    )
    result = pick.run(node.get_logger())
    done.set()
    return result


def test_poses_reach_the_arm_in_its_base_frame(user, arm):
    """Against the transform written out by hand: 0.05 m over the table, 0.5 m before the base."""
    seen = []
    plan = ScriptedArm.plan_straight

    def spy(self, T_base_tool, start=None, *, contact=False):
        seen.append(T_base_tool)
        return plan(self, T_base_tool, start, contact=contact)

    arm.plan_straight = spy.__get__(arm)
    try:
        user.pick(dry_run=True)
    finally:
        del arm.plan_straight
    # The link lies 0.1034 m behind the fingertips, along the approach, which is straight down.
    np.testing.assert_allclose(seen[0][:3, 3], (0.5, 0.0, 0.05 + 0.1034), atol=1e-6)
    np.testing.assert_allclose(seen[0][:3, 2], (0.0, 0.0, -1.0), atol=1e-6)
