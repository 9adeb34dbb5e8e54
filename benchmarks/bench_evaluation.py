# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""How long ``kgnpro evaluate`` takes without the network.

    python benchmarks/bench_evaluation.py --data DATA [--model lite] [--images 250]

Runs the whole evaluation and subtracts the time that the detector waited for its network.
"""

# ruff: noqa: E402
from __future__ import annotations

from kgnpro_ros.threads import keep_blas_to_one_thread

keep_blas_to_one_thread()

import argparse
import os
import time
from pathlib import Path

from rich.console import Console

from kgnpro_ros.detect_files import load_detector
from kgnpro_ros.evaluation.command import evaluate_model
from kgnpro_ros.pipeline import Detection, GraspDetector


class Clocked:
    """A detector's ``run`` that sums up the stages [ms]."""

    def __init__(self, detector: GraspDetector) -> None:
        self.run, self.spent = detector.run, dict[str, float]()

    def __call__(self, *arguments: object) -> Detection:
        detection = self.run(*arguments)  # type: ignore[arg-type]
        for name, value in detection.timings.items():
            self.spent[name] = self.spent.get(name, 0.0) + value
        return detection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--images", type=int, default=250)
    options = parser.parse_args()
    detector = load_detector(options.model, None, plain=True)
    clocked = Clocked(detector)
    detector.run = clocked  # type: ignore[method-assign]
    start = time.perf_counter()
    report = evaluate_model(
        detector, options.data, limit=options.images, console=Console(quiet=True)
    )
    total = time.perf_counter() - start
    network = 1e-3 * clocked.spent["network"]
    rest = 1e-3 * (clocked.spent["total"] - clocked.spent["network"])
    print(
        f"{report['images']} images in {total:.1f} s: network {network:.1f} s, the others "
        f"{total - network:.1f} s, of which the rest of detection {rest:.1f} s; "
        f"{detector.runtime.note}; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
