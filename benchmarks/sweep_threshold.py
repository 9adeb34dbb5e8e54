# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Choose the score threshold on the validation scenes of a training run.

Usage: python benchmarks/sweep_threshold.py --model M --data DIR [--data DIR ...] [--scenes 10]

Detects on the last scenes of each data set, those that ``kgnpro train`` holds out, and prints GSR,
GCR and OSR over all of them together for rising thresholds. The network runs once per image.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from kgnpro_ros.ablation.rows import SharedOutput, SharingDetector
from kgnpro_ros.config import DetectorConfig, EvaluationConfig
from kgnpro_ros.data.dataset import Sample, SceneDataset
from kgnpro_ros.data.labels import GraspLabels
from kgnpro_ros.evaluation.runner import Contender, EvaluationResult, evaluate_together
from kgnpro_ros.types import GraspBatch

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)

#: Distance [m] and angle [deg] that are printed.
CELLS = ((0.01, 10.0), (0.02, 20.0))


class LastScenes:
    """The last scenes of data sets, one after the other, as evaluation data."""

    def __init__(self, paths: Sequence[Path], scenes: int) -> None:
        self.places: list[tuple[SceneDataset, int]] = []
        self.scenes: list[int] = []
        before = 0
        for path in paths:
            dataset = SceneDataset(path)
            first = len(dataset) - scenes * dataset.views
            for offset in range(scenes * dataset.views):
                self.scenes.append(before + offset // dataset.views)
                self.places.append((dataset, first + offset))
            before += scenes

    def __len__(self) -> int:
        return len(self.places)

    def scene_of(self, index: int) -> int:
        return self.scenes[index]

    def load(self, index: int) -> Sample:
        dataset, place = self.places[index]
        return dataset.load(place)

    def grasp_labels(self, index: int, rotations: int, translations: int) -> GraspLabels:
        dataset, place = self.places[index]
        return dataset.grasp_labels(place, rotations, translations)


def contender(model: str, threshold: float, shared: SharedOutput) -> Contender:
    """A detector with a threshold and without the filters that the metric does not know."""
    config = DetectorConfig(model=model)
    decode = replace(config.decode, score_threshold=threshold)
    config = replace(config, decode=decode, filters=config.filters.without_gripper())
    detector = SharingDetector(config, shared)

    def predict(sample: Sample) -> GraspBatch:
        return detector.detect(sample.image)

    return Contender(predict)


def rows(results: Sequence[EvaluationResult]) -> Table:
    """Rates by threshold."""
    columns = (f"{100 * distance:g} cm {angle:g}°" for distance, angle in CELLS)
    table = Table("threshold", "grasps/image", *columns, title="GSR / GCR / OSR %")
    for threshold, result in zip(THRESHOLDS, results, strict=True):
        rates, cells = result.rates(), []
        for pair in CELLS:
            t = int(np.flatnonzero(np.isclose(result.counts.thresholds, pair).all(-1))[0])
            values = (100 * rate[t] for rate in (rates.gsr, rates.gcr, rates.osr))
            cells.append(" / ".join(f"{value:.1f}" for value in values))
        count = f"{result.counts.predictions.mean():.1f}"
        table.add_row(f"{threshold:g}", count, *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DetectorConfig().model)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--scenes", type=int, default=10)
    options = parser.parse_args()
    shared = SharedOutput()
    contenders = [contender(options.model, threshold, shared) for threshold in THRESHOLDS]
    data = LastScenes(options.data, options.scenes)
    config = EvaluationConfig(
        distances=tuple(d for d, _ in CELLS), angles=tuple(a for _, a in CELLS)
    )
    Console().print(f"{len(data)} images", rows(evaluate_together(data, contenders, config)))


if __name__ == "__main__":
    main()
