# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A quantised graph is near its own, is used only when asked for, and only with a proof."""

import json

import onnx
import pytest
import torch
from test_network_runtime import CPU, TINY, frame, largest_difference, network_of

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.network.graph import Proof, graph_bytes, read_graph, with_proof
from kgnpro_ros.network.quantise import (
    KEPT,
    kept_convolutions,
    last_convolutions,
    quantised_bytes,
)
from kgnpro_ros.network.runtime import OnnxRuntime, OpenVinoRuntime, TorchRuntime, make_runtime
from kgnpro_ros.network.weights import load_model, save_model

PROOF = Proof(images=4, objects=9, osr=70.0, difference=-0.25, low=-0.75)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model, its graph and its quantised graph."""
    path = tmp_path_factory.mktemp("model") / "net.safetensors"
    save_model(network_of(TINY), path, {})
    loaded = load_model(path)
    whole = graph_bytes(loaded.network, loaded.sha256)
    frames = [frame(96, 128, seed=1), frame(64, 96, seed=2)]
    return loaded, whole, quantised_bytes(whole, frames)


@pytest.fixture
def folder(exported, tmp_path):
    """The model alone in a folder; returns it and a function that puts files beside it."""
    source = exported[0].path
    path = tmp_path / "net.safetensors"
    path.write_bytes(source.read_bytes())

    def put(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return load_model(path), put


def test_convolutions_are_in_eight_bits_but_for_the_fine_ones(exported, folder):
    loaded, whole, small = exported
    graph = onnx.load_model_from_string(small).graph
    weights = {node.name: node.input[1] for node in graph.node if node.op_type == "Conv"}
    original = onnx.load_model_from_string(whole).graph
    kept = kept_convolutions(original)
    assert len(last_convolutions(original)) == len(loaded.network.heads)
    assert last_convolutions(original) < kept < set(weights)
    for prefix in KEPT[:4]:
        assert any(name.startswith(prefix) for name in kept), prefix
    quantised = {
        name for name, weight in weights.items() if weight.endswith("DequantizeLinear_Output")
    }
    assert quantised == set(weights) - kept
    assert len(quantised) > 10
    whole_numbers = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT8]
    stored = [t for t in whole_numbers if len(t.dims) == 4]
    assert len(stored) == len(quantised)
    # Seven bits: full range would overflow without VNNI.
    assert max(abs(onnx.numpy_helper.to_array(t).astype(int)).max() for t in stored) <= 64
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}


def test_maps_are_near_and_alike_in_both_packages(exported, folder):
    loaded, whole, small = exported
    _, put = folder
    graph = read_graph(put("small.onnx", small))
    assert graph.quantised
    assert graph.weights_sha256 == loaded.sha256
    assert not read_graph(put("whole.onnx", whole)).quantised
    image = frame(96, 128, seed=1)
    expected = TorchRuntime(loaded.network)(*image)
    maps = OnnxRuntime(graph)(*image)
    assert largest_difference(expected, maps) > 1e-4
    error = (maps.heatmap - expected.heatmap).abs().mean()
    assert error < 0.15 * expected.heatmap.std()
    other = OpenVinoRuntime(graph)(*image)
    assert (maps.heatmap - other.heatmap).abs().mean() < 0.05 * expected.heatmap.std()


def test_calibration_needs_frames(exported):
    with pytest.raises(ModelError, match="frames"):
        quantised_bytes(exported[1], [])


def test_int8_runs_where_it_was_proven_and_says_with_what(exported, folder):
    model, put = folder
    with pytest.raises(ModelError, match="--int8"):
        make_runtime(DetectorConfig(runtime="int8"), model, CPU)
    put("net_int8.onnx", with_proof(exported[2], PROOF))
    runtime = make_runtime(DetectorConfig(runtime="int8"), model, CPU)
    assert runtime.name == "int8"
    assert "OpenVINO" in runtime.note
    assert "net_int8.onnx" in runtime.note
    assert "70.0 % -0.2 points of 9 objects in 4 frames" in runtime.note
    assert runtime(*frame(96, 128)).heatmap.shape == (1, TINY.orientation_classes, 24, 32)


def test_int8_falls_back_to_the_other_package_only(exported, folder, monkeypatch):
    from kgnpro_ros.network import runtime as module

    model, put = folder
    put("net_int8.onnx", with_proof(exported[2], PROOF))
    monkeypatch.setattr(module, "_is_installed", lambda package: package != "openvino")
    runtime = make_runtime(DetectorConfig(runtime="int8"), model, CPU)
    assert runtime.name == "int8"
    assert "ONNX Runtime" in runtime.note


def test_auto_never_takes_it(exported, folder):
    model, put = folder
    proven = with_proof(exported[2], PROOF)
    put("net_int8.onnx", proven)
    assert make_runtime(DetectorConfig(), model, CPU).name == "torch"
    put("net.onnx", proven)  # not even under the name of the other
    for name in ("openvino", "onnxruntime"):
        with pytest.raises(ModelError, match="is quantised"):
            make_runtime(DetectorConfig(runtime=name), model, CPU)
    assert make_runtime(DetectorConfig(), model, CPU).name == "torch"
    put("net.onnx", exported[1])
    assert make_runtime(DetectorConfig(), model, CPU).name == "openvino"


def test_int8_is_refused_without_proof_of_other_weights_or_in_single_precision(exported, folder):
    model, put = folder
    put("net_int8.onnx", exported[2])
    with pytest.raises(ModelError, match="no proof"):
        make_runtime(DetectorConfig(runtime="int8"), model, CPU)
    put("net_int8.onnx", with_proof(exported[1], PROOF))
    with pytest.raises(ModelError, match="is not quantised"):
        make_runtime(DetectorConfig(runtime="int8"), model, CPU)
    put("net_int8.onnx", with_proof(exported[2], PROOF))
    torch.manual_seed(1)
    other = network_of(TINY)
    torch.nn.init.zeros_(other.heads["width"].out.bias)
    save_model(other, model.path, {})
    with pytest.raises(ModelError, match="other weights"):
        make_runtime(DetectorConfig(runtime="int8"), load_model(model.path), CPU)


@pytest.mark.parametrize(
    "proof",
    [3, [], {}, "good", {"images": 4}, {**vars(PROOF), "low": "high"}, {**vars(PROOF), "by": "me"},
     {**vars(PROOF), "osr": float("nan")}, {**vars(PROOF), "images": True}],
    ids=str,
)  # fmt: skip
def test_a_proof_that_is_none_is_refused(exported, folder, proof):
    content = onnx.load_model_from_string(exported[2])
    entry = next(entry for entry in content.metadata_props if entry.key == "kgnpro")
    entry.value = json.dumps({**json.loads(entry.value), "proof": proof})
    with pytest.raises(ModelError):
        read_graph(folder[1]("bad.onnx", content.SerializeToString()))


def test_quantised_files_from_strangers_are_refused(exported, folder):
    content = onnx.load_model_from_string(exported[2])
    node = next(n for n in content.graph.node if n.op_type == "QuantizeLinear")
    node.domain = "com.microsoft"
    with pytest.raises(ModelError, match=r"com\.microsoft\.QuantizeLinear"):
        read_graph(folder[1]("bad.onnx", content.SerializeToString()))


def test_quantisers_in_inner_graphs_count(exported, folder):
    """A graph cannot hide that it is quantised in the branch of a condition."""
    content = onnx.load_model_from_string(exported[1])
    node = content.graph.node.add()
    node.op_type = "If"
    attribute = node.attribute.add()
    attribute.name, attribute.type = "then_branch", onnx.AttributeProto.GRAPH
    attribute.g.node.add().op_type = "DequantizeLinear"
    assert read_graph(folder[1]("inner.onnx", content.SerializeToString())).quantised
