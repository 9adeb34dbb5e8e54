# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What came out of trials: records, their files, and the rates of the paper's Table II."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dacite

from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.files import read_json
from kgnpro_ros.predictions import write_text_atomically

#: Physics says no where the executor said yes.
NOT_LIFTED = "not_lifted"


@dataclass(frozen=True)
class AttemptRecord:
    """One look, and one grasp where there was any.

    Attributes:
        success: An object rose and is held clear of everything.
        stage: Where it failed, in the words of ``execution.report``; empty after a success.
        cause: Why; empty after a success.
        message: The same in a sentence.
        moved: A grasp was tried with motion.
        target: Class of the object that was lifted, touched by the fingers or nearest to the grasp;
            empty without a grasp.
        score, width: Of the grasp; 0 without one.
        T_world_grasp: The grasp, or empty.
        rise: Of the highest held object [m].
        grasps: How many were detected.
        rejected: How many candidates were dropped, by reason.
        unplanned: How many grasps had no plan, by stage and cause.
        simulated: Seconds of simulated time.
        seconds: Of the machine, by ``look``, ``detect``, ``plan`` and ``simulate``.
        picture: File name of the picture, or empty.
    """

    success: bool
    stage: str = ""
    cause: str = ""
    message: str = ""
    moved: bool = False
    target: str = ""
    score: float = 0.0
    width: float = 0.0
    T_world_grasp: list[list[float]] = field(default_factory=list)
    rise: float = 0.0
    grasps: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    unplanned: dict[str, int] = field(default_factory=dict)
    simulated: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    picture: str = ""


@dataclass(frozen=True)
class TrialRecord:
    """What became of one trial.

    Attributes:
        key, kind, group: Those of the trial.
        objects: Class and shape of each object.
        picked: Indices of the objects that were lifted and removed.
        attempts: In their order.
        seconds: Of the machine in all.
    """

    key: str
    kind: str
    group: str
    objects: list[dict[str, Any]]
    picked: list[int]
    attempts: list[AttemptRecord]
    seconds: float

    @property
    def complete(self) -> bool:
        """Every object was lifted."""
        return len(self.picked) == len(self.objects)


@dataclass(frozen=True)
class Rates:
    """One row of the table.

    Attributes:
        grasps: Attempts.
        successes: Attempts that lifted an object.
        scenes: Trials.
        complete: Trials in which every object was lifted.
    """

    grasps: int
    successes: int
    scenes: int
    complete: int

    @property
    def gsr(self) -> float | None:
        """Share of the attempts that succeeded: the grasp success rate."""
        return self.successes / self.grasps if self.grasps else None

    @property
    def scr(self) -> float | None:
        """Share of the scenes that were cleared: the scene completion rate."""
        return self.complete / self.scenes if self.scenes else None


def rates(records: Iterable[TrialRecord]) -> Rates:
    """Count the attempts and scenes of some trials."""
    records = list(records)
    attempts = [attempt for record in records for attempt in record.attempts]
    return Rates(
        len(attempts), sum(attempt.success for attempt in attempts),
        len(records), sum(record.complete for record in records),
    )  # fmt: skip


def failures(records: Iterable[TrialRecord]) -> list[tuple[str, str, int]]:
    """Stage, cause and number of all failed attempts, the most frequent ones first."""
    counts = Counter(
        (attempt.stage, attempt.cause)
        for record in records
        for attempt in record.attempts
        if not attempt.success
    )
    return [(stage, cause, count) for (stage, cause), count in counts.most_common()]


def by_group(records: Sequence[TrialRecord], kind: str) -> dict[str, list[TrialRecord]]:
    """The trials of a kind by their row of the table."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in records:
        if record.kind == kind:
            groups.setdefault(record.group, []).append(record)
    return groups


def write_record(path: Path, record: TrialRecord) -> None:
    """Write a result file; it appears complete or not at all."""
    write_text_atomically(path, json.dumps(asdict(record), indent=1, allow_nan=False) + "\n")


def read_record(path: Path) -> TrialRecord:
    """Read what :func:`write_record` wrote.

    Raises:
        DatasetError: If it is something else.
    """
    try:
        return dacite.from_dict(
            TrialRecord, read_json(path, DatasetError), dacite.Config(strict=True)
        )
    except (dacite.DaciteError, TypeError) as error:
        raise DatasetError(f"{path} is no result of a trial: {error}; delete it") from error
