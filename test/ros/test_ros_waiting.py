# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Each node says in one line what it waits for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rclpy.parameter import Parameter
from ros_frames import write_frame
from ros_graph import PATIENCE, wait_until
from rosgraph_msgs.msg import Clock
from test_ros_detector_node import make_detector

from kgnpro_ros.ros.replay_node import ReplayNode

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NO_TIME = "waiting for the time on /clock (rosgraph_msgs/msg/Clock, best_effort)"
IMAGE = r"\(sensor_msgs/msg/Image, reliable, encodings [^;]*: nobody publishes it"
#: Command, parameters, and what one line of the log has to match. No other node is there.
NODES = {
    "detector": (
        [str(HERE / "quick_node.py")], {},
        rf"no colour image on /color/image_raw {IMAGE}.*no depth image on /depth/image_raw {IMAGE}"
        r".*no camera_info on /color/camera_info \(sensor_msgs/msg/CameraInfo, reliable",
    ),
    "executor": (
        ["-m", "kgnpro_ros.ros.executor_node"], {},
        r"waiting for service /detect_grasps \(kgnpro_ros/srv/DetectGrasps\): no server; .*"
        r"depth images on /depth/image_raw \(sensor_msgs/msg/Image, reliability auto\): nobody .*"
        r"follow_joint_trajectory \(control_msgs/action/FollowJointTrajectory\): no server; .*"
        r"joint states on /joint_states \(sensor_msgs/msg/JointState, reliable\): nobody",
    ),
    "replay": (
        ["-m", "kgnpro_ros.ros.replay_node"], {"frame_period": 0.0},
        r"waiting for calls of /rgbd_replay/next to show the next \(std_srvs/srv/Trigger\)",
    ),
    "sim": (
        ["-m", "kgnpro_ros.ros.sim_node"], {},
        r"waiting for goals of /panda_arm_controller/follow_joint_trajectory "
        r"\(control_msgs/action/FollowJointTrajectory\) and /panda_hand_controller/gripper_cmd "
        r"\(control_msgs/action/GripperCommand\)",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.reliability("diagnostics: what is waited for")
@pytest.mark.parametrize("name", NODES)
def test_a_node_alone_says_in_one_line_what_it_waits_for(name, tmp_path):
    command, parameters, pattern = NODES[name]
    if name == "replay":
        parameters = {**parameters, "frames": write_frame(tmp_path / "frame")}
    given = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
    log = tmp_path / "log"
    environment = {
        **os.environ, "PYTHONPATH": f"{HERE}:{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        # Nodes of other tests are no part of this.
        "ROS_DOMAIN_ID": str(int(os.environ["ROS_DOMAIN_ID"]) % 100 + 1),
    }  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command, "--ros-args", *given], cwd=ROOT, env=environment,
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        matching = re.compile(pattern)
        assert wait_until(
            lambda: any(map(matching.search, log.read_text().splitlines())), 2 * PATIENCE
        ), log.read_text()
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.reliability("diagnostics: what is waited for")
def test_a_clock_that_nobody_publishes_is_named(local, tmp_path):
    """Until it is there, no timer of a node with use_sim_time fires: not even the one that says."""
    frames = write_frame(tmp_path / "frames" / "a").parent
    replay = local(ReplayNode(
        namespace="timeless", use_global_arguments=False, parameter_overrides=[
            Parameter("use_sim_time", value=True), Parameter("frames", value=str(frames)),
        ],
    ))  # fmt: skip
    detector = local(make_detector("timeless", "timeless", use_sim_time=True))
    assert wait_until(lambda: NO_TIME in replay._clock_watch.last), replay._clock_watch.last
    assert wait_until(lambda: NO_TIME in detector.problems.last), detector.problems.last
    assert "nobody publishes it" in replay._clock_watch.last
    publisher = replay.create_publisher(Clock, "/clock", 1)
    time = Clock()
    time.clock.sec = 7

    def time_runs():
        publisher.publish(time)
        return detector.get_clock().now().nanoseconds > 0 < replay.get_clock().now().nanoseconds

    assert wait_until(time_runs)
    assert wait_until(lambda: NO_TIME not in detector.problems.last)
    assert wait_until(lambda: not replay._clock_watch._problems.unresolved)
