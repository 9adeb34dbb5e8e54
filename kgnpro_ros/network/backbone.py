# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Deep layer aggregation (Yu et al., CVPR 2018) with output stride 4."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kgnpro_ros.config import NetworkConfig
from kgnpro_ros.network.layers import BN_MOMENTUM, BasicBlock, DeformableConv, conv_bn

#: Input sides are padded to a multiple of this, the coarsest stride.
COARSEST_STRIDE = 32


class Tree(nn.Module):
    """Hierarchical aggregation: a binary tree of blocks whose leaves meet in 1x1 root nodes.

    Depth 0 is one block. A root also takes ``inherited`` features: those of its ancestors, and with
    ``level_root`` the pooled input of the level.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        out_channels: int,
        stride: int,
        inherited: int = 0,
        level_root: bool = False,
    ) -> None:
        super().__init__()
        self.depth, self.level_root = depth, level_root
        self.pool = nn.MaxPool2d(stride, stride) if stride > 1 else nn.Identity()
        if level_root:
            inherited += in_channels
        if depth > 1:
            self.left: nn.Module = Tree(depth - 1, in_channels, out_channels, stride)
            self.right: nn.Module = Tree(
                depth - 1, out_channels, out_channels, 1, inherited=inherited + out_channels
            )
            return
        self.project = (
            nn.Identity() if in_channels == out_channels else _project(in_channels, out_channels)
        )
        if depth == 0:
            self.block = BasicBlock(in_channels, out_channels, stride)
        else:
            self.left = BasicBlock(in_channels, out_channels, stride)
            self.right = BasicBlock(out_channels, out_channels)
            self.root = conv_bn(2 * out_channels + inherited, out_channels, kernel=1)

    def forward(self, x: Tensor, inherited: Sequence[Tensor] = ()) -> Tensor:
        """(B, in, H, W) -> (B, out, H/stride, W/stride)."""
        if self.level_root:
            inherited = [*inherited, self.pool(x)]
        if self.depth > 1:
            left = self.left(x)
            result: Tensor = self.right(left, [*inherited, left])
            return result
        residual = self.project(self.pool(x))
        if self.depth == 0:
            result = self.block(x, residual)
            return result
        left = self.left(x, residual)
        right = self.right(left, left)
        result = self.root(torch.cat([right, left, *inherited], dim=1))
        return result


def _project(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels, momentum=BN_MOMENTUM),
    )


class Aggregation(nn.Module):
    """Iterative aggregation: merges ever coarser features into the finest one.

    The deformable variant (paper) projects, up-samples and smooths at each merge; the light one
    projects by 1x1, up-samples, adds, and smooths once at the end.
    """

    def __init__(self, channels: Sequence[int], out_channels: int, deformable: bool) -> None:
        super().__init__()
        self.deformable = deformable
        if deformable:
            self.project = nn.ModuleList(DeformableConv(c, out_channels) for c in channels[1:])
            self.smooth = nn.ModuleList(
                DeformableConv(out_channels, out_channels) for _ in channels[1:]
            )
        else:
            self.project = nn.ModuleList(_project(c, out_channels) for c in channels)
            self.smooth = nn.ModuleList([conv_bn(out_channels, out_channels)])

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Finest feature first, (B, C_i, H_i, W_i); returns the merged features, coarsest last."""
        if not self.deformable:
            merged = self.project[0](features[0])
            for project, feature in zip(self.project[1:], features[1:], strict=True):
                merged = merged + _upsample(project(feature), merged)
            return [self.smooth[0](F.relu(merged))]
        merged, stages = features[0], []
        for project, smooth, feature in zip(self.project, self.smooth, features[1:], strict=True):
            merged = smooth(merged + _upsample(project(feature), merged))
            stages.append(merged)
        return stages


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class Backbone(nn.Module):
    """RGB-D input to features at stride 4; ``out_channels`` tells their number."""

    def __init__(self, config: NetworkConfig, in_channels: int) -> None:
        super().__init__()
        s0, s1, s2 = config.stem_channels
        if config.stem_stride == 1:
            self.stem = nn.Sequential(
                conv_bn(in_channels, s0, 7), conv_bn(s0, s1), conv_bn(s1, s2, stride=2)
            )
        else:
            self.stem = nn.Sequential(conv_bn(in_channels, s0, stride=2), conv_bn(s0, s2, stride=2))
        strides = (2 if config.stem_stride == 1 else 1, 2, 2, 2)
        channels = (s2, *config.level_channels)
        root = config.level_root
        self.levels = nn.ModuleList(
            Tree(depth, channels[i], channels[i + 1], strides[i], level_root=root and i > 0)
            for i, depth in enumerate(config.level_depths)
        )
        c4, c8, c16, c32 = config.level_channels
        if config.deformable:
            # Deep layer aggregation: each coarser level joins a further pass over the finer ones.
            self.aggregate = nn.ModuleList(
                [
                    Aggregation((c16, c32), c16, True),
                    Aggregation((c8, c16, c16), c8, True),
                    Aggregation((c4, c8, c8, c8), c4, True),
                    Aggregation((c4, c8, c16), c4, True),
                ]
            )
            self.out_channels = c4
        else:
            self.out_channels = config.head_channels
            self.aggregate = nn.ModuleList(
                [
                    Aggregation((c16, c32), c16, False),
                    Aggregation((c8, c16), self.out_channels, False),
                    Aggregation((c4, self.out_channels), self.out_channels, False),
                ]
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W), sides multiples of 32 -> (B, out_channels, H/4, W/4)."""
        x = self.stem(x)
        levels: list[Tensor] = []
        for level in self.levels:
            x = level(x)
            levels.append(x)
        f4, f8, f16, f32 = levels
        if len(self.aggregate) == 3:
            merged = f32
            for step, finer in zip(self.aggregate, (f16, f8, f4), strict=True):
                merged = step([finer, merged])[-1]
            return merged
        up16 = self.aggregate[0]([f16, f32])
        up8 = self.aggregate[1]([f8, f16, *up16])
        up4 = self.aggregate[2]([f4, f8, *up8])
        merged4: Tensor = self.aggregate[3]([up4[-1], up8[-1], up16[-1]])[-1]
        return merged4
