# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the triangles and colours of a Collada file, which MuJoCo does not.

Only what robot descriptions use: triangle and polygon lists, plain diffuse colours, one tree of
nodes with matrices.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.exceptions import ModelError

FloatArray = NDArray[np.float64]

_NAMESPACE = "{http://www.collada.org/2005/11/COLLADASchema}"
_GREY = (0.6, 0.6, 0.6)


@dataclass(frozen=True)
class ColorMesh:
    """Triangles of one colour.

    Attributes:
        rgb: The colour, 0 to 1.
        vertices: Shape (V, 3) [m].
        triangles: Indices of vertices, shape (F, 3).
    """

    rgb: tuple[float, float, float]
    vertices: FloatArray
    triangles: NDArray[np.int32]


def read_collada(path: Path) -> tuple[ColorMesh, ...]:
    """Read a file, one mesh per colour.

    Raises:
        ModelError: If it is missing or holds something that is not understood.
    """
    try:
        root = ET.parse(path).getroot()
        for element in root.iter():
            element.tag = element.tag.removeprefix(_NAMESPACE)
        return _Reader(root).meshes()
    except (OSError, ET.ParseError, KeyError, ValueError, IndexError, AttributeError) as error:
        raise ModelError(f"cannot read {path}: {type(error).__name__}: {error}") from error


def coarser(mesh: ColorMesh, grid: float) -> ColorMesh:
    """Merge the vertices in each cube of a grid [m] into their mean, for cheaper pictures."""
    cubes = np.floor(mesh.vertices / grid).astype(np.int64)
    _, cube, count = np.unique(cubes, axis=0, return_inverse=True, return_counts=True)
    cube = cube.ravel()
    vertices = np.zeros((len(count), 3))
    np.add.at(vertices, cube, mesh.vertices)
    triangles = cube[mesh.triangles].astype(np.int32)
    a, b, c = triangles.T
    triangles = triangles[(a != b) & (b != c) & (c != a)]
    return ColorMesh(mesh.rgb, vertices / count[:, None], triangles)


class _Reader:
    def __init__(self, root: ET.Element) -> None:
        self._by_id = {e.attrib["id"]: e for e in root.iter() if "id" in e.attrib}
        unit = root.find("asset/unit")
        self._scale = 1.0 if unit is None else float(unit.attrib.get("meter", "1"))
        self._scenes = root.findall("library_visual_scenes/visual_scene")
        self._found: dict[tuple[float, float, float], list[FloatArray]] = {}

    def meshes(self) -> tuple[ColorMesh, ...]:
        for scene in self._scenes:
            self._visit(scene, np.eye(4))
        return tuple(_merged(rgb, corners) for rgb, corners in self._found.items())

    def _visit(self, node: ET.Element, transform: FloatArray) -> None:
        for child in node.findall("matrix"):
            transform = transform @ _numbers(child).reshape(4, 4)
        for instance in node.findall("instance_geometry"):
            bound = {
                item.attrib["symbol"]: self._rgb(item.attrib["target"])
                for item in instance.iter("instance_material")
            }
            self._add(self._target(instance.attrib["url"]), bound, transform)
        for child in node.findall("node"):
            self._visit(child, transform)

    def _target(self, url: str) -> ET.Element:
        return self._by_id[url.removeprefix("#")]

    def _rgb(self, url: str) -> tuple[float, float, float]:
        effect = self._target(_require(self._target(url), "instance_effect").attrib["url"])
        color = next((d.find("color") for d in effect.iter("diffuse")), None)
        if color is None:
            return _GREY
        red, green, blue = _numbers(color)[:3]
        return float(red), float(green), float(blue)

    def _add(
        self,
        geometry: ET.Element,
        bound: dict[str, tuple[float, float, float]],
        transform: FloatArray,
    ) -> None:
        mesh = _require(geometry, "mesh")
        for group in [*mesh.findall("triangles"), *mesh.findall("polylist")]:
            inputs = {item.attrib["semantic"]: item.attrib for item in group.findall("input")}
            stride = 1 + max(int(item["offset"]) for item in inputs.values())
            index = _numbers(_require(group, "p")).astype(np.int64).reshape(-1, stride)
            counts = group.find("vcount")
            if counts is not None and (_numbers(counts) != 3).any():
                raise ValueError("it has polygons that are no triangles")
            points = self._positions(inputs["VERTEX"]["source"])
            corners = points[index[:, int(inputs["VERTEX"]["offset"])]]
            corners = self._scale * (corners @ transform[:3, :3].T + transform[:3, 3])
            rgb = bound.get(group.attrib.get("material", ""), _GREY)
            self._found.setdefault(rgb, []).append(corners)

    def _positions(self, url: str) -> FloatArray:
        vertices = self._target(url)
        for item in vertices.findall("input"):
            if item.attrib["semantic"] == "POSITION":
                source = self._target(item.attrib["source"])
                return _numbers(_require(source, "float_array")).reshape(-1, 3)
        raise ValueError("vertices without positions")


def _require(element: ET.Element, name: str) -> ET.Element:
    child = element.find(name)
    if child is None:
        raise ValueError(f"{element.tag} has no {name}")
    return child


def _numbers(element: ET.Element) -> FloatArray:
    return np.fromstring(element.text or "", np.float64, sep=" ")


def _merged(rgb: tuple[float, float, float], corners: list[FloatArray]) -> ColorMesh:
    vertices, index = np.unique(np.concatenate(corners), axis=0, return_inverse=True)
    return ColorMesh(rgb, vertices, index.reshape(-1, 3).astype(np.int32))
