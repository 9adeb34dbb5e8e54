# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Pinhole camera. Pixel centres are integers, as in OpenCV and ROS: pixel (0, 0) spans +-0.5."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kgnpro_ros.exceptions import CameraError, ShapeError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one camera.

    Attributes:
        fx, fy: Focal lengths [px].
        cx, cy: Principal point [px]; pixel centres are integers.
        width, height: Image size [px].
        distortion: OpenCV coefficients (k1, k2, p1, p2, k3, ...); empty or all zero means none.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(math.isfinite(value) for value in numbers):
            raise CameraError(f"camera parameters must be finite numbers, got {self}")
        if self.fx <= 0 or self.fy <= 0:
            raise CameraError(
                f"focal lengths must be positive, got fx={self.fx:g} fy={self.fy:g}; "
                "a zero usually means an uncalibrated stream"
            )
        if self.width < 1 or self.height < 1:
            raise CameraError(f"image size must be positive, got {self.width}x{self.height}")
        if len(self.distortion) not in (0, 4, 5, 8, 12, 14):
            raise CameraError(
                f"{len(self.distortion)} distortion coefficients; OpenCV takes 0, 4, 5, 8, 12 or 14"
            )
        if not (-self.width < self.cx < 2 * self.width) or not (
            -self.height < self.cy < 2 * self.height
        ):
            raise CameraError(
                f"principal point ({self.cx:g}, {self.cy:g}) is far outside the "
                f"{self.width}x{self.height} image"
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Camera:
        """Read ``fx fy cx cy width height`` and optionally ``distortion``; other keys are ignored.

        Raises:
            CameraError: If a key is missing or is no number.
        """
        names = ("fx", "fy", "cx", "cy", "width", "height")
        missing = [name for name in names if name not in data]
        if missing:
            raise CameraError(f"camera lacks {', '.join(missing)}; it needs {', '.join(names)}")
        try:
            values = [float(data[name]) for name in names]
            distortion = tuple(float(value) for value in data.get("distortion") or ())
        except (TypeError, ValueError) as error:
            raise CameraError(f"camera values must be numbers: {error}") from error
        if not all(math.isfinite(value) and value == int(value) for value in values[4:]):
            raise CameraError(f"image size must be whole numbers, got {values[4]} x {values[5]}")
        fx, fy, cx, cy = values[:4]
        return cls(fx, fy, cx, cy, int(values[4]), int(values[5]), distortion)

    def to_dict(self) -> dict[str, Any]:
        """The inverse of :meth:`from_dict`."""
        return {**asdict(self), "distortion": list(self.distortion)}

    @property
    def focal_length(self) -> float:
        """Geometric mean of both [px]."""
        return math.sqrt(self.fx) * math.sqrt(self.fy)

    @property
    def matrix(self) -> FloatArray:
        """Intrinsic matrix K, shape (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_distorted(self) -> bool:
        """Whether any distortion coefficient is non-zero."""
        return any(value != 0.0 for value in self.distortion)

    def without_distortion(self) -> Camera:
        """The ideal pinhole camera with the same K."""
        return replace(self, distortion=())

    def project(self, points: ArrayLike) -> FloatArray:
        """Project points of the camera frame without distortion.

        Args:
            points: Points [m], shape (..., 3), z forward. Points at z <= 0 give NaN.

        Returns:
            Pixel coordinates (u, v) [px], shape (..., 2).
        """
        points = np.asarray(points, dtype=np.float64)
        if points.shape[-1] != 3:
            raise ShapeError(f"points have shape {points.shape}; expected (..., 3)")
        z = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
        pixels: FloatArray = points[..., :2] / z * (self.fx, self.fy) + (self.cx, self.cy)
        return pixels

    def backproject(self, pixels: ArrayLike, depth: ArrayLike) -> FloatArray:
        """Points of the camera frame seen at pixels.

        Args:
            pixels: (u, v) [px], shape (..., 2).
            depth: Distance along the optical axis (z, not ray length) [m], shape (...).

        Returns:
            Points [m], shape (..., 3).
        """
        pixels = np.asarray(pixels, dtype=np.float64)
        depth = np.asarray(depth, dtype=np.float64)
        x = (pixels[..., 0] - self.cx) / self.fx * depth
        y = (pixels[..., 1] - self.cy) / self.fy * depth
        return np.stack([x, y, depth], axis=-1)

    def point_cloud(self, depth: ArrayLike, stride: int = 1) -> NDArray[np.float32]:
        """Organised point cloud of a depth image [m]; missing depth (NaN) gives NaN points.

        Args:
            depth: z-depth [m], shape (height, width).
            stride: Take every stride-th row and column.

        Returns:
            Points in the camera frame [m], shape (ceil(height/stride), ceil(width/stride), 3).
        """
        depth = np.asarray(depth, dtype=np.float32)[::stride, ::stride]
        u = (np.arange(0, self.width, stride, dtype=np.float32) - self.cx) / self.fx
        v = (np.arange(0, self.height, stride, dtype=np.float32) - self.cy) / self.fy
        cloud = np.empty((*depth.shape, 3), dtype=np.float32)
        cloud[..., 0] = u[None, :] * depth
        cloud[..., 1] = v[:, None] * depth
        cloud[..., 2] = depth
        return cloud

    def undistort_maps(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps for ``cv2.remap`` from the distorted image to the pinhole image of the same K."""
        map_u, map_v = cv2.initUndistortRectifyMap(
            self.matrix,
            np.asarray(self.distortion),
            np.eye(3),
            self.matrix,
            (self.width, self.height),
            cv2.CV_32FC1,
        )
        return map_u.astype(np.float32, copy=False), map_v.astype(np.float32, copy=False)
