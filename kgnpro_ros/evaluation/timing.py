# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""How long something takes: wall clock, and processor time for machines that are busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

WARM_UP = 5


@dataclass(frozen=True)
class Times:
    """Milliseconds over the runs.

    Attributes:
        median, p95, least: Median, 95th percentile and minimum of the wall clock.
        cpu_least, cpu_median: Processor time of all threads, which says more on a busy machine.
    """

    median: float
    p95: float
    least: float
    cpu_least: float
    cpu_median: float


def measure(function: Callable[[], object], runs: int, warm_up: int = WARM_UP) -> Times:
    """Time a function."""
    for _ in range(warm_up):
        function()
    wall, processor = [], []
    for _ in range(runs):
        start, start_processor = time.perf_counter(), time.process_time()
        function()
        wall.append(1e3 * (time.perf_counter() - start))
        processor.append(1e3 * (time.process_time() - start_processor))
    return summary(wall, processor)


def summary(wall: Sequence[float], processor: Sequence[float] = ()) -> Times:
    """Times of measured milliseconds; NaN where no processor time was taken."""
    return Times(
        float(np.median(wall)), float(np.percentile(wall, 95)), min(wall),
        min(processor, default=float("nan")),
        float(np.median(processor)) if len(processor) else float("nan"),
    )  # fmt: skip
