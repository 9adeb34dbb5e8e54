# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The table under the objects: the dominant plane of a depth image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import TableConfig
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.types import RGBDImage

FloatArray = NDArray[np.float64]
Points = NDArray[np.float32]

#: Points that hypotheses are counted on, and steps of the final least-squares fit.
SAMPLE_SIZE = 1000
REFINEMENTS = 3
#: Hypotheses that are counted together: what a processor cache holds.
TOGETHER = 50


@dataclass(frozen=True)
class Plane:
    """A plane ``normal . p + offset = 0`` in the camera frame.

    Attributes:
        normal: Unit normal, shape (3,), pointing to the side that the camera is on.
        offset: Height of the camera above the plane [m], not negative.
        inlier_share: Share of the observed points that lie on the plane.
        rms: Root mean square distance of these points [m].
    """

    normal: FloatArray
    offset: float
    inlier_share: float = 1.0
    rms: float = 0.0

    def __post_init__(self) -> None:
        if self.normal.shape != (3,) or abs(np.linalg.norm(self.normal) - 1.0) > 1e-4:
            raise ShapeError(f"plane normal {self.normal} is no unit vector of shape (3,)")
        if not self.offset >= 0:
            raise ShapeError(f"plane offset is {self.offset}; the normal points to the camera side")

    def height(self, points: NDArray[Any]) -> NDArray[Any]:
        """Signed distance above the plane [m], shape (...), of points (..., 3), same precision."""
        height: NDArray[Any] = points @ self.normal.astype(points.dtype)
        height += points.dtype.type(self.offset)
        return height


def find_table(image: RGBDImage, config: TableConfig | None = None) -> Plane | None:
    """Fit the dominant plane to the observed points: RANSAC, then least squares.

    The result is the same for the same image.

    Args:
        image: Depth in metres, NaN where nothing was measured.
        config: Settings; the defaults when None.

    Returns:
        The plane in the camera frame, or None when no plane holds ``min_share`` of the points.
    """
    config = config or TableConfig()
    cloud = image.camera.point_cloud(image.depth, config.stride).reshape(-1, 3)
    points = cloud.take(np.flatnonzero(np.isfinite(cloud[:, 2])), axis=0)
    if len(points) < 3:
        return None
    start = _best_hypothesis(points, config)
    if start is None:
        return None
    homogeneous = np.ones((4, len(points)))
    homogeneous[:3] = points.T
    plane = np.array([*start[0], start[1]], dtype=np.float64)
    for _ in range(REFINEMENTS):
        inlier = np.abs(plane @ homogeneous) < config.inlier_distance
        if np.count_nonzero(inlier) < 3:
            return None
        plane = _least_squares(homogeneous, inlier)
    residual = plane @ homogeneous
    inlier = np.abs(residual) < config.inlier_distance
    count = np.count_nonzero(inlier)
    share = count / len(points)
    if share < config.min_share:
        return None
    rms = float(np.sqrt(np.square(residual[inlier]).sum() / max(count, 1)))
    plane *= 1.0 if plane[3] >= 0 else -1.0
    return Plane(plane[:3], float(plane[3]), share, rms)


def _best_hypothesis(points: Points, config: TableConfig) -> tuple[Points, np.float32] | None:
    """The plane through three points with the most inliers, among random triples."""
    rng = np.random.default_rng(config.seed)
    corner = points[rng.integers(0, len(points), (config.hypotheses, 3))]
    (a, b, c), (d, e, f) = (corner[:, 1] - corner[:, 0]).T, (corner[:, 2] - corner[:, 0]).T
    normals = np.stack([b * f - c * e, c * d - a * f, a * e - b * d], axis=-1)
    length = np.linalg.norm(normals, axis=1)
    # Three points closer than a millimetre or on one line define no plane.
    usable = length > 1e-6
    if not usable.any():
        return None
    normals = normals[usable] / length[usable, None]
    offsets = -(normals * corner[usable, 0]).sum(axis=1)
    planes = np.concatenate([normals, offsets[:, None]], axis=1)
    sample = np.ones((4, SAMPLE_SIZE), dtype=points.dtype)
    sample[:3] = points[rng.integers(0, len(points), SAMPLE_SIZE)].T
    near = np.empty((len(planes), SAMPLE_SIZE), dtype=bool)
    for start in range(0, len(planes), TOGETHER):
        distance = planes[start : start + TOGETHER] @ sample
        np.abs(distance, out=distance)
        np.less(distance, config.inlier_distance, out=near[start : start + TOGETHER])
    # Eight at a time: sums of fewer than 256 words leave the bytes of a word apart.
    counts = near.view(np.uint64).sum(axis=1)[:, None].view(np.uint8).sum(axis=1)
    best = int(np.argmax(counts))
    return normals[best], np.float32(offsets[best])


def _least_squares(homogeneous: FloatArray, inlier: NDArray[np.bool_]) -> FloatArray:
    """Plane (normal, offset) of least squared distance to some of N points (x, y, z, 1), (4, N)."""
    weighted = homogeneous * inlier
    # A product with itself is half the work, and what is left out is zero in both.
    moments = weighted @ weighted.T
    moments /= moments[3, 3]
    mean = moments[:3, 3]
    normal = np.linalg.eigh(moments[:3, :3] - np.outer(mean, mean))[1][:, 0]
    return np.array([*normal, -(normal @ mean)])
