# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Starting from other weights: what is copied, what is drawn, what is refused."""

from dataclasses import replace

import pytest
import torch

from kgnpro_ros.config import HEADS, NETWORK_PRESETS, HeadConfig, TrainConfig
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import load_model, save_model
from kgnpro_ros.training.start import load_start

TINY = NETWORK_PRESETS["tiny"]


@pytest.fixture
def start(tmp_path):
    """A model without confidence heads, with weights of its own."""
    torch.manual_seed(5)
    network = KeypointNetwork(replace(TINY, confidence_head=False))
    save_model(network, tmp_path / "start.safetensors", {})
    return tmp_path / "start.safetensors"


def test_shared_tensors_are_copied_and_missing_heads_stay_drawn(start):
    network = KeypointNetwork(replace(TINY, depth_head=False, distance_head=True))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    note = load_start(network, str(start))
    assert note["new_heads"] == ["distance", "weight_logits", "weight_scale"]
    assert len(note["sha256"]) == 64
    given = load_model(start).network.state_dict()
    for name, value in network.state_dict().items():
        new = name.startswith(("heads.weight_", "heads.distance"))
        assert torch.equal(value, before[name] if new else given[name]), name


def test_heads_can_be_drawn_new_all_the_same(start):
    network = KeypointNetwork(replace(TINY, confidence_head=False))
    before = network.heads["offsets"].out.weight.clone()
    note = load_start(network, str(start), ("offsets", "weight_scale"))
    assert note["new_heads"] == ["offsets"]
    assert torch.equal(network.heads["offsets"].out.weight, before)


def test_a_checkpoint_gives_its_averaged_weights(tmp_path):
    network = KeypointNetwork(TINY)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    state["pose_loss.norm_factor"] = torch.ones(())
    wrong = {name: torch.zeros_like(value) for name, value in state.items()}
    content = {"state_dict": state, "current_model_state": wrong, "kgnpro_config": {}}
    torch.save(content, tmp_path / "last.ckpt")
    other = KeypointNetwork(TINY)
    assert load_start(other, str(tmp_path / "last.ckpt"))["new_heads"] == []
    for name, value in other.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])


def test_another_architecture_is_no_start(start, tmp_path):
    with pytest.raises(ModelError, match=r"cannot be the start of this network: \d+ of \d+"):
        load_start(KeypointNetwork(replace(TINY, level_channels=(8, 8, 8, 16))), str(start))
    with pytest.raises(ModelError, match=r"no model 'nothing'"):
        load_start(KeypointNetwork(TINY), "nothing")
    (tmp_path / "half.ckpt").write_bytes(b"PK half")
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        load_start(KeypointNetwork(TINY), str(tmp_path / "half.ckpt"))


def test_heads_over_a_preset_are_in_the_model_file(tmp_path):
    config = TrainConfig(network="tiny", heads=HeadConfig(depth_head=False, distance_head=True))
    path = tmp_path / "model.safetensors"
    save_model(KeypointNetwork(config.architecture), path, {})
    loaded = load_model(path).network.config
    assert (loaded.depth_head, loaded.distance_head, loaded.confidence_head) == (False, True, True)
    assert loaded == config.architecture


def test_every_head_has_its_name():
    everything = replace(TINY, distance_head=True, direct_head=True)
    assert set(KeypointNetwork(everything).heads) == set(HEADS)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fresh_heads": ("weights",)}, "no head weights; there are heatmap"),
        ({"heads": HeadConfig(direct_head=True, distance_head=True)}, "choose one"),
        ({"divergence_factor": 1.0}, "divergence_factor > 1"),
    ],
)
def test_heads_that_make_no_sense(settings, says):
    with pytest.raises(ConfigError, match=says):
        TrainConfig(**settings)
