# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The things of the physical experiment: five classes, of sizes that a Franka hand can take.

Everything is drawn from the scene generator's household ranges and kept only if it fits: something
that the jaws can close on is no wider than :data:`MAX_GRIP`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.placement import stable_rotation
from kgnpro_ros.data.shape_sampling import sample_household_shape
from kgnpro_ros.data.shapes import Shape

FloatArray = NDArray[np.float64]

#: The paper's classes, in the order of its Table II.
TRIAL_CLASSES = ("cylinder", "sphere", "stick", "cuboid", "other")

#: Kinds behind the class "other", taken in turn.
OTHER_KINDS = ("ring", "semi_sphere", "mug", "tapered_cup", "ring")

#: The hand opens to 80 mm: this much [m] of it may be object.
MAX_GRIP = 0.07
#: Walls [m] of hollow things that are gripped by their rim.
MAX_WALL = 0.02
#: Of everything, as it stands [m].
MAX_HEIGHT = 0.16


def draw_object(rng: np.random.Generator, name: str, index: int) -> tuple[Shape, FloatArray]:
    """Draw a thing of a class and how it rests.

    Args:
        rng: Source of every draw.
        name: One of :data:`TRIAL_CLASSES`.
        index: Number of the thing in its class; it chooses among the kinds of "other".

    Returns:
        The shape, and ``T_world_object`` at the origin, shape (4, 4).
    """
    kind = OTHER_KINDS[index % len(OTHER_KINDS)] if name == "other" else name
    generator = "cylinder" if kind in ("mug", "tapered_cup") else kind
    while True:
        shape = sample_household_shape(rng, generator)
        if not _is_of(shape, kind):
            continue
        rotation, height = stable_rotation(rng, shape)
        if fits_hand(shape, rotation):
            pose = np.eye(4)
            pose[:3, :3], pose[2, 3] = rotation, height
            return shape, pose


def _is_of(shape: Shape, kind: str) -> bool:
    if kind == "mug":
        return shape.handle
    if kind == "tapered_cup":
        return shape.taper < 1.0 and not shape.handle
    return not shape.handle and shape.taper == 1.0


def fits_hand(shape: Shape, rotation: FloatArray) -> bool:
    """Whether the jaws can close on a thing at rest, from above or around.

    Args:
        shape: The thing.
        rotation: ``R_world_object``, shape (3, 3).
    """
    up = np.abs(rotation[2])
    if shape.kind == "cuboid":
        # Two narrow sides: however it lies, the jaws have a pair of faces to close on.
        sides = np.sort(shape.dimensions)
        return bool(sides[1] <= MAX_GRIP and sides[2] <= MAX_HEIGHT)
    upright = bool(up[2] > 0.9)
    if (shape.height if upright else 2 * shape.outer_radius) > MAX_HEIGHT:
        return False
    if 2 * shape.outer_radius <= MAX_GRIP:
        return True
    # Wider things are held by their rim, which has to point upwards: a cup on its head has none.
    wall = shape.outer_radius - shape.inner_radius
    on_head = shape.closure == "base" and rotation[2, 2] < 0
    return upright and not on_head and shape.inner_radius > 0 and wall <= MAX_WALL
