# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The network as an ONNX graph: written from a model, and read back without running anything.

A graph names the weights that it was made of by their hash, and a quantised one what it was proven
with. It holds standard operators and its own weights only: no custom operator, no function, and no
data in other files, whose paths could lead anywhere.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kgnpro_ros.config import NetworkConfig, config_from_dict
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.files import parse_json, read_bytes
from kgnpro_ros.network.model import KeypointNetwork, NetworkOutput
from kgnpro_ros.network.weights import FORMAT, FORMAT_VERSION

OPSET = 17
MAX_BYTES = 2**29
#: Largest weights that stay in single precision with ``half``: biases are small and matter.
SMALL = 1024

INPUTS = ("color_image", "depth_image")
STANDARD_DOMAINS = ("", "ai.onnx")
#: Operators that only a quantised graph has.
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
#: Data types of the ONNX format.
FLOAT, HALF = 1, 10


@dataclass(frozen=True)
class Proof:
    """How a quantised network fared beside its own on frames with known grasps.

    Attributes:
        images, objects: Frames, and objects in them that can be grasped.
        osr: Object success rate of the network as it was, mean over the cells of the table, in %.
        difference: Quantised minus that [points].
        low: What the difference exceeds with 95 % confidence [points].
    """

    images: int
    objects: int
    osr: float
    difference: float
    low: float

    def __str__(self) -> str:
        return (
            f"OSR {self.osr:.1f} % {self.difference:+.1f} points of {self.objects} objects in "
            f"{self.images} frames (95 %: above {self.low:+.1f})"
        )


@dataclass(frozen=True)
class Graph:
    """A graph that was read and checked.

    Attributes:
        content: The file.
        config: Architecture of the network.
        outputs: Fields of NetworkOutput, in the order of the graph's outputs.
        weights_sha256: Hash of the model file that it was made of.
        path: Where it was read.
        quantised: Whether it computes in eight bits: another network than that of its weights.
        proof: How a quantised one fared; None if nobody proved it.
    """

    content: bytes
    config: NetworkConfig
    outputs: tuple[str, ...]
    weights_sha256: str
    path: Path
    quantised: bool = False
    proof: Proof | None = None


class _Maps(nn.Module):
    """The network with images as cameras give them and without the maps it lacks."""

    def __init__(self, network: KeypointNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, color: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
        """Colour (1, H, W, 3) uint8 and depth (1, H, W) [m] to the maps that exist."""
        output = self.network(color.permute(0, 3, 1, 2), depth)
        return tuple(value for value in output if value is not None)


def graph_bytes(network: KeypointNetwork, weights_sha256: str, half: bool = False) -> bytes:
    """An ONNX file of the network, for images of any size.

    Args:
        network: In evaluation mode, on the CPU.
        weights_sha256: Hash of the model file, to tell a stale graph.
        half: Store weights in half precision, rounded once more after batch norm was folded into
            them; computed with in single.

    Raises:
        ModelError: If the package onnx is not installed.
    """
    onnx = _import_onnx("writing ONNX files")
    color = torch.zeros(1, 96, 128, 3, dtype=torch.uint8)
    depth = torch.full((1, 96, 128), 0.7)
    maps = _Maps(network).eval()  # export leaves the mode of what it is given
    with torch.no_grad():
        output = network(color.permute(0, 3, 1, 2), depth)
    names = [name for name, value in output._asdict().items() if value is not None]
    sides = {1: "height", 2: "width"}
    buffer: Any = io.BytesIO()  # the annotation of export knows paths only
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer warns of shape checks; sizes are kept symbolic, which the tests hold it to.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            maps, (color, depth), buffer, dynamo=False, opset_version=OPSET,
            input_names=list(INPUTS), output_names=names,
            dynamic_axes=dict.fromkeys(INPUTS, sides),
        )  # fmt: skip
    model = onnx.load_model_from_string(buffer.getvalue())
    if half:
        _halve(onnx, model.graph)
    header = {
        "format": FORMAT, "version": FORMAT_VERSION, "network": asdict(network.config),
        "weights": weights_sha256,
    }  # fmt: skip
    entry = model.metadata_props.add()
    entry.key, entry.value = "kgnpro", json.dumps(header)
    content: bytes = model.SerializeToString()
    return content


def with_proof(content: bytes, proof: Proof) -> bytes:
    """The same file with a proof in its header."""
    model = _import_onnx("writing ONNX files").load_model_from_string(content)
    for entry in model.metadata_props:
        if entry.key == "kgnpro":
            known = parse_json(entry.value, "the header", ModelError)
            entry.value = json.dumps({**known, "proof": asdict(proof)})
    result: bytes = model.SerializeToString()
    return result


def _halve(onnx: Any, graph: Any) -> None:
    """Store large weights in half precision, with a cast where they are used."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != FLOAT or int(np.prod(tensor.dims)) <= SMALL:
            continue
        name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])


def read_graph(path: Path) -> Graph:
    """Read an ONNX file of :func:`graph_bytes`.

    Raises:
        ModelError: If it is missing, damaged, not such a file, or not self-contained.
    """
    onnx = _import_onnx("reading ONNX files")
    content = read_bytes(path, ModelError, MAX_BYTES)
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # the parser's own types
        raise ModelError(f"{path} is no readable ONNX file: {error}") from error
    _check_contained(model, path)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    header = parse_json(entries.get("kgnpro", "{}"), f"the header of {path}", ModelError)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ModelError(f"{path} was not written by kgnpro export: it has no header of it")
    if header.get("version") != FORMAT_VERSION:
        raise ModelError(
            f"{path} is version {header.get('version')!r}; this package reads {FORMAT_VERSION}"
        )
    try:
        config = config_from_dict(NetworkConfig, header.get("network"), str(path))
        proof = header.get("proof")
        proof = None if proof is None else config_from_dict(Proof, proof, str(path))
    except ConfigError as error:
        raise ModelError(f"{path} does not fit this network: {error}") from error
    inputs = tuple(item.name for item in model.graph.input)
    outputs = tuple(item.name for item in model.graph.output)
    known = set(NetworkOutput._fields)
    if inputs != INPUTS or not set(outputs) <= known or not {"heatmap", "offsets"} <= set(outputs):
        raise ModelError(f"{path} has inputs {inputs} and outputs {outputs}; expected {INPUTS}")
    # Seen from the operators: a header can say anything.
    nodes = (node for graph in _graphs(model.graph) for node in graph.node)
    quantised = any(node.op_type in QUANTISERS for node in nodes)
    return Graph(
        content, config, outputs, str(header.get("weights", "")), path, quantised, proof
    )  # fmt: skip


def _check_contained(model: Any, path: Path) -> None:
    """Refuse operators that are not ONNX's own, functions, and data in other files."""
    if len(model.functions) > 0:
        raise ModelError(f"{path} defines functions of its own; expected standard operators only")
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.domain not in STANDARD_DOMAINS:
                raise ModelError(
                    f"{path} uses the operator {node.domain}.{node.op_type}; expected standard "
                    "ONNX operators only"
                )
        tensors = list(graph.initializer)
        tensors += [a.t for node in graph.node for a in node.attribute if a.HasField("t")]
        tensors += [t for node in graph.node for a in node.attribute for t in a.tensors]
        if len(graph.sparse_initializer) > 0:
            raise ModelError(f"{path} has sparse weights; expected none")
        for tensor in tensors:
            if tensor.data_location != 0 or len(tensor.external_data) > 0:
                raise ModelError(
                    f"{path} keeps {tensor.name!r} in another file; expected one file that holds "
                    "everything"
                )


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else []
            for item in [*inner, *attribute.graphs]:
                yield from _graphs(item)


def _import_onnx(purpose: str) -> Any:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise ModelError(f"{purpose} needs the package onnx: pip install onnx") from error
    return onnx
