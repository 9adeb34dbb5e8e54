# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``kgnpro trials``: the paper's physical experiment in physics, in several processes, resumable.

Trial k of a seed is the same whatever the number of processes and whatever ran before. Each result
is a file of its own under ``OUT/trials``; a run that was killed goes on where it was.
"""

from __future__ import annotations

import fnmatch
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import cv2
import torch

from kgnpro_ros.config import TrialConfig
from kgnpro_ros.data.render import make_gl_context
from kgnpro_ros.data.storage import write_json
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.files import read_json
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.simulation.trial_bench import TrialBench
from kgnpro_ros.simulation.trial_plan import Trial, plan_trials
from kgnpro_ros.simulation.trial_report import summarize, to_markdown
from kgnpro_ros.simulation.trial_results import TrialRecord, read_record, write_record

SETTINGS, SUMMARY, TABLE = "settings.json", "trials.json", "trials.md"
#: Bench of this process.
_benches: list[TrialBench] = []

#: Runs a trial; takes the place of the worker processes in tests.
Runner = Callable[[Trial], TrialRecord]


def run_trials(
    config: TrialConfig,
    out: Path,
    *,
    quick: bool = False,
    only: str = "*",
    pictures: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int, TrialRecord | None], None] | None = None,
    runner: Runner | None = None,
) -> dict[str, Any]:
    """Run the trials that have no result yet, and write the tables of all that have.

    Args:
        config: Settings of the experiment.
        out: Folder for ``settings.json``, ``trials/KEY.json``, ``trials.json`` and ``trials.md``.
        quick: A few trials of each row only.
        only: Pattern of the names of the trials to run, as of a shell.
        pictures: Write ``pictures/KEY_ATTEMPT.png`` for every failed attempt.
        workers: Processes; all cores if None.
        progress: Called with trials done, trials in all, and the newest result or None.
        runner: Runs a trial in this process instead.

    Returns:
        The summary, as written to ``trials.json``.

    Raises:
        DatasetError: If the folder holds results with other settings, no trial has such a name, or
            trials broke; the tables of the others are written before that is said.
        ModelError: If the model cannot be loaded.
    """
    chosen = _choose(config, quick, only)
    settings = _open_folder(config, out)
    todo = [trial for trial in chosen if not _result(out, trial.key).is_file()]
    done = len(chosen) - len(todo)
    if progress is not None:
        progress(done, len(chosen), None)

    def finished(record: TrialRecord) -> None:
        nonlocal done
        write_record(_result(out, record.key), record)
        done += 1
        if progress is not None:
            progress(done, len(chosen), record)

    broken: dict[str, str] = {}
    if runner is not None:
        for trial in todo:
            finished(runner(trial))
    elif todo:
        folder = out / "pictures" if pictures else None
        broken = _run_in_processes(config, todo, folder, workers, finished)
    summary = _write_tables(out, plan_trials(config), settings)
    if broken:
        texts = "; ".join(f"{key}: {text}" for key, text in broken.items())
        raise DatasetError(f"{len(broken)} trials broke and are missing in the tables: {texts}")
    return summary


def _choose(config: TrialConfig, quick: bool, only: str) -> list[Trial]:
    """The trials of the plan that are asked for."""
    plan = plan_trials(config, quick=quick)
    chosen = [trial for trial in plan if fnmatch.fnmatch(trial.key, only)]
    if not chosen:
        raise DatasetError(f"no trial is called {only!r}; names look like single_cylinder_0_0")
    return chosen


def _write_tables(out: Path, plan: Sequence[Trial], settings: dict[str, Any]) -> dict[str, Any]:
    """Tables of all results in the folder, in the order of the plan."""
    paths = [_result(out, trial.key) for trial in plan]
    summary = {**settings, **summarize([read_record(path) for path in paths if path.is_file()])}
    write_json(out / SUMMARY, summary)
    (out / TABLE).write_text(to_markdown(summary))
    return summary


def _result(out: Path, key: str) -> Path:
    return out / "trials" / f"{key}.json"


def _open_folder(config: TrialConfig, out: Path) -> dict[str, Any]:
    """Write the settings, or check that those of the folder are the same."""
    wanted: dict[str, Any] = {
        "config": asdict(config), "model_sha256": load_model(config.detector.model).sha256
    }  # fmt: skip
    path = out / SETTINGS
    if path.exists():
        present = read_json(path, DatasetError)
        differing = _differences(present, _as_json(wanted))
        if differing:
            raise DatasetError(
                f"{out} holds trials with other settings ({', '.join(differing)}); choose another "
                "folder"
            )
        return wanted
    if out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out} is not empty and holds no trials; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, wanted)
    return wanted


def _as_json(value: Any) -> Any:
    """What a value is after it was written and read."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _differences(present: Any, wanted: Any, name: str = "") -> list[str]:
    """Dotted names of the entries that differ."""
    if isinstance(present, dict) and isinstance(wanted, dict):
        keys = sorted({*present, *wanted})
        return [
            difference
            for key in keys
            for difference in _differences(
                present.get(key), wanted.get(key), f"{name}.{key}" if name else key
            )
        ]
    return [] if present == wanted else [name]


# --- worker processes -----------------------------------------------------------------------------


def _run_in_processes(
    config: TrialConfig,
    trials: Sequence[Trial],
    pictures: Path | None,
    workers: int | None,
    finished: Callable[[TrialRecord], None],
) -> dict[str, str]:
    """Run trials; returns the errors of those that broke, by their names."""
    count = min(workers or os.cpu_count() or 1, len(trials))
    context = get_context("spawn")
    # Long trials first: no process then idles beside the last one.
    order = sorted(trials, key=lambda trial: -trial.max_attempts)
    with ProcessPoolExecutor(count, context, _start_worker, (config, pictures)) as pool:
        futures = {pool.submit(_work, trial): trial.key for trial in order}
        broken = {}
        try:
            for future in as_completed(futures):
                problem = future.exception()
                if isinstance(problem, BrokenProcessPool):
                    raise problem
                if problem is not None:
                    broken[futures[future]] = f"{type(problem).__name__}: {problem}"
                else:
                    finished(future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return broken


def _exit_with_parent() -> None:
    """End this worker when the process that started it is gone, even killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _start_worker(config: TrialConfig, pictures: Path | None) -> None:
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.environ["LP_NUM_THREADS"] = "1"  # Mesa's software renderer: one thread per process
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _benches.append(TrialBench(config, make_gl_context(), pictures))


def _work(trial: Trial) -> TrialRecord:
    return _benches[0].run(trial)
