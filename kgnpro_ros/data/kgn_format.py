# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the folder format in which KGN's authors publish their data (protocol, section 2.5)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.dataset import GraspDataset, Sample, SceneDataset, SceneIndex
from kgnpro_ros.data.labels import GraspLabels, grasp_labels
from kgnpro_ros.data.scene import Scene, SceneObject
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.data.storage import DEPTH_SCALE, inside, read_image_of, read_json_of
from kgnpro_ros.exceptions import DatasetError, KGNProError
from kgnpro_ros.files import file_exists, folder_exists, read_array, read_text
from kgnpro_ros.geometry import Camera
from kgnpro_ros.types import RGBDImage, check_transform

#: KGN's intrinsics count from the corner of a pixel, ours from its centre.
PIXEL_SHIFT = 0.5


class KGNDataset(SceneIndex):
    """A data set in KGN's folder format, with the interface of :class:`SceneDataset`.

    Grasps are sampled anew from the stored shapes; KGN's stored grasps are the family at 11
    rotations and 5 translations. Instance masks are lossy JPEG upstream: ids beyond the number of
    objects become background, and ids at the edges of objects may be wrong.

    Args:
        path: Folder with one numbered folder for each scene.
        split: Read the scenes listed in ``train.txt`` or ``test.txt``; all scenes if None.

    Raises:
        DatasetError: If no scene, no list or no ``scene_info.json`` is there.
    """

    def __init__(self, path: str | Path, split: Literal["train", "test"] | None = None) -> None:
        self.path = Path(path)
        self.scene_numbers: tuple[int, ...] = tuple(_scene_numbers(self.path, split))
        self._read_scene = lru_cache(maxsize=None)(self._read_scene_uncached)
        self._labels = lru_cache(maxsize=64)(self._sample_labels)
        self.views = len(self._read_scene(self.scene_numbers[0]).T_world_camera)
        self.manifest: dict[str, Any] = {
            "format": "kgn", "scenes": len(self.scene_numbers), "views": self.views, "split": split
        }  # fmt: skip

    def load(self, index: int) -> Sample:
        """Read one image.

        Raises:
            DatasetError: If a file is missing or damaged, or scenes differ in their views.
        """
        scene, view = self.scene(index), index % self.views
        folder = self.path / scene.scene_id
        path = folder / f"color_images/color_image_{view}.png"
        color = read_image_of(self.path, path, cv2.IMREAD_COLOR)
        rgb = cv2.cvtColor(color, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        try:
            image = RGBDImage.from_raw_depth(rgb, self._read_depth(folder, view), scene.camera, 1.0)
        except KGNProError as error:
            raise DatasetError(f"{folder}, view {view}: {error}") from error
        label = folder / f"seg_labels/segmask_label_{view}.jpg"
        mask = read_image_of(self.path, label, cv2.IMREAD_GRAYSCALE).astype(np.uint8)
        if mask.shape != rgb.shape[:2]:
            raise DatasetError(f"{label} is {mask.shape}; the colour image is {rgb.shape[:2]}")
        mask[mask > len(scene.objects)] = 0
        pose = scene.T_world_camera[view]
        return Sample(image, mask, scene.scene_id, view, pose, scene.objects)

    def grasp_labels(
        self, index: int, rotation_samples: int, translation_samples: int, *, distinct: bool = False
    ) -> GraspLabels:
        """Grasps of the scene of image ``index``, with collision flags."""
        return self._labels(self.scene_of(index), rotation_samples, translation_samples, distinct)

    def _sample_labels(
        self, number: int, rotation_samples: int, translation_samples: int, distinct: bool
    ) -> GraspLabels:
        objects = self._read_scene(number).objects
        return grasp_labels(objects, rotation_samples, translation_samples, distinct=distinct)

    def _read_scene_uncached(self, number: int) -> Scene:
        folder = self.path / str(number)
        path = folder / "scene_info.json"
        try:
            data = read_json_of(self.path, path)
            lists = [data[key] for key in ("obj_types", "obj_dims", "obj_poses")]
            if len({len(values) for values in lists}) != 1:
                raise DatasetError("obj_types, obj_dims and obj_poses differ in length")
            objects = tuple(
                SceneObject(
                    Shape(str(kind), tuple(float(d) for d in np.atleast_1d(dims))),
                    check_transform(pose, "obj_poses"),
                )
                for kind, dims, pose in zip(*lists, strict=True)
            )
            poses = check_transform(data["camera_poses"], "camera_poses")
            camera = self._camera(data["intrinsic"], folder)
        except (OSError, KeyError, TypeError, ValueError, KGNProError) as error:
            raise DatasetError(
                f"{path} is missing or no scene of KGN's format: {type(error).__name__}: {error}"
            ) from error
        views = getattr(self, "views", len(poses))
        if len(poses) != views:
            raise DatasetError(f"{path} has {len(poses)} views; the first scene has {views}")
        return Scene(str(number), objects, camera, poses)

    def _camera(self, intrinsic: Any, folder: Path) -> Camera:
        matrix = np.asarray(intrinsic, dtype=np.float64)
        if matrix.shape != (3, 3):
            raise DatasetError(f"intrinsic has shape {matrix.shape}; expected (3, 3)")
        path = folder / "color_images/color_image_0.png"
        height, width = read_image_of(self.path, path, cv2.IMREAD_COLOR).shape[:2]
        cx, cy = float(matrix[0, 2]) - PIXEL_SHIFT, float(matrix[1, 2]) - PIXEL_SHIFT
        return Camera(float(matrix[0, 0]), float(matrix[1, 1]), cx, cy, width, height)

    def _read_depth(self, folder: Path, view: int) -> NDArray[np.float32]:
        """z-depth [m], 0 where nothing was hit: the raw array, or the 16-bit image without it."""
        raw = inside(folder / f"depth_raw/depth_raw_{view}.npy", self.path)
        if file_exists(raw):
            return read_array(raw, DatasetError).astype(np.float32, copy=False)
        path = folder / f"depth_img/depth_image_{view}.png"
        image = read_image_of(self.path, path, cv2.IMREAD_UNCHANGED)
        if image.dtype != np.uint16:
            raise DatasetError(f"depth image {view} in {folder} is {image.dtype}; expected uint16")
        # Upstream stores three equal channels.
        plane = image if image.ndim == 2 else image[..., 0]
        return plane.astype(np.float32) * np.float32(DEPTH_SCALE)


def open_dataset(
    path: str | Path,
    *,
    allow_incomplete: bool = False,
    split: Literal["train", "test"] | None = None,
) -> GraspDataset:
    """Open a data set of this package or in KGN's folder format, whichever lies there.

    Raises:
        DatasetError: If neither does.
    """
    root = Path(path)
    if not folder_exists(root):
        raise DatasetError(f"no data set: {root} is no folder")
    if (root / "manifest.json").exists():
        return SceneDataset(root, allow_incomplete=allow_incomplete)
    if any(root.glob("*/scene_info.json")):
        return KGNDataset(root, split)
    raise DatasetError(
        f"no data set in {root}: there is neither a manifest.json nor a numbered folder with a "
        "scene_info.json (KGN's format)"
    )


def _scene_numbers(root: Path, split: str | None) -> list[int]:
    if split is None:
        found = (path.parent.name for path in root.glob("*/scene_info.json"))
        numbers = sorted(int(name) for name in found if name.isdigit())
    else:
        try:
            path = inside(root / f"{split}.txt", root)
            numbers = [int(line) for line in read_text(path, DatasetError).split()]
        except (ValueError, DatasetError) as error:
            raise DatasetError(
                f"{root}/{split}.txt does not list scene numbers: {error}"
            ) from error
    if not numbers:
        raise DatasetError(f"{root} holds no scene of KGN's format")
    return numbers
