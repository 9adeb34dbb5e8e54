# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""From nothing to an evaluated model, at toy size, killed at every stage; and its settings."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.tiny_dataset import write_tiny_dataset

from kgnpro_ros import reproduce as module
from kgnpro_ros.config import (
    LabelConfig,
    ReproduceConfig,
    SceneConfig,
    SceneSetConfig,
    TrainConfig,
    load_config,
)
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.network import shards
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.reproduce import reproduce
from kgnpro_ros.training import pace
from kgnpro_ros.training import train as training

ROOT = Path(__file__).resolve().parents[1]

CONFIG = ReproduceConfig(
    "toy",
    (SceneSetConfig("boxes", 3, 1, SceneConfig(views=2)),),
    (SceneSetConfig("single", 1, 2, SceneConfig(views=2)),),
    TrainConfig(
        network="tiny", crop=32, batch_size=2, workers=0, max_steps=6, warmup_steps=1,
        validation_scenes=1, validation_interval=6, checkpoint_minutes=60.0, devices=1,
        precision="32-true", labels=LabelConfig(rotation_samples=8, translation_samples=3),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("boxes"))


@pytest.fixture(scope="module", autouse=True)
def toy_size():
    """Quick measurements, and small files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "VALIDATION_BATCHES", 1)
        patch.setattr(pace, "WINDOW", 2)
        patch.setattr(shards, "MAX_FILE", 25_000)
        patch.setattr(shards, "HEADER_ROOM", 17_000)
        yield


@pytest.fixture
def calls(monkeypatch, boxes):
    """Which stages ran; boxes take the place of rendered scenes."""
    calls = []
    monkeypatch.setattr(module, "generate", counted(calls, "generate", stand_in(boxes)))
    for name in ("train", "export_checkpoint", "evaluate_model"):
        monkeypatch.setattr(module, name, counted(calls, name, getattr(module, name)))
    return calls


def stand_in(boxes):
    def copy(out, config, scenes, seed, workers=None, progress=None):
        shutil.copytree(boxes, out, dirs_exist_ok=True)
        return {"scenes": 3, "views": 2}

    return copy


@pytest.fixture(scope="module")
def finished(boxes, tmp_path_factory):
    """A folder in which everything is done, and what was said."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "generate", stand_in(boxes))
        _, said = run(out)
    return out, said


@pytest.fixture
def out(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "out")


def counted(calls, name, function):
    def call(*arguments, **options):
        calls.append(name)
        return function(*arguments, **options)

    return call


def run(out):
    text = io.StringIO()
    model = reproduce(CONFIG, out, console=Console(file=text, width=200))
    return model, text.getvalue()


#: Generation itself finds that its scenes are there.
SCENES = ["generate", "generate"]


def test_one_command_makes_a_model_with_its_card(finished):
    out, said = finished
    files = sorted((out / "model").glob("*.safetensors"))
    assert len(files) > 1
    assert all(file.stat().st_size <= 25_000 for file in files)
    loaded = load_model(out / "model" / "toy.safetensors")
    assert loaded.card["steps"] == 6
    assert loaded.card["images_per_second"] > 0
    report = json.loads((out / "single.json").read_text())
    assert report["model"]["sha256"] == loaded.sha256
    assert (out / "single.png").is_file()
    assert "### single" in (out / "model" / "toy.md").read_text()
    assert f"training: 6 steps, {loaded.card['images_per_second']} images/s" in said


def remove_model(out):
    shutil.rmtree(out / "model")


def remove_a_shard(out):
    sorted((out / "model").glob("*.safetensors"))[1].unlink()


def remove_model_card(out):
    (out / "model" / "toy.json").unlink()


def remove_report(out):
    (out / "single.json").unlink()


@pytest.mark.parametrize(
    ("killed", "expected"),
    [
        (lambda out: None, []),
        (remove_model, ["export_checkpoint"]),
        (remove_a_shard, ["export_checkpoint"]),
        (remove_model_card, ["export_checkpoint"]),
        (remove_report, ["evaluate_model"]),
        (lambda out: (out / "model" / "toy.md").unlink(), []),
    ],
    ids=["nothing", "no model", "half a model", "no card", "no report", "no markdown"],
)
def test_only_what_is_missing_is_done(calls, out, killed, expected):
    """As a kill between or within the stages leaves it; training is never done again."""
    before = load_model(out / "model" / "toy.safetensors").sha256
    killed(out)
    model, _ = run(out)
    assert calls == [*SCENES, *expected]
    loaded = load_model(model)
    assert loaded.sha256 == before
    assert loaded.card["results"]["sets"]["single"]["images"] == 6
    assert "### single" in (out / "model" / "toy.md").read_text()


def test_a_killed_training_goes_on(calls, tmp_path, monkeypatch):
    from kgnpro_ros.training.module import GraspModule

    original = GraspModule.training_step

    def step(self, batch, batch_idx):
        if self.global_step >= 3:
            raise KeyError("killed")
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(GraspModule, "training_step", step)
        with pytest.raises(KeyError):
            run(tmp_path)
    assert not (tmp_path / "model").exists()
    model, _ = run(tmp_path)
    assert load_model(model).card["steps"] == 6


def test_a_report_that_is_none(calls, out):
    (out / "single.json").write_text("[]")
    with pytest.raises(ModelError, match=r"single\.json is no report"):
        run(out)


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "reproduce").glob("*.yaml")),
                         ids=lambda path: path.stem)  # fmt: skip
def test_shipped_settings_are_valid(path):
    config = load_config(ReproduceConfig, path)
    assert config.train.max_minutes is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../x"}, "expected letters"),
        ({"data": ()}, "at least one"),
        ({"test": ()}, "at least one"),
        ({"test": (SceneSetConfig("boxes", 1, 7),)}, "same name: boxes"),
        ({"test": (SceneSetConfig("other", 1, 1),)}, "test set other has a seed"),
    ],
)
def test_settings_that_cannot_work(changes, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        replace(CONFIG, **changes)


@pytest.mark.slow
def test_the_rehearsal_with_rendered_scenes(tmp_path):
    """As a user would call it: nothing replaced, scenes rendered, real limits."""
    config = load_config(ReproduceConfig, ROOT / "config" / "reproduce" / "rehearsal.yaml")
    model = reproduce(config, tmp_path, console=Console(quiet=True))
    card = load_model(model).card
    assert 0 < card["steps"] <= 60
    assert set(card["results"]["sets"]) == {"single", "multi"}
