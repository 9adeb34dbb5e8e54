# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Antipodal grasp families of the primitives, as KGN's protocol defines them (section 2.6).

Poses are ``T_object_grasp``: +x approach, +z closing, origin between the fingertips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.geometry.se3 import make_transform

FloatArray = NDArray[np.float64]

#: How far the fingertips reach below an approached cuboid face, a rim, the rim of a bowl [m].
FACE_DEPTH, RIM_DEPTH, BOWL_DEPTH = 0.02, 0.005, 0.002
#: Jaw opening relative to the gripped size, and relative to the thickness of a wall.
WIDTH_FACTOR, WALL_FACTOR = 1.2, 5.0

#: Columns (x_g, y_g, z_g) of the three orientations that shapes of revolution use.
_DOWN = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)
_UP = np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0]], float)
_SIDE = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)


@dataclass(frozen=True)
class ObjectGrasps:
    """Grasps of one object.

    Attributes:
        T_object_grasp: Poses in the object frame, shape (N, 4, 4).
        widths: Jaw openings [m], shape (N,).
    """

    T_object_grasp: FloatArray
    widths: FloatArray


def angles(count: int, distinct: bool) -> FloatArray:
    """Angles over the full turn [rad]: KGN's list both 0 and 2 pi, distinct ones stop before."""
    return np.linspace(0.0, 2 * np.pi, count, endpoint=not distinct)


def slides(count: int, extent: float) -> FloatArray:
    """Positions along an extent centred on 0 [m], without its ends."""
    return ((np.arange(count) + 1) / (count + 1) - 0.5) * extent


def object_grasps(
    shape: Shape, rotation_samples: int, translation_samples: int, *, distinct: bool = False
) -> ObjectGrasps:
    """All grasps of a shape, whether reachable or not.

    Args:
        shape: The primitive.
        rotation_samples: Angles about the axis.
        translation_samples: Positions along an edge or an axis.
        distinct: Leave out the angle 2 pi, which repeats angle 0 (KGN lists both).
    """
    theta = angles(rotation_samples, distinct)
    if shape.kind == "cuboid":
        parts = [_cuboid(shape, translation_samples)]
    elif shape.kind == "sphere":
        parts = _sphere(shape, theta)
    elif shape.kind == "semi_sphere":
        parts = [_bowl(shape, theta)]
    elif shape.kind == "stick":
        # KGN opens the jaws for the radius times the wall ratio although the stick is solid.
        width = WIDTH_FACTOR * 2 * shape.outer_radius * shape.wall
        parts = [_side(shape, theta, translation_samples, width)]
    else:
        parts = _rims(shape, theta)
        if shape.kind == "cylinder":
            width = WIDTH_FACTOR * 2 * shape.outer_radius
            parts.append(_side(shape, theta, translation_samples, width))
    return ObjectGrasps(
        np.concatenate([poses for poses, _ in parts]),
        np.concatenate([np.full(len(poses), width) for poses, width in parts])
        if shape.kind != "cuboid"
        else _cuboid_widths(shape, translation_samples),
    )


def _turn(theta: FloatArray, rotation: FloatArray, origin: ArrayLike) -> FloatArray:
    """R_z(theta) applied on the left of one pose or of one pose per angle, (N, 4, 4)."""
    turns = np.zeros((len(theta), 3, 3))
    turns[:, 0, 0] = turns[:, 1, 1] = np.cos(theta)
    turns[:, 1, 0] = np.sin(theta)
    turns[:, 0, 1] = -turns[:, 1, 0]
    turns[:, 2, 2] = 1.0
    origin = np.broadcast_to(np.asarray(origin, float), (len(theta), 3))
    return make_transform(turns @ rotation, np.einsum("nij,nj->ni", turns, origin))


def _cuboid_frames() -> list[tuple[int, float, int]]:
    """(approach axis, sign of the approach, closing axis) of the twelve families."""
    return [(a, s, b) for a in range(3) for s in (1.0, -1.0) for b in range(3) if b != a]


def _cuboid(shape: Shape, translation_samples: int) -> tuple[FloatArray, float]:
    size, eye = np.asarray(shape.dimensions), np.eye(3)
    poses = []
    for a, sign, b in _cuboid_frames():
        x, z = sign * eye[a], eye[b]
        y = np.cross(z, x)
        slide_axis = 3 - a - b
        start = -(size[a] / 2 - FACE_DEPTH) * x
        origin = start + slides(translation_samples, size[slide_axis])[:, None] * y
        poses.append(make_transform(np.stack([x, y, z], axis=-1), origin))
    return np.concatenate(poses), 0.0


def _cuboid_widths(shape: Shape, translation_samples: int) -> FloatArray:
    widths = [WIDTH_FACTOR * shape.dimensions[b] for _, _, b in _cuboid_frames()]
    return np.repeat(widths, translation_samples)


def _sphere(shape: Shape, theta: FloatArray) -> list[tuple[FloatArray, float]]:
    width = WIDTH_FACTOR * 2 * shape.outer_radius
    return [(_turn(theta, axes, np.zeros(3)), width) for axes in (_DOWN, _SIDE)]


def _bowl(shape: Shape, theta: FloatArray) -> tuple[FloatArray, float]:
    outer, inner = shape.outer_radius, shape.inner_radius
    origin = ((outer + inner) / 2, 0.0, -BOWL_DEPTH)
    return _turn(theta, _DOWN, origin), WALL_FACTOR * (outer - inner)


def _rims(shape: Shape, theta: FloatArray) -> list[tuple[FloatArray, float]]:
    outer, inner = shape.outer_radius, shape.inner_radius
    middle, width = (outer + inner) / 2, WALL_FACTOR * (outer - inner)
    edge = shape.height / 2 - RIM_DEPTH
    return [
        (_turn(theta, _DOWN, (middle, 0.0, edge)), width),
        (_turn(theta, _UP, (middle, 0.0, -edge)), width),
    ]


def _side(
    shape: Shape, theta: FloatArray, translation_samples: int, width: float
) -> tuple[FloatArray, float]:
    positions = slides(translation_samples, shape.height)
    origin = np.zeros((len(theta) * len(positions), 3))
    origin[:, 2] = np.tile(positions, len(theta))
    return _turn(np.repeat(theta, len(positions)), _SIDE, origin), width
