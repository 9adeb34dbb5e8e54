# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The network: sizes, padding, missing depth, export, and what its heads mean."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kgnpro_ros.config import NETWORK_PRESETS
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.network.model import STRIDE, KeypointNetwork, nearest_surface

TINY = NETWORK_PRESETS["tiny"]


def network(config=TINY, seed=0):
    """Random weights large enough for every input to show in the output."""
    torch.manual_seed(seed)
    model = KeypointNetwork(config).eval()
    for head in model.heads.values():
        torch.nn.init.normal_(head.out.weight, std=0.5)
    return model


def image(height=64, width=64, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    color = torch.randint(0, 256, (batch, 3, height, width), generator=generator, dtype=torch.uint8)
    return color, 0.5 + 0.5 * torch.rand(batch, height, width, generator=generator)


def maps(output):
    """The maps that this network has."""
    return [tensor for tensor in output if tensor is not None]


def same(a, b, **tolerance):
    for x, y in zip(maps(a), maps(b), strict=True):
        torch.testing.assert_close(x, y, **tolerance)


@pytest.mark.parametrize("size", [(64, 64), (4, 4), (36, 68), (100, 52), (32, 128)])
def test_any_multiple_of_four_is_a_valid_size(size):
    height, width = size
    c, grid = TINY.orientation_classes, (height // STRIDE, width // STRIDE)
    with torch.no_grad():
        output = network()(*image(height, width, batch=2))
    assert output.heatmap.shape == (2, c, *grid)
    assert output.subpixel.shape == (2, 2, *grid)
    assert output.offsets.shape == (2, c, 4, 2, *grid)
    assert output.width.shape == (2, c, *grid)
    assert output.weights.shape == (2, c, 4, 2, *grid)
    assert output.depth.shape == output.depth_weight.shape == (2, c, *grid)
    assert all(torch.isfinite(tensor).all() for tensor in maps(output))


@pytest.mark.parametrize("name", ["full", "paper"])
def test_the_wiring_of_the_large_presets(name):
    config = replace(
        NETWORK_PRESETS[name],
        stem_channels=(4, 4, 4), level_channels=(4, 6, 8, 10), head_channels=4,
    )  # fmt: skip
    with torch.no_grad():
        output = network(config)(*image(36, 44))
    assert output.heatmap.shape == (1, 9, 9, 11)
    assert (output.depth is None) == (name == "paper")
    assert (output.depth_weight is None) == (name == "paper")
    assert all(torch.isfinite(tensor).all() for tensor in maps(output))


def test_heads_can_be_left_out():
    config = replace(TINY, confidence_head=False, depth_head=False, orientation_classes=4)
    output = network(config)(*image())
    assert output.weights is None
    assert output.depth is None
    assert output.heatmap.shape[1] == 4


def test_padding_inside_equals_padding_outside():
    """Black pixels (after standardisation) without depth at the right and bottom change nothing."""
    model = network(replace(TINY, color_mean=(0.0, 0.0, 0.0)))
    color, depth = image(36, 44)
    padded_color = torch.nn.functional.pad(color, (0, 20, 0, 28))
    padded_depth = torch.nn.functional.pad(depth, (0, 20, 0, 28), value=float("nan"))
    with torch.no_grad():
        small, large = model(color, depth), model(padded_color, padded_depth)
    same(small, [tensor[..., :9, :11] for tensor in maps(large)], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), 0.1, 2.6, 60.0])
def test_every_kind_of_missing_depth_is_the_same(value):
    model = network()
    color, depth = image()
    hole = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(1)) < 0.4
    hole[:, 8:16, 8:16] = True
    with torch.no_grad():
        as_nan = model(color, torch.where(hole, torch.tensor(float("nan")), depth))
        as_value = model(color, torch.where(hole, torch.tensor(value), depth))
        complete = model(color, depth)
    same(as_nan, as_value)
    assert all(torch.isfinite(tensor).all() for tensor in maps(as_nan))
    assert not torch.allclose(as_nan.heatmap, complete.heatmap)
    # Cells 2 and 3 saw no depth at all.
    assert (as_nan.depth_weight[..., 2:4, 2:4] == 0).all()
    assert (as_nan.depth_weight[..., 5:, 5:] > 0).all()


def test_gradients_are_finite_with_missing_depth():
    model = network().train()
    color, depth = image(batch=2)
    depth[:, :20] = float("nan")
    depth[:, 20:24] = 0.0
    sum(tensor.square().mean() for tensor in maps(model(color, depth))).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert all(g.abs().sum() > 0 for g in gradients)


def test_images_of_a_batch_do_not_see_each_other():
    model = network()
    color, depth = image(batch=3)
    with torch.no_grad():
        together = model(color, depth)
        alone = model(color[1:2], depth[1:2])
    same([tensor[1:2] for tensor in maps(together)], alone, atol=1e-5, rtol=1e-4)


def test_color_may_come_in_any_type():
    model = network()
    color, depth = image()
    same(model(color, depth), model(color.float(), depth))


def test_weights_share_a_scale_between_keypoints():
    """Softmax over the four keypoints times the scale: their sum per axis is the scale."""
    model = network()
    with torch.no_grad():
        output = model(*image())
        scale_bias = model.heads["weight_scale"].out
        torch.nn.init.zeros_(scale_bias.weight)
        torch.nn.init.constant_(scale_bias.bias, np.log(3.0))
        fixed = model(*image())
    assert (output.weights > 0).all()
    torch.testing.assert_close(fixed.weights.sum(2), torch.full_like(fixed.weights[:, :, 0], 3.0))


def test_a_new_network_predicts_few_grasps():
    """The heat map starts near its prior of 0.01: no flood of loss in the first steps."""
    torch.manual_seed(0)
    output = KeypointNetwork(TINY).eval()(*image())
    assert 0.003 < output.heatmap.sigmoid().mean() < 0.03


def test_nearest_surface_is_the_minimum_of_each_cell():
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.3, 2.0, (2, 16, 24)).astype(np.float32)
    valid = rng.random(depth.shape) < 0.15
    valid[0, 4:8, 4:8] = False
    depth[~valid] = np.nan
    expected = np.zeros((2, 4, 6))
    for b, j, i in np.ndindex(2, 4, 6):
        cell = depth[b, 4 * j : 4 * j + 4, 4 * i : 4 * i + 4]
        expected[b, j, i] = 0.0 if np.isnan(cell).all() else np.nanmin(cell)
    reference, seen = nearest_surface(torch.from_numpy(depth), torch.from_numpy(valid))
    np.testing.assert_allclose(reference.numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(seen.numpy(), expected > 0)
    assert seen[0, 1, 1] == 0


def test_depth_is_the_surface_plus_a_predicted_offset():
    model = network()
    torch.nn.init.zeros_(model.heads["depth"].out.weight)
    torch.nn.init.constant_(model.heads["depth"].out.bias, 0.025)
    color, depth = image()
    depth[:] = 0.7
    with torch.no_grad():
        output = model(color, depth)
    torch.testing.assert_close(output.depth, torch.full_like(output.depth, 0.725))


@pytest.mark.parametrize(
    ("color", "depth", "says"),
    [
        ((1, 3, 62, 64), (1, 62, 64), "multiples of 4, got 64x62"),
        ((1, 3, 64, 64), (1, 64, 32), "depth"),
        ((2, 3, 64, 64), (1, 64, 64), "depth"),
        ((1, 4, 64, 64), (1, 64, 64), "colour"),
    ],
)
def test_wrong_shapes_are_refused(color, depth, says):
    with pytest.raises(ShapeError, match=says):
        network()(torch.zeros(color), torch.ones(depth))


@pytest.mark.parametrize("name", ["full", "lite"])
def test_forward_has_no_data_dependent_python(name):
    """Meta tensors have shapes but no values: a branch on a value raises."""
    with torch.device("meta"):
        model = KeypointNetwork(NETWORK_PRESETS[name]).eval()
        color, depth = torch.zeros(1, 3, 484, 640, dtype=torch.uint8), torch.zeros(1, 484, 640)
        assert model(color, depth).heatmap.shape == (1, 9, 121, 160)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "full"])
def test_an_exported_network_predicts_the_same(name):
    config = replace(
        NETWORK_PRESETS[name], stem_channels=(4, 4, 4), level_channels=(4, 4, 4, 4),
        level_depths=(0, 1, 0, 0), head_channels=4,
    )  # fmt: skip
    model = network(config)
    color, depth = image()
    with torch.no_grad():
        exported = torch.export.export(model, (color, depth)).module()
        # Other content: a depth image with holes must take the same path.
        other = image(seed=5)
        other[1][:, ::3] = float("nan")
        same(exported(*other), model(*other), atol=1e-5, rtol=1e-4)
