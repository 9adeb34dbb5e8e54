# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Faults of a pick over DDS, from the controllers through the planner to the answer.

The executor plans with its own planner for a driver that does as it is told. Every fault ends in a
result that names stage and cause, with the arm standing, and the next goal works.
"""

import threading
import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import TransformStamped
from rclpy.parameter import Parameter
from ros_arm import BASE, T_BASE_CAMERA, Surroundings, candidate
from ros_graph import TestCamera, wait_until
from ros_robot import ScriptedRobot
from test_ros_executor import PARAMETERS, User, failed, stages
from tf2_ros import TransformBroadcaster

from kgnpro_ros.ros.conversions import transform_from_matrix
from kgnpro_ros.ros.executor_node import GraspExecutorNode

pytest.importorskip("mplib")
from kgnpro_ros.simulation import panda

REMAPPINGS = [
    "color/image_raw:=faulty_eye/color/image_raw",
    "color/camera_info:=faulty_eye/color/camera_info",
    "depth/image_raw:=faulty_eye/depth/image_raw", "joint_states:=faulty/joint_states",
]  # fmt: skip
CHANGES = {
    "controllers.arm_action": "faulty/arm/follow_joint_trajectory",
    "controllers.gripper_action": "faulty/hand/gripper_cmd",
    "controllers.joints": list(panda.ARM_JOINTS), "controllers.joints_timeout": 4.0,
    "pick.max_attempts": 1, "detect_timeout": 2.0, "observe_timeout": 5.0, "tf_timeout": 3.0,
    "pick.max_grasp_age": 600.0, "home": list(map(float, panda.HOME)),
}  # fmt: skip
#: Finger position of something 24 mm wide.
HELD = 0.012


@pytest.fixture(scope="module")
def robot(spin):
    return spin(ScriptedRobot("faulty", panda.ARM_JOINTS))


@pytest.fixture(scope="module")
def camera(spin):
    return spin(TestCamera("faulty_eye"))


@pytest.fixture(scope="module")
def surroundings(spin):
    return spin(Surroundings("faulty_surroundings"))


@pytest.fixture(scope="module")
def executor(spin, robot, camera, surroundings):
    robot.positions = panda.HOME.copy()
    overrides = [Parameter(k, value=v) for k, v in {**PARAMETERS, **CHANGES}.items()]
    node = spin(GraspExecutorNode(
        cli_args=["--ros-args", *(part for item in REMAPPINGS for part in ("-r", item))],
        parameter_overrides=overrides, use_global_arguments=False,
    ))  # fmt: skip
    assert wait_until(lambda: not node.missing()), node.missing()
    return node


@pytest.fixture(scope="module")
def user(spin, executor):
    return spin(User())


@pytest.fixture(autouse=True)
def all_is_well(robot, camera, surroundings, executor):
    make_well(robot, camera, surroundings)


def make_well(robot, camera, surroundings):
    robot.arm = robot.gripper = "ok"
    robot.silent, robot.held = False, HELD
    robot.reached, robot.drop_after = 0, 1000
    robot.positions = panda.HOME.copy()
    robot.cancelled.clear()
    camera.silent = set()
    surroundings.answer = lambda response: one_grasp(surroundings, response)


def one_grasp(surroundings, response):
    surroundings.good(response)
    response.candidates = [candidate(0.9)]


def out_of_its_limits(robot):
    robot.positions[3] = 0.3  # the joint ends at -0.07 rad


def gone(robot):
    robot.arm = "hang"
    threading.Thread(target=fall_silent, args=(robot,), daemon=True).start()


def fall_silent(robot):
    robot.started.clear()
    wait_until(lambda: robot.reached == 0 and robot.started.is_set())
    robot.silent = True


FAULTS = {
    "arm_rejects": (lambda r: setattr(r, "arm", "reject"), "move_pregrasp", "rejected"),
    "arm_aborts": (lambda r: setattr(r, "arm", "abort"), "move_pregrasp", "aborted"),
    "gripper_rejects": (lambda r: setattr(r, "gripper", "reject"), "open", "rejected"),
    "gripper_aborts": (lambda r: setattr(r, "gripper", "abort"), "open", "aborted"),
    "closes_on_nothing": (lambda r: setattr(r, "held", None), "close", "closed_on_nothing"),
    "slips": (lambda r: setattr(r, "drop_after", 3), "hold", "slipped"),
    "no_plan_from_beyond_a_limit": (out_of_its_limits, "plan_pregrasp", "no_plan"),
    "driver_gone": (gone, "move_pregrasp", "connection"),
}
#: Their like is among the others, or among the faults of the scripted arm.
SLOW = ("arm_aborts", "gripper_rejects", "gripper_aborts", "closes_on_nothing")


@pytest.mark.reliability("fault: pick, robot")
@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=pytest.mark.slow if f in SLOW else ()) for f in FAULTS]
)
def test_a_fault_of_the_robot(user, robot, camera, surroundings, fault):
    spoil, stage, cause = FAULTS[fault]
    spoil(robot)
    status, result = user.pick()
    assert status == GoalStatus.STATUS_ABORTED
    assert not result.success
    first = failed(result)[0]
    assert (first.stage, first.message.partition(":")[0]) == (stage, cause), result.message
    assert stage in result.message
    assert_it_stands_and_goes_on(user, robot, camera, surroundings)


def assert_it_stands_and_goes_on(user, robot, camera, surroundings):
    before, commands = robot.positions.copy(), len(robot.goals)
    time.sleep(0.2)
    assert len(robot.goals) == commands
    np.testing.assert_array_equal(robot.positions, before)
    make_well(robot, camera, surroundings)
    status, result = user.pick()
    assert result.success, result.message
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert stages(result)[-1] == "hold"


def blind(response, camera, surroundings):
    """The camera is gone between the detection and the look at the obstacles."""
    one_grasp(surroundings, response)
    camera.silent = {"color", "depth", "info"}
    response.header.stamp = (surroundings.get_clock().now()).to_msg()


@pytest.mark.reliability("fault: pick, camera and detector")
def test_a_camera_that_is_gone_and_comes_back(user, robot, camera, surroundings):
    surroundings.answer = lambda response: blind(response, camera, surroundings)
    status, result = user.pick()
    assert status == GoalStatus.STATUS_ABORTED
    assert failed(result)[0].stage == "observe"
    assert failed(result)[0].message.startswith("no_detection: no depth image")
    assert robot.reached == 0
    assert_it_stands_and_goes_on(user, robot, camera, surroundings)


@pytest.mark.reliability("fault: pick, camera and detector")
def test_a_detector_that_never_answers(user, robot, camera, surroundings):
    surroundings.release.clear()
    surroundings.answer = surroundings.slow
    status, result = user.pick()
    surroundings.release.set()
    assert status == GoalStatus.STATUS_ABORTED
    assert failed(result)[0].stage == "detect"
    assert "did not answer within 4.0 s" in result.message
    assert robot.reached == 0
    assert_it_stands_and_goes_on(user, robot, camera, surroundings)


def elsewhere(surroundings, response, frame):
    one_grasp(surroundings, response)
    response.header.frame_id = frame


@pytest.mark.reliability("fault: pick, transforms")
def test_a_transform_that_comes_late_is_waited_for(user, robot, camera, surroundings):
    broadcaster, answered = TransformBroadcaster(surroundings), []

    def answer(response):
        elsewhere(surroundings, response, "late_eye")
        answered.append(response.header.stamp)
        threading.Timer(0.5, send, [response.header.stamp]).start()

    def send(stamp):
        transform = TransformStamped(child_frame_id="late_eye")
        transform.header.frame_id, transform.header.stamp = BASE, stamp
        transform.transform = transform_from_matrix(T_BASE_CAMERA)
        broadcaster.sendTransform(transform)

    surroundings.answer = answer
    _, result = user.pick()
    assert result.success, result.message
    assert answered
    assert result.stages[1].stage == "transform"
    assert result.stages[1].seconds > 0.2


@pytest.mark.reliability("fault: pick, transforms")
def test_a_transform_that_never_comes(user, robot, camera, surroundings):
    surroundings.answer = lambda response: elsewhere(surroundings, response, "lost_eye")
    status, result = user.pick()
    assert status == GoalStatus.STATUS_ABORTED
    assert failed(result)[0].stage == "transform"
    assert failed(result)[0].message.startswith("no_transform: ")
    assert "lost_eye" in result.message
    assert robot.reached == 0
    assert_it_stands_and_goes_on(user, robot, camera, surroundings)
