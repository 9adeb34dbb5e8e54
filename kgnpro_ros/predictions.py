# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Files around a detection: the frame that goes in, the prediction JSON that comes out.

A frame folder holds ``color.png``, ``depth.png`` and ``camera.json``. A prediction file holds one
JSON object ``{"camera": {...}, "grasps": [...], "rejected": {reason: count}}`` with the grasps best
first, their poses ``T_camera_grasp`` row by row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.exceptions import CameraError, ImageError, KGNProError, PredictionError
from kgnpro_ros.files import (
    file_exists,
    folder_exists,
    read_array,
    read_image,
    read_json,
    whole_file,
)
from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.types import GraspBatch, RGBDImage

#: Frame of the grasps that are detected and stored: x right, y down, z forward.
CAMERA_FRAME = "camera"

#: Name and shape of each number or array that a grasp of a prediction file holds.
GRASP_FIELDS: dict[str, tuple[int, ...]] = {
    "T_camera_grasp": (4, 4),
    "width": (),
    "score": (),
    "confidence": (),
    "reprojection_error": (),
    "covariance": (36,),
    "keypoints": (4, 2),
}


@dataclass(frozen=True)
class Predictions:
    """Content of one prediction file.

    Attributes:
        camera: Intrinsics of the image that the grasps were found in.
        grasps: Grasps in the camera frame, best first; ``rejected`` counts the others by reason.
    """

    camera: Camera
    grasps: GraspBatch


def write_predictions(path: str | Path, grasps: GraspBatch, camera: Camera) -> None:
    """Write a prediction file; it appears complete or not at all.

    Args:
        path: File to write; its folder is made where it is missing.
        grasps: Grasps in the camera frame, best first.
        camera: Intrinsics of the image.

    Raises:
        PredictionError: If a value is not finite.
    """
    columns = {
        "T_camera_grasp": grasps.poses,
        "width": grasps.widths,
        "score": grasps.score,
        "confidence": grasps.confidence,
        "reprojection_error": grasps.reprojection_error,
        "covariance": grasps.covariance.reshape(len(grasps), 36),
        "keypoints": grasps.keypoints,
    }
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise PredictionError(f"cannot write {path}: {name} holds values that are not finite")
    lists = {name: values.tolist() for name, values in columns.items()}
    rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    document = {"camera": camera.to_dict(), "grasps": rows, "rejected": dict(grasps.rejected)}
    write_text_atomically(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def write_text_atomically(path: str | Path, text: str) -> None:
    """Write a text file under a temporary name and rename it, so that no reader sees half of it."""
    with whole_file(Path(path)) as temporary:
        temporary.write_text(text)


def read_predictions(path: str | Path) -> Predictions:
    """Read and check a prediction file.

    Raises:
        PredictionError: If the file is missing, is no JSON, lacks a field, or a field has another
            shape than it should or holds a value that is not finite.
    """
    document = _read_json(Path(path), PredictionError)
    missing = [name for name in ("camera", "grasps") if name not in document]
    if missing or not isinstance(document.get("grasps"), list):
        raise PredictionError(f"{path}: expected an object with 'camera' and a list 'grasps'")
    try:
        camera = Camera.from_dict(document["camera"])
        columns = {name: _column(document["grasps"], name) for name in GRASP_FIELDS}
        grasps = _batch(columns, _counts(document.get("rejected", {})))
    except (KGNProError, TypeError, ValueError) as error:
        raise PredictionError(f"{path}: {error}") from error
    return Predictions(camera, grasps)


def _column(rows: list[Any], name: str) -> NDArray[np.float64]:
    """One field of all grasps, shape (N, ...)."""
    shape = GRASP_FIELDS[name]
    column = np.empty((len(rows), *shape))
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping) or name not in row:
            raise PredictionError(
                f"grasp {i} lacks {name!r}; a grasp has {', '.join(GRASP_FIELDS)}"
            )
        value = np.asarray(row[name], dtype=np.float64)
        if value.shape != shape or not np.isfinite(value).all():
            raise PredictionError(
                f"{name} of grasp {i} has shape {value.shape}; expected finite numbers of shape "
                f"{shape}"
            )
        column[i] = value
    return column


def _batch(columns: dict[str, NDArray[np.float64]], rejected: dict[str, int]) -> GraspBatch:
    n = len(columns["width"])
    return GraspBatch(
        poses=columns["T_camera_grasp"],
        frame=CAMERA_FRAME,
        widths=columns["width"],
        confidence=columns["confidence"],
        score=columns["score"],
        reprojection_error=columns["reprojection_error"],
        covariance=columns["covariance"].reshape(n, 6, 6),
        keypoints=columns["keypoints"],
        status=np.zeros(n, dtype=np.int64),
        rejected=rejected,
    )


def _counts(value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise PredictionError(f"'rejected' is {type(value).__name__}; expected counts by reason")
    if not all(type(count) is int and count >= 0 for count in value.values()):
        raise PredictionError(f"'rejected' is {value!r}; expected a count of each reason")
    return {str(reason): count for reason, count in value.items()}


def read_camera(path: str | Path) -> tuple[Camera, float]:
    """Read a camera file: ``fx fy cx cy width height depth_scale``, optionally ``distortion``.

    Returns:
        The intrinsics, and the metres per unit of the depth image.

    Raises:
        CameraError: If the file cannot be read or a value is missing or impossible.
    """
    data = _read_json(Path(path), CameraError)
    try:
        camera = Camera.from_dict(data)
    except CameraError as error:
        raise CameraError(f"{path}: {error}") from error
    scale = data.get("depth_scale")
    if not isinstance(scale, (int, float)) or isinstance(scale, bool) or not 0 < scale < math.inf:
        raise CameraError(
            f"{path}: depth_scale is {scale!r}; expected metres per depth unit, e.g. 0.001"
        )
    return camera, float(scale)


def read_rgbd(
    color: str | Path, depth: str | Path, camera: str | Path, mask: str | Path | None = None
) -> RGBDImage:
    """Read one frame from its files.

    Args:
        color: 8-bit colour image.
        depth: Single-channel depth image registered to colour (16-bit PNG or TIFF, or a ``.npy``
            array), in units of the camera file's ``depth_scale``.
        camera: Camera file, see :func:`read_camera`.
        mask: Image that is non-zero where grasp centres may lie.

    Raises:
        CameraError, ImageError: If a file is missing, is no such image, or sizes disagree.
    """
    intrinsics, depth_scale = read_camera(camera)
    bgr = read_image(Path(color), cv2.IMREAD_COLOR, ImageError)
    raw = _read_depth(Path(depth))
    if raw.ndim != 2 or raw.dtype == np.uint8:
        raise ImageError(
            f"{depth}: depth image is {raw.dtype} {raw.shape}; expected one channel of uint16 or "
            "float"
        )
    region = None
    if mask is not None:
        region = read_image(Path(mask), cv2.IMREAD_GRAYSCALE, ImageError) > 0
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    return RGBDImage.from_raw_depth(rgb, raw, intrinsics, depth_scale, region)


def read_frame(folder: str | Path) -> RGBDImage:
    """Read a frame folder: ``color.png``, ``depth.png``, ``camera.json``; ``mask.png`` if present.

    Raises:
        CameraError, ImageError: See :func:`read_rgbd`.
    """
    folder = Path(folder)
    if not folder_exists(folder):
        raise ImageError(f"no frame folder {folder}")
    mask = folder / "mask.png"
    return read_rgbd(
        folder / "color.png",
        folder / "depth.png",
        folder / "camera.json",
        mask if file_exists(mask) else None,
    )


def find_frames(root: str | Path) -> list[Path]:
    """Frame folders under a folder (or the folder itself), sorted by name.

    Raises:
        ImageError: If there is none.
    """
    root = Path(root)
    candidates = [root, *sorted(root.iterdir())] if folder_exists(root) else []
    names = ("color.png", "depth.png", "camera.json")
    frames = [path for path in candidates if all(file_exists(path / name) for name in names)]
    if not frames:
        raise ImageError(f"no frame in {root}: a frame is a folder with {', '.join(names)}")
    return frames


def _read_depth(path: Path) -> NDArray[Any]:
    if path.suffix == ".npy":
        return read_array(path, ImageError)
    return read_image(path, cv2.IMREAD_UNCHANGED, ImageError)


def _read_json(path: Path, error_type: type[KGNProError]) -> dict[str, Any]:
    data = read_json(path, error_type)
    if not isinstance(data, dict):
        raise error_type(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data
