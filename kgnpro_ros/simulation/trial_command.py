# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The trials on a console: a bar while they run, the tables at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kgnpro_ros.config import TrialConfig, load_config
from kgnpro_ros.simulation.trial_report import to_markdown
from kgnpro_ros.simulation.trial_results import TrialRecord, rates
from kgnpro_ros.simulation.trials import TABLE, run_trials


def trials_on_console(
    out: Path,
    model: str | None,
    config: Path | None,
    console: Console,
    *,
    quick: bool,
    only: str,
    pictures: bool,
    workers: int | None,
) -> None:
    """Run the trials and print the tables; the arguments are those of the command line.

    Raises:
        KGNProError: If the settings, the model or the folder cannot be used.
    """
    settings = TrialConfig() if config is None else load_config(TrialConfig, config)
    if model is not None:
        settings = replace(settings, detector=replace(settings.detector, model=model))
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("trials", total=None)

        def progress(done: int, total: int, record: TrialRecord | None) -> None:
            bar.update(task, completed=done, total=total)
            if record is not None:
                bar.console.print(_line(record), markup=False, highlight=False, soft_wrap=True)

        summary = run_trials(
            settings, out, quick=quick, only=only, pictures=pictures, workers=workers,
            progress=progress,
        )  # fmt: skip
    console.print(to_markdown(summary), markup=False, highlight=False, soft_wrap=True)
    console.print(f"tables: {out / TABLE}", markup=False, highlight=False, soft_wrap=True)


def _line(record: TrialRecord) -> str:
    """One line about a trial, and what failed in it."""
    row = rates([record])
    failed = [
        f"{attempt.target or 'nothing'}: {attempt.stage} {attempt.cause}"
        for attempt in record.attempts
        if not attempt.success
    ]
    text = f"{record.key}: {len(record.picked)} of {len(record.objects)} lifted in {row.grasps}"
    text += f" attempts, {record.seconds:.0f} s"
    return f"{text} ({'; '.join(failed)})" if failed else text
