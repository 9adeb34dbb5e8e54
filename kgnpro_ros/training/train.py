# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Run a training: data, Lightning trainer, checkpoints that survive a kill, the final model."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from kgnpro_ros.config import TrainConfig, config_from_dict, dump_config
from kgnpro_ros.data.dataset import GraspDataset
from kgnpro_ros.data.kgn_format import open_dataset
from kgnpro_ros.exceptions import DatasetError, ModelError
from kgnpro_ros.network.weights import find_model, save_model
from kgnpro_ros.training.checkpoint import (
    CHECKPOINT,
    Checkpointer,
    check_resumable,
    load_checkpoint,
)
from kgnpro_ros.training.module import GraspModule
from kgnpro_ros.training.pace import Pace
from kgnpro_ros.training.samples import Batch, CropDataset, ResumableSampler, collate
from kgnpro_ros.training.start import load_start

#: Sample numbers of validation crops start here, so that they never meet those of training.
VALIDATION_OFFSET = 10**9
VALIDATION_BATCHES = 8


def train(
    config: TrainConfig,
    data: Sequence[Path],
    out: Path,
    resume: bool = False,
    allow: Sequence[str] = (),
) -> Path:
    """Train a model; returns the path of its weights, which the first process writes.

    Args:
        config: The run.
        data: Folders of generated scenes, or in KGN's published format.
        out: Folder for checkpoints, logs and the model.
        resume: Go on from the checkpoint in ``out``.
        allow: Settings that a resumed run changes on purpose, see :func:`check_resumable`.

    Raises:
        DatasetError: If a data set is missing or too small.
        ModelError: If ``out`` holds a run and ``resume`` is false, or the other way round, or the
            checkpoint belongs to other settings or data, or ``config.start`` does not fit.
        TrainingError: If the loss diverges; the checkpoint is from before that.
    """
    checkpoint = out / CHECKPOINT
    content = _stored(checkpoint, resume)
    done = 0 if content is None else int(content["global_step"])
    datasets = [open_train_split(folder) for folder in data]
    train_scenes, val_scenes = split_scenes(datasets, config.validation_scenes)
    card = describe_run(config, datasets, train_scenes)
    if content is not None:
        check_resumable(checkpoint, content, config, card["data"], allow)
    L.seed_everything(config.seed + done, workers=True)
    module = GraspModule(config, card)
    if content is not None:
        card["start"] = content["kgnpro_card"].get("start")
    elif config.start is not None:
        card["start"] = load_start(module.network, config.start, config.fresh_heads)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(dump_config(config))
    trainer = _trainer(config, out, done)
    try:
        trainer.fit(
            module,
            _loader(CropDataset(datasets, train_scenes, config), config, trainer, done),
            _loader(CropDataset(datasets, val_scenes, config), config, trainer, None),
            ckpt_path=checkpoint if done else None,
            weights_only=True,  # a checkpoint from elsewhere must not run code
        )
    except DatasetError as error:
        # A reading process sends its traceback along; the last line is the message.
        name = f"{DatasetError.__module__}.{DatasetError.__qualname__}: "
        raise DatasetError(str(error).strip().rpartition(name)[2]) from error
    return export_checkpoint(out) if trainer.is_global_zero else out / "model.safetensors"


def _trainer(config: TrainConfig, out: Path, done: int) -> L.Trainer:
    """Lightning's trainer for a run that has ``done`` steps behind it."""
    checkpointer = Checkpointer(out, config.checkpoint_minutes)
    return L.Trainer(
        max_steps=config.max_steps,
        devices=config.devices, num_nodes=config.num_nodes, strategy=config.strategy,
        precision=_precision(config.precision),  # type: ignore[arg-type]
        logger=[
            CSVLogger(out, "csv", f"from_step_{done:07d}"),  # one per stretch: it starts afresh
            TensorBoardLogger(out, "tensorboard", ""),
        ],
        callbacks=[
            WeightAveraging(avg_fn=partial(running_average, decay=config.ema_decay)),
            LearningRateMonitor("step"), TQDMProgressBar(refresh_rate=10),
            checkpointer, Pace(config, checkpointer.hours),
        ],
        use_distributed_sampler=False, enable_checkpointing=False,
        val_check_interval=config.validation_interval, check_val_every_n_epoch=None,
        num_sanity_val_steps=0, log_every_n_steps=20, enable_model_summary=False,
    )  # fmt: skip


def open_train_split(path: Path) -> GraspDataset:
    """A generated data set, or the scenes that ``train.txt`` lists in KGN's published format.

    Raises:
        DatasetError: If it is neither, or not complete.
    """
    listed = (path / "train.txt").is_file()
    return open_dataset(path, split="train" if listed else None)


def running_average(average: Tensor, current: Tensor, updates: Tensor, decay: float) -> Tensor:
    """Exponential average of weights that forgets its first steps faster.

    With a constant decay the weights of a short run would mostly be the random ones of its start.
    """
    keep = ((1.0 + updates) / (10.0 + updates)).clamp(max=decay)
    return average * keep + current * (1.0 - keep)


def split_scenes(
    datasets: Sequence[GraspDataset], held_out: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Training and validation scenes of each data set; the last ``held_out`` validate.

    Raises:
        DatasetError: If a data set has no scene left to train on.
    """
    train_scenes, val_scenes = [], []
    for dataset in datasets:
        count = len(dataset.scene_numbers)
        if count <= held_out:
            raise DatasetError(
                f"{dataset.path} has {count} scenes, and {held_out} are held out for validation; "
                "generate more scenes or lower validation_scenes"
            )
        train_scenes.append(list(range(count - held_out)))
        val_scenes.append(list(range(count - held_out, count)))
    return train_scenes, val_scenes


def export_checkpoint(run: Path, name: str = "model", folder: Path | None = None) -> Path:
    """Write the averaged weights of a run's newest checkpoint as a model file with its card.

    Args:
        run: Folder of the run.
        name: Stem of the file.
        folder: Where it is written; the folder of the run if None.

    Returns:
        The file, the first one where a large model is written in shards.
    """
    content = load_checkpoint(run / CHECKPOINT)
    config = config_from_dict(TrainConfig, content["kgnpro_config"], str(run / CHECKPOINT))
    module = GraspModule(config)
    module.load_state_dict(content["state_dict"])
    states = list(content["callbacks"].values())
    details = {**content["kgnpro_card"], "steps": content["global_step"]}
    details["hours"] = round(max((s["hours"] for s in states if "hours" in s), default=0.0), 3)
    pace = next((s for s in states if s.get("seconds")), None)
    if pace is not None:
        details["images_per_second"] = round(pace["images"] / pace["seconds"], 1)
    path = (folder or run) / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(module.network, path, details)
    return find_model(path)


def describe_run(
    config: TrainConfig, datasets: Sequence[GraspDataset], scenes: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """What the model card says about data, configuration and machine."""
    return {
        "data": [
            {**dataset.manifest, "training_scenes": len(used)}
            for dataset, used in zip(datasets, scenes, strict=True)
        ],
        "training": asdict(config),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}"
        + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"),
        "torch": str(torch.__version__),
    }


def _loader(
    dataset: CropDataset, config: TrainConfig, trainer: L.Trainer, start: int | None
) -> DataLoader[Batch]:
    """Training loader that goes on after ``start`` steps, or (None) the fixed validation crops."""
    world, rank = trainer.world_size, trainer.global_rank
    per_step = config.batch_size * world
    first = VALIDATION_OFFSET if start is None else 0
    end = first + per_step * (VALIDATION_BATCHES if start is None else config.max_steps)
    return DataLoader(
        dataset,
        batch_size=config.batch_size,
        sampler=ResumableSampler(first, end, rank, world, done=(start or 0) * per_step),
        num_workers=config.workers if start is not None else 0,
        collate_fn=collate,
        drop_last=True,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
    )


def _stored(checkpoint: Path, resume: bool) -> dict[str, Any] | None:
    """The checkpoint to go on from; checks that the folder fits what was asked for."""
    if checkpoint.is_file() != resume:
        raise ModelError(
            f"{checkpoint} does not exist, so there is nothing to resume"
            if resume
            else f"{checkpoint} exists: resume the run, or choose another folder"
        )
    return load_checkpoint(checkpoint) if resume else None


def _precision(name: str) -> str:
    """``auto``: bfloat16 where a GPU computes in it, single precision elsewhere."""
    if name != "auto":
        return name
    fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if fast else "32-true"
