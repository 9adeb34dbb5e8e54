# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Run a training: data, Lightning trainer, checkpoints that survive a kill, the final model."""

from __future__ import annotations

import os
import pickle
import platform
import time
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
from kgnpro_ros.network.weights import save_model
from kgnpro_ros.training.module import GraspModule
from kgnpro_ros.training.samples import Batch, CropDataset, ResumableSampler, collate

CHECKPOINT = "last.ckpt"

#: Sample numbers of validation crops start here, so that they never meet those of training.
VALIDATION_OFFSET = 10**9
VALIDATION_BATCHES = 8


class Checkpointer(L.Callback):
    """Writes one checkpoint every few minutes, in one step: a kill leaves the previous one."""

    def __init__(self, folder: Path, minutes: float) -> None:
        self.folder, self.seconds = folder, minutes * 60
        self.last = self.started = time.monotonic()
        self.previous_hours = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Hours of training so far, over all stretches."""
        return {"hours": self.hours()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting hours from the checkpoint."""
        self.previous_hours = float(state_dict["hours"])

    def hours(self) -> float:
        """Hours of training, over all stretches."""
        return self.previous_hours + (time.monotonic() - self.started) / 3600

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Save when it is time."""
        if time.monotonic() - self.last >= self.seconds:
            self.save(trainer)

    def on_exception(self, trainer: L.Trainer, *args: Any) -> None:
        """Save what there is when the run is interrupted or fails."""
        # While validating, averaged and current weights have changed places.
        if trainer.global_step > 0 and not trainer.validating:
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Save the end."""
        self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Write checkpoint and model beside their old versions, then swap."""
        self.last = time.monotonic()
        partial = self.folder / "partial.ckpt"
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self.folder / CHECKPOINT)


def train(config: TrainConfig, data: Sequence[Path], out: Path, resume: bool = False) -> Path:
    """Train a model; returns the path of its weights.

    Args:
        config: The run.
        data: Folders of generated scenes, or in KGN's published format.
        out: Folder for checkpoints, logs and the model.
        resume: Go on from the checkpoint in ``out``.

    Raises:
        DatasetError: If a data set is missing or too small.
        ModelError: If ``out`` holds a run and ``resume`` is false, or the other way round, or the
            checkpoint belongs to another configuration.
    """
    checkpoint = out / CHECKPOINT
    start = _start_step(checkpoint, config, resume)
    datasets = [open_train_split(folder) for folder in data]
    train_scenes, val_scenes = split_scenes(datasets, config.validation_scenes)
    L.seed_everything(config.seed + start, workers=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(dump_config(config))
    card = describe_run(config, datasets, train_scenes)
    saver = Checkpointer(out, config.checkpoint_minutes)
    trainer = L.Trainer(
        max_steps=config.max_steps,
        devices=config.devices, num_nodes=config.num_nodes, strategy=config.strategy,
        precision=_precision(config.precision),  # type: ignore[arg-type]
        logger=[
            CSVLogger(out, "csv", f"from_step_{start:07d}"),  # one per stretch: it starts afresh
            TensorBoardLogger(out, "tensorboard", ""),
        ],
        callbacks=[
            WeightAveraging(avg_fn=partial(running_average, decay=config.ema_decay)),
            LearningRateMonitor("step"), TQDMProgressBar(refresh_rate=10), saver,
        ],
        use_distributed_sampler=False, enable_checkpointing=False,
        val_check_interval=config.validation_interval, check_val_every_n_epoch=None,
        num_sanity_val_steps=0, log_every_n_steps=20, enable_model_summary=False,
    )  # fmt: skip
    module = GraspModule(config, card)
    trainer.fit(
        module,
        _loader(CropDataset(datasets, train_scenes, config), config, trainer, start),
        _loader(CropDataset(datasets, val_scenes, config), config, trainer, None),
        ckpt_path=checkpoint if start else None,
        weights_only=False,
    )
    return export_checkpoint(out)


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


def export_checkpoint(run: Path, name: str = "model") -> Path:
    """Write the averaged weights of a run's newest checkpoint as a model file with its card.

    Args:
        run: Folder of the run.
        name: Stem of the file.
    """
    content = _load_checkpoint(run / CHECKPOINT)
    config = config_from_dict(TrainConfig, content["kgnpro_config"], str(run / CHECKPOINT))
    module = GraspModule(config)
    module.load_state_dict(content["state_dict"])
    hours = [s["hours"] for s in content["callbacks"].values() if "hours" in s]
    details = {**content["kgnpro_card"], "steps": content["global_step"]}
    details["hours"] = round(max(hours, default=0.0), 3)
    path = run / f"{name}.safetensors"
    save_model(module.network, path, details)
    return path


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


def _start_step(checkpoint: Path, config: TrainConfig, resume: bool) -> int:
    """Steps already done; checks that the folder fits what was asked for."""
    if checkpoint.is_file() != resume:
        raise ModelError(
            f"{checkpoint} does not exist, so there is nothing to resume"
            if resume
            else f"{checkpoint} exists: resume the run, or choose another folder"
        )
    if not resume:
        return 0
    content = _load_checkpoint(checkpoint)
    before = config_from_dict(TrainConfig, content["kgnpro_config"], str(checkpoint))
    if before.network != config.network or before.batch_size != config.batch_size:
        raise ModelError(
            f"{checkpoint} belongs to network {before.network!r} with batch size "
            f"{before.batch_size}; the configuration says {config.network!r} and "
            f"{config.batch_size}"
        )
    return int(content["global_step"])


def _load_checkpoint(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path} is not a readable checkpoint: {error}") from error
    if not isinstance(content, dict) or "kgnpro_config" not in content:
        raise ModelError(f"{path} is not a checkpoint of this package")
    return content


def _precision(name: str) -> str:
    """``auto``: bfloat16 where a GPU computes in it, single precision elsewhere."""
    if name != "auto":
        return name
    fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if fast else "32-true"
