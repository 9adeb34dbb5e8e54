# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Reads generated data sets. NumPy and OpenCV only: no renderer is needed to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data import storage
from kgnpro_ros.data.labels import GraspLabels, grasp_labels
from kgnpro_ros.data.scene import Scene, SceneObject
from kgnpro_ros.exceptions import DatasetError, KGNProError
from kgnpro_ros.files import file_exists, read_array_of_archive
from kgnpro_ros.types import RGBDImage

FloatArray = NDArray[np.float64]

#: No data set is larger; a manifest that says so is wrong.
MAX_SCENES, MAX_VIEWS = 10**7, 1000


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        image: Colour, depth, camera.
        instances: Instance ids, uint8, shape (H, W): 0 background, k + 1 = object k.
        scene_id: Name of the scene; views of one scene share it.
        view: Number of the view.
        T_world_camera: Camera pose, shape (4, 4).
        objects: The objects of the scene.
    """

    image: RGBDImage
    instances: NDArray[np.uint8]
    scene_id: str
    view: int
    T_world_camera: FloatArray
    objects: tuple[SceneObject, ...]


class GraspDataset(Protocol):
    """What every data set of images with ground-truth grasps offers.

    Attributes:
        path: Its folder.
        views: Images per scene; images are ordered view after view and scene after scene.
        scene_numbers: The scenes.
        manifest: What is known about its making.
    """

    path: Path
    views: int
    scene_numbers: tuple[int, ...]
    manifest: dict[str, Any]

    def __len__(self) -> int:
        """Number of images."""

    def scene_of(self, index: int) -> int:
        """Number of the scene that image ``index`` shows."""

    def scene(self, index: int) -> Scene:
        """The scene that image ``index`` shows."""

    def load(self, index: int) -> Sample:
        """Read one image."""

    def grasp_labels(
        self, index: int, rotation_samples: int, translation_samples: int, *, distinct: bool = False
    ) -> GraspLabels:
        """Grasps of the scene of image ``index``, with collision flags."""


class SceneIndex:
    """Which scene an image belongs to, for data sets that order images scene after scene.

    A data set sets ``views``, ``scene_numbers`` and ``_read_scene``, which reads a scene by number.
    """

    views: int
    scene_numbers: tuple[int, ...]
    _read_scene: Callable[[int], Scene]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.scene_numbers) * self.views

    def scene_of(self, index: int) -> int:
        """Number of the scene that image ``index`` shows."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self.scene_numbers[index // self.views]

    def scene(self, index: int) -> Scene:
        """The scene that image ``index`` shows."""
        return self._read_scene(self.scene_of(index))


class SceneDataset(SceneIndex):
    """A generated data set; its items are images, view after view and scene after scene.

    Args:
        path: Folder with ``manifest.json``.
        allow_incomplete: Read the finished scenes of a data set that is still being generated.

    Raises:
        DatasetError: If there is no data set of this format and version, or it is not complete.
    """

    def __init__(self, path: str | Path, *, allow_incomplete: bool = False) -> None:
        self.path = Path(path)
        self.manifest = _read_manifest(self.path)
        self.views = int(self.manifest["views"])
        wanted = range(int(self.manifest["scenes"]))
        present = [k for k in wanted if storage.scene_folder(self.path, k).is_dir()]
        if len(present) < len(wanted) and not allow_incomplete:
            raise DatasetError(
                f"{self.path} is not complete: {len(present)} of {len(wanted)} scenes; run the "
                "same generate command again to finish it"
            )
        if not present:
            raise DatasetError(f"{self.path} holds no scene")
        self.scene_numbers: tuple[int, ...] = tuple(present)
        self._read_scene = lru_cache(maxsize=None)(self._read_scene_uncached)

    def load(self, index: int) -> Sample:
        """Read one image.

        Raises:
            DatasetError: If a file is missing or damaged.
        """
        scene, view = self.scene(index), index % self.views
        folder = storage.scene_folder(self.path, self.scene_of(index))
        color = _read_png(self.path, folder / f"color_{view}.png", cv2.IMREAD_COLOR, np.uint8)
        raw = _read_png(self.path, folder / f"depth_{view}.png", cv2.IMREAD_UNCHANGED, np.uint16)
        mask = _read_png(self.path, folder / f"mask_{view}.png", cv2.IMREAD_UNCHANGED, np.uint8)
        rgb = cv2.cvtColor(color, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        try:
            image = RGBDImage.from_raw_depth(rgb, raw, scene.camera, storage.DEPTH_SCALE)
        except KGNProError as error:
            raise DatasetError(f"{folder}, view {view}: {error}") from error
        if mask.shape != raw.shape:
            raise DatasetError(f"{folder}, view {view}: mask is {mask.shape}, depth {raw.shape}")
        pose = scene.T_world_camera[view]
        return Sample(image, mask, scene.scene_id, view, pose, scene.objects)

    def grasp_labels(
        self, index: int, rotation_samples: int, translation_samples: int, *, distinct: bool = False
    ) -> GraspLabels:
        """Grasps of the scene of image ``index``; stored collision flags are used if there are.

        Raises:
            DatasetError: If the stored flags are damaged or do not fit the objects.
        """
        scene = self.scene(index)
        path = storage.scene_folder(self.path, self.scene_of(index)) / "collisions.npz"
        key = storage.sampling_key(rotation_samples, translation_samples, distinct)
        flags = read_array_of_archive(storage.inside(path, self.path), key, DatasetError)
        if flags is not None and (flags.dtype != np.bool_ or flags.ndim != 1):
            raise DatasetError(f"{path} holds {flags.dtype} {flags.shape}; expected flags")
        labels = grasp_labels(
            scene.objects, rotation_samples, translation_samples, distinct=distinct, colliding=flags
        )
        if labels.colliding.shape != labels.widths.shape:
            raise DatasetError(
                f"{path} holds {len(labels.colliding)} flags for {len(labels.widths)} grasps; it "
                "was written for other objects"
            )
        return labels

    def _read_scene_uncached(self, number: int) -> Scene:
        path = storage.scene_folder(self.path, number) / "scene.json"
        data = storage.read_json_of(self.path, path)
        scene = Scene.from_dict(data, str(path))
        if len(scene.T_world_camera) != self.views:
            raise DatasetError(
                f"{path} has {len(scene.T_world_camera)} views; the manifest says {self.views}"
            )
        return scene


def _read_manifest(root: Path) -> dict[str, Any]:
    path = root / "manifest.json"
    if not file_exists(path):
        raise DatasetError(f"no data set in {root}: there is no manifest.json")
    manifest = storage.read_json_of(root, path)
    found = (
        (manifest.get("format"), manifest.get("version"))
        if isinstance(manifest, dict)
        else manifest
    )
    if found != (storage.FORMAT, storage.VERSION):
        raise DatasetError(
            f"{path} describes {found}; this version reads {(storage.FORMAT, storage.VERSION)}"
        )
    if not all(isinstance(manifest.get(key), int) for key in ("scenes", "views", "seed")):
        raise DatasetError(f"{path} lacks scenes, views or seed")
    for key, most in (("scenes", MAX_SCENES), ("views", MAX_VIEWS)):
        if not 1 <= manifest[key] <= most:
            raise DatasetError(f"{path}: {key} is {manifest[key]}; expected 1 to {most}")
    return dict(manifest)


def _read_png(root: Path, path: Path, flags: int, dtype: type) -> NDArray[Any]:
    image = storage.read_image_of(root, path, flags)
    if image.dtype != dtype:
        raise DatasetError(f"{path} is {image.dtype}; expected {np.dtype(dtype)}")
    return image
