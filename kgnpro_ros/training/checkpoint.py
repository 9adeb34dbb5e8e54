# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that survive a kill, and which settings a resumed run may change."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch

from kgnpro_ros.config import TrainConfig, config_from_dict
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.training.module import GraspModule

CHECKPOINT = "last.ckpt"

#: Settings that a resumed run may change without saying so: they decide how long and how fast it
#: learns and on which machine, not what it learns from which data.
FREE_SETTINGS = (
    "max_steps", "max_minutes", "learning_rate", "weight_decay", "gradient_clip", "ema_decay",
    "divergence_factor", "divergence_steps", "checkpoint_minutes", "validation_interval",
    "workers", "precision", "devices", "num_nodes", "strategy",
)  # fmt: skip


class Checkpointer(L.Callback):
    """Writes one checkpoint every few minutes, in one step: a kill leaves the previous one.

    While the loss is diverging it writes none, so the last one can be gone on from. Nothing here
    waits for other processes: one that failed would never answer.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self.folder, self.seconds = folder, minutes * 60
        self.started = time.monotonic()
        self.last = float("-inf")  # the first step is saved: a run that diverges has a checkpoint
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
        if time.monotonic() - self.last >= self.seconds and _bad_steps(trainer) == 0:
            self.save(trainer)

    def on_exception(self, trainer: L.Trainer, *args: Any) -> None:
        """Save what there is when the run is interrupted or fails, unless it is diverging."""
        # While validating, averaged and current weights have changed places.
        if trainer.global_step > 0 and not trainer.validating and _bad_steps(trainer) <= 1:
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Save the end."""
        self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Write a checkpoint beside the old one, then swap."""
        if not trainer.is_global_zero:
            return
        self.last = time.monotonic()
        partial = self.folder / "partial.ckpt"
        if trainer.world_size == 1:
            trainer.save_checkpoint(partial)
        else:
            # As above without its barrier, which would wait for a process that has failed.
            content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            trainer.strategy.checkpoint_io.save_checkpoint(content, partial)
        partial.replace(self.folder / CHECKPOINT)


def _bad_steps(trainer: L.Trainer) -> int:
    module = trainer.lightning_module
    assert isinstance(module, GraspModule)
    return module.watch.bad_steps


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a checkpoint of this package.

    Raises:
        ModelError: If it is missing, damaged, or of another program.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path} is not a readable checkpoint: {error}") from error
    if not isinstance(content, dict) or "kgnpro_config" not in content:
        raise ModelError(f"{path} is not a checkpoint of this package")
    return content


def check_resumable(
    checkpoint: Path,
    content: Mapping[str, Any],
    config: TrainConfig,
    data: Sequence[Mapping[str, Any]],
    allow: Sequence[str] = (),
) -> None:
    """Refuse to go on with other settings or data than a run was started with.

    Args:
        checkpoint: Where it is, for the message.
        content: The checkpoint.
        config: Settings to go on with.
        data: Descriptions of the data sets to go on with.
        allow: Settings that are changed on purpose, such as ``data`` or ``loss.pose``; a group
            stands for all in it.

    Raises:
        ConfigError: If ``allow`` names something that is no setting.
        ModelError: If anything else differs than what is free or allowed; names all of it.
    """
    stored = config_from_dict(TrainConfig, content["kgnpro_config"], str(checkpoint))
    stored_data = content.get("kgnpro_card", {}).get("data", [])
    before = flat_settings({**asdict(stored), "data": stored_data})
    now = flat_settings({**asdict(config), "data": list(data)})
    unknown = [name for name in allow if not any(_within(key, name) for key in {**before, **now})]
    if unknown:
        raise ConfigError(f"no setting {', '.join(unknown)} to allow a change of")
    free = (*FREE_SETTINGS, *allow)
    changes = [
        f"{key} ({before.get(key, 'absent')!r} before, {now.get(key, 'absent')!r} now)"
        for key in sorted({**before, **now})
        if before.get(key) != now.get(key) and not any(_within(key, name) for name in free)
    ]
    if changes:
        raise ModelError(
            f"{checkpoint} was trained with other settings: {'; '.join(changes)}. Go on with the "
            "same ones, allow a change that is meant (--allow NAME), or choose another folder; "
            f"free to change are {', '.join(FREE_SETTINGS)}"
        )


def flat_settings(value: Any, prefix: str = "") -> dict[str, Any]:
    """Values by dotted name; what JSON does not tell apart is equal."""
    value = json.loads(json.dumps(value)) if not prefix else value
    if not isinstance(value, (dict, list)):
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= flat_settings(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _within(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")
