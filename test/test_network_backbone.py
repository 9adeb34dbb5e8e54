# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Shapes and connections of deep layer aggregation."""

from dataclasses import replace

import pytest
import torch

from kgnpro_ros.config import NETWORK_PRESETS
from kgnpro_ros.network.backbone import Aggregation, Backbone, Tree

TINY = NETWORK_PRESETS["tiny"]


def small(name):
    """A preset's wiring with few channels."""
    return replace(
        NETWORK_PRESETS[name],
        stem_channels=(4, 4, 4), level_channels=(4, 6, 8, 10), head_channels=4,
    )  # fmt: skip


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_trees_of_any_depth(depth, stride):
    out = Tree(depth, 3, 5, stride)(torch.randn(2, 3, 16, 24))
    assert out.shape == (2, 5, 16 // stride, 24 // stride)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_every_part_of_a_tree_takes_part(depth):
    torch.manual_seed(0)
    tree = Tree(depth, 3, 5, 2)
    tree(torch.randn(2, 3, 16, 16)).square().sum().backward()
    idle = [
        name
        for name, parameter in tree.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert not idle


def test_a_tree_has_a_block_for_each_leaf():
    blocks = [sum("conv2.weight" in n for n, _ in Tree(d, 4, 4, 1).named_parameters()) for d in
              range(4)]  # fmt: skip
    assert blocks == [1, 2, 4, 8]


@pytest.mark.parametrize("deformable", [True, False])
def test_aggregation_ends_at_the_finest_grid(deformable):
    features = [torch.randn(1, c, s, s) for c, s in ((4, 16), (6, 8), (8, 4))]
    stages = Aggregation((4, 6, 8), 4, deformable)(features)
    assert all(stage.shape == (1, 4, 16, 16) for stage in stages)
    assert len(stages) == (2 if deformable else 1)


@pytest.mark.parametrize("name", ["full", "lite", "tiny"])
@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_backbone_has_output_stride_four(name, size):
    backbone = Backbone(small(name), in_channels=5)
    out = backbone(torch.randn(2, 5, *size))
    assert out.shape == (2, backbone.out_channels, size[0] // 4, size[1] // 4)


@pytest.mark.parametrize("name", ["full", "lite"])
def test_every_weight_of_the_backbone_takes_part(name):
    torch.manual_seed(0)
    backbone = Backbone(small(name), in_channels=5)
    backbone(torch.randn(2, 5, 64, 64)).square().sum().backward()
    missing = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert not missing


def test_full_is_dla_34():
    """The published network has 15.742 million weights with its 1000-class layer."""
    config = NETWORK_PRESETS["full"]
    assert (config.level_channels, config.level_depths) == ((64, 128, 256, 512), (1, 2, 2, 1))
    with torch.device("meta"):
        backbone = Backbone(config, in_channels=3)
    stem = sum(p.numel() for p in backbone.stem.parameters())
    levels = sum(p.numel() for p in backbone.levels.parameters())
    assert stem + levels == pytest.approx(15.742e6 - 513_000, abs=1000)
