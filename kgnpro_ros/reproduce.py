# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``kgnpro reproduce``: scenes, training, weights, evaluation and card by one command.

::

    OUT/data/NAME         generated scenes
    OUT/train             checkpoints and logs
    OUT/model             weights in half precision (shards of at most 16 MB), cards
    OUT/NAME.json, .png   evaluation of each test set

Every stage goes on where it was killed, and is left out where it is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from kgnpro_ros.config import ReproduceConfig, SceneSetConfig
from kgnpro_ros.data.generate import generate
from kgnpro_ros.detect_files import load_detector
from kgnpro_ros.evaluation.card import update_card
from kgnpro_ros.evaluation.command import evaluate_model
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.files import file_exists, read_json
from kgnpro_ros.network.shards import all_files
from kgnpro_ros.network.weights import find_model, load_model
from kgnpro_ros.progress import progress_bar
from kgnpro_ros.training.checkpoint import CHECKPOINT, load_checkpoint
from kgnpro_ros.training.train import export_checkpoint, train

Result = TypeVar("Result")


def reproduce(
    config: ReproduceConfig, out: Path, workers: int | None = None, console: Console | None = None
) -> Path:
    """Make and evaluate a model; run it again to go on after a kill.

    Args:
        config: What to make.
        out: Folder of everything.
        workers: Processes that generate scenes; all cores if None.
        console: Where to say what is done, and how long it took.

    Returns:
        The model, the first file of several.

    Raises:
        DatasetError, ModelError, TrainingError: As of the stages; ``out`` holding data or a run
            with other settings among them.
    """
    console = console or Console()
    for item in (*config.data, *config.test):
        _stage(console, f"scenes {item.name}", partial(_generate, item, out, workers, console))
    _stage(console, "training", partial(_train, config, out))
    model = _stage(console, "weights", partial(_export, config, out))
    reports, sha256 = {}, load_model(model).sha256
    for item in config.test:
        judge = partial(_evaluate, item, out, model, sha256, console)
        reports[item.name] = _stage(console, f"evaluation on {item.name}", judge)
    console.print(f"card: {update_card(model, reports)}", markup=False, highlight=False)
    return model


def _stage(console: Console, name: str, run: Callable[[], Result]) -> Result:
    """Run a stage and say how long it took, and what came of it."""
    console.print(f"{name} ...", markup=False, highlight=False)
    start = time.monotonic()
    result = run()
    minutes = (time.monotonic() - start) / 60
    console.print(f"{name}: {result}, {minutes:.1f} min", markup=False, highlight=False)
    return result


def _folder(item: SceneSetConfig, out: Path) -> Path:
    return out / "data" / item.name


def _generate(item: SceneSetConfig, out: Path, workers: int | None, console: Console) -> str:
    with progress_bar(console, item.name, transient=True) as progress:
        folder = _folder(item, out)
        manifest = generate(folder, item.scene, item.scenes, item.seed, workers, progress)
    return f"{manifest['scenes']} scenes, {manifest['scenes'] * manifest['views']} images"


def _train(config: ReproduceConfig, out: Path) -> str:
    run = out / "train"
    if _finished(run) is None:
        folders = [_folder(item, out) for item in config.data]
        train(config.train, folders, run, resume=(run / CHECKPOINT).is_file())
    card = load_model(run / "model.safetensors").card
    return f"{card['steps']} steps, {card.get('images_per_second', '-')} images/s"


def _finished(run: Path) -> Path | None:
    """The weights of a finished run: they are written when it ends."""
    try:
        return find_model(run / "model.safetensors")
    except ModelError:
        return None


def _export(config: ReproduceConfig, out: Path) -> Path:
    """The model under its name; the same file again if it is there."""
    folder, run = out / "model", out / "train"
    path = folder / f"{config.name}.safetensors"
    try:
        present = load_model(path)
        steps = load_checkpoint(run / CHECKPOINT)["global_step"]
        if present.card.get("steps") == steps:
            return present.path
    except ModelError:
        pass  # there is none, or one that a kill left incomplete
    return all_files(export_checkpoint(run, config.name, folder))[0]


def _evaluate(item: SceneSetConfig, out: Path, model: Path, sha256: str, console: Console) -> Path:
    """The report of a test set, made anew where it is of other weights."""
    report = out / f"{item.name}.json"
    if file_exists(report):
        try:
            measured = read_json(report, ModelError)["model"]["sha256"]
        except (ModelError, KeyError, TypeError) as error:
            raise ModelError(f"{report} is no report; remove it: {error!r}") from error
        if measured == sha256:
            return report
    detector = load_detector(str(model), None, plain=True)
    curve = out / f"{item.name}.png"
    evaluate_model(detector, _folder(item, out), report, curve, console=console)
    return report
