# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs predictions over a data set and counts their matches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import EvaluationConfig
from kgnpro_ros.data.dataset import Sample
from kgnpro_ros.data.labels import GraspLabels
from kgnpro_ros.data.shapes import CLASSES
from kgnpro_ros.evaluation.metrics import (
    ImageCounts,
    MatchCounts,
    Rates,
    bootstrap_intervals,
    class_rates,
    count_matches,
    pooled_rates,
    threshold_pairs,
)
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.types import GraspBatch

FloatArray = NDArray[np.float64]

#: Finds the grasps of one image: in the camera frame, best first.
Predictor = Callable[[Sample], GraspBatch]
#: Looks at the result of one image: the sample, its ground truth, the grasps that counted.
Inspector = Callable[[Sample, GraspLabels, GraspBatch], None]


class EvaluationData(Protocol):
    """What can be evaluated on: images grouped by scene, with grasps that can be sampled anew."""

    def __len__(self) -> int:
        """Number of images."""

    def scene_of(self, index: int) -> int:
        """Number of the scene of an image."""

    def load(self, index: int) -> Sample:
        """Read one image."""

    def grasp_labels(
        self, index: int, rotation_samples: int, translation_samples: int
    ) -> GraspLabels:
        """Ground truth of the scene of an image."""


@dataclass(frozen=True)
class EvaluationResult:
    """Counts of an evaluation, and what follows from them.

    Attributes:
        config: Settings that it was made with.
        counts: Counts of all images.
    """

    config: EvaluationConfig
    counts: MatchCounts

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.counts.predictions)

    @property
    def scenes(self) -> int:
        """Number of scenes."""
        return int(self.counts.image_scene.max(initial=-1)) + 1

    def rates(self) -> Rates:
        """Pooled rates at all threshold pairs, shape (T,)."""
        return pooled_rates(self.counts)

    def intervals(self) -> tuple[Rates, Rates]:
        """Ends of the 95 % intervals over scenes, shape (T,)."""
        return bootstrap_intervals(self.counts, self.config.bootstrap_samples, self.config.seed)

    def sections(self) -> dict[str, slice]:
        """Which thresholds are the cells of the table, KGN's pairs, and the curve."""
        cells = len(self.config.distances) * len(self.config.angles)
        pairs = cells + len(self.config.kgn_pairs)
        return {
            "cells": slice(0, cells),
            "kgn_pairs": slice(cells, pairs),
            "curve": slice(pairs, len(self.counts.thresholds)),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON form; a rate without a denominator is None."""
        rates, (low, high) = self.rates(), self.intervals()
        result: dict[str, Any] = {
            "images": self.images,
            "scenes": self.scenes,
            "objects": len(self.counts.classes),
            "predictions": int(self.counts.predictions.sum()),
            "ground_truth_grasps": int(self.counts.truths.sum()),
        }
        for name, part in self.sections().items():
            result[name] = [
                _cell(self.counts.thresholds[t], rates, low, high, t) for t in _range(part)
            ]
        result["classes"] = {name: self._class_dict(name) for name in CLASSES}
        return result

    def _class_dict(self, name: str) -> dict[str, Any]:
        """Rates of a class at the cells of the table."""
        index = CLASSES.index(name)
        rows = self.counts.classes == index
        rates = class_rates(self.counts, index)
        cells = [
            _cell(self.counts.thresholds[t], rates, None, None, t)
            for t in _range(self.sections()["cells"])
        ]
        return {
            "objects": int(rows.sum()),
            "ground_truth_grasps": int(self.counts.truths[rows].sum()),
            "cells": cells,
        }


@dataclass(frozen=True)
class Contender:
    """One of several predictors that are evaluated on the same images.

    Attributes:
        predict: Called once for each image.
        inspect: Called with the result of each image.
        max_grasps: Best-ranked grasps that count; those of the settings when None.
    """

    predict: Predictor
    inspect: Inspector | None = None
    max_grasps: int | None = None


def evaluate(
    dataset: EvaluationData,
    predict: Predictor,
    config: EvaluationConfig | None = None,
    *,
    inspect: Inspector | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Evaluate a predictor.

    Args:
        dataset: Images and their ground truth; the views of a scene follow one another.
        predict: Called once for each image.
        config: Thresholds and sampling; the defaults when None.
        inspect: Called with the result of each image.
        limit: Only so many images.
        progress: Called with images done and images in all.

    Raises:
        DatasetError: If there is no image.
    """
    contenders = [Contender(predict, inspect)]
    return evaluate_together(dataset, contenders, config, limit=limit, progress=progress)[0]


def evaluate_together(
    dataset: EvaluationData,
    contenders: Sequence[Contender],
    config: EvaluationConfig | None = None,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[EvaluationResult]:
    """Evaluate several predictors, image by image: each image and its ground truth is read once.

    Arguments and errors are those of :func:`evaluate`; the results are in the order of the
    contenders, which see each image one after the other.
    """
    config = config or EvaluationConfig()
    chosen = chosen_images(dataset, config)[:limit]
    if not chosen:
        raise DatasetError("nothing to evaluate: the data set holds no image")
    thresholds = threshold_pairs(config)
    images: list[list[ImageCounts]] = [[] for _ in contenders]
    scenes: list[int] = []
    number, labels = None, None
    for done, index in enumerate(chosen):
        sample = dataset.load(index)
        if labels is None or dataset.scene_of(index) != number:
            number = dataset.scene_of(index)
            labels = dataset.grasp_labels(
                index, config.rotation_samples, config.translation_samples
            )
            scenes.append(scenes[-1] + 1 if scenes else 0)
        else:
            scenes.append(scenes[-1])
        for contender, counts in zip(contenders, images, strict=True):
            most = contender.max_grasps or config.max_grasps
            grasps = contender.predict(sample).select(slice(0, most))
            counts.append(count_matches(sample.T_world_camera @ grasps.poses, labels, thresholds))
            if contender.inspect is not None:
                contender.inspect(sample, labels, grasps)
        if progress is not None:
            progress(done + 1, len(chosen))
    return [
        EvaluationResult(config, MatchCounts.pool(thresholds, counts, scenes)) for counts in images
    ]


def chosen_images(dataset: EvaluationData, config: EvaluationConfig) -> list[int]:
    """Images that count: the first views of each of the first scenes, as the settings limit."""
    chosen: list[int] = []
    scenes, views, number = 0, 0, None
    for index in range(len(dataset)):
        if dataset.scene_of(index) != number:
            number = dataset.scene_of(index)
            scenes, views = scenes + 1, 0
        views += 1
        if config.scenes is not None and scenes > config.scenes:
            break
        if config.views is None or views <= config.views:
            chosen.append(index)
    return chosen


def _range(part: slice) -> range:
    return range(part.start, part.stop)


def _cell(
    pair: FloatArray, rates: Rates, low: Rates | None, high: Rates | None, t: int
) -> dict[str, Any]:
    cell: dict[str, Any] = {"distance": float(pair[0]), "angle": float(pair[1])}
    for name in ("gsr", "gcr", "osr"):
        cell[name] = _number(getattr(rates, name)[t])
        if low is not None and high is not None:
            ends = [_number(getattr(end, name)[t]) for end in (low, high)]
            cell[f"{name}_interval"] = ends
    return cell


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
