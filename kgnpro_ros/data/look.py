# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""How a scene looks: surfaces, background, props and lights; KGN's look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.mujoco_model import WHITE, Prop, Surface, Table
from kgnpro_ros.data.render import Light

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """Appearance of one scene.

    Attributes:
        surfaces: One for each object.
        table: The table.
        background: What lies beyond everything; its texture is a cube's.
        lights: The lights of each view.
        gamma: Display encoding of the rendered colours.
    """

    surfaces: tuple[Surface, ...]
    table: Table
    background: Surface
    lights: tuple[tuple[Light, ...], ...]
    props: tuple[Prop, ...] = ()
    gamma: float = 1.0


def kgn_look(rng: np.random.Generator, objects: int, T_world_camera: FloatArray) -> Look:
    """Grey table, random flat colours, white background, one white spot light at each camera.

    Brightness and fall-off are fitted to frames of KGN's published generator (five grey values).
    """
    surfaces = tuple(
        Surface((float(r), float(g), float(b)))
        for r, g, b in rng.integers(0, 256, (objects, 3)) / 255.0
    )
    lights = tuple(
        (
            Light(
                pose[:3, 3], pose[:3, 2], (0.68, 0.68, 0.68), attenuation=(0.0, 0.0, 1.0),
                cutoff=60.0, exponent=4.0,
            ),
        )
        for pose in T_world_camera
    )  # fmt: skip
    return Look(surfaces, Table(), WHITE, lights, gamma=2.2)
