# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Plot the losses of a training run over all its stretches, or of runs in succession.

python benchmarks/plot_learning_curve.py RUN [RUN ...] OUT.png [--first STEP]
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

TERMS = ("heatmap", "keypoints", "depth", "width")
SMOOTHING = 10


def read_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every logged quantity; later stretches replace what they repeat."""
    curves: dict[str, dict[int, float]] = {}
    for path in sorted(run.glob("csv/**/metrics.csv")):
        with path.open() as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if name not in ("step", "epoch") and value:
                        curves.setdefault(name, {})[int(row["step"])] = float(value)
    return {name: sorted(values.items()) for name, values in curves.items()}


def append(curves: dict[str, np.ndarray], run: Path, first: int) -> int:
    """Add a run whose step 0 is ``first``; returns the step that it ended at."""
    last = first
    for name, values in read_curves(run).items():
        points = np.array(values)
        points[:, 0] += first
        curves[name] = np.concatenate([curves.get(name, np.zeros((0, 2))), points])
        last = max(last, int(points[-1, 0]))
    return last


def draw(axis: plt.Axes, curves: dict[str, np.ndarray], term: str, starts: list[int]) -> None:
    """One loss in training and validation; dotted lines where a run started."""
    steps, values = curves[f"train/{term}"].T
    width = min(SMOOTHING, len(values))
    smooth = np.convolve(values, np.ones(width) / width, mode="valid")
    axis.plot(steps[width - 1 :], smooth, label="training crops (running mean)")
    if f"val/{term}" in curves:
        axis.plot(*curves[f"val/{term}"].T, "o-", label="held-out scenes, averaged")
    for start in starts[1:]:
        axis.axvline(start, color="gray", linestyle=":")
    axis.set_title(term)
    axis.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=0, help="step that the first run starts at")
    options = parser.parse_args()
    curves: dict[str, np.ndarray] = {}
    starts, last = [], options.first
    for run in options.runs:
        starts.append(last)
        last = append(curves, run, last)
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True, constrained_layout=True)
    for axis, term in zip(axes.flat, TERMS, strict=True):
        draw(axis, curves, term, starts)
    axes[0, 0].legend()
    for axis in axes[1]:
        axis.set_xlabel("step")
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
