# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``kgnpro export --int8``: a quantised network, proven against the grasps that are known.

It finds other grasps than its own network, so the proof is not that they are the same: both detect
in the same generated frames, and the object success rate must not fall by more than a stated limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from kgnpro_ros.config import DetectorConfig, EvaluationConfig, SceneConfig
from kgnpro_ros.data.compose import make_scene
from kgnpro_ros.data.dataset import Sample, SceneDataset
from kgnpro_ros.data.labels import GraspLabels, grasp_labels
from kgnpro_ros.data.render import make_gl_context
from kgnpro_ros.evaluation.metrics import SceneSums, interval_ends, resampling_weights
from kgnpro_ros.evaluation.runner import (
    Contender,
    EvaluationData,
    EvaluationResult,
    evaluate_together,
)
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.files import file_exists, whole_file
from kgnpro_ros.network.graph import Proof, graph_bytes, read_graph, with_proof
from kgnpro_ros.network.quantise import quantised_bytes
from kgnpro_ros.network.runtime import NetworkRuntime, graph_path, graph_runtime
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.predictions import find_frames, read_frame
from kgnpro_ros.progress import progress_bar
from kgnpro_ros.types import RGBDImage

FloatArray = NDArray[np.float64]
Progress = Callable[[int, int], None]

#: Most that the mean OSR over the cells of the table may fall, with 95 % confidence [points].
LIMIT = 1.0
#: Frames that calibrate, and scenes that prove, each with so many views.
CALIBRATION_FRAMES, PROOF_SCENES, PROOF_VIEWS = 24, 80, 5
CALIBRATION_SEED, PROOF_SEED = 5, 6
SEVERAL, ONE = SceneConfig(mode="multi"), SceneConfig(mode="single")
#: Calibration sees the scenes of the benchmark and the randomised look with the noise of sensors;
#: the proof is about the benchmark. Kinds take turns.
CALIBRATION_KINDS = (SEVERAL, replace(SEVERAL, look="random", depth_noise=True), ONE)
PROOF_KINDS = (SEVERAL, SEVERAL, SEVERAL, ONE)


class RenderedScenes:
    """Frames with known grasps, rendered one scene at a time when they are asked for.

    Args:
        scenes: How many.
        views: Frames of each.
        seed: Of all of them.
        kinds: Of scenes; they take turns.
    """

    def __init__(
        self, scenes: int, views: int, seed: int, kinds: tuple[SceneConfig, ...] = PROOF_KINDS
    ) -> None:
        self._scenes, self._views, self._seed, self._kinds = scenes, views, seed, kinds
        self._gl = make_gl_context()
        self._number = -1
        self._samples: list[Sample] = []

    def __len__(self) -> int:
        """Number of images."""
        return self._scenes * self._views

    def scene_of(self, index: int) -> int:
        """Number of the scene of an image."""
        return index // self._views

    def load(self, index: int) -> Sample:
        """One image."""
        number, view = divmod(index, self._views)
        if number != self._number:
            config = replace(self._kinds[number % len(self._kinds)], views=self._views)
            scene, frames, masks = make_scene(config, self._seed, number, self._gl)
            self._samples = [
                Sample(
                    RGBDImage(frame.color, frame.depth, scene.camera), mask, scene.scene_id, view_,
                    pose, scene.objects,
                )
                for view_, (frame, mask, pose) in enumerate(
                    zip(frames, masks, scene.T_world_camera, strict=True)
                )
            ]  # fmt: skip
            self._number = number
        return self._samples[view]

    def grasp_labels(
        self, index: int, rotation_samples: int, translation_samples: int
    ) -> GraspLabels:
        """Ground truth of the scene of an image."""
        return grasp_labels(self.load(index).objects, rotation_samples, translation_samples)


def export_quantised(
    model: str,
    out: Path | None = None,
    calibrate: Path | None = None,
    proof_on: EvaluationData | None = None,
    progress: Progress | None = None,
) -> tuple[Path, Proof]:
    """Write a model as a quantised ONNX file beside it (or to ``out``), if it holds its own.

    Args:
        model: Name or file.
        out: ONNX file; where the runtime ``int8`` looks for it when None.
        calibrate: Frames or a generated data set that show what the network will see; rendered
            when None.
        proof_on: Frames with known grasps; rendered when None.
        progress: Called with images proven and images in all.

    Raises:
        ModelError: If the loss of OSR may exceed the limit; nothing is written then.
        ConfigError: If ONNX Runtime, which quantises, is not installed.
    """
    loaded = load_model(model)
    path = out or graph_path(loaded, quantised=True)
    detector = GraspDetector(_settings(model))
    frames = (detector.prepare(image.undistorted())[:2] for image in calibration_images(calibrate))
    content = quantised_bytes(graph_bytes(loaded.network, loaded.sha256), frames)
    with whole_file(path) as partial:
        partial.write_bytes(content)
        runtime = graph_runtime(read_graph(partial), "int8")
        data = proof_on or RenderedScenes(PROOF_SCENES, PROOF_VIEWS, PROOF_SEED)
        one, two = compare(detector, runtime, data, EvaluationConfig(), progress)
        proof = prove(one, two)
        partial.write_bytes(with_proof(content, proof))
        read_graph(partial)
    return path, proof


def export_on_console(
    model: str, out: Path | None, calibrate: Path | None, console: Console
) -> tuple[Path, Proof]:
    """:func:`export_quantised` with a bar, and what came of it."""
    with progress_bar(console, "proving", transient=True) as progress:
        path, proof = export_quantised(model, out, calibrate, progress=progress)
    console.print(f"{path}: {proof}", markup=False, highlight=False, soft_wrap=True)
    return path, proof


def _settings(model: str) -> DetectorConfig:
    """As the metric judges, which knows no gripper; the network as ``auto`` takes it on a CPU."""
    config = DetectorConfig(model=model, device="cpu")
    return replace(config, filters=config.filters.without_gripper())


def calibration_images(folder: Path | None) -> list[RGBDImage]:
    """Frames that show what the network will see.

    Args:
        folder: Frames, all of which are taken; or a generated data set, of which as many are taken
            as are rendered without it, evenly spread.
    """
    if folder is not None and not file_exists(folder / "manifest.json"):
        return [read_frame(item) for item in find_frames(folder)]
    if folder is None:
        data: Any = RenderedScenes(CALIBRATION_FRAMES, 1, CALIBRATION_SEED, CALIBRATION_KINDS)
    else:
        data = SceneDataset(folder)
    count = min(len(data), CALIBRATION_FRAMES)
    chosen = np.linspace(0, len(data) - 1, count).astype(int)
    return [data.load(int(index)).image for index in chosen]


def compare(
    detector: GraspDetector,
    other: NetworkRuntime,
    data: EvaluationData,
    config: EvaluationConfig,
    progress: Progress | None = None,
) -> tuple[EvaluationResult, EvaluationResult]:
    """Evaluate a detector as it is and with another runtime, image by image."""
    second = detector.with_config(detector.config)
    second.runtime = other

    def contender(which: GraspDetector) -> Contender:
        return Contender(lambda sample: which.run(sample.image).grasps)

    contenders = [contender(detector), contender(second)]
    one, two = evaluate_together(data, contenders, config, progress=progress)
    return one, two


def paired_differences(
    one: EvaluationResult, two: EvaluationResult, share: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """OSR of the second minus the first, in the C cells of the table and in their mean.

    Returns:
        Differences [points], shape (C + 1,), and the ends of their intervals from resampling the
        scenes, the same ones of both, shape (2, C + 1).
    """
    sums = [SceneSums.of(result.counts) for result in (one, two)]
    scenes, config = len(sums[0].predictions), one.config
    weights = resampling_weights(scenes, config.bootstrap_samples, config.seed)

    def table(rows: FloatArray | None) -> FloatArray:
        first, second = (100.0 * item.rates(rows).osr for item in sums)
        cells = (second - first)[..., one.sections()["cells"]]
        return np.concatenate([cells, cells.mean(axis=-1, keepdims=True)], axis=-1)

    return table(None), interval_ends(table(weights), share)


def prove(one: EvaluationResult, two: EvaluationResult) -> Proof:
    """What a comparison shows of the second.

    Raises:
        ModelError: If it shows nothing, or not that the loss stays within the limit.
    """
    difference, interval = paired_differences(one, two, share=0.9)
    osr = 100.0 * float(one.rates().osr[one.sections()["cells"]].mean())
    proof = Proof(
        one.images, len(one.counts.classes), osr, float(difference[-1]), float(interval[0, -1])
    )
    if not osr > 0:
        raise ModelError(f"the model finds no object in {one.images} frames: nothing to prove")
    if not proof.low >= -LIMIT:
        raise ModelError(
            f"the quantised network may lose more than {LIMIT:g} point of OSR: {proof}; nothing "
            "was written. Calibrate with frames nearer to those it will see, or do without"
        )
    return proof
