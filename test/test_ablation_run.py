# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Real ablations, tiny: run, stop, go on, compare, refuse."""

import json

import pytest
from rich.console import Console
from support.tiny_dataset import write_tiny_dataset

from kgnpro_ros.ablation import run as ablation_run
from kgnpro_ros.ablation.run import Ablation
from kgnpro_ros.config import AblationConfig, config_from_dict
from kgnpro_ros.evaluation.command import evaluate_model
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.training import train as training
from kgnpro_ros.training.checkpoint import CHECKPOINT, load_checkpoint
from kgnpro_ros.training.module import GraspModule

SETTINGS = {
    "seeds": [0],
    "evaluation": {"scenes": 2, "bootstrap_samples": 50},
    "train": {
        "network": "tiny", "crop": 32, "batch_size": 2, "workers": 0, "max_steps": 3,
        "warmup_steps": 1, "validation_scenes": 1, "validation_interval": 100,
        "precision": "32-true", "labels": {"rotation_samples": 8, "translation_samples": 3},
        "heads": {"confidence_head": False},
    },
    # Everything is a candidate: a network of three steps knows nothing.
    "detector": {"decode": {"score_threshold": 0.0, "top_k": 30, "orientation_check": False},
                 "pnp": {"iterations": 0, "choose_mode": False}},
    "variants": [
        {"name": "kgn", "seeds": [0, 1]},
        {"name": "kgn+few", "weights_of": "kgn", "detector": {"decode": {"top_k": 20}}},
        {"name": "pro", "train": {"heads": {"confidence_head": True},
                                  "loss": {"pose": 0.1, "pose_start": 0, "pose_ramp": 1}}},
    ],
}  # fmt: skip


def configure(**over):
    return config_from_dict(AblationConfig, {**SETTINGS, **over})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "boxes")


@pytest.fixture(autouse=True)
def quick_validation(monkeypatch):
    monkeypatch.setattr(training, "VALIDATION_BATCHES", 1)


def ablate(config, data, out):
    return Ablation(config, [data], [data], out, Console(quiet=True))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A finished ablation, and how often the network ran while detecting."""
    out = tmp_path_factory.mktemp("ablation")
    calls = []
    original = KeypointNetwork.forward

    def count(self, color, depth):
        if not self.training and len(color) == 1:
            calls.append(1)
        return original(self, color, depth)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeypointNetwork, "forward", count)
        patch.setattr(training, "VALIDATION_BATCHES", 1)
        ablate(configure(), data, out).run()
    return out, len(calls)


def result_of(out, name, seed=0):
    return json.loads((out / name / f"seed_{seed}" / "result.json").read_text())


def test_every_row_and_seed_has_a_result(finished):
    out, _ = finished
    for name, seed in (("kgn", 0), ("kgn", 1), ("kgn+few", 0), ("kgn+few", 1), ("pro", 0)):
        result = result_of(out, name, seed)
        assert (result["variant"], result["seed"]) == (name, seed)
        assert result["training"]["steps"] == 3
        top = 20 if name == "kgn+few" else 30
        assert result["tests"]["boxes"]["predictions"] == 4 * top
    assert not (out / "kgn+few/seed_0" / CHECKPOINT).exists()


def test_rows_with_the_same_weights_share_the_network(finished):
    """Three trainings, two scenes with two views each; not once more for kgn+few."""
    assert finished[1] == 3 * 4


def test_a_row_is_what_evaluate_says_about_its_model(finished, data):
    out, _ = finished
    config = configure()
    settings = config.detector_config(config.variant("kgn+few"))
    model = str(out / "kgn/seed_0/model.safetensors")
    detector = GraspDetector(ablation_run.replace(settings, model=model))
    report = evaluate_model(detector, data, limit=4, console=Console(quiet=True))
    stored = result_of(out, "kgn+few")["tests"]["boxes"]
    for key in ("images", "predictions", "objects", "stages"):
        assert stored[key] == report[key]
    assert [cell["gsr"] for cell in stored["cells"]] == [c["gsr"] for c in report["cells"]]
    assert stored["predictions"] == 4 * 20


def test_the_tables(finished):
    out, _ = finished
    text = (out / "ablation.md").read_text()
    assert "Not run yet" not in text
    assert "| **kgn+few** weights of kgn | 0, 1 |" in text
    assert "kgn, seed 0 |" in text  # pro has one seed, so it is compared with that one only
    tables = json.loads((out / "ablation.json").read_text())
    rows = tables["tests"]["boxes"]["rows"]
    assert list(rows) == ["kgn", "kgn+few", "pro"]
    assert rows["pro"]["compared_seeds"] == [0]
    assert rows["kgn"]["differences"] == {}
    assert sum(rows["pro"]["stages"].values()) == pytest.approx(1.0)
    cells = [result_of(out, "kgn", seed)["tests"]["boxes"]["cells"][5]["osr"] for seed in (0, 1)]
    assert rows["kgn"]["osr"][5]["value"] == pytest.approx(sum(cells) / 2)
    assert {(t["variant"], t["seed"]) for t in tables["trainings"]} == {
        ("kgn", 0), ("kgn", 1), ("pro", 0)
    }  # fmt: skip


def test_finished_rows_are_not_repeated(finished, data, monkeypatch):
    out, _ = finished

    def never(*args, **kwargs):
        raise AssertionError("trained or evaluated again")

    monkeypatch.setattr(ablation_run, "train", never)
    monkeypatch.setattr(ablation_run, "evaluate_rows", never)
    before = (out / "ablation.md").read_text()
    assert ablate(configure(), data, out).run().read_text() == before


def test_a_new_row_uses_the_weights_that_are_there(finished, data, monkeypatch):
    out, _ = finished
    row = {"name": "careful", "weights_of": "pro", "detector": {"ranking": {"uncertainty": True}}}
    config = configure(variants=[*SETTINGS["variants"], row])
    monkeypatch.setattr(ablation_run, "train", None)
    assert "**careful**" in ablate(config, data, out).run().read_text()
    assert "weights_of" not in result_of(out, "careful")["settings"]


def test_results_of_other_settings_are_refused(finished, data):
    out, _ = finished
    other = configure(train={**SETTINGS["train"], "max_steps": 4}, best=3)
    with pytest.raises(ModelError, match=r"best \(5 before, 3 now\); train\.max_steps \(3 before"):
        ablate(other, data, out).run()


def test_settings_that_came_later_count_with_their_defaults(finished, data):
    out, _ = finished
    path = out / "pro/seed_0/result.json"
    result = json.loads(path.read_text())
    del result["settings"]["train"]["divergence_steps"]
    del result["settings"]["detector"]["ranking"]["temperature"]
    path.write_text(json.dumps(result))
    ablate(configure(), data, out).run()


def test_a_killed_ablation_goes_on(data, tmp_path, monkeypatch):
    variants = [
        {"name": "first"}, {"name": "second", "train": {"heads": {"depth_head": False}}}
    ]  # fmt: skip
    config = configure(variants=variants, evaluation={"scenes": 1, "views": 1})
    original, steps = GraspModule.training_step, []

    def step(self, batch, batch_idx):
        if len(steps) == 5:
            raise KeyboardInterrupt
        steps.append((self.network.config.depth_head, self.global_step))
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(GraspModule, "training_step", step)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            ablate(config, data, tmp_path).run()
    assert "Not run yet: second (seed 0)." in (tmp_path / "ablation.md").read_text()
    assert load_checkpoint(tmp_path / "second/seed_0" / CHECKPOINT)["global_step"] == 2
    steps.clear()
    monkeypatch.setattr(GraspModule, "training_step", step)
    ablate(config, data, tmp_path).run(["first"])
    assert steps == []
    ablate(config, data, tmp_path).run(["second"])
    assert steps == [(False, 2)]
    with pytest.raises(ConfigError, match="no variant third to train: first, second"):
        ablate(config, data, tmp_path).run(["third"])
    assert result_of(tmp_path, "second")["tests"]["boxes"]["images"] == 1


def test_all_start_from_the_same_weights(finished, data, tmp_path):
    start = str(finished[0] / "kgn/seed_0/model.safetensors")
    train = {**SETTINGS["train"], "start": start, "max_steps": 1}
    config = configure(train=train, variants=SETTINGS["variants"][2:])
    text = ablate(config, data, tmp_path).run().read_text()
    assert f"All trainings start from the weights of `{start}`" in text
    new = result_of(tmp_path, "pro")["training"]["start"]["new_heads"]
    assert new == ["weight_logits", "weight_scale"]


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"variants": []}, "needs variants"),
        ({"variants": [{"name": "a"}, {"name": "a"}]}, "the same name: a"),
        ({"variants": [{"name": "../a"}]}, "is no name"),
        ({"variants": [{"name": "a", "weights_of": "b"}]}, "names 'b'; there are a"),
        ({"baseline": "z"}, "no variant 'z'"),
        ({"variants": [{"name": "a", "train": {"loss": {"pose": 0.1}}}]}, "confidence_head"),
        ({"variants": [{"name": "a", "train": {"los": 1}}]}, "variant a: .*los"),
        ({"variants": [{"name": "a", "detector": {"pnp": {"iterations": -1}}}]}, "iterations"),
        ({"train": {"devices": 2}}, "trains on one device"),
        (
            {"variants": [{"name": "a"}, {"name": "b", "weights_of": "a", "seeds": [3]}]},
            "a is not trained with seed",
        ),
        (
            {"variants": [{"name": "a"}, {"name": "b", "weights_of": "a", "train": {"crop": 64}}]},
            "cannot have training settings",
        ),
    ],
)
def test_mistakes_cost_a_message_before_any_training(over, says):
    with pytest.raises(ConfigError, match=says):
        configure(**over)


def test_test_sets_need_their_own_names(data, tmp_path):
    with pytest.raises(ConfigError, match="different folder names"):
        Ablation(configure(), [data], [data, data], tmp_path)
    with pytest.raises(ConfigError, match="data to test on"):
        Ablation(configure(), [data], [], tmp_path)
    with pytest.raises(ConfigError, match="different folder names"):
        Ablation(configure(), [data, data], [data], tmp_path)


def test_a_variant_trains_on_the_data_it_names(data, tmp_path):
    other = write_tiny_dataset(tmp_path / "others", scenes=4)
    variants = [{"name": "all"}, {"name": "one", "data": ["others"]}]
    variants.append({"name": "one+few", "weights_of": "one"})
    ablation = Ablation(
        configure(variants=variants), [data, other], [data], tmp_path / "out", Console(quiet=True)
    )
    ablation.run()
    used = {}
    for name in ("all", "one"):
        stored = load_checkpoint(tmp_path / "out" / name / "seed_0" / CHECKPOINT)
        used[name] = [entry["scenes"] for entry in stored["kgnpro_card"]["data"]]
    sizes = [manifest["scenes"] for manifest in ablation.train_manifests.values()]
    assert sizes[0] != sizes[1]
    assert used == {"all": sizes, "one": sizes[1:]}
    for name in ("one", "one+few"):
        settings = result_of(tmp_path / "out", name)["settings"]
        assert [entry["scenes"] for entry in settings["data"]] == sizes[1:]
    text = (tmp_path / "out" / "ablation.md").read_text()
    assert "of the data that the last table names" in text
    assert [line.split("|")[1].strip() for line in text.splitlines() if "4 scenes)" in line] == [
        "all", "one"
    ]  # fmt: skip


def test_a_variant_cannot_name_data_that_is_not_given(data, tmp_path):
    variants = [{"name": "a", "data": ["boxes", "elsewhere"]}]
    with pytest.raises(ConfigError, match="trains on elsewhere; the data sets given are boxes"):
        Ablation(configure(variants=variants), [data], [data], tmp_path)
