# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``kgnpro export --model``: an ONNX file that is proven to find the same grasps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import DetectorConfig, SceneConfig
from kgnpro_ros.data.compose import make_scene
from kgnpro_ros.data.render import make_gl_context
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.files import whole_file
from kgnpro_ros.network.graph import graph_bytes, read_graph
from kgnpro_ros.network.model import NetworkOutput
from kgnpro_ros.network.runtime import (
    NetworkRuntime,
    OnnxRuntime,
    OpenVinoRuntime,
    Pending,
    TorchRuntime,
)
from kgnpro_ros.network.shards import beside
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.types import GraspBatch, RGBDImage

#: Largest difference of a map, |a - b| / (1 + |a|), and with half-precision weights.
MAP_TOLERANCE, HALF_MAP_TOLERANCE = 1e-3, 5e-2
#: Grasps are the same when their origins and axes differ by less [m, 1]; with half precision the
#: share of grasps that have such a partner has to reach the share below.
SAME_GRASP, HALF_SAME_GRASP = 1e-3, 5e-3
SAME_SHARE, HALF_SAME_SHARE = 0.99, 0.95

FRAMES, SEED = 20, 4


@dataclass(frozen=True)
class Parity:
    """How far an exported network is from the original.

    Attributes:
        differences: Largest |a - b| / (1 + |a|) of each map over all frames.
        grasps: Grasps that the original found.
        same: Share of them that the other found, too, and of the other's found by the original:
            the lower of both.
    """

    differences: dict[str, float]
    grasps: int
    same: float


def export_graph(
    model: str, out: Path | None, half: bool, images: Sequence[RGBDImage]
) -> tuple[Path, Parity]:
    """Write a model as ONNX beside it (or to ``out``), if it holds its own on the images.

    Raises:
        ModelError: If it finds other grasps than the model; nothing is written then.
    """
    loaded = load_model(model)
    path = out or beside(loaded.path, ".onnx")
    content = graph_bytes(loaded.network, loaded.sha256, half)
    with whole_file(path) as partial:
        partial.write_bytes(content)
        graph = read_graph(partial)
        detector = GraspDetector(DetectorConfig(model=model, device="cpu", runtime="torch"))
        parity = compare(detector, _graph_runtime(graph), images)
        _check(parity, half)
    return path, parity


def _graph_runtime(graph: object) -> NetworkRuntime:
    from importlib.util import find_spec

    runtime = OnnxRuntime if find_spec("onnxruntime") else OpenVinoRuntime
    return runtime(graph)  # type: ignore[arg-type]


def _check(parity: Parity, half: bool) -> None:
    worst = max(parity.differences, key=lambda name: parity.differences[name])
    limit = HALF_MAP_TOLERANCE if half else MAP_TOLERANCE
    if not parity.differences[worst] <= limit:
        raise ModelError(
            f"the exported network differs from the model by {parity.differences[worst]:.2g} in "
            f"{worst}; expected at most {limit:g}: nothing was written"
        )
    if parity.grasps == 0:
        raise ModelError("the model finds no grasp in these frames; give others with --frames")
    share = HALF_SAME_SHARE if half else SAME_SHARE
    if parity.same < share:
        raise ModelError(
            f"the exported network finds {100 * parity.same:.1f} % of the same {parity.grasps} "
            f"grasps; expected at least {100 * share:.0f} %: nothing was written"
        )


def compare(detector: GraspDetector, other: NetworkRuntime, images: Sequence[RGBDImage]) -> Parity:
    """Run a detector's network in PyTorch and elsewhere, and both through the pipeline."""
    own = TorchRuntime(detector.network)
    tolerance = SAME_GRASP if _is_precise(detector, own, other, images[0]) else HALF_SAME_GRASP
    differences: dict[str, float] = {}
    found = partners = others = back = 0
    for image in images:
        maps, batches = [], []
        for runtime in (own, other):
            detector.runtime = _Recorder(runtime)
            batches.append(detector.detect(image))
            maps.append(detector.runtime.output)
        for name, value in _differences(maps[0], maps[1]).items():
            differences[name] = max(differences.get(name, 0.0), value)
        found, others = found + len(batches[0]), others + len(batches[1])
        partners += _partners(batches[0], batches[1], tolerance)
        back += _partners(batches[1], batches[0], tolerance)
    same = min(partners / max(found, 1), back / max(others, 1))
    return Parity(differences, found, same)


class _Recorder(NetworkRuntime):
    """Keeps what a runtime gave last."""

    def __init__(self, runtime: NetworkRuntime) -> None:
        self.name, self.note, self._runtime = runtime.name, runtime.note, runtime
        self.output: NetworkOutput

    def start(self, color: NDArray[np.uint8], depth: NDArray[np.float32]) -> Pending:
        """Run it at once."""
        self.output = self._runtime(color, depth)
        return lambda: self.output


def _is_precise(
    detector: GraspDetector, own: NetworkRuntime, other: NetworkRuntime, image: RGBDImage
) -> bool:
    """Whether single precision explains the difference on one image."""
    maps = []
    for runtime in (own, other):
        detector.runtime = runtime
        maps.append(detector.start(image.undistorted())()[0])
    return max(_differences(maps[0], maps[1]).values()) <= MAP_TOLERANCE


def _differences(one: NetworkOutput, two: NetworkOutput) -> dict[str, float]:
    return {
        name: float(((a - b).abs() / (1.0 + a.abs())).max())
        for name, a, b in zip(one._fields, one, two, strict=True)
        if a is not None and b is not None
    }


def _partners(one: GraspBatch, two: GraspBatch, tolerance: float) -> int:
    """How many grasps of one batch have the same grasp in the other."""
    if len(one) == 0 or len(two) == 0:
        return 0
    difference = np.abs(one.poses[:, None] - two.poses[None]).max(axis=(2, 3))
    return int((difference.min(axis=1) < tolerance).sum())


def rendered_frames(count: int = FRAMES, seed: int = SEED) -> list[RGBDImage]:
    """Simulated frames, half of one object and half of several."""
    images: list[RGBDImage] = []
    gl = make_gl_context()
    config = SceneConfig(views=1)
    for index in range(count):
        mode = replace(config, mode="single" if index % 2 else "multi")
        scene, frames, _ = make_scene(mode, seed, index, gl)
        images.append(RGBDImage(frames[0].color, frames[0].depth, scene.camera))
    return images
