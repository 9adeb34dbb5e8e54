# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Time the detector on frames, stage by stage.

    python benchmarks/bench_detector.py --frames DIR [--model lite] [--runs 50]

Prints the median and 95th percentile of each stage, and the time of the same arithmetic at the
machine's matrix-multiply rate, so that figures from a busy machine can be told from a slow network.
With ``--candidates`` the score threshold is dropped to 0 so that as many candidates as ``top_k``
allows reach PnP and the filters.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.predictions import find_frames, read_frame
from kgnpro_ros.types import RGBDImage

WARM_UP = 5
MATRIX = 1536


def matmul_rate(runs: int = 7) -> float:
    """Floating-point operations per second of a large float32 matrix product (median)."""
    a = torch.randn(MATRIX, MATRIX)
    rates = []
    for _ in range(runs):
        start = time.perf_counter()
        a @ a
        rates.append(2 * MATRIX**3 / (time.perf_counter() - start))
    return float(np.median(rates))


def network_flops(detector: GraspDetector, image: RGBDImage) -> float:
    """Floating-point operations of one forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        detector.infer(image)
    return float(counter.get_total_flops())


def measure(
    detector: GraspDetector, images: list[RGBDImage], runs: int, min_score: float | None
) -> tuple[dict[str, list[float]], list[int]]:
    """Milliseconds of every stage and run, and candidates solved in each."""
    stages: dict[str, list[float]] = {}
    solved = []
    for run in range(WARM_UP + runs):
        detection = detector.run(images[run % len(images)], min_score=min_score)
        if run >= WARM_UP:
            solved.append(len(detection.solved))
            for name, value in detection.timings.items():
                stages.setdefault(name, []).append(value)
    return stages, solved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", required=True)
    parser.add_argument("--model", default=DetectorConfig().model)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--candidates", action="store_true")
    options = parser.parse_args()
    config = DetectorConfig(model=options.model)
    if options.candidates:
        decode = replace(config.decode, local_maximum=False, orientation_check=False)
        config = replace(config, decode=decode)
    detector = GraspDetector(config)
    images = [read_frame(folder) for folder in find_frames(options.frames)]
    stages, solved = measure(detector, images, options.runs, 0.0 if options.candidates else None)
    console = Console()
    table = Table("stage", "median ms", "p95 ms", title=f"{options.model}, {detector.device}")
    for name, values in stages.items():
        table.add_row(name, f"{np.median(values):.1f}", f"{np.percentile(values, 95):.1f}")
    after = np.median(np.sum([v for k, v in stages.items() if k not in ("network", "total")], 0))
    table.add_row("after network", f"{after:.1f}", "")
    console.print(table)
    console.print(f"{options.runs} runs, {np.median(solved):.0f} candidates solved (median)")
    rate, work = matmul_rate(), network_flops(detector, images[0])
    floor = 1e3 * work / rate
    share = floor / np.median(stages["network"])
    console.print(
        f"network: {work / 1e9:.1f} GFLOP, {floor:.0f} ms at the matrix-multiply rate of "
        f"{rate / 1e9:.0f} GFLOP/s: {100 * share:.0f} % of it reached"
    )


if __name__ == "__main__":
    main()
