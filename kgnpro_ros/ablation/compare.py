# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Rates of a row over its seeds, and paired differences of rows, with intervals over scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import EvaluationConfig
from kgnpro_ros.evaluation.metrics import (
    Rates,
    SceneSums,
    interval_ends,
    resampling_weights,
)

FloatArray = NDArray[np.float64]

RATES = ("osr", "gsr", "gcr")


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval over scenes, in shares of 1; NaN where there is none.

    Attributes:
        value: The number.
        low, high: Ends of the interval.
    """

    value: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """For a difference: whether zero is outside of the interval."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        names = ("value", "low", "high")
        numbers = {name: getattr(self, name) for name in names}
        return {k: None if np.isnan(v) else float(v) for k, v in numbers.items()}


class SeedRates:
    """Rates of one row on one test set, by seed; at the first cells of the table.

    Args:
        sums: Counts of the scenes for each seed.
        config: Resampling, and which thresholds are cells.
    """

    def __init__(self, sums: Mapping[int, SceneSums], config: EvaluationConfig) -> None:
        scenes = len(next(iter(sums.values())).predictions)
        weights = resampling_weights(scenes, config.bootstrap_samples, config.seed)
        self.cells = len(config.distances) * len(config.angles)
        self.exact = {seed: item.rates() for seed, item in sums.items()}
        self.resampled = {seed: item.rates(weights) for seed, item in sums.items()}

    def estimate(self, rate: str, seeds: Sequence[int] | None = None) -> list[Estimate]:
        """Mean over seeds (all when None) at each cell."""
        seeds = list(self.exact) if seeds is None else seeds
        exact, resampled = self._means(rate, seeds)
        return self._estimates(exact, resampled)

    def difference(self, other: SeedRates, rate: str) -> tuple[list[Estimate], list[int]]:
        """This row minus another, paired by scene and seed, and the seeds that both have."""
        seeds = [seed for seed in self.exact if seed in other.exact]
        exact, resampled = self._means(rate, seeds)
        exact_other, resampled_other = other._means(rate, seeds)
        return self._estimates(exact - exact_other, resampled - resampled_other), seeds

    def _means(self, rate: str, seeds: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        """Mean rates over seeds, exact (T,) and resampled (B, T)."""
        if not seeds:
            missing = np.full(self.cells, np.nan)
            return missing, missing[None]

        def mean(rates: Mapping[int, Rates]) -> FloatArray:
            values = [getattr(rates[seed], rate)[..., : self.cells] for seed in seeds]
            return np.asarray(np.mean(values, axis=0), dtype=np.float64)

        return mean(self.exact), mean(self.resampled)

    def _estimates(self, exact: FloatArray, resampled: FloatArray) -> list[Estimate]:
        low, high = interval_ends(resampled)
        return [Estimate(*map(float, item)) for item in zip(exact, low, high, strict=True)]
