# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Convolution blocks of the keypoint network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

try:  # Optional: there is no CPU wheel of torchvision for every platform.
    from torchvision.ops import deform_conv2d as _torchvision_deform_conv2d
except ImportError:
    _torchvision_deform_conv2d = None

BN_MOMENTUM = 0.1


def conv_bn(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; ``same`` padding for odd kernels."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels, momentum=BN_MOMENTUM),
        nn.ReLU(inplace=True),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual connection."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv_bn(in_channels, out_channels, stride=stride)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels, momentum=BN_MOMENTUM)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """(B, in, H, W) and the residual (B, out, H/stride, W/stride) -> (B, out, ...)."""
        return F.relu(self.bn2(self.conv2(self.conv1(x))) + residual)


def deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Modulated deformable 3x3 convolution in plain PyTorch, stride 1, padding 1.

    The same operation as ``torchvision.ops.deform_conv2d``; it also exports to ONNX.

    Args:
        x: Input, shape (B, C, H, W).
        offset: Displacements (dy, dx) of the nine taps [px], shape (B, 18, H, W).
        mask: Modulation of the taps, shape (B, 9, H, W).
        weight: Shape (out, C, 3, 3).
        bias: Shape (out,).

    Returns:
        Shape (B, out, H, W).
    """
    batch, channels, height, width = x.shape
    tap = torch.arange(3, device=x.device, dtype=x.dtype) - 1
    rows = torch.arange(height, device=x.device, dtype=x.dtype)
    columns = torch.arange(width, device=x.device, dtype=x.dtype)
    offset = offset.reshape(batch, 9, 2, height, width)
    v = rows.view(1, 1, -1, 1) + tap.repeat_interleave(3).view(1, 9, 1, 1) + offset[:, :, 0]
    u = columns.view(1, 1, 1, -1) + tap.repeat(3).view(1, 9, 1, 1) + offset[:, :, 1]
    grid = torch.stack([(2 * u + 1) / width - 1, (2 * v + 1) / height - 1], dim=-1)
    grid = grid.reshape(batch, 9 * height, width, 2)
    taps = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    taps = taps.reshape(batch, channels, 9, height, width) * mask.unsqueeze(1)
    columns_matrix = taps.reshape(batch, channels * 9, height * width)
    out = weight.reshape(weight.shape[0], -1) @ columns_matrix + bias[:, None]
    return out.reshape(batch, -1, height, width)


class DeformableConv(nn.Module):
    """Deformable 3x3 convolution (modulated), batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        self.offset_mask = nn.Conv2d(in_channels, 27, 3, padding=1)
        nn.init.zeros_(self.offset_mask.weight)
        assert self.offset_mask.bias is not None
        nn.init.zeros_(self.offset_mask.bias)
        self.bn = nn.BatchNorm2d(out_channels, momentum=BN_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        offset_mask = self.offset_mask(x)
        offset, mask = offset_mask[:, :18], offset_mask[:, 18:].sigmoid()
        if _torchvision_deform_conv2d is not None and not torch.onnx.is_in_onnx_export():
            out = _torchvision_deform_conv2d(
                x, offset.to(x.dtype), self.weight, self.bias, padding=1, mask=mask.to(x.dtype)
            )
        else:
            out = deform_conv2d(x, offset, mask, self.weight, self.bias)
        return F.relu(self.bn(out))
