# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the simulated world in a thread of its own, at the pace of the wall clock or another."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from kgnpro_ros.config import SimConfig, SimControllerConfig, WorldConfig
from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.simulation.sim_controllers import ControlledWorld
from kgnpro_ros.simulation.world import PickWorld

T = TypeVar("T")

#: Time at which the simulation starts [s]: in ROS, time 0 stands for no time.
START_TIME = 1.0
#: A simulation that is this far behind [s] is slow, and does not try to catch up.
MAX_DEBT = 0.2
#: Longest sleep [s]: what is asked for from outside waits no longer.
MAX_SLEEP = 0.01
#: Longest wait for the world to be built, and for a call into it [s].
BUILD_TIMEOUT, CALL_TIMEOUT = 120.0, 20.0


class Periodic:
    """Something done at a rate of the simulated time.

    Args:
        rate: Times per second [Hz].
        action: Gets the simulated time [s].
    """

    def __init__(self, rate: float, action: Callable[[float], None]) -> None:
        self._period = 1.0 / rate
        self._action = action
        self._due = 0.0

    def run(self, now: float) -> None:
        """Do it when it is due."""
        if now < self._due - 1e-9:
            return
        # From now on, not from when it was due: what came late is not done twice.
        self._due = max(self._due + self._period, now + 0.5 * self._period)
        self._action(now)


class SimLoop:
    """A world and its controllers in a thread of their own.

    The simulated time never goes back, also when the scene is reset.

    Args:
        world: Settings of the world.
        controllers: Settings of its controllers.
        config: Pace.
        make_periodics: Called in the thread once the world is built, with this loop; what it
            returns is done there.

    Raises:
        KGNProError: If the world cannot be built.
    """

    def __init__(
        self,
        world: WorldConfig,
        controllers: SimControllerConfig,
        config: SimConfig,
        make_periodics: Callable[[SimLoop], list[Periodic]],
    ) -> None:
        self._config = config
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._offset = START_TIME
        self.controlled: ControlledWorld
        self.failure = ""
        built: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(world, controllers, make_periodics, built), daemon=True
        )
        self._thread.start()
        built.result(BUILD_TIMEOUT)

    @property
    def world(self) -> PickWorld:
        """The world; it belongs to the thread of the loop."""
        return self.controlled.world

    @property
    def time(self) -> float:
        """Simulated time since the start [s]; only in the thread of the loop."""
        return self._offset + self.world.time

    @property
    def ended(self) -> bool:
        """Whether nothing moves any more, and calls fail."""
        return self._closed.is_set()

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the thread of the loop, between two steps.

        Raises:
            KGNProError: If the loop has ended; and what the function raises.
        """
        if self._closed.is_set():
            raise KGNProError(f"the simulation has ended: {self.failure or 'it was closed'}")
        future: Future[T] = Future()
        self._calls.put((future, function))
        return future.result(CALL_TIMEOUT)

    def reset(self, seed: int) -> None:
        """Start a scene; only in the thread of the loop."""
        before = self.time
        self.world.reset(seed)
        self.controlled.restart()
        self._offset = before

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join(timeout=5.0)

    def _run(
        self,
        world: WorldConfig,
        controllers: SimControllerConfig,
        make_periodics: Callable[[SimLoop], list[Periodic]],
        built: Future[None],
    ) -> None:
        try:
            self.controlled = ControlledWorld(PickWorld(world), controllers)
            periodics = make_periodics(self)
        except Exception as error:
            self._closed.set()
            built.set_exception(error)
            return
        built.set_result(None)
        try:
            self._step(periodics)
        except Exception:
            self.failure = traceback.format_exc()
        finally:
            self._closed.set()
            self.world.close()

    def _step(self, periodics: list[Periodic]) -> None:
        """Tick until closed; stay behind the pace that is asked for."""
        speed = 1.0 if self._config.clock == "wall" else self._config.speed
        begin = time.monotonic()
        ahead_of = self.time  # simulated time at `begin`
        while not self._closed.is_set():
            self._answer_calls()
            self.controlled.tick()
            for periodic in periodics:
                periodic.run(self.time)
            if speed == 0.0:
                continue
            ahead = (self.time - ahead_of) / speed - (time.monotonic() - begin)
            if ahead < -MAX_DEBT:
                begin, ahead_of = time.monotonic(), self.time
            while ahead > 0 and not self._closed.is_set():
                time.sleep(min(ahead, MAX_SLEEP))
                self._answer_calls()
                ahead = (self.time - ahead_of) / speed - (time.monotonic() - begin)

    def _answer_calls(self) -> None:
        while True:
            try:
                future, function = self._calls.get_nowait()
            except queue.Empty:
                return
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)
