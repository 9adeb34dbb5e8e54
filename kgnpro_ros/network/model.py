# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The keypoint network: RGB-D image in, grasp maps at stride 4 out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kgnpro_ros.config import NetworkConfig
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.network.backbone import COARSEST_STRIDE, Backbone
from kgnpro_ros.network.layers import conv_bn

#: Image pixels per cell of the output maps.
STRIDE = 4

#: Keypoints per grasp.
KEYPOINTS = 4

#: Numbers per grasp that the direct head regresses: two axes and z.
DIRECT_NUMBERS = 7

#: Prior probability of a grasp in a cell, which the heat map starts from.
HEATMAP_PRIOR = 0.01

#: Start of the predicted weights: 0.5 per keypoint [1/px], 100 for depth [1/m].
INITIAL_LOG_SCALE = math.log(2.0)
INITIAL_LOG_DEPTH_WEIGHT = math.log(100.0)


class NetworkOutput(NamedTuple):
    """Maps at stride 4 for C orientation classes; h = H/4, w = W/4.

    Cell (row j, column i) covers the image pixels 4i..4i+3 and 4j..4j+3; its centre is pixel
    (4i + 1.5, 4j + 1.5).

    Attributes:
        heatmap: Logits of "a grasp is centred here", (B, C, h, w).
        subpixel: Grasp centre minus cell centre (u, v) [cells], (B, 2, h, w).
        offsets: Keypoints minus grasp centre (u, v) [cells], (B, C, 4, 2, h, w).
        width: Jaw opening [m], (B, C, h, w).
        weights: Keypoint weights [1/px], (B, C, 4, 2, h, w), or None without confidence head.
        depth: z of the grasp centre [m], (B, C, h, w), or None without depth head.
        depth_weight: Its inverse standard deviation [1/m], (B, C, h, w); 0 where no depth was
            measured in the cell. None without depth head.
        distance: Distance camera to grasp centre [m], (B, C, h, w), or None.
        direct: Approach axis, closing axis, z [m], (B, C, 7, h, w), or None.
    """

    heatmap: Tensor
    subpixel: Tensor
    offsets: Tensor
    width: Tensor
    weights: Tensor | None
    depth: Tensor | None
    depth_weight: Tensor | None
    distance: Tensor | None = None
    direct: Tensor | None = None


class Head(nn.Module):
    """3x3 convolution, ReLU, 1x1 convolution; or only the last where the trunk is shared."""

    def __init__(self, in_channels: int, hidden: int, out_channels: int, shared: bool) -> None:
        super().__init__()
        self.hidden = (
            nn.Identity()
            if shared
            else nn.Sequential(nn.Conv2d(in_channels, hidden, 3, padding=1), nn.ReLU(inplace=True))
        )
        self.out = nn.Conv2d(in_channels if shared else hidden, out_channels, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, h, w)."""
        result: Tensor = self.out(self.hidden(x))
        return result


class KeypointNetwork(nn.Module):
    """Backbone and heads. Normalisation and padding happen inside; no data-dependent Python."""

    color_mean: Tensor
    color_std: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("color_mean", _channels(config.color_mean), persistent=False)
        self.register_buffer("color_std", _channels(config.color_std), persistent=False)
        self.backbone = Backbone(config, in_channels=5)
        channels, hidden = self.backbone.out_channels, config.head_channels
        self.trunk = conv_bn(channels, hidden) if config.shared_head else nn.Identity()
        features = hidden if config.shared_head else channels
        c = config.orientation_classes
        sizes = {"heatmap": c, "subpixel": 2, "offsets": c * KEYPOINTS * 2, "width": c}
        if config.confidence_head:
            sizes |= {"weight_logits": c * KEYPOINTS * 2, "weight_scale": c * 2}
        if config.depth_head:
            sizes |= {"depth": c, "depth_weight": c}
        if config.distance_head:
            sizes |= {"distance": c}
        if config.direct_head:
            sizes |= {"direct": c * DIRECT_NUMBERS}
        self.heads = nn.ModuleDict(
            {name: Head(features, hidden, size, config.shared_head) for name, size in sizes.items()}
        )
        self._start_bias("heatmap", math.log(HEATMAP_PRIOR / (1 - HEATMAP_PRIOR)))
        self._start_bias("width", 0.05)
        self._start_bias("distance", config.depth_mean)
        self._start_bias("weight_scale", INITIAL_LOG_SCALE)
        self._start_bias("depth_weight", INITIAL_LOG_DEPTH_WEIGHT)

    def _start_bias(self, name: str, value: float) -> None:
        if name in self.heads:
            head = self.heads[name]
            assert isinstance(head, Head)
            assert head.out.bias is not None
            nn.init.constant_(head.out.bias, value)

    def forward(self, color: Tensor, depth: Tensor) -> NetworkOutput:
        """Predict grasp maps.

        Args:
            color: RGB, 0..255 (any dtype), shape (B, 3, H, W); H and W multiples of 4.
            depth: z-depth [m], shape (B, H, W); NaN, 0 or out of range means missing.

        Returns:
            The maps, see :class:`NetworkOutput`.

        Raises:
            ShapeError: If sizes disagree or are not multiples of 4.
        """
        height, width = color.shape[-2:]
        if color.shape[1] != 3 or depth.shape != (color.shape[0], height, width):
            raise ShapeError(f"got colour {tuple(color.shape)}, depth {tuple(depth.shape)}")
        if height % STRIDE or width % STRIDE:
            raise ShapeError(f"image sides must be multiples of {STRIDE}, got {width}x{height}")
        low, high = self.config.depth_range
        valid = (depth > low) & (depth < high)
        x = self._normalise(color, depth, valid)
        x = F.pad(x, (0, -width % COARSEST_STRIDE, 0, -height % COARSEST_STRIDE))
        h, w = height // STRIDE, width // STRIDE
        features = self.trunk(self.backbone(x))[..., :h, :w]
        maps = {name: head(features) for name, head in self.heads.items()}
        return self._assemble(maps, depth, valid)

    def _normalise(self, color: Tensor, depth: Tensor, valid: Tensor) -> Tensor:
        """Standardised RGB, standardised depth (0 where missing), and the validity mask."""
        color = (color.to(self.color_mean.dtype) / 255.0 - self.color_mean) / self.color_std
        scaled = (depth - self.config.depth_mean) / self.config.depth_std
        scaled = torch.where(valid, scaled, torch.zeros_like(scaled)).to(color.dtype)
        return torch.cat([color, scaled[:, None], valid[:, None].to(color.dtype)], dim=1)

    def _assemble(self, maps: dict[str, Tensor], depth: Tensor, valid: Tensor) -> NetworkOutput:
        c = self.config.orientation_classes
        b, _, h, w = maps["heatmap"].shape
        weights = center_depth = depth_weight = None
        if self.config.confidence_head:
            logits = maps["weight_logits"].float().reshape(b, c, KEYPOINTS, 2, h, w)
            scale = maps["weight_scale"].float().clamp(-6.0, 4.0).reshape(b, c, 1, 2, h, w).exp()
            weights = logits.softmax(dim=2) * scale
        if self.config.depth_head:
            reference, seen = nearest_surface(depth, valid)
            center_depth = reference[:, None] + maps["depth"].float()
            depth_weight = maps["depth_weight"].float().clamp(0.0, 8.0).exp() * seen[:, None]
        direct = maps["direct"].float() if self.config.direct_head else None
        return NetworkOutput(
            heatmap=maps["heatmap"].float(),
            subpixel=maps["subpixel"].float(),
            offsets=maps["offsets"].float().reshape(b, c, KEYPOINTS, 2, h, w),
            width=maps["width"].float(),
            weights=weights,
            depth=center_depth,
            depth_weight=depth_weight,
            distance=maps["distance"].float() if self.config.distance_head else None,
            direct=None if direct is None else direct.reshape(b, c, DIRECT_NUMBERS, h, w),
        )


def nearest_surface(depth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Depth of the nearest surface in each cell, the reference of the depth head.

    The nearest, because grasps are centred on thin rims whose cell also shows what lies behind.

    Args:
        depth: z-depth [m], shape (B, H, W).
        valid: Where depth was measured, bool, shape (B, H, W).

    Returns:
        Depth [m], shape (B, h, w), 0 where a cell has none; and where it has, 1.0 or 0.0.
    """
    inverse = torch.where(valid, 1.0 / depth, torch.zeros_like(depth)).float()
    inverse = F.max_pool2d(inverse[:, None], STRIDE)[:, 0]
    seen = inverse > 0
    reference = torch.where(seen, 1.0 / inverse.clamp(min=1e-6), torch.zeros_like(inverse))
    return reference, seen.to(reference.dtype)


def _channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).reshape(1, -1, 1, 1)
