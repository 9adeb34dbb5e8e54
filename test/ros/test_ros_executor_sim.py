# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Simulator and executor as processes over DDS: real plans, physics, a simulator that dies.

The detector is an oracle that knows where the one object, a ball, lies.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from ros_graph import wait_until
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from kgnpro_ros.action import Pick
from kgnpro_ros.config import WorldConfig
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.msg import GraspCandidate
from kgnpro_ros.ros.action_calls import GoalCall
from kgnpro_ros.ros.conversions import poses_to_messages
from kgnpro_ros.ros.demo import REMAPPINGS, bin_walls
from kgnpro_ros.ros.pick_client import place_pose
from kgnpro_ros.srv import DetectGrasps

pytest.importorskip("mujoco")
pytest.importorskip("mplib")
from kgnpro_ros.data.render import make_gl_context
from kgnpro_ros.exceptions import DatasetError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
#: Starting processes and physics on a machine that does many other things at once [s].
LONG = 240.0
BALL = {"seed": 6, "mode": "single", "depth_noise": False, "rate": 2.0}
EXECUTOR = {
    "motion.speed": 1.0, "motion.acceleration": 0.6, "pick.hold_time": 0.1,
    "pick.max_grasp_age": 600.0, "observe_timeout": 60.0, "detect_timeout": 60.0,
    "controllers.joints_timeout": 8.0, "controllers.time_scale": 50.0,
    "controllers.answer_timeout": 10.0,
    "boxes": bin_walls(WorldConfig()),
}  # fmt: skip


def start(module, parameters, remappings=()):
    command = [sys.executable, "-m", f"kgnpro_ros.ros.{module}", "--ros-args"]
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        command += ["-p", f"{name}:={text}"]
    for item in remappings:
        command += ["-r", item]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"})


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


class Oracle(Node):
    """Detector, user and witness in one."""

    def __init__(self):
        super().__init__("oracle")
        group = ReentrantCallbackGroup()
        self.stage = ""
        self._stamp = None
        self._joints = self.create_subscription(
            JointState, "joint_states", self._on_joints, 5, callback_group=group
        )
        self._objects = self.create_client(Trigger, "grasp_sim/objects", callback_group=group)
        self._service = self.create_service(
            DetectGrasps, "detect_grasps", self._on_detect, callback_group=group
        )
        self.pick = ActionClient(self, Pick, "pick", callback_group=group)

    def _on_joints(self, message):
        self._stamp = message.header.stamp

    def forget(self):
        self._stamp = None

    def hears_the_robot(self):
        return self._stamp is not None

    def ball(self):
        assert self._objects.wait_for_service(LONG)
        deadline = time.monotonic() + LONG
        while time.monotonic() < deadline:
            done = threading.Event()
            future = self._objects.call_async(Trigger.Request())
            future.add_done_callback(lambda _, done=done: done.set())
            # The service of a process that was killed stays in the graph for a while.
            if done.wait(10.0):
                return json.loads(future.result().message)[0]
        raise AssertionError("the simulator does not answer")

    def _on_detect(self, request, response):
        """From straight above, the fingertips at the middle of the ball."""
        ball = self.ball()
        down, closing = np.array([0.0, 0, -1]), np.array([0.0, 1, 0])
        rotation = np.stack([down, np.cross(closing, down), closing], axis=-1)
        pose = make_transform(rotation, np.array(ball["position"]))
        response.success, response.message = True, "where the ball is"
        response.header.frame_id, response.header.stamp = "world", self._stamp
        response.candidates = [
            GraspCandidate(
                pose=poses_to_messages(pose[None])[0], tool_link="panda_hand", status="ok",
                width=min(0.08, 2 * ball["dimensions"][0] + 0.015), score=0.9, confidence=0.9,
            )
        ]  # fmt: skip
        return response

    def _on_feedback(self, feedback):
        self.stage = feedback.stage

    def send(self, place=False):
        """A goal; sent again while the executor still waits for the robot."""
        goal = Pick.Goal(use_place_pose=place, place_pose=place_pose(WorldConfig()))
        assert self.pick.wait_for_server(LONG)
        calls = []

        def accepted():
            self.stage = ""
            calls.append(GoalCall(self.pick, goal, self._on_feedback))
            calls[-1].wait(lambda: calls[-1].answered, 20.0)
            if not calls[-1].accepted:
                time.sleep(2.0)
            return calls[-1].accepted

        assert wait_until(accepted, LONG)
        return calls[-1]

    def result(self, call):
        assert call.wait(lambda: call.done, LONG)
        return call.status, call.result


@pytest.fixture(scope="module")
def processes():
    try:
        make_gl_context()
    except DatasetError as error:
        pytest.skip(str(error))
    running = {
        "sim": start("sim_node", BALL),
        "executor": start("executor_node", EXECUTOR, [f"{k}:={v}" for k, v in REMAPPINGS.items()]),
    }
    yield running
    for process in running.values():
        end(process)


@pytest.fixture(scope="module")
def oracle(spin, processes):
    return spin(Oracle())


def test_the_ball_is_lifted_and_put_into_the_box(oracle):
    status, result = oracle.result(oracle.send(place=True))
    assert status == GoalStatus.STATUS_SUCCEEDED, result.message
    # Measured: some millimetres less or more than planned, and not the plan.
    assert result.lifted_height == pytest.approx(0.1, abs=0.01)
    assert result.lifted_height != 0.1
    assert all(stage.ok for stage in result.stages)
    assert wait_until(lambda: oracle.ball()["in_box"])


@pytest.mark.reliability("fault: signals to nodes")
@pytest.mark.parametrize("stage", ["plan_pregrasp", "move_pregrasp", "lift"])
def test_a_simulator_that_is_killed_and_started_again(oracle, processes, stage):
    reset(oracle)
    call = oracle.send()
    assert wait_until(lambda: oracle.stage == stage or call.done, LONG)
    processes["sim"].kill()
    status, result = oracle.result(call)
    assert status == GoalStatus.STATUS_ABORTED
    failed = [item for item in result.stages if not item.ok]
    assert failed
    assert failed[0].message.startswith(("connection", "no_"))
    assert processes["executor"].poll() is None
    processes["sim"].wait(20)
    oracle.forget()
    processes["sim"] = start("sim_node", BALL)
    assert wait_until(oracle.hears_the_robot, LONG)
    status, result = oracle.result(oracle.send())
    assert status == GoalStatus.STATUS_SUCCEEDED, result.message


@pytest.mark.parametrize("stage", ["move_pregrasp", "approach", "lift"])
def test_a_cancelled_pick_stops_the_simulated_arm(oracle, stage):
    reset(oracle)
    call = oracle.send()
    assert wait_until(lambda: oracle.stage == stage or call.done, LONG)
    call.cancel()
    status, result = oracle.result(call)
    assert status == GoalStatus.STATUS_CANCELED, result.message
    assert result.stages[-1].message.startswith("cancelled")
    status, result = oracle.result(oracle.send())
    assert status == GoalStatus.STATUS_SUCCEEDED, result.message


def reset(oracle):
    client = oracle.create_client(Trigger, "grasp_sim/reset")
    assert client.wait_for_service(LONG)
    done = threading.Event()
    client.call_async(Trigger.Request()).add_done_callback(lambda _: done.set())
    assert done.wait(LONG)
