# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The whole evaluation with a detector that knows the truth, exactly or moved along the ray."""

import json

import numpy as np
import pytest
import torch
from rich.console import Console
from support.evaluation_scenes import MemoryScenes, grasp_batch, scene_object, truth

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.evaluation import command
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.geometry import canonical_keypoints
from kgnpro_ros.geometry.se3 import transform_points
from kgnpro_ros.pipeline import Detection
from kgnpro_ros.predictions import read_predictions
from kgnpro_ros.types import KeypointBatch, PnPResult


class KnowingDetector:
    """Returns the ground truth of the sample loaded last, moved along the viewing ray [m]."""

    def __init__(self, data, shift):
        self.data, self.shift = data, shift
        self.config, self.model_sha256 = DetectorConfig(model="oracle"), "0" * 64

    def run(self, image):
        poses = truth(self.data.last)[:100]
        n = len(poses)
        keypoints = image.camera.project(transform_points(poses, canonical_keypoints()))
        centers = image.camera.project(poses[:, :3, 3])
        poses[:, :3, 3] *= 1 + self.shift / np.linalg.norm(poses[:, :3, 3], axis=1, keepdims=True)
        ones, good = torch.ones(n), torch.zeros(n, dtype=torch.int64)
        rotation, origin = torch.from_numpy(poses[:, :3, :3]), torch.from_numpy(poses[:, :3, 3])
        candidates = KeypointBatch(
            torch.from_numpy(keypoints), torch.ones(n, 4, 2), torch.from_numpy(centers), ones, ones,
            ones, ones, good, good,
        )  # fmt: skip
        solutions = PnPResult(
            rotation, origin, ones, ones, torch.eye(6).expand(n, 6, 6), good, rotation, origin, ones
        )
        timings = {"total": 5.0}
        return Detection(grasp_batch(poses), candidates, solutions, torch.arange(n), timings)


@pytest.fixture
def evaluate_shifted(tmp_path, monkeypatch):
    def run(shift, curve=None):
        data = MemoryScenes([[scene_object("sphere")], [scene_object("cuboid")]])
        monkeypatch.setattr(command, "open_test_split", lambda path: data)
        return command.evaluate_model(
            KnowingDetector(data, shift), tmp_path / "data", tmp_path / "r.json",
            curve, tmp_path / "predictions", console=Console(quiet=True),
        )  # fmt: skip

    return run


def test_perfect_detector(evaluate_shifted, tmp_path):
    report = evaluate_shifted(0.0, tmp_path / "c.png")
    assert json.loads((tmp_path / "r.json").read_text()) == report
    assert report["model"]["name"] == "oracle"
    assert [cell["osr"] for cell in report["cells"]] == [1.0] * 6
    assert [cell["gsr"] for cell in report["cells"]] == [1.0] * 6
    assert report["stages"]["objects"]["found"] == 1.0
    assert report["calibration"]["inside_50"] == 1.0
    assert report["median_milliseconds"] == 5.0
    assert (tmp_path / "c.png").stat().st_size > 1000
    files = sorted(path.name for path in (tmp_path / "predictions").iterdir())
    assert files == ["0_0.json", "0_1.json", "1_0.json", "1_1.json"]
    assert len(read_predictions(tmp_path / "predictions" / "0_0.json").grasps) > 10


def test_depth_error_is_named(evaluate_shifted):
    report = evaluate_shifted(0.06)
    assert [cell["osr"] for cell in report["cells"]] == [0.0] * 6
    assert report["stages"]["objects"]["depth_error"] == 1.0


def test_evaluating_nothing(tmp_path):
    with pytest.raises(DatasetError, match="no data set"):
        command.open_test_split(tmp_path / "none")
