#!/usr/bin/env python3
# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What eight-bit arithmetic would change: OSR and time of a quantised network beside its own.

    python benchmarks/bench_int8.py --model lite --calibrate DATA --test DATA --scenes 25

Static post-training quantisation by ONNX Runtime of the ONNX file beside the model (write it with
kgnpro export): convolutions, one scale per channel of the weights, activations by the range seen in
the calibration frames. Both networks see each test image, one view per scene, one after the other.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from kgnpro_ros.config import DetectorConfig, EvaluationConfig
from kgnpro_ros.data.dataset import SceneDataset
from kgnpro_ros.evaluation.command import open_test_split
from kgnpro_ros.evaluation.runner import Contender, EvaluationResult, evaluate_together
from kgnpro_ros.evaluation.timing import measure
from kgnpro_ros.network.graph import INPUTS, read_graph
from kgnpro_ros.network.runtime import OnnxRuntime, OpenVinoRuntime, graph_path
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.types import RGBDImage


class Frames(CalibrationDataReader):  # type: ignore[misc]
    """Frames as the network gets them."""

    def __init__(self, detector: GraspDetector, images: Iterator[RGBDImage]) -> None:
        self._detector, self._images = detector, images

    def get_next(self) -> dict[str, Any] | None:
        """Inputs of the next frame; None after the last."""
        image = next(self._images, None)
        if image is None:
            return None
        color, depth, _ = self._detector.prepare(image)
        return dict(zip(INPUTS, (color[None], depth[None]), strict=True))


def calibration_images(folders: list[Path], count: int) -> Iterator[RGBDImage]:
    """So many frames in all, spread over the data sets."""
    for folder in folders:
        dataset = SceneDataset(folder)
        for index in np.linspace(0, len(dataset) - 1, count // len(folders)).astype(int):
            yield dataset.load(int(index)).image


def quantise(source: Path, target: Path, frames: Frames, heads: bool) -> None:
    """Quantise the convolutions; those that write the maps only if ``heads``."""
    graph = onnx.load(source).graph
    outputs = {item.name for item in graph.output}
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    last = last_convolutions(graph, outputs)
    # Without VNNI, products of full eight-bit numbers overflow in pairs.
    quantize_static(
        source, target, frames, quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"],
        per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        nodes_to_exclude=[] if heads else [name for name in convolutions if name in last],
    )  # fmt: skip


def last_convolutions(graph: Any, outputs: set[str]) -> set[str]:
    """Names of the convolutions that no other convolution follows."""
    producers = {name: node for node in graph.node for name in node.output}
    found, open_names = set(), list(outputs)
    while open_names:
        node = producers.get(open_names.pop())
        if node is None:
            continue
        if node.op_type == "Conv":
            found.add(node.name)
        else:
            open_names.extend(node.input)
    return found


def osr(result: EvaluationResult) -> np.ndarray[Any, Any]:
    """Object success rate over the cells of the table."""
    return np.array([cell["osr"] for cell in result.to_dict()["cells"]], dtype=float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--calibrate", type=Path, action="append", required=True)
    parser.add_argument("--test", type=Path, action="append", required=True)
    parser.add_argument("--frames", type=int, default=24, help="calibration frames")
    parser.add_argument("--scenes", type=int, default=25, help="test images of each data set")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--heads", action="store_true", help="quantise the last layers, too")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    filters = DetectorConfig().filters.without_gripper()
    settings = DetectorConfig(model=arguments.model, runtime="onnxruntime", filters=filters)
    detector = GraspDetector(settings)
    single = detector.with_config(detector.config)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        images = calibration_images(arguments.calibrate, arguments.frames)
        quantise(graph_path(model), target, Frames(detector, images), arguments.heads)
        whole, small = read_graph(graph_path(model)), read_graph(target)
    print(f"{len(whole.content) / 1e6:.1f} MB -> {len(small.content) / 1e6:.1f} MB")
    single.runtime = OnnxRuntime(small)
    config = EvaluationConfig(scenes=arguments.scenes, views=1)
    for path in arguments.test:
        contenders = [
            Contender(lambda sample, d=each: d.run(sample.image).grasps)
            for each in (detector, single)
        ]
        results = evaluate_together(open_test_split(path), contenders, config)
        before, after = (100 * osr(result) for result in results)
        print(f"{path.name}, {results[0].images} images: OSR float", before.round(1), end="; ")
        print("int8 minus float", (after - before).round(1))
    inputs = detector.prepare(next(calibration_images(arguments.calibrate[:1], 1)))[:2]
    print(f"network, load average {os.getloadavg()[0]:.1f} [ms]: processor least, wall least")
    for kind in (OnnxRuntime, OpenVinoRuntime):
        for name, graph in (("float", whole), ("int8", small)):
            runtime = kind(graph)
            times = measure(lambda r=runtime: r(*inputs), arguments.runs)
            print(f"{runtime.name:12s}{name:6s}{times.cpu_least:8.1f}{times.least:8.1f}")


if __name__ == "__main__":
    main()
