# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Choose the score threshold on the validation scenes of a training run.

Usage: python benchmarks/sweep_threshold.py --model M --data DIR [--data DIR ...] [--scenes 10]

Runs the detector once with a low threshold on the last scenes of each data set, those that
``kgnpro train`` holds out, and prints GSR, GCR and OSR for rising thresholds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from kgnpro_ros.config import DetectorConfig, EvaluationConfig, FilterConfig
from kgnpro_ros.data.dataset import Sample, SceneDataset
from kgnpro_ros.data.labels import GraspLabels
from kgnpro_ros.evaluation.runner import evaluate
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.types import GraspBatch

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)

#: Distance [m] and angle [deg] that are printed.
CELLS = ((0.01, 10.0), (0.02, 20.0))


class LastScenes:
    """The last scenes of a data set, as evaluation data."""

    def __init__(self, path: Path, scenes: int) -> None:
        self.dataset = SceneDataset(path)
        self.count = scenes * self.dataset.views
        self.first = len(self.dataset) - self.count

    def __len__(self) -> int:
        return self.count

    def scene_of(self, index: int) -> int:
        return self.dataset.scene_of(self.first + index)

    def load(self, index: int) -> Sample:
        return self.dataset.load(self.first + index)

    def grasp_labels(self, index: int, rotations: int, translations: int) -> GraspLabels:
        return self.dataset.grasp_labels(self.first + index, rotations, translations)


def plain_detector(model: str) -> GraspDetector:
    """A detector with a low threshold and without the filters that the metric does not know."""
    filters = FilterConfig(
        max_approach_angle=180.0, limit_width=False, collision=False, find_table=False
    )
    config = DetectorConfig(model=model, filters=filters)
    decode = replace(config.decode, score_threshold=min(THRESHOLDS))
    return GraspDetector(replace(config, decode=decode))


def sweep(detector: GraspDetector, path: Path, scenes: int) -> Table:
    """Rates on the last scenes of a data set at every threshold."""
    data = LastScenes(path, scenes)
    config = EvaluationConfig(
        distances=tuple(d for d, _ in CELLS), angles=tuple(a for _, a in CELLS)
    )
    samples = [data.load(index) for index in range(len(data))]
    found = {(s.scene_id, s.view): detector.detect(s.image) for s in samples}
    columns = (f"{100 * distance:g} cm {angle:g}°" for distance, angle in CELLS)
    title = f"{path.name}: GSR / GCR / OSR % on {len(data)} images"
    table = Table("threshold", "grasps/image", *columns, title=title)
    for threshold in THRESHOLDS:
        result = evaluate(data, partial(above, found, threshold), config)
        rates = result.rates()
        cells = []
        for pair in CELLS:
            t = int(np.flatnonzero(np.isclose(result.counts.thresholds, pair).all(-1))[0])
            values = (100 * rate[t] for rate in (rates.gsr, rates.gcr, rates.osr))
            cells.append(" / ".join(f"{value:.1f}" for value in values))
        table.add_row(f"{threshold:g}", f"{result.counts.predictions.mean():.1f}", *cells)
    return table


def above(found: dict[tuple[str, int], GraspBatch], threshold: float, sample: Sample) -> GraspBatch:
    """The grasps of an image whose heat-map score reaches the threshold."""
    grasps = found[sample.scene_id, sample.view]
    return grasps.select(grasps.confidence >= threshold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DetectorConfig().model)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--scenes", type=int, default=10)
    options = parser.parse_args()
    detector = plain_detector(options.model)
    for path in options.data:
        Console().print(sweep(detector, path, options.scenes))


if __name__ == "__main__":
    main()
