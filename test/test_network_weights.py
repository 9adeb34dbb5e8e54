# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Model files: round trip, and one message for each way in which a file can be wrong."""

import json
import pickle
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from kgnpro_ros.config import NETWORK_PRESETS
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import (
    FORMAT,
    FORMAT_VERSION,
    find_model,
    load_model,
    model_folders,
    save_model,
)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), path, {"steps": 7})
    return path


def rewrite(path, change=None, header=None):
    """Write the file again with other tensors or another header."""
    tensors = load_file(path)
    if change:
        change(tensors)
    plain = {"format": FORMAT, "version": FORMAT_VERSION}
    network = json.loads(path.with_suffix(".json").read_text())["network"]
    text = json.dumps({**plain, "network": network, **(header or {})})
    save_file(tensors, path, metadata={"kgnpro": text})


def test_round_trip_predicts_the_same(tmp_path):
    torch.manual_seed(1)
    network = KeypointNetwork(NETWORK_PRESETS["tiny"]).eval()
    # What half precision can hold comes back exactly.
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.half().float())
    path = tmp_path / "a" / "model.safetensors"
    path.parent.mkdir()
    save_model(network, path, {"data": {"seed": 3}})
    loaded = load_model(path)
    color, depth = torch.randint(0, 256, (1, 3, 64, 64)), torch.rand(1, 64, 64) + 0.3
    with torch.no_grad():
        for mine, theirs in zip(network(color, depth), loaded.network(color, depth), strict=True):
            torch.testing.assert_close(mine, theirs)
    assert not loaded.network.training
    assert {p.dtype for p in loaded.network.parameters()} == {torch.float32}
    assert loaded.network.config == NETWORK_PRESETS["tiny"]
    assert loaded.card["data"] == {"seed": 3}
    assert loaded.card["format"] == FORMAT
    assert loaded.path == path
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.json", path.name]


def test_weights_are_stored_in_half_precision(model):
    kinds = {value.dtype for value in load_file(model).values()}
    assert kinds == {torch.float16, torch.int64}


def test_the_hash_is_that_of_the_file(model):
    import hashlib

    assert load_model(model).sha256 == hashlib.sha256(model.read_bytes()).hexdigest()


def test_a_card_is_not_needed(model):
    model.with_suffix(".json").unlink()
    assert load_model(model).card == {}


@pytest.mark.parametrize("keep", [0, 4, 9, 500, -1, -1000])
def test_truncated_files(model, keep):
    model.write_bytes(model.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"tiny\.safetensors.*truncated or another format"):
        load_model(model)


def test_a_pickle_is_not_opened(model):
    """Loading a foreign file must never run code."""

    class Boom:
        def __reduce__(self):
            return (pytest.fail, ("code from a model file ran",))

    model.write_bytes(pickle.dumps(Boom()))
    with pytest.raises(ModelError, match="truncated or another format"):
        load_model(model)


def test_a_huge_header_length_is_refused(model):
    model.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(ModelError, match="truncated or another format"):
        load_model(model)


def test_a_foreign_safetensors_file(model):
    save_file({"weight": torch.zeros(3)}, model)
    with pytest.raises(ModelError, match=f"None version None; this package reads '{FORMAT}'"):
        load_model(model)


@pytest.mark.parametrize("text", ["[1, 2]", "not json", '"text"'])
def test_a_foreign_header(model, text):
    save_file(load_file(model), model, metadata={"kgnpro": text})
    with pytest.raises(ModelError, match="tiny"):
        load_model(model)


def test_a_file_of_another_version(model):
    rewrite(model, header={"version": FORMAT_VERSION + 1})
    with pytest.raises(ModelError, match=f"version {FORMAT_VERSION + 1}; this package reads"):
        load_model(model)


def test_another_architecture(model):
    rewrite(model, header={"network": {"preset": "tiny", "level_channels": [8, 8, 8, 16]}})
    with pytest.raises(ModelError, match="does not fit this network"):
        load_model(model)


@pytest.mark.parametrize("network", [{"rooms": 3}, {"head_channels": -1}, 3, [1], None, "tiny"])
def test_an_impossible_architecture(model, network):
    rewrite(model, header={"network": network})
    with pytest.raises(ModelError, match="tiny"):
        load_model(model)


def test_a_missing_tensor(model):
    rewrite(model, lambda tensors: tensors.pop("heads.width.out.bias"))
    with pytest.raises(ModelError, match=r"heads\.width\.out\.bias"):
        load_model(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(model, value):
    rewrite(model, lambda tensors: tensors["heads.width.out.bias"].fill_(value))
    with pytest.raises(ModelError, match=r"not finite, in heads\.width\.out\.bias"):
        load_model(model)


@pytest.mark.parametrize("text", ["{", "", "\x00"])
def test_a_damaged_card(model, text):
    model.with_suffix(".json").write_text(text)
    with pytest.raises(ModelError, match="card"):
        load_model(model)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"gone\.safetensors does not exist"):
        load_model(tmp_path / "gone.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ModelError, match="folder"):
        load_model(tmp_path / "folder.safetensors")


def test_models_are_found_by_name(model, monkeypatch):
    monkeypatch.setenv("KGNPRO_MODELS", str(model.parent))
    assert find_model("tiny") == model
    assert model_folders()[0] == model.parent
    with pytest.raises(ModelError, match=r"no model 'huge'.*tiny"):
        find_model("huge")


def test_models_of_a_ros_installation_are_found(model, monkeypatch, tmp_path):
    share = tmp_path / "prefix" / "share" / "kgnpro_ros" / "models"
    share.mkdir(parents=True)
    (share / "shared.safetensors").write_bytes(model.read_bytes())
    monkeypatch.delenv("KGNPRO_MODELS", raising=False)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'prefix'}")
    assert load_model("shared").path == share / "shared.safetensors"
