# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms as a translation and a unit quaternion (x, y, z, w)."""

from __future__ import annotations

import math
from typing import NamedTuple

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

# Below this angle between quaternions [rad] the linear mean is exact in double precision.
_SMALL_ANGLE = 1e-6


class Rigid(NamedTuple):
    """Maps p to rotation * p + translation."""

    translation: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = (0.0, 0.0, 0.0, 1.0)

    def compose(self, other: Rigid) -> Rigid:
        """Returns the transform that applies ``other`` first."""
        moved = rotate(self.rotation, other.translation)
        return Rigid(_add(moved, self.translation), multiply(self.rotation, other.rotation))

    def inverse(self) -> Rigid:
        x, y, z, w = self.rotation
        rotation = (-x, -y, -z, w)
        tx, ty, tz = rotate(rotation, self.translation)
        return Rigid((-tx, -ty, -tz), rotation)

    def interpolate(self, other: Rigid, ratio: float) -> Rigid:
        """Returns the transform at ``ratio`` of the way: linear, and along the great arc."""
        translation = tuple(
            a + ratio * (b - a) for a, b in zip(self.translation, other.translation, strict=True)
        )
        return Rigid(translation, slerp(self.rotation, other.rotation, ratio))


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def rotate(q: Quaternion, v: Vector) -> Vector:
    x, y, z, w = q
    t = _cross((x, y, z), v)
    t = (2.0 * t[0], 2.0 * t[1], 2.0 * t[2])
    c = _cross((x, y, z), t)
    return (v[0] + w * t[0] + c[0], v[1] + w * t[1] + c[1], v[2] + w * t[2] + c[2])


def slerp(a: Quaternion, b: Quaternion, ratio: float) -> Quaternion:
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    sign = -1.0 if dot < 0.0 else 1.0  # q and -q are one rotation: take the shorter way
    angle = math.acos(min(1.0, abs(dot)))
    if angle < _SMALL_ANGLE:
        weight_a, weight_b = 1.0 - ratio, sign * ratio
    else:
        weight_a = math.sin((1.0 - ratio) * angle) / math.sin(angle)
        weight_b = sign * math.sin(ratio * angle) / math.sin(angle)
    mixed = tuple(weight_a * p + weight_b * q for p, q in zip(a, b, strict=True))
    return normalized(mixed)


def norm(q: Quaternion) -> float:
    return math.sqrt(sum(c * c for c in q))


def normalized(q: Quaternion) -> Quaternion:
    length = norm(q)
    return (q[0] / length, q[1] / length, q[2] / length, q[3] / length)


def _add(a: Vector, b: Vector) -> Vector:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def _cross(a: Vector, b: Vector) -> Vector:
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )
