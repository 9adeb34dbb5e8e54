# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Eight-bit networks: static quantisation of the convolutions of a graph, by ONNX Runtime."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.network.graph import INPUTS
from kgnpro_ros.network.runtime import import_package

#: Layers at the resolution of the maps and finer, as the exporter names them; the last of
#: aggregation exists with deformable convolutions only.
FINE = (
    "backbone/stem",
    "backbone/levels.0",
    "trunk",
    "backbone/aggregate.2",
    "backbone/aggregate.3",
)
KEPT = tuple(f"/network/{name}/" for name in FINE)
#: Colour (H, W, 3) and depth (H, W) as the network gets them.
Frame = tuple[NDArray[np.uint8], NDArray[np.float32]]


def quantised_bytes(content: bytes, frames: Iterable[Frame]) -> bytes:
    """Quantise a graph of single precision; its header stays.

    Weights get 7 bits and a scale per output channel, activations 8 bits over the range that the
    frames span. What works at the resolution of the maps or finer stays in single precision: there
    the loss is greatest (256 steps for colours and depth together would be 9 mm of depth).

    Args:
        content: The ONNX file.
        frames: What the network will see, in all its variety; they may differ in size.

    Raises:
        ConfigError: If ONNX Runtime is not installed.
        ModelError: If there is no frame.
    """
    import_package("onnxruntime")
    onnx: Any = import_module("onnx")
    quantization: Any = import_module("onnxruntime.quantization")
    model = onnx.load_model_from_string(content)
    inputs = [dict(zip(INPUTS, (c[None], d[None]), strict=True)) for c, d in frames]
    if not inputs:
        raise ModelError("quantisation needs frames to see the range of each layer; got none")
    with tempfile.TemporaryDirectory(prefix="kgnpro_") as folder, _without_advice():
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(content)
        quantization.quantize_static(
            source, target, _reader(quantization, inputs),
            quant_format=quantization.QuantFormat.QDQ, op_types_to_quantize=["Conv"],
            nodes_to_exclude=sorted(kept_convolutions(model.graph)), per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # Without VNNI, sums of two products of full eight-bit numbers overflow.
            reduce_range=True,
        )  # fmt: skip
        return target.read_bytes()


@contextmanager
def _without_advice() -> Iterator[None]:
    """Within, nobody advises to fold batch norms, which the export has done."""

    def keep(record: logging.LogRecord) -> bool:
        return "pre-processing" not in record.getMessage()

    logging.getLogger().addFilter(keep)
    try:
        yield
    finally:
        logging.getLogger().removeFilter(keep)


def _reader(quantization: Any, inputs: list[dict[str, Any]]) -> Any:
    """Frames in the way that ONNX Runtime asks for them."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(inputs)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._rest, None)

    return Reader()


def kept_convolutions(graph: Any) -> set[str]:
    """Names of the convolutions that stay in single precision."""
    names = (node.name for node in graph.node if node.op_type == "Conv")
    return last_convolutions(graph) | {name for name in names if name.startswith(KEPT)}


def last_convolutions(graph: Any) -> set[str]:
    """Names of the convolutions that no other convolution follows."""
    producers = {name: node for node in graph.node for name in node.output}
    found, seen = set(), set()
    open_names = [item.name for item in graph.output]
    while open_names:
        name = open_names.pop()
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "Conv":
            found.add(node.name)
        else:
            open_names.extend(node.input)
    return found
