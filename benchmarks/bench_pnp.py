#!/usr/bin/env python3
# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Time of the batched PnP solver, and its ratio to OpenCV in a loop over the same grasps.

Wall and processor time, median and least of the repetitions: on a busy machine the least processor
time and the ratio mean more than the wall time.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

from kgnpro_ros.config import PnPConfig
from kgnpro_ros.evaluation.bench import opencv_loop
from kgnpro_ros.evaluation.timing import measure
from kgnpro_ros.geometry import so3
from kgnpro_ros.geometry.gripper import canonical_keypoints
from kgnpro_ros.pnp.residual import project
from kgnpro_ros.pnp.solver import solve_pnp

CAMERA_MATRIX = torch.tensor([[616.0, 0.0, 320.0], [0.0, 616.0, 240.0], [0.0, 0.0, 1.0]])
POINTS = torch.tensor(canonical_keypoints(), dtype=torch.float32)


def make_keypoints(count: int, sigma: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    # The approach axis x within about 60 degrees of the optical axis.
    facing = torch.tensor([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    rotation = so3.exp(0.5 * torch.randn(count, 3, generator=generator)) @ facing
    translation = torch.rand(count, 3, generator=generator) * 0.4 - 0.2
    translation[:, 2] += 0.8
    pixels = project(rotation, translation, POINTS, CAMERA_MATRIX)
    return pixels + sigma * torch.randn(pixels.shape, generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--sigma", type=float, default=1.0, help="keypoint noise [px]")
    parser.add_argument("--iterations", type=int, default=PnPConfig().iterations)
    parser.add_argument("--repetitions", type=int, default=50)
    arguments = parser.parse_args()
    keypoints = make_keypoints(arguments.candidates, arguments.sigma)
    weights = torch.full_like(keypoints, 1.0 / max(arguments.sigma, 0.1))
    config = PnPConfig(iterations=arguments.iterations)
    ours = measure(
        lambda: solve_pnp(keypoints, weights, CAMERA_MATRIX, POINTS, config), arguments.repetitions
    )
    camera = CAMERA_MATRIX.numpy().astype(np.float64)
    theirs = measure(lambda: opencv_loop(keypoints, camera), arguments.repetitions)
    print(f"{arguments.candidates} candidates, at most {config.iterations} steps from two seeds")
    print(f"{'[ms]':28s}{'wall median':>12s}{'cpu median':>12s}{'cpu least':>12s}")
    for name, times in (("batched solver", ours), ("OpenCV IPPE + LM loop", theirs)):
        print(f"{name:28s}{times.median:12.2f}{times.cpu_median:12.2f}{times.cpu_least:12.2f}")
    print(f"OpenCV / batched: {theirs.cpu_least / ours.cpu_least:.1f} (least processor time)")


if __name__ == "__main__":
    main()
