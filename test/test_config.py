# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings: YAML there and back, and one clear message for each kind of mistake."""

from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml

from kgnpro_ros import config as settings
from kgnpro_ros.config import (
    NETWORK_PRESETS,
    AblationConfig,
    DecodeConfig,
    DetectorConfig,
    EvaluationConfig,
    FilterConfig,
    LabelConfig,
    LossConfig,
    NetworkConfig,
    PnPConfig,
    RankingConfig,
    SceneConfig,
    TrainConfig,
    config_from_dict,
    dump_config,
    load_config,
)
from kgnpro_ros.exceptions import ConfigError

CLASSES = sorted(
    (value for value in vars(settings).values() if isinstance(value, type) and is_dataclass(value)),
    key=lambda cls: cls.__name__,
)
assert len(CLASSES) > 15
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_configuration_survives_yaml(cls, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(cls()))
    assert load_config(cls, path) == cls()


@pytest.mark.parametrize("cls", CLASSES)
def test_configurations_cannot_change(cls):
    assert cls.__dataclass_params__.frozen


@pytest.mark.parametrize("cls", CLASSES)
def test_announced_ranges_are_enforced(cls):
    checked = 0
    for item in fields(cls):
        if "range" not in item.metadata:
            continue
        low, high = item.metadata["range"]
        assert low <= item.default <= high
        step = 1 if isinstance(item.default, int) else 1e-3 * max(1.0, abs(high))
        for value in (low - step, high + step):
            with pytest.raises(ConfigError, match=item.name):
                cls(**{item.name: value})
        checked += 1
    if cls in (DecodeConfig, PnPConfig, FilterConfig):
        assert checked > 0


@pytest.mark.parametrize("name", NETWORK_PRESETS)
def test_presets_carry_their_name_and_survive_yaml(name):
    preset = NETWORK_PRESETS[name]
    assert preset.preset == name
    assert config_from_dict(NetworkConfig, yaml.safe_load(dump_config(preset))) == preset


def test_absent_keys_keep_their_defaults():
    config = config_from_dict(DetectorConfig, {"decode": {"top_k": 7}})
    assert config.decode == DecodeConfig(top_k=7)
    assert config.filters == FilterConfig()
    assert config_from_dict(DetectorConfig, None) == DetectorConfig()


def test_whole_numbers_are_taken_for_floats_but_not_the_other_way_round():
    assert config_from_dict(PnPConfig, {"mode_gap": 5}).mode_gap == 5.0
    with pytest.raises(ConfigError, match="top_k"):
        config_from_dict(DecodeConfig, {"top_k": 7.5})


def test_lists_become_tuples():
    config = config_from_dict(
        FilterConfig, {"workspace": [-1, -1, 0, 1, 1, 2], "opening_steps": [0.01]}
    )
    assert config.workspace == (-1.0, -1.0, 0.0, 1.0, 1.0, 2.0)
    pairs = config_from_dict(EvaluationConfig, {"kgn_pairs": [[0.01, 20]]}).kgn_pairs
    assert pairs == ((0.01, 20.0),)


@pytest.mark.parametrize(
    ("cls", "data", "says"),
    [
        (DetectorConfig, {"treshold": 1}, "treshold"),
        (DetectorConfig, {"decode": {"topk": 3}}, "topk"),
        (DetectorConfig, {"decode": 3}, "decode"),
        (DetectorConfig, {"model": 3}, "model"),
        (DecodeConfig, {"score_threshold": "high"}, "score_threshold"),
        (DecodeConfig, {"local_maximum": "yes"}, "local_maximum"),
        (DecodeConfig, {"top_k": True}, "top_k"),
        (PnPConfig, {"mode_gap": True}, "mode_gap"),
        (DecodeConfig, {"weight_min": 5.0, "weight_max": 1.0}, "weight_min <= weight_max"),
        (FilterConfig, {"workspace": [0, 0, 0, 1, 1]}, "workspace"),
        (FilterConfig, {"workspace": [0, 0, 0, 1, 1, -1]}, "not ordered"),
        (FilterConfig, {"opening_steps": [-0.1]}, "opening_steps"),
        (SceneConfig, {"mode": "many"}, "mode"),
        (SceneConfig, {"views": 0}, "views"),
        (NetworkConfig, {"stem_stride": 3}, "stem_stride"),
        (NetworkConfig, {"level_channels": [1, 2, 3]}, "level_channels"),
        (NetworkConfig, {"head_channels": 0}, "channel counts"),
        (NetworkConfig, {"depth_range": [2.0, 1.0]}, "depth_range"),
        (NetworkConfig, {"color_std": [0.1, 0.0, 0.1]}, "standard deviations"),
        (NetworkConfig, {"orientation_classes": 0}, "orientation_classes"),
        (TrainConfig, {"network": "huge"}, "tiny"),
        (TrainConfig, {"crop": 100}, "multiple of 32"),
        (TrainConfig, {"batch_size": 0}, "batch_size"),
        (TrainConfig, {"ema_decay": 1.0}, "ema_decay"),
        (TrainConfig, {"schedule": "linear"}, "schedule"),
        (TrainConfig, {"loss": {"heatmap": -1.0}}, "heatmap"),
        (TrainConfig, {"augment": {"scale_range": [1.2, 0.8]}}, "scale_range"),
        (TrainConfig, {"augment": {"gray": 1.5}}, "gray"),
        (LabelConfig, {"rotation_samples": 1}, "rotation_samples"),
        (LabelConfig, {"edge_margin": 12.0}, "edge_margin"),
        (LossConfig, {"depth": "much"}, "depth"),
        (EvaluationConfig, {"distances": [0.0]}, "positive"),
        (DecodeConfig, {"score_threshold": 10**400}, "1024 bits"),
        (DecodeConfig, {"score_threshold": -(10**5000)}, "1024 bits"),
        (DecodeConfig, {"score_threshold": float("nan")}, "finite"),
    ],
)
def test_mistakes_name_the_setting_and_the_file(cls, data, says):
    with pytest.raises(ConfigError, match=says) as error:
        config_from_dict(cls, data, "mine.yaml")
    assert str(error.value).startswith("mine.yaml: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"model: [", "cannot read"),
        (b"\xff\xfe\x00", "cannot read"),
        (b"- a\n- b\n", "expected a mapping"),
        (b"just text", "expected a mapping"),
    ],
)
def test_files_that_are_no_settings_are_refused(content, says, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load_config(DetectorConfig, path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(DetectorConfig, tmp_path / "nowhere.yaml")


def test_an_empty_file_means_the_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("# nothing\n")
    assert load_config(TrainConfig, path) == TrainConfig()


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config" / "train").glob("*.yaml")), ids=str)
def test_shipped_training_files_are_valid(path):
    load_config(TrainConfig, path)


@pytest.mark.parametrize("name", ["lite", "paper"])
def test_shipped_ablations_hold_the_compared_systems(name):
    """KGN, KGNv2, Direct3D, KGN-Pro and a row for each own step, as settings of the same code."""
    config = load_config(AblationConfig, REPOSITORY / "config" / "ablation" / f"{name}.yaml")
    trained = {v.name: config.train_config(v, 0) for v in config.variants if not v.weights_of}
    detectors = {v.name: config.detector_config(v) for v in config.variants}
    assert len(config.seeds_of(config.variant("kgn"))) >= 2
    assert config.seeds_of(config.variant("kgn")) == config.seeds_of(config.variant("kgn-pro"))
    assert (detectors["kgn"].pnp.iterations, detectors["kgn"].pnp.choose_mode) == (0, False)
    heads = ("confidence_head", "depth_head", "distance_head", "direct_head")
    expected = {"kgn": (0, 0, 0, 0), "kgn-pro": (1, 0, 0, 0), "kgnv2": (0, 0, 1, 0),
                "direct3d": (0, 0, 0, 1), "depth-likelihood": (1, 1, 0, 0)}  # fmt: skip
    for name, switches in expected.items():
        network = trained[name].architecture
        assert tuple(getattr(network, head) for head in heads) == switches, name
        assert (trained[name].loss.pose > 0) == bool(switches[0]), name
    assert trained["depth-likelihood"].pose.pnp.use_depth
    assert not trained["depth-head"].pose.pnp.use_depth
    assert detectors["covariance-ranking"].ranking.uncertainty
    assert not RankingConfig().uncertainty


def test_the_ablation_of_the_data_changes_nothing_else():
    config = load_config(AblationConfig, REPOSITORY / "config" / "ablation" / "data.yaml")
    first, *others = config.variants
    shares = {variant.data for variant in config.variants}
    assert len(shares) == len(config.variants)
    assert all(shares)
    for other in others:
        assert config.train_config(other, 0) == config.train_config(first, 0)
        assert config.detector_config(other) == config.detector_config(first)
        assert config.reference(other) == first
