# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""One goal of an action server, waited for from a thread that the executor does not run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.task import Future

#: Between two looks at what no future reports [s].
POLL = 0.05

STATUS_WORDS = {
    GoalStatus.STATUS_SUCCEEDED: "succeeded",
    GoalStatus.STATUS_CANCELED: "canceled",
    GoalStatus.STATUS_ABORTED: "aborted",
}


class GoalCall:
    """Sends a goal and waits for its result.

    A goal that was given up is cancelled, also when the server takes it only afterwards.

    Args:
        client: Of the action.
        goal: Message.
        on_feedback: Gets each feedback message, in a thread of the executor.
    """

    def __init__(
        self, client: ActionClient, goal: Any, on_feedback: Callable[[Any], None] | None = None
    ) -> None:
        self._changed = threading.Condition()
        self._handle: Any = None
        self._given_up = self._answered = False
        feedback = None if on_feedback is None else lambda m: on_feedback(m.feedback)
        self._result: Future | None = None
        answer: Future = client.send_goal_async(goal, feedback_callback=feedback)
        answer.add_done_callback(self._on_answer)

    @property
    def answered(self) -> bool:
        """Whether the server took or rejected the goal."""
        return self._answered

    @property
    def accepted(self) -> bool:
        """Whether the server took the goal."""
        return self._handle is not None

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self._result is not None and bool(self._result.done())

    @property
    def status(self) -> int:
        """How the goal ended, as in ``action_msgs/GoalStatus``; only when :attr:`done`."""
        assert self._result is not None
        return int(self._result.result().status)

    @property
    def result(self) -> Any:
        """The result message; only when :attr:`done`."""
        assert self._result is not None
        return self._result.result().result

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until a condition holds; it is looked at after every answer and every ``POLL``.

        Args:
            condition: Must return at once; what it raises is passed on.
            timeout: Longest wait [s].

        Returns:
            Whether it holds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition():
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._changed.wait(min(POLL, remaining))
        return True

    def wake(self) -> None:
        """Have the condition looked at now."""
        with self._changed:
            self._changed.notify_all()

    def cancel(self) -> None:
        """Ask the server to end the goal; returns at once."""
        with self._changed:
            self._given_up = True
            handle = self._handle
        if handle is not None and not self.done:
            handle.cancel_goal_async()

    def _on_answer(self, future: Future) -> None:
        handle = future.result()
        accepted = handle is not None and handle.accepted
        result = handle.get_result_async() if accepted else None
        with self._changed:
            if accepted:
                self._handle, self._result = handle, result
            self._answered, given_up = True, self._given_up
        if result is not None:
            result.add_done_callback(lambda _: self.wake())
            if given_up:
                handle.cancel_goal_async()
        self.wake()
