# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Images per second, and the end of a training that is limited by time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning as L

from kgnpro_ros.config import TrainConfig
from kgnpro_ros.training.module import GraspModule

#: Steps between two measurements of the throughput.
WINDOW = 20


class Pace(L.Callback):
    """Logs the throughput, and follows the clock where ``max_minutes`` is set.

    Args:
        config: The run.
        hours: Hours of training so far, over all stretches.
    """

    def __init__(self, config: TrainConfig, hours: Callable[[], float]) -> None:
        self.config, self.hours = config, hours
        self.images = self.seconds = self.rate = 0.0
        self._mark, self._step = time.monotonic(), 0

    def state_dict(self) -> dict[str, Any]:
        """Images and seconds of the stretches so far, without what comes before the first step."""
        return {"images": self.images, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.images, self.seconds = float(state_dict["images"]), float(state_dict["seconds"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A resumed run knows how much of its time is over; it makes at least one step."""
        self._step = trainer.global_step
        self._follow(trainer, pl_module)
        trainer.should_stop = False

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Start the clock with the first batch at hand."""
        if self._step == trainer.global_step:
            self._mark = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """Measure, and end the run when its time is over."""
        steps = trainer.global_step - self._step
        if steps >= WINDOW:
            now = time.monotonic()
            images = steps * self.config.batch_size * trainer.world_size
            self.images, self.seconds = self.images + images, self.seconds + now - self._mark
            self.rate = images / max(now - self._mark, 1e-9)
            self._step = trainer.global_step
        if self.rate:
            pl_module.log("images_per_second", self.rate, prog_bar=True, batch_size=1)
        self._follow(trainer, pl_module)

    def _follow(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.config.max_minutes is None:
            return
        share = 60.0 * self.hours() / self.config.max_minutes
        if trainer.world_size > 1:
            # Processes that saw different times would take different steps.
            share = float(trainer.strategy.broadcast(share))
        assert isinstance(pl_module, GraspModule)
        pl_module.time_share = min(1.0, share)
        if share >= 1.0:
            trainer.should_stop = True
