# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Simulator and executor, killed and interrupted in turn while they work: the other one goes on."""

import signal
import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from ros_graph import wait_until
from sensor_msgs.msg import JointState
from test_ros_executor_sim import BALL, EXECUTOR, LONG, REMAPPINGS, Oracle, end, reset, start

from kgnpro_ros.action import Pick
from kgnpro_ros.ros.action_calls import GoalCall

pytest.importorskip("mplib")

pytestmark = pytest.mark.slow
PARTS = {
    "sim": ("sim_node", BALL, ()),
    "executor": ("executor_node", EXECUTOR, [f"{k}:={v}" for k, v in REMAPPINGS.items()]),
}
#: Fast enough to be interrupted far from where it wants to go [rad/s].
MOVING, RESTING = 0.05, 0.01


class Witness(Oracle):
    """Also sees how fast the arm moves."""

    def __init__(self):
        super().__init__()
        self.speed, self.heard = 0.0, 0
        self._states = self.create_subscription(JointState, "joint_states", self._on_state, 5)

    def _on_state(self, message):
        self.speed = float(np.abs(message.velocity).max()) if message.velocity else 0.0
        self.heard += 1

    def hears_more(self):
        before = self.heard
        return wait_until(lambda: self.heard > before + 5, LONG)

    def plans(self):
        """Plan a pick; ask again while the executor still finds out what there is."""
        deadline, message = time.monotonic() + LONG, "no answer"
        while time.monotonic() < deadline:
            if self.pick.wait_for_server(5.0):
                call = GoalCall(self.pick, Pick.Goal(dry_run=True))
                if call.wait(lambda call=call: call.done, 60.0):
                    message = call.result.message
                    if call.result.success:
                        return ""
            time.sleep(1.0)
        return message


@pytest.fixture
def processes():
    running = {name: start(*arguments) for name, arguments in PARTS.items()}
    yield running
    for process in running.values():
        end(process)


@pytest.mark.reliability("fault: signals to nodes")
@pytest.mark.parametrize(
    ("name", "number", "code"),
    [
        ("executor", signal.SIGINT, 0), ("executor", signal.SIGKILL, -9),
        ("sim", signal.SIGINT, 0), ("sim", signal.SIGKILL, -9),
    ],
)  # fmt: skip
def test_an_end_in_the_middle_of_a_motion(local, processes, name, number, code):
    """The other node goes on, the arm comes to rest, and picks are planned again afterwards."""
    witness = local(Witness())
    assert wait_until(witness.hears_the_robot, LONG)
    reset(witness)
    call = witness.send()
    assert wait_until(lambda: witness.speed > MOVING or call.done, LONG)
    assert not call.done, call.result.message
    other = processes["sim" if name == "executor" else "executor"]
    processes[name].send_signal(number)
    assert processes[name].wait(60) == code
    if name == "sim":
        # The caller hears why; nothing ends but the goal.
        assert call.wait(lambda: call.done, LONG)
        assert call.status == GoalStatus.STATUS_ABORTED
        (failed, *_) = [stage for stage in call.result.stages if not stage.ok]
        assert failed.message.startswith(("connection", "no_", "aborted")), failed.message
        witness.forget()
    assert other.poll() is None
    if name == "executor":
        # At once after SIGINT; at the end of the trajectory, which the controller has, otherwise.
        assert wait_until(lambda: witness.speed < RESTING, LONG)
    processes[name] = start(*PARTS[name])
    assert wait_until(witness.hears_the_robot, LONG)
    assert witness.hears_more()
    assert witness.plans() == ""
    assert other.poll() is None
