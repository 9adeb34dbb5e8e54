# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Trainings on bad data and with bad settings: one clear message, and nothing is lost."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from support.tiny_dataset import write_tiny_dataset

from kgnpro_ros import cli
from kgnpro_ros.config import LabelConfig, LossConfig, TrainConfig, dump_config
from kgnpro_ros.exceptions import DatasetError, TrainingError
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.training import train as training
from kgnpro_ros.training.checkpoint import CHECKPOINT, load_checkpoint
from kgnpro_ros.training.module import GraspModule
from kgnpro_ros.training.train import train

CONFIG = TrainConfig(
    network="tiny", crop=32, batch_size=2, workers=0, max_steps=3, warmup_steps=1,
    validation_scenes=1, validation_interval=100, checkpoint_minutes=60.0, devices=1,
    precision="32-true", labels=LabelConfig(rotation_samples=8, translation_samples=3),
)  # fmt: skip
POSE = LossConfig(pose=0.1, pose_start=0, pose_ramp=1, pose_grasps=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def own_data(data, tmp_path):
    """A copy to damage."""
    return shutil.copytree(data, tmp_path / "own")


@pytest.fixture(autouse=True)
def quick_validation(monkeypatch):
    monkeypatch.setattr(training, "VALIDATION_BATCHES", 1)


def test_a_diverging_run_stops_with_the_checkpoint_from_before(data, tmp_path, monkeypatch):
    """And goes on from it with a lower learning rate, which really is the lower one."""
    config = replace(CONFIG, max_steps=40, learning_rate=1e5, divergence_steps=3)
    with pytest.raises(TrainingError, match=r"learning_rate 100000.*lower learning_rate"):
        train(config, [data], tmp_path)
    content = load_checkpoint(tmp_path / CHECKPOINT)
    done = content["global_step"]
    assert 1 <= done < 20
    assert all(torch.isfinite(v.float()).all() for v in content["current_model_state"].values())
    rates = []
    original = GraspModule.training_step

    def step(self, batch, batch_idx):
        rates.append(self.optimizers().param_groups[0]["lr"])
        return original(self, batch, batch_idx)

    monkeypatch.setattr(GraspModule, "training_step", step)
    calm = replace(config, learning_rate=1e-4, max_steps=done + 2, divergence_factor=1e9)
    train(calm, [data], tmp_path, resume=True)
    assert len(rates) == 2
    assert max(rates) <= 1e-4


def test_the_command_says_it_in_one_line(data, tmp_path, monkeypatch, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(
        dump_config(replace(CONFIG, max_steps=40, learning_rate=1e5, divergence_steps=3))
    )
    command = ["kgnpro", "train", "--config", str(config), "--data", str(data)]
    monkeypatch.setattr("sys.argv", [*command, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "training diverges: for 3 steps" in lines[0]


def test_scenes_without_any_grasp(tmp_path):
    empty = write_tiny_dataset(tmp_path / "data", scenes=2, objects=False)
    card = load_model(train(replace(CONFIG, loss=POSE), [empty], tmp_path / "run")).card
    assert (card["steps"], card["skipped_batches"]) == (3, 0)


def test_images_without_labels_among_others(own_data, tmp_path):
    """One scene loses its grasps: its objects are declared out of reach, by colliding."""
    for path in sorted(own_data.rglob("collisions.npz"))[:1]:
        with np.load(path) as stored:
            flags = {name: np.ones_like(stored[name]) for name in stored.files}
        np.savez(path, **flags)
    card = load_model(train(replace(CONFIG, loss=POSE), [own_data], tmp_path / "run")).card
    assert (card["steps"], card["skipped_batches"]) == (3, 0)


def test_images_with_hardly_any_depth(own_data, tmp_path):
    """Missing depth is NaN: everywhere but in one row."""
    for path in own_data.rglob("depth_*.png"):
        depth = np.zeros((128, 128), dtype=np.uint16)
        depth[64] = 5000
        cv2.imwrite(str(path), depth)
    card = load_model(train(replace(CONFIG, loss=POSE), [own_data], tmp_path / "run")).card
    assert (card["steps"], card["skipped_batches"]) == (3, 0)


def test_an_image_without_any_depth_is_named(own_data, tmp_path):
    for path in own_data.rglob("depth_*.png"):
        cv2.imwrite(str(path), np.zeros((128, 128), dtype=np.uint16))
    with pytest.raises(DatasetError, match=r"scenes/0000\d, view \d: .*holds no measurement"):
        train(CONFIG, [own_data], tmp_path / "run")


def test_a_data_set_of_another_version(own_data, tmp_path):
    manifest = json.loads((own_data / "manifest.json").read_text())
    (own_data / "manifest.json").write_text(json.dumps({**manifest, "version": 999}))
    with pytest.raises(DatasetError, match="999"):
        train(CONFIG, [own_data], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_half_written_sample_is_named_and_the_run_kept(own_data, tmp_path, workers):
    config = replace(CONFIG, max_steps=40, workers=workers)
    run = tmp_path / "run"
    train(replace(config, max_steps=2), [own_data], run)
    for path in own_data.rglob("color_*.png"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"^[^\n]*color_\d\.png[^\n]*$") as caught:
        train(config, [own_data], run, resume=True)
    assert "Traceback" not in str(caught.value)
    assert load_checkpoint(run / CHECKPOINT)["global_step"] == 2
