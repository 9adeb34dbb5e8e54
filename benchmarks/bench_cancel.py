# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""How long the arm goes on after a cancel: simulator and executor over DDS, in mid-motion.

    python benchmarks/bench_cancel.py --repeats 10 --json cancel.json

Picks a ball with a grasp that is given, and cancels while the arm moves: in the straight approach,
in the lift, and on the way to the box. Measured from the moment before the client sends the
request:

- told: until the trajectory controller reports its goal as cancelling, as this process hears it;
- rest: until a joint state arrives from which on no joint is faster than 0.02 rad/s;
- in simulated time: the same by the stamps of the joint states. The simulated controller takes
  ``stop_time`` (0.12 s) of it to brake. A machine that does not keep up makes the simulation slow:
  then the arm brakes for longer by the clock on the wall.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from action_msgs.msg import GoalStatus, GoalStatusArray
from rclpy.action import ActionClient
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_action_status_default
from rclpy.time import Time
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from kgnpro_ros.action import Pick
from kgnpro_ros.config import WorldConfig
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.msg import GraspCandidate
from kgnpro_ros.ros.action_calls import GoalCall
from kgnpro_ros.ros.conversions import poses_to_messages
from kgnpro_ros.ros.demo import bin_walls
from kgnpro_ros.ros.pick_client import place_pose
from kgnpro_ros.ros.processes import children

STAGES = ("approach", "lift", "move_place")
ARM_STATUS = "panda_arm_controller/follow_joint_trajectory/_action/status"
#: Slower than this is at rest; a cancel is only measured while a joint is faster than that [rad/s].
REST, MOVING = 0.02, 0.1
#: The arm has to be at rest for this long to be counted as such [s].
SETTLED = 0.3
#: Longest wait for nodes and goals [s].
PATIENCE = 120.0


@dataclass(frozen=True)
class Sample:
    """One cancelled motion: times since the request [s], and the joint speed then [rad/s]."""

    stage: str
    speed: float
    told: float
    rest: float
    simulated: float


@dataclass(frozen=True)
class State:
    """A joint state: its stamp, when it arrived [s], and the speed of the fastest joint [rad/s]."""

    stamp: float
    arrival: float
    speed: float


class Watcher(Node):
    """User of the action, and witness of the joints."""

    def __init__(self) -> None:
        super().__init__("cancel_watcher")
        self.pick = ActionClient(self, Pick, "pick")
        self.stage = ""
        self.states: list[State] = []
        self.told: float | None = None
        self._simulator = {
            name: self.create_client(Trigger, f"grasp_sim/{name}") for name in ("objects", "reset")
        }
        self.create_subscription(JointState, "joint_states", self._on_joints, 100)
        self.create_subscription(
            GoalStatusArray, ARM_STATUS, self._on_status, qos_profile_action_status_default
        )

    def _on_joints(self, message: JointState) -> None:
        arm = np.abs(np.array(message.velocity)[:7])
        stamp = Time.from_msg(message.header.stamp).nanoseconds * 1e-9
        self.states = [*self.states[-1000:], State(stamp, time.time(), float(arm.max()))]

    def _on_status(self, message: GoalStatusArray) -> None:
        canceling = [item.status == GoalStatus.STATUS_CANCELING for item in message.status_list]
        if any(canceling) and self.told is None:
            self.told = time.time()

    def call(self, name: str) -> str:
        """Call a service of the simulator; its message."""
        client, done = self._simulator[name], threading.Event()
        if not client.wait_for_service(PATIENCE):
            raise RuntimeError(f"no service {client.srv_name}")
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda _: done.set())
        if not done.wait(PATIENCE):
            raise RuntimeError(f"{client.srv_name} does not answer")
        return str(future.result().message)

    def goal(self) -> Pick.Goal:
        """The ball, from straight above, and where it is to go."""
        (ball,) = json.loads(self.call("objects"))
        down, closing = np.array([0.0, 0, -1]), np.array([0.0, 1, 0])
        rotation = np.stack([down, np.cross(closing, down), closing], axis=-1)
        pose = make_transform(rotation, np.array(ball["position"]))
        goal = Pick.Goal(use_candidate=True, use_place_pose=True)
        goal.place_pose = place_pose(WorldConfig())
        goal.header.frame_id = "world"
        goal.candidate = GraspCandidate(
            pose=poses_to_messages(pose[None])[0], tool_link="panda_hand", status="ok",
            width=min(0.08, 2 * ball["dimensions"][0] + 0.015), score=0.9, confidence=0.9,
        )  # fmt: skip
        return goal

    def send(self) -> GoalCall:
        """A goal; sent again while the executor still waits for the robot."""
        if not self.pick.wait_for_server(PATIENCE):
            raise RuntimeError("no action server for pick")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.stage = ""
            call = GoalCall(self.pick, self.goal(), self._on_feedback)
            if call.wait(lambda c=call: c.answered, 20.0) and call.accepted:
                return call
            time.sleep(1.0)
        raise RuntimeError("the executor takes no goals")

    def _on_feedback(self, feedback: Pick.Feedback) -> None:
        self.stage = feedback.stage


def wait_for(condition: Callable[[], bool]) -> bool:
    """Poll often; whether it came to hold."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def measure(watcher: Watcher, stage: str) -> Sample | None:
    """Cancel one pick in a stage; None when the arm did not move then."""
    watcher.call("reset")
    call = watcher.send()
    if not wait_for(lambda: watcher.stage == stage or call.done) or call.done:
        print(f"  {stage}: {call.result.message if call.done else 'never reached'}")
        return None
    wait_for(lambda: watcher.states[-1].speed > MOVING or call.done or watcher.stage != stage)
    time.sleep(random.uniform(0.0, 0.15))
    watcher.told, before = None, watcher.states[-1]
    begin = time.time()
    call.cancel()
    if not call.wait(lambda: call.done, PATIENCE):
        raise RuntimeError("a cancelled goal did not end")
    time.sleep(SETTLED)
    if before.speed < MOVING or not watcher.told or call.status != GoalStatus.STATUS_CANCELED:
        print(f"  {stage}: not counted: {before.speed:.2f} rad/s, told {watcher.told}, "
              f"status {call.status}", flush=True)  # fmt: skip
        return None
    rest = at_rest(watcher, before)
    if rest is None:
        print(f"  {stage}: not counted: not at rest, {watcher.states[-1]}", flush=True)
        return None
    return Sample(
        stage, before.speed, watcher.told - begin, rest.arrival - begin, rest.stamp - before.stamp
    )


def at_rest(watcher: Watcher, before: State) -> State | None:
    """The first state from which on the arm stands; None when it does not come to rest in 20 s."""
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        states = [item for item in watcher.states if item.stamp > before.stamp]
        fast = [item.stamp for item in states if item.speed > REST]
        later = [item for item in states if item.stamp > max(fast, default=before.stamp)]
        if later and later[-1].stamp - later[0].stamp >= SETTLED:
            return later[0]
        time.sleep(0.05)
    return None


def command(module: str, parameters: dict[str, Any]) -> list[str]:
    """A node with parameters."""
    words = [sys.executable, "-m", f"kgnpro_ros.ros.{module}", "--ros-args"]
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += ["-p", f"{name}:={text}"]
    return words


def run(options: argparse.Namespace, folder: Path) -> list[Sample]:
    """Everything; the processes are gone afterwards."""
    sim = {
        "seed": 6, "mode": "single", "depth_noise": False, "rate": options.camera_rate,
        "state_rate": options.state_rate, "clock": "sim",
    }  # fmt: skip
    executor = {
        "use_sim_time": True, "obstacles": False, "table": "fixed",
        "motion.speed": options.speed, "motion.acceleration": options.speed,
        "boxes": bin_walls(WorldConfig()), "controllers.joints_timeout": 10.0,
        "controllers.answer_timeout": 20.0, "controllers.time_scale": 50.0,
        "pick.max_grasp_age": 600.0,
    }  # fmt: skip
    rclpy.init()
    watcher, spinner = Watcher(), MultiThreadedExecutor(3)
    spinner.add_node(watcher)
    threading.Thread(target=spinner.spin, daemon=True).start()
    try:
        with children() as start:
            start("simulator", command("sim_node", sim), os.environ, folder / "sim.log")
            start("executor", command("executor_node", executor), os.environ, folder / "arm.log")
            return sample_all(watcher, options.repeats)
    finally:
        spinner.shutdown(timeout_sec=5.0)
        rclpy.try_shutdown()


def sample_all(watcher: Watcher, repeats: int) -> list[Sample]:
    """The stages in turn; a motion that does not count is tried again, within limits."""
    samples: list[Sample] = []
    for stage in STAGES:
        wanted, tries = len(samples) + repeats, 0
        while len(samples) < wanted and tries < 2 * repeats:
            tries += 1
            sample = measure(watcher, stage)
            if sample is not None:
                samples.append(sample)
                print(f"  {stage}: {sample.speed:.2f} rad/s, told after "
                      f"{sample.told:.3f} s, at rest after {sample.rest:.3f} s, "
                      f"{sample.simulated:.3f} s simulated",
                      flush=True)  # fmt: skip
    return samples


def table(samples: Sequence[Sample]) -> str:
    """Median and worst for each stage and all together, as Markdown."""
    lines = [
        "| cancelled in | runs | told, median | max | at rest, median | max "
        "| simulated, median | max |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in (*STAGES, "all"):
        chosen = [item for item in samples if name in (item.stage, "all")]
        if chosen:
            times = 1e3 * np.array([[s.told, s.rest, s.simulated] for s in chosen])
            pairs = zip(np.median(times, axis=0), times.max(axis=0), strict=True)
            cells = " | ".join(f"{middle:.0f} ms | {worst:.0f} ms" for middle, worst in pairs)
            lines.append(f"| {name} | {len(chosen)} | {cells} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=10, help="cancelled motions per stage")
    parser.add_argument("--speed", type=float, default=0.5, help="share of the arm's limits")
    parser.add_argument("--camera-rate", type=float, default=0.2, help="images per second")
    parser.add_argument("--state-rate", type=float, default=50.0, help="joint states per second")
    parser.add_argument("--json", type=Path, help="file for all samples")
    options = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        samples = run(options, Path(folder))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(table(samples))
    if options.json:
        options.json.write_text(json.dumps([vars(item) for item in samples], indent=1) + "\n")
    return 0 if samples else 1


if __name__ == "__main__":
    sys.exit(main())
