# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The gallery shows what the numbers say: ranking, judging, and pictures of bounded size."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.evaluation_scenes import grasp_batch
from support.tiny_dataset import write_tiny_dataset

from kgnpro_ros.data.dataset import SceneDataset
from kgnpro_ros.geometry.se3 import invert
from kgnpro_ros.predictions import write_predictions

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import gallery


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), scenes=3)


def predict(data, folder, shift):
    """The truth of every image, moved along the view by ``shift(index)`` [m]; four grasps each."""
    dataset = SceneDataset(data)
    for index in range(len(dataset)):
        sample = dataset.load(index)
        truth = dataset.grasp_labels(index, 30, 10).free.T_world_grasp[:4]
        poses = invert(sample.T_world_camera) @ truth
        poses[:, 2, 3] += shift(index)
        path = folder / f"{sample.scene_id}_{sample.view}.json"
        write_predictions(path, grasp_batch(poses), sample.image.camera)


def test_best_and_worst_are_told_apart(data, tmp_path):
    """Image 4 finds nothing; its scene has another view, which is shown among the best."""
    predict(data, tmp_path, lambda index: 0.1 if index == 4 else 0.0)
    numbers, pictures = gallery.synthetic(data, tmp_path)
    assert numbers["images"] == 6
    worst = numbers["worst"][0]
    assert (worst["index"], worst["found"], worst["objects"]) == (4, 0, 1)
    assert worst["missed_classes"] == ["cuboid"]
    assert worst["matching"] == 0
    assert all(row["found"] == 1 and row["success"] == 1.0 for row in numbers["best"])
    assert len({row["scene"] for row in numbers["best"]}) == 3
    lost = pictures[3]
    assert not lost.good.any()
    assert pictures[0].good.all()
    assert len(lost.outlines) == 1
    assert "missed cuboid" in lost.title


def test_sheets_fit_their_size(data, tmp_path):
    predict(data, tmp_path, lambda index: 0.1 if index == 4 else 0.0)
    _, pictures = gallery.synthetic(data, tmp_path)
    gallery.write_sheet(tmp_path / "sheet.jpg", pictures, 3)
    assert (tmp_path / "sheet.jpg").stat().st_size <= gallery.MAX_BYTES
    sheet = cv2.imread(str(tmp_path / "sheet.jpg"))
    assert sheet.shape[1] > 3 * gallery.TILE[0]
    tile = gallery.render(pictures[3])
    assert (np.abs(tile.astype(int) - gallery.BAD).max(axis=2) < 60).any()
    assert not (np.abs(tile.astype(int) - gallery.GOOD).max(axis=2) < 60).any()


def test_the_text_shows_every_sheet(data, tmp_path):
    predict(data, tmp_path, lambda index: 0.0)
    numbers = {"single": gallery.synthetic(data, tmp_path)[0], "real": {"frames": {}}}
    text = gallery.section(json.loads(json.dumps(numbers)), "images")
    assert "images/gallery_single.jpg" in text
    assert "images/gallery_real.jpg" in text
