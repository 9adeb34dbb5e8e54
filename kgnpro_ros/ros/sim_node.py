# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``grasp_sim``: a table with objects, an RGB-D camera and a Panda arm, in MuJoCo.

Publishes under the RealSense topic names and serves the controllers that a MoveIt configuration of
the Panda expects. With ``arm: false`` it is a camera over a scene that stands still.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

from kgnpro_ros.config import SimConfig, SimControllerConfig, WorldConfig
from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.ros.clock_watch import ClockWatch
from kgnpro_ros.ros.params import Parameters, fixed_at_start
from kgnpro_ros.ros.spinning import run_node

NODE_NAME = "grasp_sim"
#: Threads: a goal of each action and the one that takes its place, and services.
THREADS = 6
WATCH_PERIOD = 0.5


class Backend(Protocol):
    """What the node shows."""

    failure: str
    waits_for: str

    def start_scene(self, index: int) -> list[str]:
        """Start a scene; returns what is in it."""
        ...

    def describe(self) -> str:
        """Its objects as JSON."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class SimulationError(KGNProError):
    """The simulation ended by itself."""


class SimNode(Node):
    """The simulated world as a ROS node.

    Raises:
        KGNProError: If the parameters are not valid, or this machine cannot render.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(NODE_NAME, **options)
        settings = Parameters(
            self, SimConfig(), WorldConfig(), SimControllerConfig(), may_change=fixed_at_start
        )
        config, self._world = settings.get(SimConfig), settings.get(WorldConfig)
        self._index = 0
        self._backend = self._make_backend(config, settings.get(SimControllerConfig))
        group = ReentrantCallbackGroup()
        self._own_services = [
            self.create_service(Trigger, f"~/{name}", callback, callback_group=group)
            for name, callback in (
                ("next", self._on_next), ("reset", self._on_reset),
                ("current", self._on_current), ("objects", self._on_objects),
            )
        ]  # fmt: skip
        self._watch = self.create_timer(
            WATCH_PERIOD, self._on_watch, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._clock_watch = ClockWatch(self)
        self.get_logger().info(f"waiting for {self._backend.waits_for}")

    def _make_backend(self, config: SimConfig, controllers: SimControllerConfig) -> Backend:
        # Late: what imports MuJoCo takes a while, and the still scene needs no arm.
        if config.arm:
            from kgnpro_ros.ros.sim_arm import SimulatedArm

            arm = SimulatedArm(self, config, self._world, controllers)
            self._say(arm.kinds())
            return arm
        from kgnpro_ros.ros.sim_still import StillScene

        still = StillScene(self, config, self._world)
        self._say(still.start_scene(0))
        return still

    def close(self) -> None:
        """End the simulation."""
        self._backend.close()

    def _say(self, kinds: Sequence[str]) -> None:
        self.get_logger().info(
            f"scene {self._index} of seed {self._world.seed}: {', '.join(kinds)}"
        )

    def _on_watch(self) -> None:
        if self._backend.failure:
            raise SimulationError(f"the simulation has ended:\n{self._backend.failure}")

    def _on_next(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Make the next scene; the message is its number."""
        return self._start(self._index + 1, response)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Start the same scene again, the arm at home."""
        return self._start(self._index, response)

    def _start(self, index: int, response: Trigger.Response) -> Trigger.Response:
        try:
            kinds = self._backend.start_scene(index)
        except KGNProError as error:
            response.message = str(error)
            return response
        self._index = index
        self._say(kinds)
        response.success, response.message = True, f"scene_{index}"
        return response

    def _on_current(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The message is the number of the scene."""
        response.success, response.message = True, f"scene_{self._index}"
        return response

    def _on_objects(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The message is what the simulation knows of its objects, as JSON."""
        try:
            response.message = self._backend.describe()
            response.success = True
        except KGNProError as error:
            response.message = str(error)
        return response


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of ``ros2 run kgnpro_ros grasp_sim``."""
    return run_node(SimNode, lambda: MultiThreadedExecutor(THREADS), args)


if __name__ == "__main__":
    raise SystemExit(main())
