# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What runs the network: PyTorch, ONNX Runtime or OpenVINO behind one call."""

from __future__ import annotations

import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.network.graph import INPUTS, Graph, read_graph
from kgnpro_ros.network.model import KeypointNetwork, NetworkOutput
from kgnpro_ros.network.shards import beside
from kgnpro_ros.network.weights import LoadedModel

#: Runtimes that read an ONNX file beside a model, with the packages that can run it, fastest first.
GRAPH_RUNTIMES = {
    "openvino": ("openvino",), "onnxruntime": ("onnxruntime",), "int8": ("openvino", "onnxruntime"),
    "onnxruntime-cuda": ("onnxruntime",), "tensorrt": ("onnxruntime",),
}  # fmt: skip
#: Execution providers of ONNX Runtime in order: each takes what those before it lack.
ONNX_PROVIDERS = {
    "onnxruntime": ("CPUExecutionProvider",),
    "int8": ("CPUExecutionProvider",),
    "onnxruntime-cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
#: Distributions that a package comes in.
DISTRIBUTIONS = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}


#: Waits for the maps of an image and gives them; to be called once.
Pending = Callable[[], NetworkOutput]


class NetworkRuntime(ABC):
    """A network that is ready to run.

    Attributes:
        name: Value of the setting ``runtime`` that chooses it.
        note: Why it was chosen and what it is, for logs.
    """

    name: str
    note: str

    @abstractmethod
    def start(self, color: NDArray[np.uint8], depth: NDArray[np.float32]) -> Pending:
        """Begin with one image: colour (H, W, 3), depth (H, W) [m]; sides multiples of 4.

        OpenVINO and CUDA compute beside the caller until it asks for the maps; the others are done
        when this returns. One image at a time: the maps are fetched before the next start.
        """

    def __call__(self, color: NDArray[np.uint8], depth: NDArray[np.float32]) -> NetworkOutput:
        """Maps of one image; arguments as those of :meth:`start`."""
        return self.start(color, depth)()


class TorchRuntime(NetworkRuntime):
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
            compiler = os.environ.get("CXX", "g++")
            if self.device.type == "cpu" and shutil.which(compiler) is None:
                raise ConfigError(f"runtime compiled needs a C++ compiler; there is no {compiler}")
            self.network = torch.compile(self.network)
        self.note = f"PyTorch {torch.__version__} on {self.device}"

    def start(self, color: NDArray[np.uint8], depth: NDArray[np.float32]) -> Pending:
        """Maps of one image, on the device; CUDA runs what was queued."""
        with torch.inference_mode():
            color_tensor = torch.from_numpy(color).to(self.device).permute(2, 0, 1)[None]
            depth_tensor = torch.from_numpy(depth).to(self.device)[None]
            output: NetworkOutput = self.network(color_tensor, depth_tensor)
        return lambda: output


class OnnxRuntime(NetworkRuntime):
    """ONNX Runtime with one of its execution providers; the CPU takes what a GPU's lacks.

    Args:
        graph: The network.
        name: Setting that chooses the provider.
        device: Which GPU; others than CUDA devices stand for the first.
    """

    def __init__(
        self, graph: Graph, name: str = "onnxruntime", device: torch.device | str = "cpu"
    ) -> None:
        onnxruntime = import_package("onnxruntime")
        wanted, offered = ONNX_PROVIDERS[name], onnxruntime.get_available_providers()
        if wanted[0] not in offered:
            raise ConfigError(
                f"runtime {name} needs {wanted[0]}, which this onnxruntime lacks; it has "
                f"{', '.join(offered)}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Spinning for the next image would take a core from everything else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        index = torch.device(device).index or 0
        providers = [(p, {} if p.startswith("CPU") else {"device_id": index}) for p in wanted]
        try:
            self._session = onnxruntime.InferenceSession(graph.content, options, providers)
        except Exception as error:  # the library's own types
            raise ModelError(f"ONNX Runtime cannot run {graph.path}: {error}") from error
        # Without the libraries of CUDA or TensorRT it would warn and go on with the CPU.
        if wanted[0] not in self._session.get_providers():
            raise ConfigError(
                f"runtime {name}: ONNX Runtime could not start {wanted[0]} and would run on "
                f"{', '.join(self._session.get_providers())}; are its libraries installed?"
            )
        self._session.disable_fallback()
        self.name, self._outputs = name, graph.outputs
        self.note = f"ONNX Runtime {onnxruntime.__version__} ({wanted[0]}), {_title(graph)}"

    def start(self, color: NDArray[np.uint8], depth: NDArray[np.float32]) -> Pending:
        """Maps of one image, on the CPU."""
        values = self._session.run(None, dict(zip(INPUTS, (color[None], depth[None]), strict=True)))
        return lambda: _output(self._outputs, values)


class OpenVinoRuntime(NetworkRuntime):
    """OpenVINO on the CPU."""

    def __init__(self, graph: Graph, name: str = "openvino") -> None:
        openvino = import_package("openvino")
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
        self.name, self._outputs = name, graph.outputs
        self.note = f"OpenVINO {version('openvino')}, {_title(graph)}"

    def start(self, color: NDArray[np.uint8], depth: NDArray[np.float32]) -> Pending:
        """Maps of one image, on the CPU, by threads of OpenVINO's own."""
        inputs = dict(zip(INPUTS, (color[None], depth[None]), strict=True))
        self._request.wait()  # for one that nobody fetched, after an exception
        self._request.start_async(inputs)

        def fetch() -> NetworkOutput:
            self._request.wait()
            # Copied: the next image is written to the same memory.
            values = [np.array(tensor.data) for tensor in self._request.output_tensors]
            return _output(self._outputs, values)

        return fetch


def make_runtime(
    config: DetectorConfig, model: LoadedModel, device: torch.device
) -> NetworkRuntime:
    """The runtime that a configuration names; ``auto`` is the fastest that can be had.

    On CUDA that is half precision. On a CPU it is OpenVINO, then ONNX Runtime, where the package is
    installed and an ONNX file of the same weights lies beside the model; else PyTorch. It is never
    the quantised network, which finds other grasps: that one is taken when ``int8`` asks for it.

    Raises:
        ConfigError: If a named runtime is not installed or not for this device.
        ModelError: If it needs an ONNX file that is missing, damaged or made of other weights.
    """
    name = config.runtime
    if name in GRAPH_RUNTIMES:
        return _graph_runtime(name, model, device)
    if name != "auto":
        return TorchRuntime(model.network, device, name)
    if device.type != "cpu":
        return TorchRuntime(model.network, device, "half" if device.type == "cuda" else "torch")
    reasons = []
    for choice in ("openvino", "onnxruntime"):
        try:
            return _graph_runtime(choice, model, device)
        except (ConfigError, ModelError) as error:
            reasons.append(str(error))
    runtime = TorchRuntime(model.network, device)
    runtime.note += f"; slower than could be: {reasons[0]}"
    return runtime


def graph_path(model: LoadedModel, quantised: bool = False) -> Path:
    """Where the ONNX file of a model lies: beside it."""
    return beside(model.path, "_int8.onnx" if quantised else ".onnx")


def graph_runtime(graph: Graph, name: str, device: torch.device | str = "cpu") -> NetworkRuntime:
    """A graph in the first package for this runtime that is installed.

    Raises:
        ConfigError: If none is, or none can run it on this device.
        ModelError: If the package cannot run the graph.
    """
    packages = GRAPH_RUNTIMES[name]
    package = next(filter(_is_installed, packages), packages[0])
    import_package(package, name)
    if package == "openvino":
        return OpenVinoRuntime(graph, name)
    return OnnxRuntime(graph, name, device)


def _graph_runtime(name: str, model: LoadedModel, device: torch.device) -> NetworkRuntime:
    quantised = name == "int8"
    path = graph_path(model, quantised)
    command = f"kgnpro export --model {model.path}" + (" --int8" if quantised else "")
    if not path.is_file():
        raise ModelError(f"there is no {path}; write it with {command}")
    graph = read_graph(path)
    if graph.weights_sha256 != model.sha256 or graph.config != model.network.config:
        raise ModelError(
            f"{path} was made of other weights than {model.path.name}; write it again with "
            f"{command}"
        )
    if graph.quantised != quantised:
        kind = "is" if graph.quantised else "is not"
        raise ModelError(f"{path} {kind} quantised; write it again with {command}")
    if quantised and graph.proof is None:
        raise ModelError(f"{path} holds no proof of its accuracy; write it again with {command}")
    return graph_runtime(graph, name, device)


def _title(graph: Graph) -> str:
    return graph.path.name + (f", {graph.proof}" if graph.quantised else "")


def _is_installed(package: str) -> bool:
    return any(_version(item) for item in DISTRIBUTIONS.get(package, (package,)))


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def import_package(package: str, name: str = "") -> Any:
    """Import a package for the runtime of a name."""
    if _is_installed(package):
        try:
            with _no_telemetry():
                return import_module(package)
        except ImportError as error:
            raise ConfigError(f"{package} cannot be imported: {error}") from error
    on_gpu = name in ("onnxruntime-cuda", "tensorrt")
    needed = f"{package}-gpu" if on_gpu else package
    raise ConfigError(f"{package} is not installed: pip install {needed} onnx")


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
