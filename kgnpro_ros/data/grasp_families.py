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
#: Openings outside of KGN's range [m] are widened to, or left out. KGN's shapes never reach them.
MIN_OPENING, MAX_OPENING = 0.015, 0.2
#: Cups narrower at the bottom than this have no side grasps.
STRAIGHT_TAPER = 0.9
#: Half the sector of a handle, and the least angle between it and where a hand comes from [rad].
HANDLE_ANGLE, FAR_SIDE_ANGLE = np.radians(15.0), np.radians(105.0)

#: Columns (x_g, y_g, z_g) of the three orientations that shapes of revolution use.
_DOWN = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)
_UP = np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0]], float)
_SIDE = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)


#: Poses (N, 4, 4), and their openings (N,) or the one they share.
Family = tuple[FloatArray, FloatArray | float]


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
    elif shape.kind == "ring":
        parts = _rims(shape, theta)
    else:
        parts = _cylinder(shape, theta, translation_samples)
    poses = np.concatenate([part[0] for part in parts])
    widths = np.concatenate([np.broadcast_to(part[1], len(part[0])) for part in parts])
    fits = widths <= MAX_OPENING
    return ObjectGrasps(poses[fits], widths[fits])


def _turn(theta: FloatArray, rotation: FloatArray, origin: ArrayLike) -> FloatArray:
    """R_z(theta) applied on the left of one pose or of one pose per angle, (N, 4, 4)."""
    turns = np.zeros((len(theta), 3, 3))
    turns[:, 0, 0] = turns[:, 1, 1] = np.cos(theta)
    turns[:, 1, 0] = np.sin(theta)
    turns[:, 0, 1] = -turns[:, 1, 0]
    turns[:, 2, 2] = 1.0
    origin = np.broadcast_to(np.asarray(origin, float), (len(theta), 3))
    return make_transform(turns @ rotation, np.einsum("nij,nj->ni", turns, origin))


def _cuboid(shape: Shape, translation_samples: int) -> Family:
    """Six approach directions times two closing axes, slid along the third axis."""
    size, eye = np.asarray(shape.dimensions), np.eye(3)
    poses, widths = [], []
    frames = [(a, s, b) for a in range(3) for s in (1.0, -1.0) for b in range(3) if b != a]
    for a, sign, b in frames:
        x, z = sign * eye[a], eye[b]
        y = np.cross(z, x)
        slide = slides(translation_samples, size[3 - a - b])
        origin = -(size[a] / 2 - FACE_DEPTH) * x + slide[:, None] * y
        poses.append(make_transform(np.stack([x, y, z], axis=-1), origin))
        widths.append(np.full(translation_samples, WIDTH_FACTOR * size[b]))
    return np.concatenate(poses), np.concatenate(widths)


def _sphere(shape: Shape, theta: FloatArray) -> list[Family]:
    width = WIDTH_FACTOR * 2 * shape.outer_radius
    return [(_turn(theta, axes, np.zeros(3)), width) for axes in (_DOWN, _SIDE)]


def _bowl(shape: Shape, theta: FloatArray) -> Family:
    origin = (_wall_middle(shape), 0.0, -BOWL_DEPTH)
    return _turn(theta, _DOWN, origin), _wall_opening(shape)


def _wall_middle(shape: Shape) -> float:
    return (shape.outer_radius + shape.inner_radius) / 2


def _wall_opening(shape: Shape) -> float:
    return max(WALL_FACTOR * (shape.outer_radius - shape.inner_radius), MIN_OPENING)


def _rims(shape: Shape, theta: FloatArray) -> list[Family]:
    middle, width = _wall_middle(shape), _wall_opening(shape)
    edge = shape.height / 2 - RIM_DEPTH
    return [
        (_turn(theta, _DOWN, (middle, 0.0, edge)), width),
        (_turn(theta, _UP, (middle, 0.0, -edge)), width),
    ]


def _side(shape: Shape, theta: FloatArray, translation_samples: int, width: float) -> Family:
    positions = slides(translation_samples, shape.height)
    origin = np.zeros((len(theta) * len(positions), 3))
    origin[:, 2] = np.tile(positions, len(theta))
    return _turn(np.repeat(theta, len(positions)), _SIDE, origin), width


def _cylinder(shape: Shape, theta: FloatArray, translation_samples: int) -> list[Family]:
    """KGN's rims and side for an open tube; closed ends are gripped across their diameter."""
    width = WIDTH_FACTOR * 2 * shape.outer_radius
    if shape.closure == "open":
        return [*_rims(shape, theta), _side(shape, theta, translation_samples, width)]
    depth = min(FACE_DEPTH, shape.height / 2)
    edge = shape.height / 2 - depth
    if shape.closure == "solid":
        return [
            (_turn(theta, _DOWN, (0.0, 0.0, edge)), width),
            (_turn(theta, _UP, (0.0, 0.0, -edge)), width),
            _side(shape, theta, translation_samples, width),
        ]
    rim = theta[_turn_distance(theta, 0.0) > HANDLE_ANGLE] if shape.handle else theta
    families: list[Family] = [_rims(shape, rim)[0]]
    if shape.taper >= STRAIGHT_TAPER:
        around, ends = theta, theta
        if shape.handle:
            # Hands come from the far side, where the handle stays ahead of the fingertips.
            around = theta[_turn_distance(theta, np.pi) > FAR_SIDE_ANGLE]
            finger = np.minimum(_turn_distance(theta, 0.0), _turn_distance(theta, np.pi))
            ends = theta[finger > 2 * HANDLE_ANGLE]
        families.append(_side(shape, around, translation_samples, width))
        families.append((_turn(ends, _UP, (0.0, 0.0, -edge)), width))
    return families


def _turn_distance(theta: FloatArray, reference: float) -> FloatArray:
    """Smallest angle between directions [rad]."""
    result: FloatArray = np.abs((theta - reference + np.pi) % (2 * np.pi) - np.pi)
    return result
