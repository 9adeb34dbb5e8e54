# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``kgnpro evaluate``: a detector on a data set, with everything there is to say about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from kgnpro_ros.config import CalibrationConfig, EvaluationConfig
from kgnpro_ros.data.dataset import GraspDataset, Sample
from kgnpro_ros.data.kgn_format import open_dataset
from kgnpro_ros.data.labels import GraspLabels
from kgnpro_ros.evaluation.calibration import Calibration, calibrate, dense_grasps, squared_errors
from kgnpro_ros.evaluation.report import plot_curves, print_report, write_report
from kgnpro_ros.evaluation.runner import EvaluationResult, evaluate
from kgnpro_ros.evaluation.stages import StageCounts, count_stages, stages_reached
from kgnpro_ros.geometry.se3 import invert
from kgnpro_ros.pipeline import Detection, GraspDetector
from kgnpro_ros.predictions import write_predictions
from kgnpro_ros.progress import progress_bar
from kgnpro_ros.types import GraspBatch

FloatArray = NDArray[np.float64]


def evaluate_model(
    detector: GraspDetector,
    data: Path,
    json: Path | None = None,
    curve: Path | None = None,
    predictions: Path | None = None,
    limit: int | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluate a detector, print the tables and write what was asked for.

    Args:
        detector: The detector as it is to be judged; the metric knows no gripper, so filters that
            do should be off.
        data: Generated data set or folder in KGN's format.
        json: File for all figures.
        curve: PNG for the curves over the tolerance.
        predictions: Folder for one prediction file per image, ``<scene>_<view>.json``.
        limit: Only the first images.
        console: Where to print.

    Returns:
        The report, as written to ``json``.

    Raises:
        DatasetError: If there is no data set, or it holds no image.
    """
    console = console or Console()
    dataset = open_test_split(data)
    trial = DetectorTrial(detector, predictions)
    config = EvaluationConfig()
    with progress_bar(console, "images", transient=True) as progress:
        result = evaluate(
            dataset, trial.predict, config, inspect=trial.inspect, limit=limit, progress=progress
        )
    report = trial.report(result)
    report["data"] = str(data)
    print_report(report, console)
    if json is not None:
        write_report(json, report)
    if curve is not None:
        plot_curves(curve, {Path(report["model"]["name"]).stem: report})
    return report


def open_test_split(path: Path) -> GraspDataset:
    """A generated data set, or the test split of a folder in KGN's published format.

    Raises:
        DatasetError: If it is neither.
    """
    listed = path / "test.txt"
    has_test = listed.is_file() and bool(listed.read_text().split())
    return open_dataset(path, split="test" if has_test else None)


class DetectorTrial:
    """Runs a detector and keeps what the tables of losses and calibration need.

    Args:
        detector: To be judged.
        folder: Where prediction files go, or None.
    """

    def __init__(self, detector: GraspDetector, folder: Path | None = None) -> None:
        self.detector, self.folder = detector, folder
        self.stages = StageCounts()
        self.milliseconds: list[float] = []
        self._detection: Detection | None = None
        self._squared: list[FloatArray] = []
        self._dense: tuple[str, FloatArray] | None = None
        self._calibration = CalibrationConfig()

    def predict(self, sample: Sample) -> GraspBatch:
        """The grasps of one image."""
        self._detection = self.detector.run(sample.image)
        self.milliseconds.append(self._detection.timings["total"])
        if self.folder is not None:
            path = self.folder / f"{sample.scene_id}_{sample.view}.json"
            write_predictions(path, self._detection.grasps, sample.image.camera)
        return self._detection.grasps

    def inspect(self, sample: Sample, labels: GraspLabels, grasps: GraspBatch) -> None:
        """Add one image to the tables."""
        assert self._detection is not None
        detection, free = self._detection, labels.free
        T_camera_world = invert(sample.T_world_camera)
        reached = stages_reached(
            T_camera_world @ free.T_world_grasp,
            detection.candidates,
            detection.solved.numpy(),
            detection.solutions,
            grasps,
            sample.image.camera,
        )
        self.stages += count_stages(reached, free.object_index)
        if self._dense is None or self._dense[0] != sample.scene_id:
            self._dense = (sample.scene_id, dense_grasps(sample.objects, self._calibration))
        truth = T_camera_world @ self._dense[1]
        self._squared.append(
            squared_errors(grasps.poses, grasps.covariance, truth, self._calibration)
        )

    def calibration(self) -> Calibration:
        """Calibration over all images so far."""
        numbers = np.repeat(np.arange(len(self._squared)), [len(part) for part in self._squared])
        return calibrate(np.concatenate([np.zeros(0), *self._squared]), numbers)

    def report(self, result: EvaluationResult) -> dict[str, Any]:
        """All figures in JSON form."""
        config = self.detector.config
        return {
            "model": {
                "name": config.model,
                "sha256": self.detector.model_sha256,
                "score_threshold": config.decode.score_threshold,
                "local_maximum": config.decode.local_maximum,
            },
            **result.to_dict(),
            "stages": self.stages.to_dict(),
            "calibration": self.calibration().to_dict(),
            "median_milliseconds": float(np.median(self.milliseconds)),
        }
