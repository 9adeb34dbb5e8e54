# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated world as a robot and a camera, over DDS: topics, transforms, actions, services."""

import json
import threading
import time

import numpy as np
import pytest
import rclpy
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory, GripperCommand
from control_msgs.msg import JointTolerance
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from rclpy.time import Time
from ros_graph import PATIENCE, wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger
from tf2_ros import Buffer, TransformListener
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from kgnpro_ros.geometry.se3 import invert, transform_points
from kgnpro_ros.ros.action_calls import GoalCall
from kgnpro_ros.ros.camera_publisher import COLOR_TOPIC, DEPTH_TOPIC, INFO_TOPIC
from kgnpro_ros.ros.conversions import InputOptions, matrix_from_transform, rgbd_from_messages
from kgnpro_ros.ros.sim_actions import ARM_ACTION, GRIPPER_ACTION, trajectory_from_message

pytest.importorskip("mujoco")
from kgnpro_ros.data.render import make_gl_context
from kgnpro_ros.exceptions import DatasetError, PlanningError
from kgnpro_ros.ros.sim_node import SimNode
from kgnpro_ros.simulation import panda

PARAMETERS = {
    "seed": 3, "mode": "multi", "look": "kgn", "depth_noise": False, "rate": 4.0,
    "clock": "sim", "speed": 3.0, "overview_rate": 1.0,
}  # fmt: skip
OPTICAL = "camera_color_optical_frame"


@pytest.fixture(scope="module", autouse=True)
def renders():
    try:
        make_gl_context()
    except DatasetError as error:
        pytest.skip(str(error))


class Listener(rclpy.node.Node):
    """Hears everything that the simulation says."""

    def __init__(self):
        super().__init__("sim_listener", use_global_arguments=False)
        self.received = {}
        self.clocks = []
        self.buffer = Buffer()
        self.tf = TransformListener(self.buffer, self)
        self.arm = ActionClient(self, FollowJointTrajectory, ARM_ACTION)
        self.gripper = ActionClient(self, GripperCommand, GRIPPER_ACTION)
        topics = {
            COLOR_TOPIC: Image, DEPTH_TOPIC: Image, INFO_TOPIC: CameraInfo,
            "joint_states": JointState, "grasp_sim/overview": Image,
        }  # fmt: skip
        for topic, kind in topics.items():
            self.create_subscription(
                kind, topic, lambda m, t=topic: self.received.__setitem__(t, m), 5
            )
        self.create_subscription(Clock, "/clock", lambda m: self.clocks.append(m.clock), 50)

    def frame(self):
        """The next frame, whose parts belong together."""
        self.received.clear()
        wanted = (COLOR_TOPIC, DEPTH_TOPIC, INFO_TOPIC)

        def complete():
            parts = [self.received.get(topic) for topic in wanted]
            return None not in parts and len({str(part.header.stamp) for part in parts}) == 1

        assert wait_until(complete)
        messages = [self.received[topic] for topic in wanted]
        return rgbd_from_messages(*messages, InputOptions(0.001, False, False))

    def joints(self):
        self.received.pop("joint_states", None)
        assert wait_until(lambda: "joint_states" in self.received)
        message = self.received["joint_states"]
        return dict(zip(message.name, message.position, strict=True))

    def sees(self, name, position, tolerance):
        """Whether a joint comes to a position; states that are on their way are older."""
        return wait_until(lambda: abs(self.joints()[name] - position) < tolerance)

    def transform(self, target, source):
        assert wait_until(lambda: self.buffer.can_transform(target, source, Time()))
        return matrix_from_transform(self.buffer.lookup_transform(target, source, Time()).transform)

    def trigger(self, name):
        client = self.create_client(Trigger, f"/grasp_sim/{name}")
        assert client.wait_for_service(PATIENCE)
        done = threading.Event()
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda _: done.set())
        assert done.wait(PATIENCE)
        return future.result()

    def send(self, client, goal):
        assert client.wait_for_server(PATIENCE)
        call = GoalCall(client, goal)
        assert call.wait(lambda: call.answered, PATIENCE)
        return call

    def do(self, client, goal):
        call = self.send(client, goal)
        assert call.accepted
        assert call.wait(lambda: call.done, PATIENCE)
        return call.status, call.result


@pytest.fixture(scope="module")
def sim(spin, renders):
    overrides = [Parameter(name, value=value) for name, value in PARAMETERS.items()]
    return spin(SimNode(parameter_overrides=overrides, use_global_arguments=False))


@pytest.fixture(scope="module")
def listener(spin, sim):
    return spin(Listener())


@pytest.fixture
def at_home(listener):
    assert listener.trigger("reset").success


def way(*points, names=panda.ARM_JOINTS, **fields):
    """A goal through joint positions at times, at rest in each."""
    message = JointTrajectory(joint_names=list(names))
    for seconds, positions in points:
        when = Duration(sec=int(seconds), nanosec=int(1e9 * (seconds % 1)))
        message.points.append(
            JointTrajectoryPoint(positions=list(map(float, positions)), time_from_start=when)
        )
    return FollowJointTrajectory.Goal(trajectory=message, **fields)


def near_home(joint=0, by=0.3):
    goal = panda.HOME.copy()
    goal[joint] += by
    return goal


def world_points(listener, image):
    cloud = image.camera.point_cloud(image.depth).reshape(-1, 3)
    return transform_points(listener.transform("world", OPTICAL), cloud[np.isfinite(cloud).all(1)])


def test_depth_intrinsics_and_transforms_agree_on_the_table(listener):
    image = listener.frame()
    assert image.color.shape == (480, 640, 3)
    heights = world_points(listener, image)[:, 2]
    table = np.abs(heights) < 0.002
    # Most of the view is table at z = 0, to the millimetre that 16-bit depth has.
    assert table.mean() > 0.4
    assert abs(np.median(heights[table])) < 5e-4
    assert (heights > 0.01).mean() > 0.005
    assert image.color.std() > 5


def test_joint_states_and_transforms_agree_with_the_arms_kinematics(listener):
    joints = listener.joints()
    assert list(joints) == [*panda.ARM_JOINTS, *panda.FINGER_JOINTS]
    np.testing.assert_allclose([joints[name] for name in panda.ARM_JOINTS], panda.HOME, atol=0.01)
    assert joints["panda_finger_joint1"] == pytest.approx(0.04, abs=1e-3)
    # At home the hand of a Panda is 0.3069 m before its foot and 0.5903 m over it (DH table).
    hand = listener.transform("panda_link0", "panda_hand")
    np.testing.assert_allclose(hand[:3, 3], (0.307, 0.0, 0.590), atol=0.005)
    np.testing.assert_allclose(hand[:3, 2], (0.0, 0.0, -1.0), atol=0.02)
    foot = listener.transform("world", "panda_link0")
    np.testing.assert_allclose(foot[:3, 3], (-0.55, 0.0, 0.0), atol=1e-9)


def test_the_clock_runs_on_through_a_reset(listener, at_home):
    def seconds():
        return [clock.sec + clock.nanosec * 1e-9 for clock in list(listener.clocks)]

    count = len(listener.clocks)
    assert wait_until(lambda: len(listener.clocks) > count + 20)
    listener.trigger("reset")
    count = len(listener.clocks)
    assert wait_until(lambda: len(listener.clocks) > count + 20)
    assert (np.diff(seconds()) >= 0).all()
    assert seconds()[0] > 0


def test_a_trajectory_is_followed_and_the_camera_sees_it(listener, at_home):
    before = listener.frame()
    goal = near_home(1, 0.7)  # forward, into the view
    status, result = listener.do(listener.arm, way((1.5, goal)))
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert (result.error_code, result.error_string) == (0, "reached")
    assert listener.sees("panda_joint2", goal[1], 0.01)
    joints = listener.joints()
    np.testing.assert_allclose([joints[name] for name in panda.ARM_JOINTS], goal, atol=0.01)
    assert wait_until(lambda: (before.color != listener.frame().color).any(axis=2).mean() > 0.01)


def test_joints_of_a_goal_come_in_any_order(listener):
    names, goal = panda.ARM_JOINTS[::-1], near_home(6)
    status, _ = listener.do(listener.arm, way((1.0, goal[::-1]), names=names))
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert listener.sees("panda_joint7", goal[6], 0.01)


def test_the_gripper_takes_the_position_of_one_finger(listener):
    goal = GripperCommand.Goal()
    goal.command.position = 0.02
    status, result = listener.do(listener.gripper, goal)
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.reached_goal
    assert not result.stalled
    assert listener.sees("panda_finger_joint1", 0.02, 1e-3)
    assert result.position == pytest.approx(0.02, abs=1e-3)


SENSELESS = {
    "six": way((1.0, panda.HOME[:6]), names=panda.ARM_JOINTS[:6]),
    "unknown": way((1.0, panda.HOME), names=("elbow", *panda.ARM_JOINTS[1:])),
    "limit": way((1.0, near_home(0, 9.0))),
    "nan": way((1.0, near_home(0, np.nan))),
    "start": way((0.0, near_home(0, 0.9)), (1.0, panda.HOME)),
    "order": way((2.0, near_home()), (1.0, panda.HOME)),
    "empty": way(),
    "tolerance": way((1.0, near_home()), path_tolerance=[JointTolerance(name="elbow")]),
    "before 1970": way((1.0, near_home())),
}
SENSELESS["before 1970"].trajectory.header.stamp.sec = -5


def test_goals_that_make_no_sense_are_rejected_and_the_next_one_works(listener):
    for name, goal in SENSELESS.items():
        assert not listener.send(listener.arm, goal).accepted, name
    bad = GripperCommand.Goal()
    bad.command.position = 0.5
    assert not listener.send(listener.gripper, bad).accepted
    status, _ = listener.do(listener.arm, way((0.5, near_home(0, 0.1))))
    assert status == GoalStatus.STATUS_SUCCEEDED


def test_a_tolerance_of_the_goal_is_held(listener):
    """A path that the servos cannot follow that closely."""
    tight = [JointTolerance(name=name, position=1e-7) for name in panda.ARM_JOINTS]
    goal = way((0.5, near_home(0, -0.4)), path_tolerance=tight)
    status, result = listener.do(listener.arm, goal)
    assert status == GoalStatus.STATUS_ABORTED
    assert result.error_code == FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED
    assert "off its path" in result.error_string


def test_a_cancelled_motion_comes_to_rest_on_the_way(listener, at_home):
    call = listener.send(listener.arm, way((100.0, near_home(0, 1.5))))
    assert call.accepted
    assert wait_until(lambda: listener.joints()["panda_joint1"] > 0.01)
    call.cancel()
    assert call.wait(lambda: call.done, PATIENCE)
    assert call.status == GoalStatus.STATUS_CANCELED
    time.sleep(0.3)
    stopped = listener.joints()["panda_joint1"]
    assert stopped < 1.4
    time.sleep(0.3)
    assert listener.joints()["panda_joint1"] == pytest.approx(stopped, abs=1e-3)


def test_a_new_goal_takes_the_place_of_the_old_one(listener):
    first = listener.send(listener.arm, way((600.0, near_home(0, 1.5))))
    status, _ = listener.do(listener.arm, way((1.0, near_home(0, -0.2))))
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert first.wait(lambda: first.done, PATIENCE)
    assert first.status == GoalStatus.STATUS_ABORTED
    assert "another goal" in first.result.error_string


def test_a_reset_ends_what_moves(listener):
    call = listener.send(listener.arm, way((600.0, near_home(0, 1.5))))
    assert call.accepted
    listener.trigger("reset")
    assert call.wait(lambda: call.done, PATIENCE)
    assert call.status == GoalStatus.STATUS_ABORTED
    assert "reset" in call.result.error_string


def test_scenes_follow_one_another_and_are_described(listener):
    first = json.loads(listener.trigger("objects").message)
    assert listener.trigger("current").message == "scene_0"
    assert listener.trigger("next").message == "scene_1"
    second = json.loads(listener.trigger("objects").message)
    assert [item["position"] for item in first] != [item["position"] for item in second]
    assert not any(item["in_box"] or item["held"] for item in second)
    assert all(abs(item["lifted"]) < 0.005 for item in second)
    assert wait_until(lambda: "grasp_sim/overview" in listener.received)
    assert listener.received["grasp_sim/overview"].encoding == "rgb8"


def test_a_still_scene_needs_no_arm(local, spin):
    overrides = {"arm": False, "seed": 3, "depth_noise": False, "rate": 20.0}
    node = SimNode(
        parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()],
        use_global_arguments=False, cli_args=["--ros-args", "-r", "__node:=still_sim"],
    )  # fmt: skip
    try:
        names = [name for name, _ in node.get_service_names_and_types()]
        kinds = json.loads(node._backend.describe())
        assert "/still_sim/next" in names
        assert len(kinds) >= 3
    finally:
        node.close()
        node.destroy_node()


def test_velocities_that_are_missing_are_the_slope():
    """Against the derivative of a parabola, which differences in the middle give exactly."""
    times = np.linspace(0, 1, 5)
    message = way(*((t, np.full(7, t * t)) for t in times)).trajectory
    trajectory = trajectory_from_message(message, panda.ARM_JOINTS, np.zeros(7))
    np.testing.assert_allclose(trajectory.velocities[1:-1, 0], 2 * times[1:-1], atol=1e-9)
    np.testing.assert_array_equal(trajectory.velocities[[0, -1]], 0.0)
    with pytest.raises(PlanningError, match="no points"):
        trajectory_from_message(JointTrajectory(), panda.ARM_JOINTS, np.zeros(7))


def test_the_inverse_of_the_tree_leads_back(listener):
    there, back = listener.transform("world", OPTICAL), listener.transform(OPTICAL, "world")
    np.testing.assert_allclose(back, invert(there), atol=1e-9)
