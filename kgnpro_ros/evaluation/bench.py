# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``kgnpro bench``: where the time of a detection goes, and what the arithmetic would take."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.evaluation.timing import WARM_UP, Times, measure, summary
from kgnpro_ros.geometry import canonical_keypoints
from kgnpro_ros.pipeline import Detection, GraspDetector
from kgnpro_ros.types import RGBDImage
from kgnpro_ros.version import __version__

#: Side of the matrices whose product gives the machine's rate.
MATRIX = 1536
STAGES_AFTER_NETWORK = ("decode", "pnp", "filters")


def matmul_rate(device: torch.device, runs: int = 7) -> float:
    """Floating-point operations per second of a large float32 matrix product (median)."""
    a = torch.randn(MATRIX, MATRIX, device=device)
    rates = []
    for _ in range(runs):
        start = time.perf_counter()
        float((a @ a)[0, 0])  # waits for the device
        rates.append(2 * MATRIX**3 / (time.perf_counter() - start))
    return float(np.median(rates))


def network_flops(detector: GraspDetector, image: RGBDImage) -> float:
    """Floating-point operations of one forward pass of the PyTorch network."""
    color, depth, _ = detector.prepare(image.undistorted())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        detector.network(
            torch.from_numpy(color).permute(2, 0, 1)[None], torch.from_numpy(depth)[None]
        )
    return float(counter.get_total_flops())


def bench_detector(
    detector: GraspDetector, images: Sequence[RGBDImage], runs: int
) -> tuple[dict[str, Times], Detection]:
    """Times of every stage over the images in turn, and the last detection."""
    stages: dict[str, list[float]] = {}
    processor = []
    for run in range(WARM_UP + runs):
        start = time.process_time()
        detection = detector.run(images[run % len(images)])
        spent = 1e3 * (time.process_time() - start)
        if run >= WARM_UP:
            processor.append(spent)
            values = detection.timings
            after = sum(values[name] for name in STAGES_AFTER_NETWORK)
            for name, value in {**values, "after network": after}.items():
                stages.setdefault(name, []).append(value)
    times = {n: summary(v, processor if n == "total" else ()) for n, v in stages.items()}
    return times, detection


def opencv_loop(keypoints: Tensor, camera_matrix: NDArray[np.float64]) -> None:
    """PnP of candidates (N, 4, 2) one by one with OpenCV: both planar poses, refined."""
    opencv: Any = cv2  # its annotations know no None for the distortion
    turn = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    flat = canonical_keypoints() @ turn.T
    for pixels in keypoints.numpy().astype(np.float64):
        _, vectors, shifts, _ = opencv.solvePnPGeneric(
            flat, pixels, camera_matrix, None, flags=cv2.SOLVEPNP_IPPE
        )
        for vector, shift in zip(vectors, shifts, strict=True):
            opencv.solvePnPRefineLM(flat, pixels, camera_matrix, None, vector, shift)


def run_bench(
    config: DetectorConfig,
    images: Sequence[RGBDImage],
    runs: int,
    all_candidates: bool = False,
) -> dict[str, Any]:
    """Measure one configuration; the result is what ``--json`` holds.

    Args:
        config: Detector to measure.
        images: Frames, taken in turn.
        runs: Detections that count, after the warm-up.
        all_candidates: Let as many candidates as ``top_k`` allows reach PnP and the filters.
    """
    if all_candidates:
        decode = replace(
            config.decode, local_maximum=False, orientation_check=False, score_threshold=0.0
        )
        config = replace(config, decode=decode)
    detector = GraspDetector(config)
    stages, detection = bench_detector(detector, images, runs)
    image = images[(WARM_UP + runs - 1) % len(images)].undistorted()
    solve = measure(lambda: detector.solve(detection.candidates, image), runs)
    keypoints = detection.candidates.keypoints[detection.solved]
    loop = measure(lambda: opencv_loop(keypoints, image.camera.matrix), runs)
    rate, work = matmul_rate(detector.device), network_flops(detector, images[0])
    return {
        "version": __version__,
        "machine": machine(detector.device),
        "model": config.model,
        "model_sha256": detector.model_sha256,
        "runtime": detector.runtime.name,
        "runtime_note": detector.runtime.note,
        "runs": runs,
        "candidates": len(detection.solved),
        "stages_ms": {name: asdict(times) for name, times in stages.items()},
        "pnp_ms": {"batched": asdict(solve), "opencv_loop": asdict(loop)},
        "network_gflop": work / 1e9,
        "matmul_gflops": rate / 1e9,
        "floor_ms": 1e3 * work / rate,
    }


def machine(device: torch.device) -> dict[str, Any]:
    """What it ran on, and how busy that was."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "device": f"{device} {name or platform.machine()}".strip(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def print_bench(report: dict[str, Any], console: Console) -> None:
    """The report as a table."""
    table = Table("stage", "median ms", "p95 ms", title=f"{report['model']}, {report['runtime']}")
    for name, times in report["stages_ms"].items():
        table.add_row(name, f"{times['median']:.1f}", f"{times['p95']:.1f}")
    console.print(table)
    floor, network = report["floor_ms"], report["stages_ms"]["network"]["median"]
    pnp = report["pnp_ms"]
    cpu = report["stages_ms"]["total"]["cpu_median"]
    lines = (
        report["runtime_note"],
        f"{report['runs']} runs, {report['candidates']} candidates solved in the last; "
        f"{cpu:.1f} ms of processor time each; load average "
        f"{report['machine']['load_average']:.1f} on {report['machine']['cores']} cores",
        f"network: {report['network_gflop']:.1f} GFLOP, {floor:.0f} ms at the matrix-multiply rate "
        f"of {report['matmul_gflops']:.0f} GFLOP/s: {100 * floor / network:.0f} % of it reached",
        f"PnP of the last frame: {pnp['batched']['median']:.1f} ms batched, "
        f"{pnp['opencv_loop']['median']:.1f} ms in a loop over cv2.solvePnPGeneric",
    )
    for line in lines:
        console.print(line, highlight=False, markup=False)


def write_bench(path: Path, reports: Sequence[dict[str, Any]]) -> None:
    """Write reports as JSON."""
    path.write_text(json.dumps(list(reports), indent=2) + "\n")
