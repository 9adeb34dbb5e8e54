# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of generated scenes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kgnpro_ros.config.checks import require


@dataclass(frozen=True)
class SceneConfig:
    """What a generated scene holds; the sizes and camera ranges are KGN's.

    Attributes:
        mode: ``single`` has one object of a random class, ``multi`` one of each class.
        look: ``kgn`` renders as KGN's generator does, ``random`` randomises domain and sizes.
        views: Camera views per scene.
        depth_noise: Apply the depth-sensor model to the stored depth.
        classes: Object classes to draw from, separated by commas; empty is all of them.
    """

    mode: Literal["single", "multi"] = "single"
    look: Literal["kgn", "random"] = "kgn"
    views: int = 5
    depth_noise: bool = False
    classes: str = ""

    def __post_init__(self) -> None:
        require(1 <= self.views <= 1000, f"views must be 1 to 1000, got {self.views}")
