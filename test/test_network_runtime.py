# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Every runtime gives what PyTorch gives, and files from strangers are refused."""

import inspect
import os
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from kgnpro_ros.config import NETWORK_PRESETS, DetectorConfig
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.network import runtime as runtime_module
from kgnpro_ros.network.graph import graph_bytes, read_graph
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.runtime import OnnxRuntime, OpenVinoRuntime, TorchRuntime, make_runtime
from kgnpro_ros.network.weights import load_model, save_model

TINY = NETWORK_PRESETS["tiny"]
#: As ``full``, small: deformable convolutions with offsets that matter.
DEFORMABLE = replace(TINY, deformable=True, level_root=True, level_depths=(1, 1, 0, 0))
CPU = torch.device("cpu")


def network_of(config):
    torch.manual_seed(0)
    network = KeypointNetwork(config)
    for module in network.modules():
        if hasattr(module, "offset_mask"):
            torch.nn.init.normal_(module.offset_mask.weight, std=0.02)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    for head in network.heads.values():
        torch.nn.init.normal_(head.out.weight, std=0.2)
    # One batch gives the batch norms statistics, and the maps a signal.
    color, depth = frame(96, 128, seed=2)
    with torch.no_grad():
        network(torch.from_numpy(color).permute(2, 0, 1)[None], torch.from_numpy(depth)[None])
    return network.eval()


@pytest.fixture(scope="module", params=["tiny", "deformable"])
def model(request, tmp_path_factory):
    network = network_of({"tiny": TINY, "deformable": DEFORMABLE}[request.param])
    path = tmp_path_factory.mktemp("model") / "net.safetensors"
    save_model(network, path, {})
    loaded = load_model(path)
    path.with_suffix(".onnx").write_bytes(graph_bytes(loaded.network, loaded.sha256))
    return loaded


def frame(height, width, seed=0):
    rng = np.random.default_rng(seed)
    color = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = rng.uniform(0.4, 1.2, (height, width)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.1] = np.nan
    return color, depth


def largest_difference(one, two):
    worst = 0.0
    for a, b in zip(one, two, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            worst = max(worst, float(((a - b).abs() / (1.0 + a.abs())).max()))
    return worst


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("size", [(96, 128), (132, 100)], ids=str)
def test_runtimes_agree_with_pytorch_at_any_size(model, name, size):
    runtime = make_runtime(DetectorConfig(runtime=name), model, CPU)
    color, depth = frame(*size)
    expected = TorchRuntime(model.network)(color, depth)
    assert float(expected.heatmap.std()) > 0.1
    assert largest_difference(expected, runtime(color, depth)) < 1e-4


def test_a_later_image_leaves_earlier_maps_alone(model):
    runtime = make_runtime(DetectorConfig(runtime="openvino"), model, CPU)
    first = runtime(*frame(96, 128))
    kept = first.heatmap.clone()
    runtime(*frame(96, 128, seed=1))
    assert torch.equal(first.heatmap, kept)


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_an_image_that_was_not_fetched_does_not_stop_the_next(model, name):
    """Whoever started it may have failed before it asked for the maps."""
    runtime = make_runtime(DetectorConfig(runtime=name), model, CPU)
    runtime.start(*frame(96, 128))
    second = frame(132, 100, seed=1)
    assert largest_difference(TorchRuntime(model.network)(*second), runtime(*second)) < 1e-4


def test_half_weights_take_less_room_and_change_little(model, tmp_path):
    path = tmp_path / "half.onnx"
    path.write_bytes(graph_bytes(model.network, model.sha256, half=True))
    whole, half = model.path.with_suffix(".onnx"), path
    assert half.stat().st_size <= whole.stat().st_size
    color, depth = frame(96, 128)
    a, b = (OnnxRuntime(read_graph(file))(color, depth) for file in (whole, half))
    assert largest_difference(a, b) < 0.1
    assert not model.network.training
    c = OpenVinoRuntime(read_graph(half))(color, depth)
    assert largest_difference(b, c) < 1e-3


def test_auto_says_what_it_took(model):
    runtime = make_runtime(DetectorConfig(), model, CPU)
    assert runtime.name == "openvino"
    assert "OpenVINO" in runtime.note
    assert "net.onnx" in runtime.note


def test_auto_without_the_file_is_pytorch_and_says_why(tmp_path):
    path = tmp_path / "net.safetensors"
    save_model(network_of(TINY), path, {})
    runtime = make_runtime(DetectorConfig(), load_model(path), CPU)
    assert runtime.name == "torch"
    assert "kgnpro export" in runtime.note
    with pytest.raises(ModelError, match="kgnpro export"):
        make_runtime(DetectorConfig(runtime="openvino"), load_model(path), CPU)


def test_a_graph_of_other_weights_is_not_used(model, tmp_path):
    path = tmp_path / "net.safetensors"
    save_model(network_of(TINY), path, {})
    path.with_suffix(".onnx").write_bytes(graph_bytes(network_of(TINY), "0" * 64))
    loaded = load_model(path)
    with pytest.raises(ModelError, match="other weights"):
        make_runtime(DetectorConfig(runtime="onnxruntime"), loaded, CPU)
    assert make_runtime(DetectorConfig(), loaded, CPU).name == "torch"


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "tensorrt"])
def test_a_provider_that_is_missing_is_named(model, name):
    with pytest.raises(ConfigError, match="ExecutionProvider"):
        make_runtime(DetectorConfig(runtime=name), model, CPU)


def test_half_precision_needs_cuda(model):
    with pytest.raises(ConfigError, match="CUDA"):
        TorchRuntime(network_of(TINY), "cpu", "half")


def test_compiling_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="no-such-compiler"):
        TorchRuntime(network_of(TINY), "cpu", "compiled")


def spoil_operator(graph):
    graph.graph.node[0].domain = "com.example"


def spoil_external(graph):
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def spoil_function(graph):
    function = graph.functions.add()
    function.name, function.domain = "Relu", "ai.onnx"


def spoil_header(graph):
    del graph.metadata_props[:]


def spoil_nested_operator(graph):
    node = graph.graph.node.add()
    node.op_type = "If"
    attribute = node.attribute.add()
    attribute.name, attribute.type = "then_branch", onnx.AttributeProto.GRAPH
    inner = attribute.g.node.add()
    inner.op_type, inner.domain = "Run", "com.example"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_operator, "standard"), (spoil_nested_operator, "standard"),
        (spoil_external, "another file"), (spoil_function, "functions"),
        (spoil_header, "kgnpro export"),
    ],
)  # fmt: skip
def test_files_from_strangers_are_refused(model, tmp_path, spoil, message):
    content = onnx.load_model_from_string(model.path.with_suffix(".onnx").read_bytes())
    spoil(content)
    path = tmp_path / "bad.onnx"
    path.write_bytes(content.SerializeToString())
    with pytest.raises(ModelError, match=message):
        read_graph(path)


def test_damaged_and_missing_files_are_refused(model, tmp_path):
    content = model.path.with_suffix(".onnx").read_bytes()
    path = tmp_path / "bad.onnx"
    for spoiled in (content[: len(content) // 2], os.urandom(2000), b""):
        path.write_bytes(spoiled)
        with pytest.raises(ModelError):
            read_graph(path)
    with pytest.raises(ModelError):
        read_graph(tmp_path / "none.onnx")


def test_a_gpu_build_of_onnxruntime_is_found(monkeypatch):
    """Its distribution has another name than its package."""

    def version(name):
        if name != "onnxruntime-gpu":
            raise runtime_module.PackageNotFoundError(name)
        return "1.22.0"

    monkeypatch.setattr(runtime_module, "version", version)
    assert runtime_module.import_package("onnxruntime").__name__ == "onnxruntime"
    monkeypatch.setattr(runtime_module, "DISTRIBUTIONS", {})
    with pytest.raises(ConfigError, match="pip install onnxruntime-gpu"):
        runtime_module.import_package("onnxruntime", "tensorrt")


class FakeOnnxRuntime:
    """ONNX Runtime on a machine with a GPU, as documented; ``started`` is what really starts."""

    __version__ = "1.22.0"
    SessionOptions = onnxruntime.SessionOptions

    def __init__(self, started):
        self.started, self.asked, self.fallback = started, None, True

    def get_available_providers(self):
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, path_or_bytes, sess_options=None, providers=None):
        assert isinstance(path_or_bytes, bytes)
        assert isinstance(sess_options, self.SessionOptions)
        self.asked = providers
        return self

    def get_providers(self):
        return self.started

    def disable_fallback(self):
        self.fallback = False


GPU_PROVIDERS = {
    "onnxruntime-cuda": ["CUDAExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider"],
}


@pytest.fixture
def on_gpu(monkeypatch):
    def use(started):
        fake = FakeOnnxRuntime(started)
        monkeypatch.setattr(runtime_module, "import_package", lambda *names: fake)
        return fake

    return use


@pytest.mark.parametrize("name", GPU_PROVIDERS)
def test_providers_and_their_device_are_asked_for_in_order(model, on_gpu, name):
    fake = on_gpu([*GPU_PROVIDERS[name], "CPUExecutionProvider"])
    runtime = make_runtime(DetectorConfig(runtime=name), model, torch.device("cuda:1"))
    gpu = [(provider, {"device_id": 1}) for provider in GPU_PROVIDERS[name]]
    assert fake.asked == [*gpu, ("CPUExecutionProvider", {})]
    assert fake.fallback is False
    assert runtime.name == name
    assert GPU_PROVIDERS[name][0] in runtime.note


@pytest.mark.parametrize("name", GPU_PROVIDERS)
def test_a_provider_that_does_not_start_is_no_cpu(model, on_gpu, name):
    """Without CUDA's libraries ONNX Runtime warns and runs on the CPU."""
    on_gpu(["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match="could not start"):
        make_runtime(DetectorConfig(runtime=name), model, CPU)


def test_the_fake_has_the_signatures_of_the_real_one():
    names = list(inspect.signature(onnxruntime.InferenceSession.__init__).parameters)
    assert names[1:4] == ["path_or_bytes", "sess_options", "providers"]
    for name in ("get_providers", "disable_fallback"):
        assert len(inspect.signature(getattr(onnxruntime.InferenceSession, name)).parameters) == 1
    known = set(onnxruntime.get_all_providers())
    assert {item for each in runtime_module.ONNX_PROVIDERS.values() for item in each} <= known


@pytest.mark.parametrize("config", [TINY, DEFORMABLE], ids=["tiny", "deformable"])
def test_half_precision_gives_maps_in_single(config):
    """What ``half`` runs on CUDA, on the CPU: slow there, but the same types and values."""
    expected = TorchRuntime(network_of(config))(*frame(96, 128))
    maps = TorchRuntime(network_of(config).half())(*frame(96, 128))
    assert largest_difference(expected, maps) < 0.1
