# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the stages of a pick one after the other and writes down what became of each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.execution.arm import ArmError, ArmFailure
from kgnpro_ros.execution.cancellation import Cancellation
from kgnpro_ros.execution.report import Cause, Feedback, Stage, StageReport

logger = logging.getLogger(__name__)

#: After these no other candidate is tried: the arm may not, or cannot, be moved.
FATAL = frozenset({
    Cause.CANCELLED, Cause.INTERNAL_ERROR, Cause.STALE_DETECTION, Cause.WRONG_FRAME,
    Cause.NO_CANDIDATE, ArmFailure.STOPPED, ArmFailure.CONNECTION,
})  # fmt: skip


class StageError(KGNProError):
    """A stage did not end as it should.

    Attributes:
        cause: The reason.
        stage: The stage; set by the journal.
    """

    def __init__(self, cause: Cause | ArmFailure, message: str, stage: Stage | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.stage = stage

    @property
    def fatal(self) -> bool:
        """The whole pick ends here."""
        return self.cause in FATAL


class Note:
    """Takes the message of a stage that goes well."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, text: str) -> None:
        """Set the message."""
        self.text = text


class Journal:
    """Record of one pick.

    Args:
        clock: Time [s] that durations are measured with.
        feedback: Called when a stage begins.
        cancellation: Checked when a stage begins.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        feedback: Callable[[Feedback], None] | None,
        cancellation: Cancellation,
    ) -> None:
        self.stages: list[StageReport] = []
        self._candidate, self._attempt = -1, 0
        self._clock = clock
        self._feedback = feedback
        self._cancellation = cancellation

    def begin(self, candidate: int, attempt: int) -> None:
        """Name the candidate and the number of the attempt of the stages that follow."""
        self._candidate, self._attempt = candidate, attempt

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[Note]:
        """Run one stage inside; whatever is raised there comes out as a :class:`StageError`."""
        note, start = Note(), self._clock()
        try:
            self._check_cancelled()
            if self._feedback is not None:
                self._feedback(Feedback(stage, self._candidate, self._attempt))
            yield note
            self._check_cancelled()
        except Exception as error:
            failure = self._failure(error, stage)
            self._record(stage, start, str(failure), failure.cause.value)
            raise failure from error
        self._record(stage, start, note.text)

    def _check_cancelled(self) -> None:
        if self._cancellation.requested:
            raise StageError(Cause.CANCELLED, "cancelled")

    def _failure(self, error: Exception, stage: Stage) -> StageError:
        if self._cancellation.requested:
            return StageError(Cause.CANCELLED, "cancelled; the arm was stopped", stage)
        if isinstance(error, StageError):
            return StageError(error.cause, str(error), stage)
        if isinstance(error, ArmError):
            return StageError(error.failure, str(error), stage)
        logger.error("error in stage %s of a pick", stage.value, exc_info=error)
        return StageError(Cause.INTERNAL_ERROR, f"{type(error).__name__}: {error}", stage)

    def _record(self, stage: Stage, start: float, message: str, cause: str = "") -> None:
        seconds = self._clock() - start
        self.stages.append(StageReport(self._candidate, stage, not cause, message, seconds, cause))
