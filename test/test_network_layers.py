# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Deformable convolution against its definition, written as a plain loop."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from kgnpro_ros.network import layers
from kgnpro_ros.network.layers import BasicBlock, DeformableConv, conv_bn, deform_conv2d


def problem(seed=0, batch=2, channels=3, out=2, size=(5, 7), reach=2.0):
    torch.manual_seed(seed)
    height, width = size
    return (
        torch.randn(batch, channels, height, width, dtype=torch.float64),
        torch.randn(batch, 18, height, width, dtype=torch.float64) * reach,
        torch.rand(batch, 9, height, width, dtype=torch.float64),
        torch.randn(out, channels, 3, 3, dtype=torch.float64),
        torch.randn(out, dtype=torch.float64),
    )


def bilinear(image, v, u):
    """Value at a fractional position of one channel; what lies outside is zero."""
    height, width = image.shape
    v0, u0 = math.floor(v), math.floor(u)
    value = 0.0
    for dv, du in itertools.product((0, 1), repeat=2):
        row, column = v0 + dv, u0 + du
        if 0 <= row < height and 0 <= column < width:
            weight = (1 - abs(v - row)) * (1 - abs(u - column))
            value += weight * image[row, column]
    return value


def direct(*arguments):
    """sum over taps and channels of w * mask * x(position + tap + offset), element by element."""
    x, offset, mask, weight, bias = (tensor.numpy() for tensor in arguments)
    batch, channels, height, width = x.shape
    out = bias.reshape(1, -1, 1, 1).repeat(batch, 0).repeat(height, 2).repeat(width, 3)
    for b, i, j, k in itertools.product(range(batch), range(height), range(width), range(9)):
        v = i + k // 3 - 1 + offset[b, 2 * k, i, j]
        u = j + k % 3 - 1 + offset[b, 2 * k + 1, i, j]
        for c in range(channels):
            sample = mask[b, k, i, j] * bilinear(x[b, c], v, u)
            out[b, :, i, j] += weight[:, c, k // 3, k % 3] * sample
    return torch.from_numpy(out)


def test_deformable_convolution_is_its_definition():
    arguments = problem(channels=2, size=(4, 5))
    torch.testing.assert_close(deform_conv2d(*arguments), direct(*arguments))


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (8, 8)])
def test_without_offsets_it_is_a_convolution(size):
    x, offset, mask, weight, bias = problem(1, size=size)
    result = deform_conv2d(x, torch.zeros_like(offset), torch.ones_like(mask), weight, bias)
    torch.testing.assert_close(result, F.conv2d(x, weight, bias, padding=1))


def test_whole_offsets_shift_the_image():
    """(dy, dx) = (1, -2) for every tap reads one row further down, two columns further left."""
    x, offset, mask, weight, bias = problem(2, size=(8, 9))
    offset = torch.zeros_like(offset)
    offset[:, 0::2], offset[:, 1::2] = 1.0, -2.0
    shifted = F.pad(x, (2, 0, 0, 1))[:, :, 1:, : x.shape[-1]]
    result = deform_conv2d(x, offset, torch.ones_like(mask), weight, bias)
    inner = (slice(None), slice(None), slice(1, -2), slice(3, -1))
    torch.testing.assert_close(result[inner], F.conv2d(shifted, weight, bias, padding=1)[inner])


def test_it_agrees_with_torchvision():
    ops = pytest.importorskip("torchvision.ops")
    x, offset, mask, weight, bias = problem(3)
    expected = ops.deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)
    torch.testing.assert_close(deform_conv2d(x, offset, mask, weight, bias), expected)


def test_gradients_reach_offsets_and_mask():
    arguments = [a.requires_grad_() for a in problem(4, batch=1, channels=1, out=1, size=(3, 3))]
    assert torch.autograd.gradcheck(deform_conv2d, arguments, eps=1e-7, atol=1e-5)


def test_a_new_layer_starts_as_a_convolution_at_half_strength():
    """Offsets start at 0 and the modulation at sigmoid(0): a sane start for training."""
    torch.manual_seed(0)
    layer = DeformableConv(4, 6).eval()
    x = torch.randn(2, 4, 9, 8)
    expected = F.relu(layer.bn(F.conv2d(x, 0.5 * layer.weight, layer.bias, padding=1)))
    torch.testing.assert_close(layer(x), expected)


def test_the_layer_uses_its_own_code_when_torchvision_is_absent(monkeypatch):
    torch.manual_seed(1)
    layer = DeformableConv(3, 5).eval()
    torch.nn.init.normal_(layer.offset_mask.weight, std=0.3)
    x = torch.randn(1, 3, 8, 8)
    with_what_there_is = layer(x)
    monkeypatch.setattr(layers, "_torchvision_deform_conv2d", None)
    torch.testing.assert_close(layer(x), with_what_there_is)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (7, 1)])
def test_conv_bn_keeps_the_grid(kernel, stride):
    out = conv_bn(2, 3, kernel, stride)(torch.randn(2, 2, 12, 20))
    assert out.shape == (2, 3, 12 // stride, 20 // stride)
    assert (out >= 0).all()


def test_basic_block_adds_the_residual():
    block = BasicBlock(4, 4).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x, residual = torch.randn(1, 4, 6, 6), torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(block(x, residual), residual.relu())
