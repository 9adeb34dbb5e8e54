# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluates rows that share their weights: the network runs once per image for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kgnpro_ros.config import DetectorConfig, EvaluationConfig
from kgnpro_ros.data.dataset import Sample
from kgnpro_ros.evaluation.command import DetectorTrial, open_test_split
from kgnpro_ros.evaluation.metrics import SceneSums
from kgnpro_ros.evaluation.runner import Contender, evaluate_together
from kgnpro_ros.network.model import NetworkOutput
from kgnpro_ros.pipeline import GraspDetector, Started
from kgnpro_ros.types import GraspBatch, RGBDImage


class SharedOutput:
    """Network output of the image seen last."""

    def __init__(self) -> None:
        self._image: RGBDImage | None = None
        self._output: tuple[NetworkOutput, float] | None = None

    def get(
        self, image: RGBDImage, start: Callable[[RGBDImage], Started]
    ) -> tuple[NetworkOutput, float]:
        """The output for an image, computed when it is another one than last time."""
        if self._output is None or self._image is not image:
            self._image, self._output = image, start(image)()
        return self._output


class SharingDetector(GraspDetector):
    """A detector that takes the network's output from another one with the same weights.

    Args:
        config: Its settings.
        shared: The output in common.
    """

    def __init__(self, config: DetectorConfig, shared: SharedOutput) -> None:
        super().__init__(config)
        self._shared = shared

    def start(self, image: RGBDImage) -> Started:
        """As :meth:`GraspDetector.start`, once per image and at once."""
        output = self._shared.get(image, super().start)
        return lambda: output


class Row(DetectorTrial):
    """A row under evaluation; remembers the grasps of the last image for a second count."""

    def predict(self, sample: Sample) -> GraspBatch:
        """The grasps of one image."""
        self.last = super().predict(sample)
        return self.last

    def again(self, sample: Sample) -> GraspBatch:
        """The same grasps."""
        return self.last


def evaluate_rows(
    rows: Mapping[str, DetectorConfig],
    data: Path,
    config: EvaluationConfig,
    best: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Evaluate detectors with the same model on one data set.

    Args:
        rows: Settings by name; all have the same ``model``.
        data: Test data.
        config: Thresholds and how many images.
        best: So many best-ranked grasps per image are counted apart.
        progress: Called with images done and images in all.

    Returns:
        By name: the report of ``kgnpro evaluate``, with ``scene_sums`` and ``best_sums``, the
        counts of each scene for all grasps and for the best ones.
    """
    shared = SharedOutput()
    trials = {name: Row(SharingDetector(settings, shared)) for name, settings in rows.items()}
    contenders: list[Contender] = []
    for trial in trials.values():
        contenders.append(Contender(trial.predict, trial.inspect))
        contenders.append(Contender(trial.again, max_grasps=best))
    results = evaluate_together(open_test_split(data), contenders, config, progress=progress)
    reports = {}
    for index, (name, trial) in enumerate(trials.items()):
        whole, first = results[2 * index : 2 * index + 2]
        report = trial.report(whole)
        report["scene_sums"] = SceneSums.of(whole.counts).to_dict()
        report["best_sums"] = SceneSums.of(first.counts).to_dict()
        reports[name] = report
    return reports
