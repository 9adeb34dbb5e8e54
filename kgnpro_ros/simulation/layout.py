# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Draws what stands on the table, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from kgnpro_ros.config import WorldConfig
from kgnpro_ros.data.mujoco_model import WHITE, Table, build_model
from kgnpro_ros.data.placement import Spread, place_objects
from kgnpro_ros.data.shape_sampling import sample_shape
from kgnpro_ros.data.shapes import CLASSES, Shape
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.simulation.meshes import MeshObject, load_mesh_objects

FloatArray = NDArray[np.float64]

#: Objects stay within this of the middle along x and y [m]: in view, and in reach.
LIMIT = 0.2
_TRIES = 500
#: Meshes start this far above the table [m] and settle.
_DROP = 0.001


@dataclass(frozen=True)
class PlacedObject:
    """A thing on the table.

    Attributes:
        item: What it is.
        T_world_object: Where, shape (4, 4).
    """

    item: Shape | MeshObject
    T_world_object: FloatArray

    @property
    def kind(self) -> str:
        """Class of a primitive, name of a mesh."""
        return self.item.kind if isinstance(self.item, Shape) else self.item.name


def extreme_points(item: Shape | MeshObject) -> tuple[FloatArray, float]:
    """Points whose convex hull, grown by a radius, is that of the object.

    Returns:
        Points in the object's frame [m], shape (P, 3), and the radius [m].
    """
    if isinstance(item, MeshObject):
        return item.vertices, 0.0
    if item.kind == "sphere":
        return np.zeros((1, 3)), item.outer_radius
    return item.convex_pieces(32).reshape(-1, 3), 0.0


def draw_scene(rng: np.random.Generator, config: WorldConfig) -> list[PlacedObject]:
    """Draw objects and places; what finds no free place is left out.

    Raises:
        DatasetError: If the folder of meshes cannot be used.
    """
    if config.objects:
        return _place_meshes(rng, _draw_meshes(rng, config), config.spread)
    spread = Spread(config.spread, LIMIT)
    while True:
        kinds = [CLASSES[index] for index in rng.permutation(len(CLASSES))]
        shapes = [sample_shape(rng, kind) for kind in kinds[: _count(config, len(kinds))]]
        model = build_model(shapes, [WHITE] * len(shapes), Table())
        placed = place_objects(rng, model, shapes, [spread] * len(shapes))
        if placed:
            return [PlacedObject(shapes[index], placed[index]) for index in sorted(placed)]


def _count(config: WorldConfig, available: int) -> int:
    return 1 if config.mode == "single" else available


def _draw_meshes(rng: np.random.Generator, config: WorldConfig) -> list[MeshObject]:
    meshes = load_mesh_objects(Path(config.objects), config.mesh_scale)
    order = rng.permutation(len(meshes))[: _count(config, len(meshes))]
    return [meshes[index] for index in order]


def _place_meshes(
    rng: np.random.Generator, meshes: Sequence[MeshObject], sigma: float
) -> list[PlacedObject]:
    """Stable poses at places whose bounding circles do not overlap."""
    result: list[PlacedObject] = []
    circles: list[tuple[FloatArray, float]] = []
    for mesh in meshes:
        rotation, height = _stable_pose(rng, mesh)
        turned = mesh.vertices @ rotation.T
        middle = (turned.max(axis=0) + turned.min(axis=0))[:2] / 2
        radius = float(np.linalg.norm(turned[:, :2] - middle, axis=1).max())
        for _ in range(_TRIES):
            xy = rng.normal(0.0, sigma, 2)
            apart = all(np.hypot(*(xy - c)) > radius + r + 0.005 for c, r in circles)
            if apart and np.abs(xy).max() < LIMIT:
                circles.append((xy, radius))
                place = (*(xy - middle), height + _DROP)
                result.append(PlacedObject(mesh, make_transform(rotation, place)))
                break
            # A crowded middle spreads out.
            sigma *= 1.002
    if not result:
        raise DatasetError(f"no object found a place of {2 * LIMIT} m on the table")
    return result


def _stable_pose(rng: np.random.Generator, mesh: MeshObject) -> tuple[FloatArray, float]:
    """A resting orientation with a random turn, and the height of the object's origin [m]."""
    hull = trimesh.Trimesh(mesh.vertices, mesh.triangles).convex_hull
    transforms, probabilities = trimesh.poses.compute_stable_poses(hull, sigma=0.0)
    choice = rng.choice(len(transforms), p=probabilities / probabilities.sum())
    yaw = Rotation.from_rotvec([0, 0, rng.uniform(0, 2 * np.pi)]).as_matrix()
    rotation: FloatArray = yaw @ transforms[choice][:3, :3]
    return rotation, -float((mesh.vertices @ rotation.T)[:, 2].min())
