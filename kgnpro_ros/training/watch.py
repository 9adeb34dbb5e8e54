# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Notices a loss that grows without end."""

from __future__ import annotations

import math

#: Share of a step in the running mean.
MOMENTUM = 0.05


class LossWatch:
    """Counts the steps in a row whose loss is far above the lowest running mean, or not finite.

    Far is ``factor`` times the size of that mean, and of 1 at least: losses with a likelihood in
    them pass through zero.

    Attributes:
        bad_steps: Such steps in a row.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.bad_steps = 0
        self._mean = self._lowest = math.nan

    def update(self, loss: float) -> None:
        """Take the loss of one step."""
        limit = self._lowest + self.factor * max(1.0, abs(self._lowest))
        if not math.isfinite(loss) or loss > limit:
            self.bad_steps += 1
            return
        self.bad_steps = 0
        first = math.isnan(self._mean)
        self._mean = loss if first else self._mean + MOMENTUM * (loss - self._mean)
        self._lowest = self._mean if first else min(self._lowest, self._mean)
