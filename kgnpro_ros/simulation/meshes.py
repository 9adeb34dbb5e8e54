# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Objects from a folder of mesh files: what is seen, and the convex parts that collide.

``mug.obj`` or ``mug.stl`` is an object. Its convex parts are ``mug_*.obj`` (or STL) beside it, or
the meshes of the sub-folder ``mug``, in the same frame; without any, its convex hull collides, so
that a hollow thing without parts is solid.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.files import read_bytes

FloatArray = NDArray[np.float64]

_SUFFIXES = (".obj", ".stl")
#: Largest file [bytes], most triangles, and sizes that something to pick may have [m].
MAX_BYTES, MAX_TRIANGLES, MIN_SIZE, MAX_SIZE = 64 * 2**20, 300_000, 0.003, 1.0


@dataclass(frozen=True)
class MeshObject:
    """A thing to pick that is no primitive.

    Attributes:
        name: Its name, from the file.
        vertices: Of what is seen, in the object's frame [m], shape (V, 3).
        triangles: Of what is seen, indices of vertices, shape (F, 3).
        parts: Vertices of convex parts that collide [m], each of shape (P, 3).
    """

    name: str
    vertices: FloatArray
    triangles: NDArray[np.int32]
    parts: tuple[FloatArray, ...]

    @property
    def radius(self) -> float:
        """Radius of the sphere about the middle of its bounding box [m]."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        return float(np.linalg.norm(high - low) / 2)


def load_mesh_objects(folder: str | Path, scale: float = 1.0) -> tuple[MeshObject, ...]:
    """Load every object of a folder, in the order of their names.

    Args:
        folder: The folder.
        scale: Metres per unit of the files.

    Raises:
        DatasetError: If the folder is missing or empty, or a file is no mesh of a sensible size.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"no folder of objects {folder}")
    files = _mesh_files(folder)
    stems = {path.stem for path in files}
    whole = [path for path in files if not _is_part(path.stem, stems)]
    if not whole:
        raise DatasetError(f"{folder} holds no mesh; expected files that end in .obj or .stl")
    if len({path.stem for path in whole}) < len(whole):
        raise DatasetError(f"{folder} holds one object as .obj and as .stl; expected one of them")
    return tuple(_load_object(path, files, scale) for path in whole)


def _mesh_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _is_part(stem: str, stems: set[str]) -> bool:
    """Whether a file is a part: its name goes on after the name of an object and a line."""
    return any(stem.startswith(f"{other}_") for other in stems)


def _load_object(path: Path, files: list[Path], scale: float) -> MeshObject:
    mesh = _load(path, scale)
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    if not MIN_SIZE <= extent <= MAX_SIZE:
        raise DatasetError(
            f"{path} is {extent:.3g} m large; expected {MIN_SIZE} to {MAX_SIZE} m. Is its unit "
            "the metre? Say otherwise by mesh_scale, 0.001 for millimetres"
        )
    parts = [file for file in files if file.stem.startswith(f"{path.stem}_")]
    if path.with_suffix("").is_dir():
        parts += _mesh_files(path.with_suffix(""))
    hulls = tuple(_hull(_load(part, scale), part) for part in parts) or (_hull(mesh, path),)
    triangles = np.asarray(mesh.faces, np.int32)
    return MeshObject(path.stem, np.asarray(mesh.vertices, np.float64), triangles, hulls)


def _load(path: Path, scale: float) -> trimesh.Trimesh:
    # From memory, so that a file cannot name others to be read.
    data = io.BytesIO(read_bytes(path, DatasetError, MAX_BYTES))
    kind = path.suffix.lower().removeprefix(".")
    try:
        mesh = trimesh.load(data, file_type=kind, force="mesh", process=True, skip_materials=True)
    except Exception as error:  # the readers of trimesh raise whatever their parsing runs into
        raise DatasetError(f"cannot read the mesh {path}: {error}") from error
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise DatasetError(f"{path} holds no triangles")
    if len(mesh.faces) > MAX_TRIANGLES:
        raise DatasetError(
            f"{path} has {len(mesh.faces)} triangles; expected at most {MAX_TRIANGLES}"
        )
    if not np.isfinite(mesh.vertices).all():
        raise DatasetError(f"{path} holds coordinates that are not finite")
    mesh.vertices = mesh.vertices * scale
    return mesh


def _hull(mesh: trimesh.Trimesh, path: Path) -> FloatArray:
    try:
        hull = mesh.convex_hull
    except Exception as error:  # Qhull's own error classes differ between versions of SciPy
        raise DatasetError(f"{path} has no volume: {error}") from error
    if not hull.volume > 1e-10:
        raise DatasetError(f"{path} is flat: its hull has a volume of {hull.volume:.2g} m^3")
    return np.asarray(hull.vertices, np.float64)
