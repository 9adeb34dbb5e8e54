# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the predicted covariances are as large as the errors.

For a calibrated prediction, half of the true poses lie inside the 50 % ellipsoid. The ground truth
is a family of grasps, not one, so the error of a prediction is its difference to the nearest grasp
of a dense sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from kgnpro_ros.config import CalibrationConfig
from kgnpro_ros.data.grasp_families import object_grasps
from kgnpro_ros.data.scene import SceneObject
from kgnpro_ros.evaluation.metrics import pose_distances

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Dimensions of a pose error.
DOF = 6
TWIN = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Calibration:
    """Shares of errors inside the ellipsoids that should hold 50 % and 90 % of them.

    Attributes:
        count: Errors that were looked at.
        unusable: Predictions near a ground-truth grasp whose covariance cannot be inverted.
        inside_50, inside_90: Shares with the covariances as predicted.
        temperature: Factor on the covariances that fits best (median of all errors).
        fitted_50, fitted_90: Shares with a factor fitted on the other half of the images.
    """

    count: int
    unusable: int
    inside_50: float
    inside_90: float
    temperature: float
    fitted_50: float
    fitted_90: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form; what cannot be computed is None."""
        items = asdict(self).items()
        return {name: None if np.isnan(value) else value for name, value in items}


def dense_grasps(objects: Sequence[SceneObject], config: CalibrationConfig) -> FloatArray:
    """Finely sampled ``T_world_grasp`` of all graspable objects, colliding or not, (N, 4, 4)."""
    samples = (config.rotation_samples, config.translation_samples)
    poses = [
        item.T_world_object @ object_grasps(item.shape, *samples, distinct=True).T_object_grasp
        for item in objects
        if item.graspable
    ]
    return np.concatenate([np.zeros((0, 4, 4)), *poses])


def squared_errors(
    poses: FloatArray, covariance: FloatArray, truth: FloatArray, config: CalibrationConfig
) -> FloatArray:
    """Squared Mahalanobis distances of predictions to their nearest ground truth.

    Args:
        poses: Predicted grasps, shape (P, 4, 4).
        covariance: Of these, shape (P, 6, 6), along the axes of the same frame.
        truth: Densely sampled grasps in the same frame, shape (G, 4, 4).
        config: Predictions farther from all of them than its gate are left out.

    Returns:
        Shape (M,), M <= P; NaN where a covariance is not positive definite.
    """
    if len(poses) == 0 or len(truth) == 0:
        return np.zeros(0)
    distance, cosine = pose_distances(poses, truth)
    angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    scaled = distance / config.gate_distance + angle / config.gate_angle
    scaled[(distance > config.gate_distance) | (angle > config.gate_angle)] = np.inf
    nearest = scaled.argmin(axis=1)
    kept = np.isfinite(scaled[np.arange(len(poses)), nearest])
    error = pose_errors(poses[kept], truth[nearest[kept]])
    return _mahalanobis(error, covariance[kept])


def pose_errors(poses: FloatArray, truth: FloatArray) -> FloatArray:
    """What has to be added to poses to get the truth or its twin, whichever is nearer.

    Returns:
        Translation [m] and rotation vector [rad] along the axes of the frame: the truth is
        ``t + dt, exp(omega) R``; shape (N, 6).
    """
    shift = truth[:, :3, 3] - poses[:, :3, 3]
    turns = [
        Rotation.from_matrix(target @ np.swapaxes(poses[:, :3, :3], 1, 2)).as_rotvec()
        for target in (truth[:, :3, :3], truth[:, :3, :3] @ TWIN)
        if len(poses)
    ] or [np.zeros((0, 3))] * 2
    first, second = turns
    nearer = np.linalg.norm(first, axis=1) <= np.linalg.norm(second, axis=1)
    return np.concatenate([shift, np.where(nearer[:, None], first, second)], axis=1)


def calibrate(squared: FloatArray, image: IntArray) -> Calibration:
    """Compare squared Mahalanobis distances with the chi-square law of six dimensions.

    Args:
        squared: From :func:`squared_errors`, of all images, shape (M,).
        image: Number of the image that each is from, shape (M,).
    """
    usable = np.isfinite(squared)
    squared, image = squared[usable], image[usable]
    half = image % 2 == 0
    scaled = np.empty_like(squared)
    for part in (half, ~half):
        scaled[part] = squared[part] / _temperature(squared[~part])
    return Calibration(
        count=len(squared),
        unusable=int(np.count_nonzero(~usable)),
        inside_50=_inside(squared, 0.5),
        inside_90=_inside(squared, 0.9),
        temperature=_temperature(squared),
        fitted_50=_inside(scaled, 0.5),
        fitted_90=_inside(scaled, 0.9),
    )


def _mahalanobis(error: FloatArray, covariance: FloatArray) -> FloatArray:
    symmetric = (covariance + np.swapaxes(covariance, 1, 2)) / 2
    definite = np.isfinite(symmetric).all(axis=(1, 2))
    symmetric = np.where(definite[:, None, None], symmetric, np.eye(DOF))
    values, vectors = np.linalg.eigh(symmetric)
    definite &= values[:, 0] > 0
    along = np.einsum("nji,nj->ni", vectors, error)
    squared = np.sum(along**2 / np.where(definite[:, None], values, 1.0), axis=1)
    return np.where(definite, squared, np.nan)


def _temperature(squared: FloatArray) -> float:
    """Factor that puts half of the errors inside; the median is not moved by gross errors."""
    return float(np.median(squared) / chi2.median(DOF)) if len(squared) else float("nan")


def _inside(squared: FloatArray, share: float) -> float:
    return float(np.mean(squared < chi2.ppf(share, DOF))) if len(squared) else float("nan")
