# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The maps that a perfect network would predict for given targets."""

from __future__ import annotations

import torch

from kgnpro_ros.data.targets import Targets
from kgnpro_ros.network.model import NetworkOutput


def perfect_output(targets: Targets, centers_only: bool = True) -> NetworkOutput:
    """Maps of one image; only at the cells of the grasp centres, or at all labelled ones."""
    c, h, w = targets.heatmap.shape
    output = NetworkOutput(
        heatmap=torch.full((1, c, h, w), -20.0),
        subpixel=torch.zeros(1, 2, h, w),
        offsets=torch.zeros(1, c, 4, 2, h, w),
        width=torch.zeros(1, c, h, w),
        weights=torch.full((1, c, 4, 2, h, w), 0.5),
        depth=torch.zeros(1, c, h, w),
        depth_weight=torch.zeros(1, c, h, w),
    )
    chosen = (targets.weight == 1) | (not centers_only)
    index = torch.from_numpy(targets.index[chosen])
    cell, orientation = index % (h * w), index // (h * w)
    output.heatmap.flatten()[index] = 20.0
    output.subpixel.flatten(2)[0][:, cell] = torch.from_numpy(targets.subpixel[chosen]).T
    offsets = torch.from_numpy(targets.offsets[chosen])
    output.offsets.flatten(-2)[0][orientation, :, :, cell] = offsets
    output.width.flatten()[index] = torch.from_numpy(targets.width[chosen])
    output.depth.flatten()[index] = torch.from_numpy(targets.depth[chosen])
    output.depth_weight.flatten()[index] = 100.0
    return output
