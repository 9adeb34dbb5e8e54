# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the keypoint network."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

from kgnpro_ros.config.checks import require

#: Every head that a network can have, as its tensors are called.
HEADS = (
    "heatmap", "subpixel", "offsets", "width", "weight_logits", "weight_scale", "depth",
    "depth_weight", "distance", "direct",
)  # fmt: skip


@dataclass(frozen=True)
class HeadConfig:
    """Optional heads of a preset that are switched on or off; None keeps what the preset has.

    Attributes:
        confidence_head, depth_head, distance_head, direct_head: See :class:`NetworkConfig`.
    """

    confidence_head: bool | None = None
    depth_head: bool | None = None
    distance_head: bool | None = None
    direct_head: bool | None = None

    def apply(self, network: NetworkConfig) -> NetworkConfig:
        """The network with these heads."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(network, **chosen)


#: Bounds of an architecture, far beyond any that is of use.
MAX_CHANNELS, MAX_DEPTH = 4096, 6


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of the keypoint network; stored in the card of each model.

    Attributes:
        preset: Name of the preset that it came from, for people.
        stem_channels: Channels of the stem and of DLA levels 0 and 1.
        stem_stride: 1 is the paper's (7x7 at full resolution); 2 starts at half resolution.
        level_channels: Channels of DLA levels 2 to 5 (strides 4, 8, 16, 32).
        level_depths: Depth of the aggregation tree in each of these levels; 0 is one block.
        level_root: Feed the input of levels 3 to 5 to the root of their tree, as DLA-34 does.
        deformable: Deformable (True) or plain (False) convolutions in the up-sampling.
        head_channels: Channels of the 3x3 convolution that starts a head.
        shared_head: One 3x3 convolution for all heads instead of one for each.
        orientation_classes: Heat maps over 180 degrees of the closing direction in the image.
        confidence_head: Predict keypoint weights (the paper's w2D).
        depth_head: Predict the offset from observed depth to the depth of the grasp centre.
        distance_head: Predict the distance of the grasp centre from the camera (KGNv2's "scale").
        direct_head: Predict rotation and depth themselves, for solving without PnP (Direct3D).
        color_mean, color_std: Standardisation of RGB / 255.
        depth_mean, depth_std: Standardisation of depth [m]; missing depth becomes 0 after it.
        depth_range: Depth beyond this interval [m] counts as missing.
        focal_length: Focal length [px] of the training images; others are resized to it.
    """

    preset: str = "full"
    stem_channels: tuple[int, int, int] = (16, 16, 32)
    stem_stride: Literal[1, 2] = 1
    level_channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    level_depths: tuple[int, int, int, int] = (1, 2, 2, 1)
    level_root: bool = False
    deformable: bool = True
    head_channels: int = 256
    shared_head: bool = False
    orientation_classes: int = 9
    confidence_head: bool = True
    depth_head: bool = True
    distance_head: bool = False
    direct_head: bool = False
    color_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    color_std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    depth_mean: float = 0.75
    depth_std: float = 0.2
    depth_range: tuple[float, float] = (0.2, 2.5)
    focal_length: float = 616.3

    def __post_init__(self) -> None:
        sizes = (*self.stem_channels, *self.level_channels, self.head_channels)
        # Bounded: the architecture comes with a model file, which may be anybody's.
        require(
            min(sizes) > 0 and max(sizes) <= MAX_CHANNELS,
            f"channel counts must be positive and at most {MAX_CHANNELS}, got {sizes}",
        )
        require(
            min(self.level_depths) >= 0 and max(self.level_depths) <= MAX_DEPTH,
            f"level_depths must be 0 to {MAX_DEPTH}: {self.level_depths}",
        )
        require(
            1 <= self.orientation_classes <= 90,
            f"orientation_classes must be 1 to 90, got {self.orientation_classes}",
        )
        require(
            min(*self.color_std, self.depth_std) > 0,
            f"standard deviations must be positive, got {self.color_std} and {self.depth_std}",
        )
        require(
            0 <= self.depth_range[0] < self.depth_range[1],
            f"depth_range must be two rising numbers from 0, got {self.depth_range}",
        )


#: Named architectures. ``full`` adds the depth head to the paper's network, ``paper`` has none.
NETWORK_PRESETS: dict[str, NetworkConfig] = {
    "full": NetworkConfig(level_root=True),
    "paper": NetworkConfig(preset="paper", level_root=True, depth_head=False),
    "lite": NetworkConfig(
        preset="lite",
        stem_channels=(16, 16, 32),
        stem_stride=2,
        level_channels=(40, 80, 128, 192),
        level_depths=(0, 1, 1, 1),
        deformable=False,
        head_channels=64,
        shared_head=True,
    ),
    "tiny": NetworkConfig(
        preset="tiny",
        stem_channels=(8, 8, 8),
        stem_stride=2,
        level_channels=(8, 8, 8, 8),
        level_depths=(0, 0, 0, 0),
        deformable=False,
        head_channels=8,
        shared_head=True,
    ),
}
