# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs MoveIt's trajectories so that a stop is answered at once, whatever MoveIt does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from action_msgs.srv import CancelGoal
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from kgnpro_ros.execution.arm import ArmError, ArmFailure
from kgnpro_ros.ros.moveit_session import MoveItSession

#: After a stop the controller gets this time before the caller is told, and MoveIt is told to stop
#: for this long at most while the motion goes on [s].
STOP_GRACE, STOP_PATIENCE = 0.15, 10.0
POLL = 0.02


class MoveItMotion:
    """One motion at a time; ``stop`` may come from any thread, before, in or after it.

    Args:
        session: Executes.
        halt: A second way to stop, past MoveIt; must return at once.
    """

    def __init__(self, session: MoveItSession, halt: Callable[[], None]) -> None:
        self._session = session
        self._halt = halt
        self._stopped = threading.Event()
        self._moving: threading.Thread | None = None
        self._stopper: threading.Thread | None = None
        self._lock = threading.Lock()

    def check_stopped(self) -> None:
        """Raise an :class:`ArmError` after ``stop``, until ``resume``."""
        if self._stopped.is_set():
            raise ArmError(ArmFailure.STOPPED, "stopped")

    def run(self, trajectory: Any) -> None:
        """Move; returns when the arm is at the end.

        Raises:
            ArmError: If it does not get there, or after ``stop``.
        """
        self.check_stopped()
        if self._moving is not None and self._moving.is_alive():
            raise ArmError(ArmFailure.CONNECTION, "the motion that was stopped has not ended yet")
        words: list[str] = []
        errors: list[Exception] = []

        def work() -> None:
            try:
                words.append(self._session.execute(trajectory))
            except Exception as error:
                errors.append(error)

        # In a thread of its own: MoveIt waits for a controller that is gone without end.
        thread = self._moving = threading.Thread(target=work, name="moveit_execute", daemon=True)
        thread.start()
        while thread.is_alive() and not self._stopped.is_set():
            thread.join(POLL)
        if thread.is_alive():
            self._halt()
            self._tell_moveit()
            thread.join(STOP_GRACE)
        self.check_stopped()
        if errors:
            raise ArmError(ArmFailure.ABORTED, f"MoveIt's execution failed: {errors[0]}")
        if words[0] != "SUCCEEDED":
            failure = ArmFailure.TIMEOUT if words[0] == "TIMED_OUT" else ArmFailure.ABORTED
            raise ArmError(
                failure,
                f"MoveIt's execution ended with {words[0]}: its log names the controller, which "
                "rejected the trajectory, gave it up, or is not there",
            )

    def stop(self) -> None:
        """Stop the motion and refuse others until ``resume``; returns at once."""
        self._stopped.set()
        self._halt()
        self._tell_moveit()

    def resume(self) -> None:
        """Allow motions again."""
        self._stopped.clear()

    def close(self) -> None:
        """Stop, and wait a little until MoveIt is told."""
        self.stop()
        if self._stopper is not None:
            self._stopper.join(STOP_GRACE)

    def _tell_moveit(self) -> None:
        """In another thread: the call blocks until the controller answers."""
        with self._lock:
            if self._stopper is None or not self._stopper.is_alive():
                self._stopper = threading.Thread(
                    target=self._keep_stopping, name="moveit_stop", daemon=True
                )
                self._stopper.start()

    def _keep_stopping(self) -> None:
        deadline = time.monotonic() + STOP_PATIENCE
        while self._stopped.is_set() and time.monotonic() < deadline:
            # Again and again: a stop that comes before the motion has begun does nothing.
            self._session.stop_execution()
            if self._moving is None or not self._moving.is_alive():
                return
            time.sleep(POLL)


def cancel_all(node: Node, action: str) -> Callable[[], None]:
    """A function that cancels every goal of an action server, whoever sent it; returns at once.

    Args:
        node: Owns the client.
        action: Name of the action.
    """
    client = node.create_client(
        CancelGoal, f"{action}/_action/cancel_goal", callback_group=ReentrantCallbackGroup()
    )

    def cancel() -> None:
        # No goal and no time in the request stand for all goals.
        if client.service_is_ready():
            client.call_async(CancelGoal.Request())

    return cancel
