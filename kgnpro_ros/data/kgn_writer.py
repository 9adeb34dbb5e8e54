# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the folder format of KGN's published data (protocol, section 2.5).

What the format demands and the reader undoes: the principal point counts from the corner of the
pixel, depth lies there as float32 [m] and as 16-bit image of three equal channels, and masks are
JPEG, here of the best quality.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.dataset import GraspDataset, Sample
from kgnpro_ros.data.kgn_format import PIXEL_SHIFT
from kgnpro_ros.data.labels import grasp_labels
from kgnpro_ros.data.scene import Scene, SceneObject
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.data.storage import DEPTH_SCALE, is_left_over, whole_folder, write_json
from kgnpro_ros.exceptions import DatasetError

#: Density of the grasps that KGN stores.
ROTATIONS, TRANSLATIONS = 11, 5


def write_kgn(
    dataset: GraspDataset,
    out: Path,
    test_share: float = 0.2,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, int]:
    """Copy a data set into a folder in KGN's format; scenes that are there already are kept.

    Args:
        dataset: What to copy.
        out: New folder, or one that this function was interrupted in.
        test_share: Share of the scenes that ``test.txt`` lists; ``train.txt`` lists the others.
        seed: Of the choice of these.
        progress: Called with scenes done and scenes in all.

    Returns:
        Number of training and of test scenes.

    Raises:
        DatasetError: If the format cannot hold a scene, or ``out`` holds something else.
    """
    if not 0 <= test_share <= 1:
        raise DatasetError(f"the share of test scenes must be 0 to 1, got {test_share}")
    numbers = dataset.scene_numbers
    foreign = [p.name for p in out.iterdir() if not _is_ours(p, numbers)] if out.exists() else []
    if foreign:
        raise DatasetError(f"{out} holds {foreign[0]}, which is not of this data set")
    for done, number in enumerate(numbers):
        folder = out / str(number)
        if not folder.is_dir():
            first = done * dataset.views
            samples = (dataset.load(first + view) for view in range(dataset.views))
            _write_scene(folder, dataset.scene(first), samples)
        if progress is not None:
            progress(done + 1, len(numbers))
    order = np.random.default_rng(seed).permutation(len(numbers))
    tests = set(order[: round(test_share * len(numbers))].tolist())
    for name, wanted in (("train", False), ("test", True)):
        lines = [f"{number}\n" for k, number in enumerate(numbers) if (k in tests) == wanted]
        (out / f"{name}.txt").write_text("".join(lines))
    return len(numbers) - len(tests), len(tests)


def _is_ours(path: Path, numbers: tuple[int, ...]) -> bool:
    """Whether this is a file or folder that copying these scenes makes."""
    return (
        is_left_over(path)
        or path.name in ("train.txt", "test.txt")
        or path.name in map(str, numbers)
    )


def scene_info(scene: Scene) -> dict[str, Any]:
    """Content of ``scene_info.json``.

    Raises:
        DatasetError: If the scene holds what the format has no words for.
    """
    for item in scene.objects:
        _check_plain(item, scene.scene_id)
    camera, objects = scene.camera, scene.objects
    labels = grasp_labels(objects, ROTATIONS, TRANSLATIONS)
    owned = [labels.object_index == k for k in range(len(objects))]
    cx, cy = camera.cx + PIXEL_SHIFT, camera.cy + PIXEL_SHIFT
    return {
        "intrinsic": [[camera.fx, 0.0, cx], [0.0, camera.fy, cy], [0.0, 0.0, 1.0]],
        "camera_poses": scene.T_world_camera.tolist(),
        "obj_types": [item.shape.kind for item in objects],
        "obj_dims": [_dimensions(item.shape) for item in objects],
        "obj_poses": [item.T_world_object.tolist() for item in objects],
        "grasp_poses": [labels.T_world_grasp[own].tolist() for own in owned],
        "grasp_widths": [labels.widths[own].tolist() for own in owned],
        "grasp_collision": [labels.colliding[own].tolist() for own in owned],
    }


def _dimensions(shape: Shape) -> float | list[float]:
    """A number where there is one, as KGN stores it."""
    return shape.dimensions[0] if len(shape.dimensions) == 1 else list(shape.dimensions)


def _check_plain(item: SceneObject, scene: str) -> None:
    if not item.graspable or item.shape != Shape(item.shape.kind, item.shape.dimensions):
        what = "an obstacle" if not item.graspable else f"a {item.shape.kind} of a special shape"
        raise DatasetError(
            f"scene {scene} holds {what}, which KGN's format cannot describe; data generated with "
            "--look kgn has none"
        )


def _write_scene(folder: Path, scene: Scene, samples: Any) -> None:
    """Write one scene folder; it appears complete or not at all."""
    info = scene_info(scene)
    with whole_folder(folder) as partial:
        for name in ("color_images", "depth_raw", "depth_img", "seg_labels"):
            (partial / name).mkdir()
        for sample in samples:
            _write_view(partial, sample)
        write_json(partial / "scene_info.json", info)


def _write_view(folder: Path, sample: Sample) -> None:
    view = sample.view
    depth = np.nan_to_num(sample.image.depth, nan=0.0).astype(np.float32)
    steps = np.rint(depth / DEPTH_SCALE)
    steps[steps > np.iinfo(np.uint16).max] = 0
    _write_image(folder / f"color_images/color_image_{view}.png", sample.image.color[..., ::-1])
    np.save(folder / f"depth_raw/depth_raw_{view}.npy", depth)
    channels = np.repeat(steps.astype(np.uint16)[..., None], 3, axis=2)
    _write_image(folder / f"depth_img/depth_image_{view}.png", channels)
    best = (cv2.IMWRITE_JPEG_QUALITY, 100)
    _write_image(folder / f"seg_labels/segmask_label_{view}.jpg", sample.instances, best)


def _write_image(path: Path, pixels: NDArray[Any], options: tuple[int, ...] = ()) -> None:
    if not cv2.imwrite(str(path), np.ascontiguousarray(pixels), options):
        raise DatasetError(f"could not write {path}; is the disk full?")
