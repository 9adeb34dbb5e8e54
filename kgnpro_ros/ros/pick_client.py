# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Has the simulated arm put every object of a scene into the box, one pick goal after the other.

``python -m kgnpro_ros.ros.pick_client --out DIR`` beside ``grasp_sim``, ``grasp_detector`` and
``grasp_executor``. Prints a line for each attempt, saves pictures and a film; ends with 0 when
enough objects are in the box.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from rclpy.utilities import remove_ros_args
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from kgnpro_ros.action import Pick
from kgnpro_ros.config import WorldConfig
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.msg import GraspCandidateArray
from kgnpro_ros.ros.action_calls import GoalCall
from kgnpro_ros.ros.calling import ClientError, call_service, read_answer, run_client
from kgnpro_ros.ros.client import save_picture
from kgnpro_ros.ros.conversions import color_from_image, poses_to_messages
from kgnpro_ros.ros.pick_log import Attempt, Film, attempt_line, attempts_of

#: How long the nodes may take to be ready, the model and the arm included [s].
START_TIMEOUT = 200.0
#: Longest goal [s].
GOAL_TIMEOUT = 600.0
CALL_TIMEOUT = 20.0
#: A goal that is rejected because nodes still start is sent again after this time [s].
RETRY_PERIOD = 1.0
#: Height of the grasp frame over the floor of the box when the object is let go [m].
RELEASE_HEIGHT = 0.2
#: After so many goals in a row that brought nothing the run ends.
MAX_FAILURES = 5
#: The same once enough objects are in the box.
MAX_FAILURES_AT_END = 2


class PickClient(Node):
    """Sends pick goals and watches what comes of them."""

    def __init__(self) -> None:
        super().__init__("pick_client")
        self._pick = ActionClient(self, Pick, "pick")
        self._objects = self.create_client(Trigger, "grasp_sim/objects")
        self.film = Film()
        self.candidates: GraspCandidateArray | None = None
        self.overlay: Image | None = None
        self.held_picture: Image | None = None
        self.stage = ""
        self.lifted: dict[int, float] = {}
        self._newest: Image | None = None
        self.create_subscription(Image, "grasp_sim/overview", self._on_overview, 2)
        self.create_subscription(Image, "grasp_detector/debug_image", self._on_overlay, 2)
        self.create_subscription(
            GraspCandidateArray, "grasp_detector/candidates", self._on_candidates, 2
        )

    def objects(self) -> list[dict[str, Any]]:
        """What the simulation knows of its objects."""
        response = call_service(self._objects, Trigger.Request(), START_TIMEOUT, CALL_TIMEOUT)
        found: list[dict[str, Any]] = read_answer(response, self._objects.srv_name)
        return found

    def pick(self, goal: Pick.Goal) -> Pick.Result:
        """One goal; sent again while the executor is not ready.

        Raises:
            ClientError: If there is no executor, or no result.
        """
        if not self._pick.wait_for_server(START_TIMEOUT):
            raise ClientError(f"no action server for pick within {START_TIMEOUT:.0f} s")
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            call = GoalCall(self._pick, goal, self._on_feedback)
            if call.wait(lambda c=call: c.answered or not self.context.ok(), CALL_TIMEOUT) and (
                call.accepted
            ):
                break
            if time.monotonic() > deadline or not self.context.ok():
                raise ClientError("the executor takes no goals; see its log")
            time.sleep(RETRY_PERIOD)
        if not call.wait(lambda: call.done or not self.context.ok(), GOAL_TIMEOUT):
            call.cancel()
            raise ClientError(f"a pick took longer than {GOAL_TIMEOUT:.0f} s")
        if not call.done:
            raise ClientError("told to end")
        result: Pick.Result = call.result
        return result

    def _on_feedback(self, feedback: Pick.Feedback) -> None:
        self.stage = feedback.stage
        if feedback.stage in ("hold", "move_place"):
            self.held_picture = self._newest
        if feedback.stage == "hold":
            future = self._objects.call_async(Trigger.Request())
            future.add_done_callback(self._on_lifted)

    def _on_lifted(self, future: Future) -> None:
        """Heights of the objects at the end of the lift."""
        response = future.result()
        if response.success:
            items = read_answer(response, self._objects.srv_name)
            self.lifted = {item["index"]: item["lifted"] for item in items}

    def _on_overview(self, message: Image) -> None:
        self._newest = message
        self.film.add(color_from_image(message))

    def _on_overlay(self, message: Image) -> None:
        self.overlay = message

    def _on_candidates(self, message: GraspCandidateArray) -> None:
        self.candidates = message


def place_pose(config: WorldConfig) -> PoseStamped:
    """Over the middle of the box, the hand pointing down, turned away from the arm's foot."""
    bin_position, foot = np.array(config.bin_position), np.array(config.base_position)
    azimuth = np.arctan2(*(bin_position - foot)[1::-1])
    down = np.array([0.0, 0.0, -1.0])
    closing = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    rotation = np.stack([down, np.cross(closing, down), closing], axis=-1)
    pose = make_transform(rotation, bin_position + np.array([0.0, 0.0, RELEASE_HEIGHT]))
    message = PoseStamped()
    message.header.frame_id = "world"
    message.pose = poses_to_messages(pose[None])[0]
    return message


class DemoRun:
    """Picks until the table is empty.

    Args:
        client: Talks to the nodes.
        options: Command line.
        console: For people.
    """

    def __init__(self, client: PickClient, options: argparse.Namespace, console: Console) -> None:
        self._client = client
        self._out = Path(options.out)
        self._least = options.least
        self._console = console
        self._number = 0

    def run(self) -> bool:
        """Whether enough objects ended in the box."""
        objects = self._client.objects()
        goal = Pick.Goal(use_place_pose=True, place_pose=place_pose(WorldConfig()))
        failures, begin = 0, time.monotonic()
        columns = (
            TextColumn("{task.description:28}"), BarColumn(20),
            TextColumn("{task.completed:.0f} of {task.total:.0f} in the box"), TimeElapsedColumn(),
        )  # fmt: skip
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("waiting for the nodes", total=len(objects))
            self._watch(progress, task)
            while failures < self._patience(objects):
                before = objects
                result = self._client.pick(goal)
                objects = self._client.objects()
                self._tell(result, before)
                done = sum(item["in_box"] for item in objects)
                failures = 0 if done > sum(item["in_box"] for item in before) else failures + 1
                progress.update(task, completed=done)
        return self._summary(objects, time.monotonic() - begin)

    def _patience(self, objects: list[dict[str, Any]]) -> int:
        """How many goals in a row may fail before the run ends."""
        inside = sum(item["in_box"] for item in objects)
        if inside == len(objects):
            return 0
        return MAX_FAILURES if inside < self._least else MAX_FAILURES_AT_END

    def _watch(self, progress: Progress, task: Any) -> None:
        """Show the stage of the goal that runs."""

        def follow() -> None:
            while not progress.finished and self._client.context.ok():
                stage = self._client.stage.replace("_", " ")
                progress.update(task, description=stage or "waiting for the nodes")
                time.sleep(0.2)

        threading.Thread(target=follow, daemon=True).start()

    def _tell(self, result: Pick.Result, before: list[dict[str, Any]]) -> None:
        """A line for each attempt, and pictures."""
        attempts = attempts_of(result, self._client.candidates, before, self._client.lifted)
        self._client.lifted = {}
        for attempt in attempts or [Attempt("-", 0.0, _last_stage(result), 0.0, 0.0, False)]:
            self._number += 1
            self._console.print(attempt_line(self._number, attempt), soft_wrap=True)
            self._save(attempt)
        if not result.success:
            self._console.print(f"      {result.message}", soft_wrap=True, highlight=False)

    def _save(self, attempt: Attempt) -> None:
        client, name = self._client, f"{self._number:02d}_{attempt.name}"
        if client.overlay is not None:
            save_picture(client.overlay, self._out / f"{name}_grasps.png")
        if client.held_picture is not None and attempt.lifted > 0.0:
            save_picture(client.held_picture, self._out / f"{name}_lifted.png")
        client.held_picture = None

    def _summary(self, objects: list[dict[str, Any]], seconds: float) -> bool:
        inside = [item for item in objects if item["in_box"]]
        film = self._client.film.save(self._out / "pick.gif")
        self._console.print(
            f"{len(inside)} of {len(objects)} objects are in the box after {self._number} attempts "
            f"and {seconds:.0f} s; pictures and film: {film or self._out}",
            soft_wrap=True,
        )
        left = ", ".join(item["kind"] for item in objects if not item["in_box"])
        if left:
            self._console.print(f"left over: {left}; expected at least {self._least} in the box")
        return len(inside) >= self._least


def _last_stage(result: Pick.Result) -> str:
    return result.stages[-1].stage if result.stages else "start"


def parse(args: Sequence[str]) -> argparse.Namespace:
    """Command line without its ROS arguments."""
    parser = argparse.ArgumentParser(description="Empty the simulated table.")
    parser.add_argument("--out", default="outputs/demo", help="folder of pictures and film")
    parser.add_argument("--least", type=int, default=5, help="objects that it takes to succeed")
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point; 0 when enough objects are in the box, 1 otherwise."""
    argv = list(sys.argv if args is None else args)
    options = parse(remove_ros_args(argv)[1:])

    def act(client: PickClient) -> int:
        return 0 if DemoRun(client, options, Console()).run() else 1

    return run_client(PickClient, lambda: MultiThreadedExecutor(3), argv, act)


if __name__ == "__main__":
    raise SystemExit(main())
