#!/usr/bin/env python3
# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Time of the Monte Carlo pose loss, forward and backward, beside a matrix product.

The product of two 1000 x 1000 matrices (2 GFLOP) is timed in the same run: on a busy machine the
ratio to it means more than milliseconds.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from kgnpro_ros.config import PoseLossConfig, PosteriorConfig
from kgnpro_ros.evaluation.timing import measure
from kgnpro_ros.geometry import so3
from kgnpro_ros.geometry.gripper import canonical_keypoints
from kgnpro_ros.pnp.loss import MonteCarloPoseLoss
from kgnpro_ros.pnp.residual import project

CAMERA_MATRIX = torch.tensor([[616.0, 0.0, 320.0], [0.0, 616.0, 240.0], [0.0, 0.0, 1.0]])
POINTS = torch.tensor(canonical_keypoints(), dtype=torch.float32)


def make_poses(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    # The approach axis x within about 60 degrees of the optical axis.
    facing = torch.tensor([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    rotation = so3.exp(0.5 * torch.randn(count, 3, generator=generator)) @ facing
    translation = torch.rand(count, 3, generator=generator) * 0.4 - 0.2
    translation[:, 2] += 0.8
    return rotation, translation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grasps", type=int, default=128)
    parser.add_argument("--samples", type=int, default=PosteriorConfig().samples)
    parser.add_argument("--rounds", type=int, default=PosteriorConfig().rounds)
    parser.add_argument("--repetitions", type=int, default=20)
    arguments = parser.parse_args()
    config = PoseLossConfig(posterior=PosteriorConfig(arguments.samples, arguments.rounds))
    loss = MonteCarloPoseLoss(config)
    rotation, translation = make_poses(arguments.grasps)
    exact = project(rotation, translation, POINTS, CAMERA_MATRIX)
    keypoints = (exact + torch.randn_like(exact)).requires_grad_()
    weights = torch.ones_like(exact).requires_grad_()

    def forward() -> Tensor:
        return loss(keypoints, weights, CAMERA_MATRIX, POINTS, rotation, translation).value

    def both() -> None:
        forward().backward()

    matrix = torch.randn(1000, 1000)
    rows = {
        "forward": measure(lambda: forward().detach(), arguments.repetitions),
        "forward + backward": measure(both, arguments.repetitions),
        "matrix product, 2 GFLOP": measure(lambda: matrix @ matrix, arguments.repetitions),
    }
    print(
        f"{arguments.grasps} grasps, {arguments.samples} samples in {arguments.rounds} rounds, "
        f"{torch.get_num_threads()} threads"
    )
    print(f"{'[ms]':28s}{'wall median':>12s}{'wall least':>12s}{'cpu median':>12s}")
    for name, times in rows.items():
        print(f"{name:28s}{times.median:12.1f}{times.least:12.1f}{times.cpu_median:12.1f}")
    ratio = rows["forward + backward"].least / rows["matrix product, 2 GFLOP"].least
    print(f"forward + backward / matrix product: {ratio:.1f} (least wall times)")


if __name__ == "__main__":
    main()
