# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Real trainings, tiny: run, stop, go on, export, refuse."""

import json
import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from support.tiny_dataset import write_tiny_dataset

from kgnpro_ros.config import DetectorConfig, LabelConfig, TrainConfig, load_config
from kgnpro_ros.data.dataset import SceneDataset
from kgnpro_ros.exceptions import ConfigError, DatasetError, ModelError
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.training import train as training
from kgnpro_ros.training.module import GraspModule, learning_rate_factor
from kgnpro_ros.training.samples import CropDataset
from kgnpro_ros.training.train import (
    CHECKPOINT,
    VALIDATION_OFFSET,
    export_checkpoint,
    running_average,
    split_scenes,
    train,
)

CONFIG = TrainConfig(
    network="tiny", crop=32, batch_size=2, workers=0, max_steps=4, warmup_steps=1,
    validation_scenes=1, validation_interval=4, checkpoint_minutes=60.0, devices=1,
    precision="32-true", labels=LabelConfig(rotation_samples=8, translation_samples=3),
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def quick_validation(monkeypatch):
    monkeypatch.setattr(training, "VALIDATION_BATCHES", 1)


@pytest.fixture
def numbers(monkeypatch):
    """Numbers of the training samples that were asked for."""
    asked = []
    original = CropDataset.__getitem__

    def record(self, number):
        if number < VALIDATION_OFFSET:
            asked.append(number)
        return original(self, number)

    monkeypatch.setattr(CropDataset, "__getitem__", record)
    return asked


class KilledError(Exception):
    """Stands for whatever ends a process."""


def kill_after(monkeypatch, steps):
    """Raise in the first training step after so many."""
    original = GraspModule.training_step

    def step(self, batch, batch_idx):
        if self.global_step >= steps:
            raise KilledError
        return original(self, batch, batch_idx)

    monkeypatch.setattr(GraspModule, "training_step", step)


def checkpoint_of(run):
    return torch.load(run / CHECKPOINT, weights_only=True)


def test_a_training_ends_in_a_model_that_detects(data, tmp_path, numbers):
    run = tmp_path / "run"
    path = train(CONFIG, [data], run)
    assert numbers == list(range(8))
    loaded = load_model(path)
    assert (loaded.card["steps"], loaded.card["skipped_batches"]) == (4, 0)
    assert loaded.card["training"]["crop"] == 32
    assert loaded.card["data"][0]["training_scenes"] == 2
    assert loaded.card["hours"] >= 0
    # The shipped weights are the averaged ones of the checkpoint, and were learnt.
    torch.manual_seed(0)
    stored = checkpoint_of(run)["state_dict"]
    for name, value in loaded.network.state_dict().items():
        torch.testing.assert_close(value, stored[f"network.{name}"].half().to(value.dtype))
    assert load_config(TrainConfig, run / "config.yaml") == CONFIG
    assert list((run / "csv").rglob("metrics.csv"))
    assert not (run / "partial.ckpt").exists()
    detector = GraspDetector(DetectorConfig(model=str(path), device="cpu"))
    detector.detect(SceneDataset(data).load(0).image)


def test_a_short_run_exports_what_it_learnt(data, tmp_path, monkeypatch):
    """The averaged weights must have left the random ones of the start."""
    start = {}
    original = GraspModule.configure_optimizers

    def remember(self):
        start.update({n: p.detach().clone() for n, p in self.named_parameters()})
        return original(self)

    monkeypatch.setattr(GraspModule, "configure_optimizers", remember)
    train(CONFIG, [data], tmp_path / "run")
    end = checkpoint_of(tmp_path / "run")["state_dict"]
    moved = [name for name, value in start.items() if not torch.equal(value, end[name])]
    assert len(moved) > 0.9 * len(start)


def test_a_killed_run_goes_on_where_it_stopped(data, tmp_path, monkeypatch, numbers):
    run = tmp_path / "run"
    with monkeypatch.context() as context:
        kill_after(context, 2)
        with pytest.raises(KilledError):
            train(CONFIG, [data], run)
    stopped = checkpoint_of(run)
    assert stopped["global_step"] == 2
    assert not (run / "model.safetensors").exists()
    numbers.clear()
    path = train(CONFIG, [data], run, resume=True)
    # Two steps of two samples were done; the third step begins with sample 4.
    assert numbers == [4, 5, 6, 7]
    assert checkpoint_of(run)["global_step"] == 4
    card = load_model(path).card
    assert card["steps"] == 4
    before = next(s["hours"] for s in stopped["callbacks"].values() if "hours" in s)
    assert card["hours"] >= round(before, 3)
    # The optimiser went on as well: its step counts include those before the kill.
    state = checkpoint_of(run)["optimizer_states"][0]["state"]
    assert {int(s["step"]) for s in state.values()} == {4}


def test_a_kill_while_writing_leaves_the_previous_checkpoint(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    train(CONFIG, [data], run)
    before = (run / CHECKPOINT).read_bytes()

    def half(self, path, *args, **kwargs):
        path.write_bytes(before[:1000])
        raise KilledError

    monkeypatch.setattr(training.L.Trainer, "save_checkpoint", half)
    with pytest.raises(KilledError):
        train(replace(CONFIG, max_steps=6), [data], run, resume=True)
    assert (run / CHECKPOINT).read_bytes() == before
    monkeypatch.undo()
    monkeypatch.setattr(training, "VALIDATION_BATCHES", 1)
    train(replace(CONFIG, max_steps=6), [data], run, resume=True)
    assert checkpoint_of(run)["global_step"] == 6


def test_checkpoints_are_written_on_the_way(data, tmp_path, monkeypatch):
    """With an interval of zero, the last finished step is on disk even after SIGKILL."""
    run = tmp_path / "run"
    seen = []
    original = GraspModule.training_step

    def step(self, batch, batch_idx):
        path = run / CHECKPOINT
        seen.append(checkpoint_of(run)["global_step"] if path.exists() else 0)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(GraspModule, "training_step", step)
    train(replace(CONFIG, checkpoint_minutes=0.0), [data], run)
    assert seen == [0, 1, 2, 3]


def test_an_interrupt_while_validating_saves_nothing_exchanged(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    config = replace(CONFIG, validation_interval=2, checkpoint_minutes=0.0)

    def interrupt(self, batch, batch_idx):
        raise KilledError

    monkeypatch.setattr(GraspModule, "validation_step", interrupt)
    saves = []
    original = training.Checkpointer.save

    def save(self, trainer):
        saves.append((trainer.global_step, trainer.validating))
        original(self, trainer)

    monkeypatch.setattr(training.Checkpointer, "save", save)
    with pytest.raises(KilledError):
        train(config, [data], run)
    assert saves == [(1, False), (2, False)]


def test_broken_batches_are_counted_and_skipped(data, tmp_path, monkeypatch):
    """A label that is not a number costs one batch, not the run and not the weights."""
    original = CropDataset.__getitem__

    def spoil(self, number):
        sample = original(self, number)
        if number == 3:
            sample.targets.width[:] = np.nan
        return sample

    monkeypatch.setattr(CropDataset, "__getitem__", spoil)
    path = train(CONFIG, [data], tmp_path / "run")
    card = load_model(path).card
    assert (card["steps"], card["skipped_batches"]) == (4, 1)
    weights = checkpoint_of(tmp_path / "run")["current_model_state"]
    assert all(torch.isfinite(value.float()).all() for value in weights.values())


def test_scenes_without_labels_are_no_obstacle(tmp_path):
    empty = write_tiny_dataset(tmp_path / "data", scenes=2, objects=False)
    path = train(replace(CONFIG, max_steps=2), [empty], tmp_path / "run")
    assert load_model(path).card["steps"] == 2


def test_kgns_published_folders_are_trained_on(data, tmp_path):
    """The scenes that train.txt lists, and no other."""
    ours, folder = SceneDataset(data), tmp_path / "kgn"
    for number in range(3):
        write_kgn_scene(folder / str(number), ours, number)
    (folder / "train.txt").write_text("0\n2\n")
    path = train(replace(CONFIG, max_steps=1), [folder], tmp_path / "run")
    description = load_model(path).card["data"][0]
    assert (description["format"], description["scenes"]) == ("kgn", 2)
    assert description["training_scenes"] == 1


def write_kgn_scene(folder, ours, number):
    """One scene in KGN's layout; its principal point counts from the corner of the pixel."""
    for name in ("color_images", "depth_raw", "seg_labels"):
        (folder / name).mkdir(parents=True)
    for view in range(ours.views):
        sample = ours.load(number * ours.views + view)
        cv2.imwrite(str(folder / f"color_images/color_image_{view}.png"), sample.image.color)
        np.save(folder / f"depth_raw/depth_raw_{view}.npy", np.nan_to_num(sample.image.depth))
        cv2.imwrite(str(folder / f"seg_labels/segmask_label_{view}.jpg"), sample.instances)
    scene = ours.scene(number * ours.views)
    matrix = scene.camera.matrix
    matrix[:2, 2] += 0.5
    info = {
        "intrinsic": matrix.tolist(),
        "camera_poses": scene.T_world_camera.tolist(),
        "obj_types": [item.shape.kind for item in scene.objects],
        "obj_dims": [list(item.shape.dimensions) for item in scene.objects],
        "obj_poses": [item.T_world_object.tolist() for item in scene.objects],
    }
    (folder / "scene_info.json").write_text(json.dumps(info))


def test_training_and_validation_never_share_a_scene(data):
    both = [SceneDataset(data), SceneDataset(data)]
    train_scenes, val_scenes = split_scenes(both, 1)
    assert train_scenes == [[0, 1]] * 2
    assert val_scenes == [[2]] * 2


def test_a_run_is_not_overwritten(data, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"anything")
    with pytest.raises(ModelError, match="exists: resume the run, or choose another folder"):
        train(CONFIG, [data], tmp_path)


def test_there_must_be_something_to_resume(data, tmp_path):
    with pytest.raises(ModelError, match="nothing to resume"):
        train(CONFIG, [data], tmp_path / "new", resume=True)


def test_another_configuration_cannot_resume(data, tmp_path):
    train(replace(CONFIG, max_steps=1), [data], tmp_path)
    other = replace(
        CONFIG, network="lite", batch_size=3, loss=replace(CONFIG.loss, depth=0.2),
        labels=replace(CONFIG.labels, max_cells=7), max_steps=2,
    )  # fmt: skip
    with pytest.raises(ModelError) as caught:
        train(other, [data], tmp_path, resume=True)
    message = str(caught.value)
    for part in ("network ('tiny' before, 'lite' now)", "batch_size (2 before, 3 now)",
                 "loss.depth (0.1 before, 0.2 now)", "labels.max_cells"):  # fmt: skip
        assert part in message
    assert "max_steps (" not in message  # named only as free to change
    with pytest.raises(ConfigError, match="no setting los to allow"):
        train(other, [data], tmp_path, resume=True, allow=["los"])


def test_other_data_cannot_resume_unless_allowed(data, tmp_path):
    train(replace(CONFIG, max_steps=1), [data], tmp_path / "run")
    more = write_tiny_dataset(tmp_path / "more", scenes=4)
    with pytest.raises(ModelError, match=r"data\.0\.scenes \(3 before, 4 now\)"):
        train(CONFIG, [more], tmp_path / "run", resume=True)
    train(replace(CONFIG, max_steps=2), [more], tmp_path / "run", resume=True, allow=["data"])
    assert checkpoint_of(tmp_path / "run")["global_step"] == 2


def test_data_must_be_there(tmp_path, data):
    with pytest.raises(DatasetError, match=r"no data set: .*nowhere is no folder"):
        train(CONFIG, [tmp_path / "nowhere"], tmp_path / "run")
    with pytest.raises(DatasetError, match="has 3 scenes, and 3 are held out"):
        train(replace(CONFIG, validation_scenes=3), [data], tmp_path / "run2")
    with pytest.raises(DatasetError, match="no training scenes"):
        train(CONFIG, [], tmp_path / "run3")


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 half a zip", pickle.dumps({"kgnpro_config": {}}), pickle.dumps(print)],
)
def test_files_that_are_no_checkpoint(content, data, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(ModelError, match="checkpoint"):
        train(CONFIG, [data], tmp_path, resume=True)
    with pytest.raises(ModelError, match="checkpoint"):
        export_checkpoint(tmp_path)


def test_a_checkpoint_of_another_program(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(ModelError, match="not a checkpoint of this package"):
        export_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        export_checkpoint(tmp_path / "nowhere")


def test_learning_rate_of_the_paper():
    """x0.1 after 2/3 and again after 5/6 of the run: epochs 200 and 250 of 300."""
    config = TrainConfig(schedule="steps", max_steps=300, warmup_steps=10)
    factors = [learning_rate_factor(step, config) for step in (0, 4, 9, 199, 200, 249, 250, 299)]
    np.testing.assert_allclose(factors, [0.1, 0.5, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01])


def test_cosine_learning_rate():
    config = TrainConfig(schedule="cosine", max_steps=1000, warmup_steps=0)
    factors = [learning_rate_factor(step, config) for step in (0, 500, 1000, 2000)]
    np.testing.assert_allclose(factors, [1.0, 0.505, 0.01, 0.01])


def test_average_of_constant_weights_and_its_memory():
    current = torch.tensor([2.0])
    average = torch.tensor([2.0])
    for step in range(1, 50):
        average = running_average(average, current, torch.tensor(step), 0.99)
    torch.testing.assert_close(average, current)
    # From 0 to 1: after 500 updates hardly a trace of the start is left, less than 0.99^500.
    average = torch.tensor([0.0], dtype=torch.float64)
    for step in range(1, 501):
        average = running_average(average, torch.ones(1), torch.tensor(step), 0.99)
    assert 0 < 1 - average.item() < 0.99**500
