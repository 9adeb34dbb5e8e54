# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Primitive shapes of the synthetic scenes (KGN's six classes and dimensions) as pure geometry.

Object frames: origin at the geometric centre and the axis of rotation along z, but for the bowl
(``semi_sphere``), whose origin is the centre of its rim plane and which opens towards +z.
Dimensions [m]: cuboid (x, y, z); sphere and bowl (outer radius,); cylinder and ring (inner radius,
height), outer radius = inner radius x ``wall``; stick (radius, height), solid. The bowl's inner
radius is its outer one / ``wall``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.exceptions import DatasetError

FloatArray = NDArray[np.float64]

#: KGN's type names; the index in this tuple is the class index of labels.
CLASSES = ("cuboid", "sphere", "semi_sphere", "cylinder", "ring", "stick")

#: KGN's ratio of outer to inner radius.
WALL = 1.15

_DIMENSIONS = {"cuboid": 3, "sphere": 1, "semi_sphere": 1, "cylinder": 2, "ring": 2, "stick": 2}
_CLOSURES = ("open", "base", "solid")


@dataclass(frozen=True)
class Shape:
    """One primitive.

    Attributes:
        kind: One of :data:`CLASSES`.
        dimensions: Sizes [m], meaning in the module docstring.
        wall: Ratio of outer to inner radius of hollow shapes.
        closure: Of a cylinder: ``open`` at both ends (KGN), ``base`` is a cup, closed at -z,
            ``solid`` is a can.
        taper: Of a cup: radius at the bottom relative to the one at the top, which is the one
            that ``dimensions`` gives.
        handle: A cup has a handle on its +x side; seen and touched, but not a place to grasp.
    """

    kind: str
    dimensions: tuple[float, ...]
    wall: float = WALL
    closure: str = "open"
    taper: float = 1.0
    handle: bool = False

    def __post_init__(self) -> None:
        if self.kind not in CLASSES:
            raise DatasetError(f"no shape class {self.kind!r}; there are {', '.join(CLASSES)}")
        count = _DIMENSIONS[self.kind]
        if len(self.dimensions) != count or not all(0 < d < 10 for d in self.dimensions):
            raise DatasetError(
                f"a {self.kind} has {count} positive dimensions [m], got {self.dimensions}"
            )
        if not self.wall > 1 or self.closure not in _CLOSURES:
            raise DatasetError(
                f"expected wall > 1 and closure in {_CLOSURES}, got {self.wall}, {self.closure!r}"
            )
        if self.closure != "open" and self.kind != "cylinder":
            raise DatasetError(f"only cylinders can be closed, not a {self.kind}")
        if (self.taper != 1.0 or self.handle) and self.closure != "base":
            raise DatasetError(
                "only a cup (a cylinder with closure 'base') has a taper or a handle"
            )
        if not 0.2 <= self.taper <= 1.0:
            raise DatasetError(f"taper must be 0.2 to 1, got {self.taper}")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Shape:
        """Read what :meth:`to_dict` wrote."""
        try:
            dimensions = tuple(float(value) for value in data["dimensions"])
            wall, closure = float(data.get("wall", WALL)), str(data.get("closure", "open"))
            taper, handle = float(data.get("taper", 1.0)), bool(data.get("handle", False))
            return cls(str(data["class"]), dimensions, wall, closure, taper, handle)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"not a shape: {data!r} ({type(error).__name__}: {error})"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "class": self.kind,
            "dimensions": list(self.dimensions),
            "wall": self.wall,
            "closure": self.closure,
            "taper": self.taper,
            "handle": self.handle,
        }

    @property
    def class_index(self) -> int:
        """Index into :data:`CLASSES`."""
        return CLASSES.index(self.kind)

    @property
    def height(self) -> float:
        """Extent along the object's z [m]."""
        if self.kind in ("sphere", "semi_sphere"):
            return self.dimensions[0] * (2.0 if self.kind == "sphere" else 1.0)
        return self.dimensions[-1]

    @property
    def outer_radius(self) -> float:
        """Radius about the object's z [m]; half the diagonal of a cuboid."""
        if self.kind == "cuboid":
            return float(np.hypot(self.dimensions[0], self.dimensions[1]) / 2)
        if self.kind in ("cylinder", "ring"):
            return self.dimensions[0] * self.wall
        return self.dimensions[0]

    @property
    def handle_path(self) -> FloatArray:
        """Centre line of the handle, half a loop on the +x side, shape (6, 3) [m]; (0, 3) if none.

        Its tube has the radius :attr:`handle_radius`.
        """
        if not self.handle:
            return np.empty((0, 3))
        angle = np.linspace(-np.pi / 2, np.pi / 2, 6)
        reach = 0.32 * self.height
        middle = self.outer_radius * (1 + self.taper) / 2
        x = middle + 0.9 * reach * np.cos(angle) - 0.002
        return np.stack([x, np.zeros(6), reach * np.sin(angle)], axis=-1)

    @property
    def handle_radius(self) -> float:
        """Radius of the tube of the handle [m]."""
        return 0.005

    @property
    def inner_radius(self) -> float:
        """Inner radius of hollow shapes [m]; 0 of solid ones."""
        if self.kind == "semi_sphere":
            return self.dimensions[0] / self.wall
        if self.kind == "ring" or (self.kind == "cylinder" and self.closure != "solid"):
            return self.dimensions[0]
        return 0.0

    def convex_pieces(self, segments: int = 32) -> FloatArray:
        """Convex hexahedra that fill the shape, shape (P, 8, 3) [m].

        Vertex 4i + 2j + k is the corner (i, j, k) of a deformed cube; some corners coincide at an
        axis. A sphere is approximated from inside; use its radius where that matters.

        Args:
            segments: Pieces around the axis.
        """
        if self.kind == "cuboid":
            corners = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3, indexing="ij"), axis=-1)
            box: FloatArray = corners.reshape(1, 8, 3) * np.asarray(self.dimensions)
            return box
        return _revolve(_profile_cells(self, segments), segments)

    def visual_mesh(self, segments: int = 64) -> tuple[FloatArray, NDArray[np.int32]]:
        """Closed surface of a shape of revolution: vertices (V, 3) [m] and triangles (F, 3).

        Every triangle has its own vertices so that a renderer shades facets flat.
        """
        if self.kind == "cuboid":
            raise DatasetError("a cuboid has no surface of revolution; render it as a box")
        return _revolve_surface(_outline(self, segments), segments)


def _arc(radius: float, start: float, stop: float, count: int) -> FloatArray:
    """Points (r, z) on a circle about the origin; angles from the equator [rad]."""
    angle = np.linspace(start, stop, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _outline(shape: Shape, segments: int) -> FloatArray:
    """Closed outline in the half plane (r, z), counter-clockwise, shape (K, 2)."""
    outer, inner, half = shape.outer_radius, shape.inner_radius, shape.height / 2
    arc = max(4, segments // 4)
    if shape.kind == "sphere":
        return _arc(outer, -np.pi / 2, np.pi / 2, 2 * arc + 1)
    if shape.kind == "semi_sphere":
        down = _arc(inner, 0.0, -np.pi / 2, arc + 1)
        return np.concatenate([_arc(outer, -np.pi / 2, 0.0, arc + 1), down])
    if inner == 0.0:
        return np.array([[0, -half], [outer, -half], [outer, half], [0, half]])
    if shape.closure == "base":
        floor, low = -half + (outer - inner), outer * shape.taper
        foot = _inner_foot(shape)
        return np.array(
            [[0, -half], [low, -half], [outer, half], [inner, half], [foot, floor], [0, floor]]
        )
    return np.array([[outer, -half], [outer, half], [inner, half], [inner, -half]])


def _profile_cells(shape: Shape, segments: int) -> FloatArray:
    """Convex quadrilaterals (r, z) that fill the outline, shape (C, 2, 2, 2)."""
    outer, inner, half = shape.outer_radius, shape.inner_radius, shape.height / 2
    if shape.kind in ("sphere", "semi_sphere"):
        top = np.pi / 2 if shape.kind == "sphere" else 0.0
        count = max(3, segments // 4) * (2 if shape.kind == "sphere" else 1)
        layers = np.stack([_arc(r, -np.pi / 2, top, count + 1) for r in (inner, outer)])
        arcs: FloatArray = np.stack([layers[:, :-1], layers[:, 1:]], axis=2)  # (side, arc, end, 2)
        return arcs.transpose(1, 0, 2, 3)
    if shape.closure != "base":
        return _quadrilateral(inner, outer, inner, outer, -half, half)[None]
    floor, low, foot = -half + (outer - inner), outer * shape.taper, _inner_foot(shape)
    rim = low + (outer - low) * (floor + half) / shape.height
    base = _quadrilateral(0.0, low, 0.0, rim, -half, floor)
    return np.stack([base, _quadrilateral(foot, rim, inner, outer, floor, half)])


def _inner_foot(shape: Shape) -> float:
    """Inner radius of a cup at its floor [m]."""
    outer, wall = shape.outer_radius, shape.outer_radius - shape.inner_radius
    rim = outer * (shape.taper + (1 - shape.taper) * wall / shape.height)
    return max(rim - wall, 0.2 * rim)


def _quadrilateral(
    inner_low: float,
    outer_low: float,
    inner_high: float,
    outer_high: float,
    low: float,
    high: float,
) -> FloatArray:
    """Profile cell between two heights, shape (side, height, 2)."""
    return np.array(
        [[[inner_low, low], [inner_high, high]], [[outer_low, low], [outer_high, high]]]
    )


def _revolve(cells: FloatArray, segments: int) -> FloatArray:
    """Sweep profile cells (C, 2, 2, 2) about z into hexahedra (C * segments, 8, 3)."""
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    edges = np.stack([angle[:-1], angle[1:]], axis=-1)[None, :, None, None, :]  # (1, S, 1, 1, 2)
    r, z = cells[:, None, :, :, 0, None], cells[:, None, :, :, 1, None]
    x, y = r * np.cos(edges), r * np.sin(edges)
    swept: FloatArray = np.stack([x, y, np.broadcast_to(z, x.shape)], axis=-1)
    return swept.reshape(-1, 8, 3)


def _revolve_surface(outline: FloatArray, segments: int) -> tuple[FloatArray, NDArray[np.int32]]:
    """Surface of a revolved closed outline as flat-shaded triangles, normals outwards."""
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    nxt = np.roll(outline, -1, axis=0)

    def ring(points: FloatArray, turn: FloatArray) -> FloatArray:
        r, z = points[:, None, 0], points[:, None, 1]
        x, y = r * np.cos(turn), r * np.sin(turn)
        return np.stack([x, y, np.broadcast_to(z, x.shape)], axis=-1)

    a, b = ring(outline, angle[:-1]), ring(outline, angle[1:])
    c, d = ring(nxt, angle[1:]), ring(nxt, angle[:-1])
    triangles = np.concatenate([np.stack([a, b, c], axis=2), np.stack([a, c, d], axis=2)])
    triangles = triangles.reshape(-1, 3, 3)
    area = np.linalg.norm(
        np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=-1
    )
    triangles = triangles[area > 1e-12]
    vertices = triangles.reshape(-1, 3)
    return vertices, np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
