# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What runs the network: PyTorch, ONNX Runtime or OpenVINO behind one call."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.network.graph import INPUTS, Graph, read_graph
from kgnpro_ros.network.model import KeypointNetwork, NetworkOutput
from kgnpro_ros.network.shards import beside
from kgnpro_ros.network.weights import LoadedModel

#: Runtimes that read the ONNX file beside a model, fastest on a CPU first, with their packages.
GRAPH_RUNTIMES = {
    "openvino": "openvino", "onnxruntime": "onnxruntime", "onnxruntime-cuda": "onnxruntime",
    "tensorrt": "onnxruntime",
}  # fmt: skip
ONNX_PROVIDERS = {
    "onnxruntime": "CPUExecutionProvider",
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class NetworkRuntime(Protocol):
    """A network that is ready to run.

    Attributes:
        name: Value of the setting ``runtime`` that chooses it.
        note: Why it was chosen and what it is, for logs.
    """

    name: str
    note: str

    def __call__(self, color: NDArray[np.uint8], depth: NDArray[np.float32]) -> NetworkOutput:
        """Maps of one image: colour (H, W, 3), depth (H, W) [m]; sides multiples of 4."""
        ...


class TorchRuntime:
    """PyTorch: ``torch`` as it is, ``compiled`` by torch.compile, ``half`` precision on CUDA."""

    def __init__(
        self, network: KeypointNetwork, device: torch.device | str = "cpu", name: str = "torch"
    ) -> None:
        self.name, self.device = name, torch.device(device)
        self.network: Any = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if name == "half":
            if self.device.type != "cuda":
                raise ConfigError("runtime half needs a CUDA device; on a CPU it is slower")
            self.network = self.network.half()
        if name == "compiled":
            self.network = torch.compile(self.network)
        self.note = f"PyTorch {torch.__version__} on {self.device}"

    def __call__(self, color: NDArray[np.uint8], depth: NDArray[np.float32]) -> NetworkOutput:
        """Maps of one image, on the device."""
        with torch.inference_mode():
            color_tensor = torch.from_numpy(color).to(self.device).permute(2, 0, 1)[None]
            depth_tensor = torch.from_numpy(depth).to(self.device)[None]
            output: NetworkOutput = self.network(color_tensor, depth_tensor)
        return output


class OnnxRuntime:
    """ONNX Runtime with one of its execution providers; the CPU takes what a GPU's lacks."""

    def __init__(self, graph: Graph, name: str = "onnxruntime") -> None:
        onnxruntime = _import("onnxruntime")
        provider = ONNX_PROVIDERS[name]
        offered = onnxruntime.get_available_providers()
        if provider not in offered:
            raise ConfigError(
                f"runtime {name} needs {provider}, which this onnxruntime lacks; it has "
                f"{', '.join(offered)}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Spinning for the next image would take a core from everything else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = list(dict.fromkeys([provider, "CPUExecutionProvider"]))
        try:
            self._session = onnxruntime.InferenceSession(graph.content, options, providers)
        except Exception as error:  # the library's own types
            raise ModelError(f"ONNX Runtime cannot run {graph.path}: {error}") from error
        self.name, self._outputs = name, graph.outputs
        self.note = f"ONNX Runtime {onnxruntime.__version__} ({provider}), {graph.path.name}"

    def __call__(self, color: NDArray[np.uint8], depth: NDArray[np.float32]) -> NetworkOutput:
        """Maps of one image, on the CPU."""
        values = self._session.run(None, dict(zip(INPUTS, (color[None], depth[None]), strict=True)))
        return _output(self._outputs, values)


class OpenVinoRuntime:
    """OpenVINO on the CPU."""

    name = "openvino"

    def __init__(self, graph: Graph) -> None:
        openvino = _import("openvino")
        settings = {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }  # fmt: skip
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(graph.content, b""), "CPU", settings)
        except Exception as error:  # the library's own types
            raise ModelError(f"OpenVINO cannot run {graph.path}: {error}") from error
        self._request = compiled.create_infer_request()
        self._outputs = graph.outputs
        self.note = f"OpenVINO {version('openvino')}, {graph.path.name}"

    def __call__(self, color: NDArray[np.uint8], depth: NDArray[np.float32]) -> NetworkOutput:
        """Maps of one image, on the CPU."""
        inputs = dict(zip(INPUTS, (color[None], depth[None]), strict=True))
        # Copied: the next image is written to the same memory.
        values = [np.array(value) for value in self._request.infer(inputs).values()]
        return _output(self._outputs, values)


def make_runtime(
    config: DetectorConfig, model: LoadedModel, device: torch.device
) -> NetworkRuntime:
    """The runtime that a configuration names; ``auto`` is the fastest that can be had.

    On CUDA that is half precision. On a CPU it is OpenVINO, then ONNX Runtime, where the package is
    installed and an ONNX file of the same weights lies beside the model; else PyTorch.

    Raises:
        ConfigError: If a named runtime is not installed or not for this device.
        ModelError: If it needs an ONNX file that is missing, damaged or made of other weights.
    """
    name = config.runtime
    if name in GRAPH_RUNTIMES:
        return _graph_runtime(name, model)
    if name != "auto":
        return TorchRuntime(model.network, device, name)
    if device.type != "cpu":
        return TorchRuntime(model.network, device, "half" if device.type == "cuda" else "torch")
    reasons = []
    for choice in ("openvino", "onnxruntime"):
        try:
            return _graph_runtime(choice, model)
        except (ConfigError, ModelError) as error:
            reasons.append(str(error))
    runtime = TorchRuntime(model.network, device)
    runtime.note += f"; slower than could be: {reasons[0]}"
    return runtime


def graph_path(model: LoadedModel) -> Path:
    """Where the ONNX file of a model lies: beside it."""
    return beside(model.path, ".onnx")


def _graph_runtime(name: str, model: LoadedModel) -> NetworkRuntime:
    path = graph_path(model)
    if not path.is_file():
        raise ModelError(f"there is no {path}; write it with kgnpro export --model {model.path}")
    _import(GRAPH_RUNTIMES[name])
    graph = read_graph(path)
    if graph.weights_sha256 != model.sha256 or graph.config != model.network.config:
        raise ModelError(
            f"{path} was made of other weights than {model.path.name}; write it again with "
            f"kgnpro export --model {model.path}"
        )
    return OpenVinoRuntime(graph) if name == "openvino" else OnnxRuntime(graph, name)


def _import(package: str) -> Any:
    try:
        version(package)
        with _no_telemetry():
            return import_module(package)
    except (PackageNotFoundError, ImportError) as error:
        raise ConfigError(f"{package} is not installed: pip install {package} onnx") from error


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """Within, the two runtimes are imported without what would report it to their makers.

    Left alone, OpenVINO sends a message to Google Analytics when it is imported (without this
    package it takes its own stub), and ONNX Runtime from 1.29 on several to Microsoft.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    name = "openvino_telemetry"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def _output(names: tuple[str, ...], values: list[Any]) -> NetworkOutput:
    """Arrays as the network's maps; those it does not have are None."""
    maps: dict[str, Any] = dict.fromkeys(NetworkOutput._fields)
    for name, value in zip(names, values, strict=True):
        maps[name] = torch.from_numpy(value)
    return NetworkOutput(**maps)
