# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes of the shapes: KGN's ranges, and wider ones with household forms for the random look."""

from __future__ import annotations

import numpy as np

from kgnpro_ros.data.shapes import Shape

#: KGN's ranges [m] of every dimension, uniform and independent.
KGN_RANGES: dict[str, tuple[tuple[float, float], ...]] = {
    "cuboid": ((0.04, 0.12), (0.04, 0.12), (0.04, 0.12)),
    "sphere": ((0.02, 0.05),),
    "semi_sphere": ((0.04, 0.08),),
    "cylinder": ((0.03, 0.07), (0.05, 0.10)),
    "ring": ((0.02, 0.05), (0.008, 0.024)),
    "stick": ((0.005, 0.01), (0.05, 0.10)),
}


def sample_shape(rng: np.random.Generator, kind: str) -> Shape:
    """Draw a shape of a class from KGN's ranges."""
    return Shape(kind, tuple(float(rng.uniform(low, high)) for low, high in KGN_RANGES[kind]))


def sample_household_shape(rng: np.random.Generator, kind: str) -> Shape:
    """Draw a shape of a class from ranges around real things.

    Cartons and blocks, balls, bowls with thin walls, tubes, cups and mugs with and without taper
    and handle, cans and bottles, rings, pens and tools; a third keeps KGN's sizes.
    """
    if rng.uniform() < 0.33:
        return sample_shape(rng, kind)
    draw = rng.uniform
    if kind == "cuboid":
        sides = sorted((draw(0.02, 0.09), draw(0.03, 0.12), draw(0.05, 0.20)))
        return Shape(kind, tuple(float(sides[k]) for k in rng.permutation(3)))
    if kind == "sphere":
        return Shape(kind, (float(draw(0.018, 0.06)),))
    if kind == "semi_sphere":
        return Shape(kind, (float(draw(0.04, 0.09)),), wall=float(draw(1.05, 1.2)))
    if kind == "ring":
        size = (float(draw(0.015, 0.05)), float(draw(0.008, 0.03)))
        return Shape(kind, size, wall=float(draw(1.1, 1.35)))
    if kind == "stick":
        return Shape(kind, (float(draw(0.004, 0.014)), float(draw(0.05, 0.18))))
    return _sample_vessel(rng)


def _sample_vessel(rng: np.random.Generator) -> Shape:
    draw = rng.uniform
    form = rng.choice(["tube", "cup", "bowl", "can", "bottle"], p=[0.15, 0.35, 0.2, 0.2, 0.1])
    if form == "can":
        size = (float(draw(0.02, 0.05)), float(draw(0.03, 0.14)))
        return Shape("cylinder", (size[0] / 1.15, size[1]), closure="solid")
    if form == "bottle":
        size = (float(draw(0.014, 0.035)), float(draw(0.09, 0.2)))
        return Shape("cylinder", (size[0] / 1.15, size[1]), closure="solid")
    # Walls of 2.5 to 8 mm.
    outer, thickness = float(draw(0.03, 0.06)), float(draw(0.0025, 0.008))
    height, taper, handle = float(draw(0.06, 0.13)), 1.0, False
    if form == "bowl":
        outer, taper = float(draw(0.05, 0.09)), float(draw(0.35, 0.75))
        height = outer * float(draw(0.5, 1.2))
    elif form == "cup":
        taper = 1.0 if draw() < 0.5 else float(draw(0.65, 1.0))
        handle = bool(draw() < 0.5)
    inner = outer - thickness
    closure = "open" if form == "tube" else "base"
    return Shape("cylinder", (inner, height), outer / inner, closure, taper, handle)


def sample_obstacle(rng: np.random.Generator) -> Shape:
    """Draw a thing that is too large to grasp: a box or a drum of 0.12 to 0.3 m."""
    if rng.uniform() < 0.7:
        return Shape("cuboid", tuple(float(v) for v in rng.uniform(0.12, 0.3, 3)))
    size = (float(rng.uniform(0.08, 0.15)), float(rng.uniform(0.05, 0.3)))
    return Shape("cylinder", size, closure="solid")
