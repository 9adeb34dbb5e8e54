# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The Lightning module: one step, the optimiser and its schedule."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
import yaml
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from kgnpro_ros.config import LossConfig, TrainConfig, dump_config
from kgnpro_ros.exceptions import TrainingError
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.pnp.loss import MonteCarloPoseLoss
from kgnpro_ros.training.losses import map_losses
from kgnpro_ros.training.pose_term import pose_term
from kgnpro_ros.training.samples import Batch
from kgnpro_ros.training.watch import LossWatch


class GraspModule(L.LightningModule):
    """Trains a :class:`KeypointNetwork`.

    Attributes:
        skipped: Batches that were skipped because their loss was not finite.
        skipped_grasps: Grasps without a usable pose distribution.
        watch: Whether the loss is as it should be.
        time_share: How much of the time of a run limited by time is over, 0 to 1.
    """

    def __init__(self, config: TrainConfig, card: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config, self.card = config, card or {}
        network = KeypointNetwork(config.architecture)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.skipped = self.skipped_grasps = 0
        self._skip, self.time_share = False, 0.0
        self.pose_loss = MonteCarloPoseLoss(config.pose) if config.loss.pose > 0 else None
        self.watch = LossWatch(config.divergence_factor)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch; Lightning does not know our dataclass."""
        return batch.to(device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """All loss terms of a batch: those of :func:`map_losses`, and the pose loss if it is on."""
        output = self.network(batch.color, batch.depth)
        weights = self.config.loss
        terms = map_losses(output, batch, weights)
        share = pose_share(self.global_step, weights)
        if self.pose_loss is not None and share > 0:
            with torch.autocast(batch.color.device.type, enabled=False):
                result = pose_term(
                    output, batch, self.pose_loss, weights.pose_grasps, matching=share >= 1
                )
            self.skipped_grasps += result.skipped
            terms["pose"] = weights.pose * share * result.value
            terms["loss"] = terms["loss"] + terms["pose"]
        return terms

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Loss of one batch; None, which skips the step, when it is not finite.

        With several processes all of them skip it: one that did not would wait for the others.

        Raises:
            TrainingError: If the loss diverges.
        """
        terms = self.losses(batch)
        size = len(batch.color)
        for name, value in terms.items():
            self.log(f"train/{name}", value.detach(), batch_size=size, prog_bar=name == "loss")
        loss: Tensor = terms["loss"]
        mean = float(self.trainer.strategy.reduce(loss.detach().clone(), reduce_op="mean"))
        self.watch.update(mean)
        if self.watch.bad_steps >= self.config.divergence_steps:
            raise TrainingError(self._divergence(mean))
        if not math.isfinite(mean):
            self.skipped += 1
            broken = [name for name, value in terms.items() if not torch.isfinite(value)]
            where = ", ".join(broken) or "another process"
            self.print(f"step {self.global_step}: skipped, not finite: {where}")
            self._skip = True
            return None if self.trainer.world_size == 1 else self._nothing(self.network)
        if self.trainer.world_size > 1:
            loss = loss + self._nothing(self.network.heads)
        return loss

    @staticmethod
    def _nothing(part: nn.Module) -> Tensor:
        """Zero, with gradients of zero: processes exchange the gradient of every parameter."""
        return torch.stack([0.0 * parameter.sum() for parameter in part.parameters()]).sum()

    def _divergence(self, loss: float) -> str:
        """What to say when training stops."""
        return (
            f"training diverges: for {self.watch.bad_steps} steps the loss was not finite or more "
            f"than {self.config.divergence_factor:g} times its lowest mean (now {loss:.3g}, step "
            f"{self.global_step}, learning_rate {self.config.learning_rate:g}). The checkpoint is "
            "the last one from before; resume from it with a lower learning_rate"
        )

    def on_train_start(self) -> None:
        """Let a resumed run take a changed learning rate; the stored schedule has the old one."""
        schedule = self.lr_schedulers()
        assert isinstance(schedule, LambdaLR)
        rate = self.config.learning_rate
        schedule.base_lrs = [rate for _ in schedule.base_lrs]
        for group in schedule.optimizer.param_groups:
            group["initial_lr"] = rate
            group["lr"] = rate * self._rate_factor(schedule.last_epoch)
            if group["weight_decay"]:
                group["weight_decay"] = self.config.weight_decay

    def _rate_factor(self, step: int) -> float:
        return learning_rate_factor(step, self.config, self.time_share)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient; drop it where it is not finite, so that weights stay usable."""
        norm = nn.utils.clip_grad_norm_(self.parameters(), self.config.gradient_clip)
        if not torch.isfinite(norm):
            self.skipped += 1
            self._skip = True
        if self._skip:
            optimizer.zero_grad()  # to None, which leaves weights and momentum alone
            self._skip = False
        self.log("train/skipped", float(self.skipped))
        if self.pose_loss is not None:
            self.log("train/skipped_grasps", float(self.skipped_grasps))
            self.log("train/norm_factor", self.pose_loss.norm_factor)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log all terms on held-out scenes (averaged weights)."""
        for name, value in self.losses(batch).items():
            self.log(
                f"val/{name}", value, batch_size=len(batch.color), prog_bar=name == "loss",
                sync_dist=self.trainer.world_size > 1,
            )  # fmt: skip

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep with the weights what they were trained on."""
        checkpoint["kgnpro_config"] = yaml.safe_load(dump_config(self.config))
        checkpoint["kgnpro_card"] = {**self.card, "skipped_batches": self.skipped}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = int(checkpoint["kgnpro_card"].get("skipped_batches", 0))

    def configure_optimizers(self) -> Any:
        """AdamW, no decay on biases and norms, scheduled per step."""
        decay = [p for p in self.parameters() if p.ndim > 1]
        plain = [p for p in self.parameters() if p.ndim <= 1]
        groups = [
            {"params": decay, "weight_decay": self.config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate)
        schedule = LambdaLR(optimizer, lambda step: self._rate_factor(step))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def pose_share(step: int, config: LossConfig) -> float:
    """How much of its weight the pose loss has at a step, 0 to 1.

    It starts late and grows slowly: matches of random keypoints would mean nothing.
    """
    return min(1.0, max(0.0, (step + 1 - config.pose_start) / max(1, config.pose_ramp)))


def learning_rate_factor(step: int, config: TrainConfig, time_share: float = 0.0) -> float:
    """Learning rate at a step, with so much of its time over, relative to its maximum.

    ``steps`` is the paper's: x0.1 after 2/3 and again after 5/6 of the run (epochs 200 and 250 of
    300); ``cosine`` falls to 1 % at the end.
    """
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    progress = min(1.0, max(step / config.max_steps, time_share))
    if config.schedule == "steps":
        return warmup * (1.0 if progress < 2 / 3 else 0.1 if progress < 5 / 6 else 0.01)
    return warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
