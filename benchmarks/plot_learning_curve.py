# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Plot the losses of a training run, over all its stretches.

python benchmarks/plot_learning_curve.py RUN OUT.png
"""

from __future__ import annotations

import csv
import sys
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


def main() -> None:
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    curves = read_curves(run)
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True, constrained_layout=True)
    for axis, term in zip(axes.flat, TERMS, strict=True):
        steps, values = np.array(curves[f"train/{term}"]).T
        width = min(SMOOTHING, len(values))
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        axis.plot(steps[width - 1 :], smooth, label="training crops (running mean)")
        if f"val/{term}" in curves:
            axis.plot(*np.array(curves[f"val/{term}"]).T, "o-", label="held-out scenes, averaged")
        axis.set_title(term)
        axis.grid(alpha=0.3)
    axes[0, 0].legend()
    for axis in axes[1]:
        axis.set_xlabel("step")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
