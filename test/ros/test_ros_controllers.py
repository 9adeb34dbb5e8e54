# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The controller clients against action servers that misbehave, over DDS."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from rclpy.node import Node
from ros_graph import PATIENCE, wait_until
from ros_robot import JOINTS, ScriptedRobot

from kgnpro_ros.config import ControllerConfig
from kgnpro_ros.execution.arm import ArmError, ArmFailure
from kgnpro_ros.execution.trajectory import JointTrajectory
from kgnpro_ros.ros.controllers import RosControllers

CONFIG = ControllerConfig(
    arm_action="robot/arm/follow_joint_trajectory",
    gripper_action="robot/hand/gripper_cmd",
    connect_timeout=PATIENCE,
    answer_timeout=PATIENCE,
    joints_timeout=10.0,
)
NUMBER = iter(range(1000))


@pytest.fixture(scope="module")
def robot(spin):
    return spin(ScriptedRobot("robot"))


@pytest.fixture
def connect(local):
    """Makes controllers with changed settings, on a node of their own."""

    def make(joints=JOINTS, **changes):
        node = Node(
            f"mover_{next(NUMBER)}",
            cli_args=["--ros-args", "-r", "joint_states:=robot/joint_states"],
            use_global_arguments=False,
        )
        controllers = RosControllers(node, replace(CONFIG, **changes), joints)
        local(node)
        return controllers

    return make


@pytest.fixture(autouse=True)
def well_behaved(robot):
    robot.arm = robot.gripper = "ok"
    robot.silent, robot.lag = False, 0.0
    robot.goals.clear()
    robot.started.clear()
    robot.cancelled.clear()


def trajectory(end=(0.1, -0.2, 0.3), duration=0.5):
    positions = np.array([np.zeros(3), end])
    return JointTrajectory(JOINTS, np.array([0.0, duration]), positions, np.zeros((2, 3)))


def failure_of(action):
    with pytest.raises(ArmError) as caught:
        action()
    return caught.value.failure, str(caught.value)


def test_the_trajectory_arrives_as_it_is_and_the_joints_come_back(robot, connect):
    controllers = connect()
    controllers.follow(trajectory())
    goal = robot.goals[-1].trajectory
    assert tuple(goal.joint_names) == JOINTS
    np.testing.assert_array_equal(goal.points[1].positions, (0.1, -0.2, 0.3))
    assert goal.points[1].time_from_start.nanosec == 500_000_000
    assert wait_until(lambda: np.allclose(controllers.joints(), (0.1, -0.2, 0.3)))
    assert controllers.missing() == []


def test_joint_states_that_lag_behind_the_result_are_waited_for(robot, connect):
    """Else the arm would seem to stand away from the start of its next motion."""
    controllers = connect()
    controllers.joints()
    robot.lag = 0.2
    controllers.follow(trajectory(end=(0.5, 0.5, 0.5)))
    np.testing.assert_allclose(controllers.joints(), (0.5, 0.5, 0.5))
    robot.lag = 30.0  # held back by contact: that is for the next motion to find
    controllers.follow(trajectory(end=(0.9, 0.5, 0.5)))
    np.testing.assert_allclose(controllers.joints(), (0.5, 0.5, 0.5))


def test_joints_come_in_the_planners_order(robot, connect):
    robot.positions = np.array([1.0, 2.0, 3.0])
    controllers = connect(joints=(JOINTS[2], JOINTS[0]))
    assert wait_until(lambda: np.allclose(controllers.joints(), (3.0, 1.0)))


def test_an_opening_becomes_the_position_of_one_finger(robot, connect):
    state = connect().move_gripper(0.06)
    assert robot.goals[-1].command.position == pytest.approx(0.03)
    assert robot.goals[-1].command.max_effort == CONFIG.gripper_effort
    assert (state.width, state.reached, state.stalled) == (pytest.approx(0.06), True, False)


def test_a_stall_is_a_result_even_where_the_controller_aborts(robot, connect):
    robot.gripper = "stall"
    state = connect().move_gripper(0.0)
    assert (state.width, state.stalled, state.reached) == (pytest.approx(0.024), True, False)


@pytest.mark.parametrize(
    ("part", "mode", "failure", "words"),
    [
        ("arm", "reject", ArmFailure.REJECTED, "rejected the goal"),
        ("arm", "abort", ArmFailure.ABORTED, "joint_1 is 0.4 rad off"),
        ("gripper", "reject", ArmFailure.REJECTED, "/robot/hand/gripper_cmd"),
        ("gripper", "abort", ArmFailure.ABORTED, "aborted at position"),
    ],
)
def test_what_the_controller_refuses_is_an_error_with_its_words(
    robot, connect, part, mode, failure, words
):
    setattr(robot, part, mode)
    controllers = connect()
    act = {
        "arm": lambda: controllers.follow(trajectory()),
        "gripper": lambda: controllers.move_gripper(0.0),
    }
    found, message = failure_of(act[part])
    assert found == failure
    assert words in message
    setattr(robot, part, "ok")
    act[part]()


def test_a_goal_that_takes_too_long_is_cancelled(robot, connect):
    robot.arm = "hang"
    controllers = connect(time_scale=1.0, time_margin=0.1)
    failure, message = failure_of(lambda: controllers.follow(trajectory(duration=0.1)))
    assert failure == ArmFailure.TIMEOUT
    assert "0.2 s" in message
    assert robot.cancelled.wait(PATIENCE)


@pytest.mark.parametrize("mode", ["hang", "deaf"])
def test_stop_ends_a_motion_at_once_and_until_resume(robot, connect, mode):
    """Also where the controller takes the goal only after the stop."""
    robot.arm = mode
    controllers = connect()
    controllers.joints()
    timer = threading.Timer(0.3, controllers.stop)
    timer.start()
    failure, _ = failure_of(lambda: controllers.follow(trajectory()))
    assert failure == ArmFailure.STOPPED
    assert robot.cancelled.wait(PATIENCE)
    robot.arm = "ok"
    assert failure_of(lambda: controllers.follow(trajectory()))[0] == ArmFailure.STOPPED
    assert failure_of(lambda: controllers.move_gripper(0.02))[0] == ArmFailure.STOPPED
    assert len(controllers.joints()) == 3
    controllers.resume()
    controllers.follow(trajectory())


def test_a_robot_that_falls_silent_is_gone(robot, connect):
    robot.arm = "hang"
    controllers = connect(joints_timeout=0.3)
    # On a busy machine it takes longer than that until the two have found each other.
    assert wait_until(lambda: not controllers.missing())
    controllers.joints()

    def fall_silent():
        robot.started.wait(PATIENCE)
        robot.silent = True

    threading.Thread(target=fall_silent).start()
    failure, message = failure_of(lambda: controllers.follow(trajectory()))
    assert failure == ArmFailure.CONNECTION
    assert "silent" in message
    assert robot.cancelled.wait(PATIENCE)
    failure, message = failure_of(controllers.joints)
    assert failure == ArmFailure.CONNECTION
    (missing,) = controllers.missing()
    assert "joint states on /robot/joint_states (sensor_msgs/msg/JointState, reliable)" in missing
    assert "is there but sends none" in missing


def test_what_is_not_there_is_named(robot, connect):
    controllers = connect(arm_action="no/such/action", connect_timeout=0.2)
    controllers.joints()
    failure, message = failure_of(lambda: controllers.follow(trajectory()))
    assert failure == ArmFailure.CONNECTION
    assert "/no/such/action" in message
    (missing,) = controllers.missing()
    kind = "control_msgs/action/FollowJointTrajectory"
    assert missing == f"action /no/such/action ({kind}): no server"
    failure, message = failure_of(connect(joints=("elbow",), joints_timeout=1.0).joints)
    assert "no joint elbow; it has joint_0, joint_1, joint_2" in message


def test_a_server_that_leaves_is_noticed(connect, spin_apart):
    """Its process ended orderly, as a driver does that is started again."""
    other = spin_apart(ScriptedRobot("other"))
    other.arm = "hang"
    controllers = connect(arm_action="other/arm/follow_joint_trajectory")
    controllers.joints()
    begin = time.monotonic()

    def leave():
        other.started.wait(PATIENCE)
        # Not under a thread that waits for its goals: rclpy looks at the destroyed server then.
        spin_apart.pause()
        other._servers[0].destroy()

    threading.Thread(target=leave).start()
    failure, message = failure_of(lambda: controllers.follow(trajectory(duration=100.0)))
    assert failure == ArmFailure.CONNECTION
    assert "is gone" in message
    other.close()
    assert time.monotonic() - begin < 100
