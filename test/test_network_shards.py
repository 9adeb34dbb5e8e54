# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Models in several files: split, read as one, and refused where they do not belong together."""

import hashlib
import json
import pickle
import struct
from contextlib import ExitStack

import pytest
import torch
from safetensors.torch import load_file, save_file

from kgnpro_ros.config import NETWORK_PRESETS
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.network import shards
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import card_path, find_model, found_models, load_model, save_model

SIZE, ROOM = 25_000, 17_000


@pytest.fixture
def small_files(monkeypatch):
    monkeypatch.setattr(shards, "MAX_FILE", SIZE)
    monkeypatch.setattr(shards, "HEADER_ROOM", ROOM)


def save(path, seed=0):
    torch.manual_seed(seed)
    network = KeypointNetwork(NETWORK_PRESETS["tiny"]).eval()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.half().float())
    save_model(network, path, {"steps": 7})
    return network


@pytest.fixture
def files(tmp_path, small_files):
    save(tmp_path / "big.safetensors")
    found = sorted(tmp_path.glob("*.safetensors"))
    assert len(found) > 2
    return found


def test_files_are_small_and_nothing_else_is_left(files, tmp_path):
    count = len(files)
    expected = [f"big-{k:05d}-of-{count:05d}.safetensors" for k in range(1, count + 1)]
    assert [file.name for file in files] == expected
    assert all(file.stat().st_size <= SIZE for file in files)
    assert sorted(p.name for p in tmp_path.iterdir()) == [*expected, "big.json"]
    kinds = {value.dtype for file in files for value in load_file(file).values()}
    assert kinds == {torch.float16, torch.int64}


@pytest.mark.parametrize("asked", ["big.safetensors", "first", "last"])
def test_they_are_read_as_one(tmp_path, small_files, asked):
    network = save(tmp_path / "big.safetensors")
    files = sorted(tmp_path.glob("*.safetensors"))
    path = {"first": files[0], "last": files[-1]}.get(asked, tmp_path / asked)
    loaded = load_model(path)
    expected = network.state_dict()
    assert loaded.network.state_dict().keys() == expected.keys()
    for name, value in loaded.network.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert loaded.card["steps"] == 7
    content = b"".join(file.read_bytes() for file in files)
    assert loaded.sha256 == hashlib.sha256(content).hexdigest()


def test_they_are_found_by_name(files, monkeypatch):
    monkeypatch.setenv("KGNPRO_MODELS", str(files[0].parent))
    assert find_model("big") == files[0]
    assert found_models()["big"] == files[0]
    assert card_path(files[-1]) == files[0].with_name("big.json")
    with pytest.raises(ModelError, match=r"one of .*\bbig\b"):
        find_model("huge")


def test_full_is_written_in_three_files_of_16_megabytes(tmp_path):
    """The real limit with the real network; its weights never leave the zeros."""
    with torch.device("meta"):
        network = KeypointNetwork(NETWORK_PRESETS["full"])
    save_model(network.to_empty(device="cpu").apply(zero), tmp_path / "full.safetensors", {})
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 3
    assert max(file.stat().st_size for file in files) <= 16_000_000
    with ExitStack() as stack:
        shapes = shards.ModelFiles(files[0], stack).shapes()
    assert shapes == {name: tuple(v.shape) for name, v in network.state_dict().items()}


def zero(module):
    for value in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        value.data.zero_()


def test_saving_again_replaces_the_other_form(files, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_FILE", 16_000_000)
    monkeypatch.setattr(shards, "HEADER_ROOM", 200_000)
    other = tmp_path / "big-2.safetensors"
    other.write_bytes(files[0].read_bytes())
    save(tmp_path / "big.safetensors", seed=1)
    names = sorted(p.name for p in tmp_path.glob("*.safetensors"))
    assert names == ["big-2.safetensors", "big.safetensors"]
    monkeypatch.setattr(shards, "MAX_FILE", SIZE)
    monkeypatch.setattr(shards, "HEADER_ROOM", ROOM)
    save(tmp_path / "big.safetensors", seed=2)
    assert not (tmp_path / "big.safetensors").exists()
    assert load_model(tmp_path / "big.safetensors").path == files[0]


def rewrite(path, tensors=None, **header):
    """Write a shard again with other tensors or another header."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        text = json.loads(file.metadata()["kgnpro"])
    content = {**load_file(path), **(tensors or {})}
    save_file(content, path, metadata={"kgnpro": json.dumps({**text, **header})})


def test_a_missing_shard(files):
    files[1].unlink()
    with pytest.raises(ModelError, match=rf"{files[1].name} is missing; .*one of {len(files)}"):
        load_model(files[0])


def test_a_missing_first_shard(files, tmp_path):
    files[0].unlink()
    with pytest.raises(ModelError, match=r"big\.safetensors does not exist"):
        load_model(tmp_path / "big.safetensors")
    with pytest.raises(ModelError, match=rf"{files[0].name} is missing"):
        load_model(files[1])


@pytest.mark.parametrize("keep", [0, 9, -1, -500])
def test_a_truncated_shard(files, keep):
    files[1].write_bytes(files[1].read_bytes()[:keep])
    with pytest.raises(ModelError, match=rf"{files[1].name}.*truncated or another format"):
        load_model(files[0])


def test_a_pickle_among_them_is_not_opened(files):
    class Boom:
        def __reduce__(self):
            return (pytest.fail, ("code from a model file ran",))

    files[1].write_bytes(pickle.dumps(Boom()))
    with pytest.raises(ModelError, match="truncated or another format"):
        load_model(files[0])


def test_a_huge_header_in_a_shard(files):
    files[-1].write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(ModelError, match="truncated or another format"):
        load_model(files[0])


def test_a_shard_of_another_state_of_the_model(files, tmp_path):
    """Same names, same shapes, other training: only the identity tells."""
    other = tmp_path / "other"
    other.mkdir()
    save(other / "big.safetensors", seed=1)
    files[1].write_bytes((other / files[1].name).read_bytes())
    with pytest.raises(ModelError, match=rf"{files[1].name} belongs to another model"):
        load_model(files[0])


def test_shards_in_each_others_place(files):
    files[1].write_bytes(files[2].read_bytes())
    with pytest.raises(ModelError, match=rf"{files[1].name} is not shard 2 of {len(files)}"):
        load_model(files[0])


@pytest.mark.parametrize("value", [None, 3, [1], {"of": 3, "number": 2, "count": 9}, {"of": "x"}])
def test_a_shard_that_says_nothing_sensible(files, value):
    rewrite(files[1], shard=value)
    with pytest.raises(ModelError, match=rf"{files[1].name} is not shard 2"):
        load_model(files[0])


def test_a_shard_of_another_network(files):
    rewrite(files[1], network={"preset": "tiny", "level_channels": [8, 8, 8, 16]})
    with pytest.raises(ModelError, match="belongs to another model"):
        load_model(files[0])


def test_a_tensor_in_two_shards(files):
    name, value = next(iter(load_file(files[0]).items()))
    rewrite(files[1], {name: value.clone()})
    with pytest.raises(ModelError, match="which another shard holds, too"):
        load_model(files[0])


def test_a_tensor_that_the_network_has_not(files):
    rewrite(files[1], {"more": torch.zeros(3)})
    with pytest.raises(ModelError, match=r"more has shape \(3,\); expected None"):
        load_model(files[0])


def test_two_sets_of_one_name(files, tmp_path):
    (tmp_path / "big-00001-of-00002.safetensors").write_bytes(files[0].read_bytes())
    with pytest.raises(ModelError, match="several sets of shards"):
        load_model(tmp_path / "big.safetensors")


@pytest.mark.parametrize("name", ["big-00000-of-00003", "big-00004-of-00003", "big-00001-of-99999"])
def test_impossible_numbers(files, tmp_path, name):
    path = tmp_path / "odd" / f"{name}.safetensors"
    path.parent.mkdir()
    path.write_bytes(files[0].read_bytes())
    with pytest.raises(ModelError, match="is no shard"):
        load_model(path)
