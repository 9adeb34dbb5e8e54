# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A training that is limited by time: its schedule, its end, its throughput."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.tiny_dataset import write_tiny_dataset

from kgnpro_ros.config import LabelConfig, TrainConfig
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.training import pace as pace_module
from kgnpro_ros.training import train as training
from kgnpro_ros.training.module import GraspModule, learning_rate_factor
from kgnpro_ros.training.pace import Pace
from kgnpro_ros.training.train import train

CONFIG = TrainConfig(
    network="tiny", crop=32, batch_size=2, workers=0, max_steps=1000, max_minutes=10.0,
    warmup_steps=1, validation_scenes=1, validation_interval=4, checkpoint_minutes=60.0, devices=1,
    precision="32-true", labels=LabelConfig(rotation_samples=8, translation_samples=3),
)  # fmt: skip


@pytest.mark.parametrize("schedule", ["cosine", "steps"])
def test_the_schedule_follows_what_is_further_on(schedule):
    config = replace(CONFIG, schedule=schedule)
    for share in (0.1, 0.5, 0.7, 0.9, 1.0):
        same = learning_rate_factor(int(share * 1000), config)
        assert learning_rate_factor(50, config, share) == pytest.approx(same, abs=1e-12)
        assert learning_rate_factor(int(share * 1000), config, 0.05) == same
    assert learning_rate_factor(50, config, 1.0) == pytest.approx(0.01)


def follow(hours, world_size=1, **changes):
    """State of a run after a step, at so many hours."""
    config = replace(CONFIG, **changes)
    module = GraspModule(config)
    trainer = SimpleNamespace(
        global_step=1, world_size=world_size, should_stop=False,
        strategy=SimpleNamespace(broadcast=lambda value: 0.25),
    )  # fmt: skip
    pace = Pace(config, lambda: hours)
    pace.on_train_start(trainer, module)
    assert not trainer.should_stop
    pace.on_train_batch_end(trainer, module)
    return module.time_share, trainer.should_stop


def test_the_clock_is_that_of_all_stretches():
    assert follow(5 / 60) == (pytest.approx(0.5), False)
    assert follow(11 / 60) == (1.0, True)


def test_without_a_limit_the_clock_is_not_looked_at():
    assert follow(1e6, max_minutes=None) == (0.0, False)


def test_processes_follow_the_clock_of_the_first():
    assert follow(11 / 60, world_size=2) == (0.25, False)


@pytest.mark.parametrize("minutes", [0.0, -1.0])
def test_a_limit_must_be_positive(minutes):
    with pytest.raises(ValueError, match="max_minutes must be positive"):
        replace(CONFIG, max_minutes=minutes)


def test_a_training_ends_with_its_time_and_can_be_given_more(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "VALIDATION_BATCHES", 1)
    monkeypatch.setattr(pace_module, "WINDOW", 2)
    data, run = write_tiny_dataset(tmp_path / "data"), tmp_path / "run"
    path = train(replace(CONFIG, max_minutes=1e-6), [data], run)
    card = load_model(path).card
    assert card["steps"] == 1
    assert "images_per_second" not in card  # one step is no measurement
    path = train(replace(CONFIG, max_minutes=None, max_steps=6), [data], run, resume=True)
    card = load_model(path).card
    assert card["steps"] == 6
    assert 0 < card["images_per_second"] < 1e5
