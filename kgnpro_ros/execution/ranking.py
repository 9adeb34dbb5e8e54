# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the grasps are ranked by: confidence, reprojection error and, on a switch, uncertainty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc

from kgnpro_ros.config import RankingConfig
from kgnpro_ros.types import GraspBatch

FloatArray = NDArray[np.float64]


def rank_grasps(grasps: GraspBatch, config: RankingConfig) -> GraspBatch:
    """Set the scores and sort by them, best first; ties keep their order.

    Args:
        grasps: Grasps with confidence, reprojection error and covariance.
        config: Settings; the formula is in :class:`~kgnpro_ros.config.RankingConfig`.

    Returns:
        The sorted grasps. A score that is not finite (from a failed pose) becomes 0.
    """
    return grasps.updated(score=grasp_scores(grasps, config)).sorted()


def grasp_scores(grasps: GraspBatch, config: RankingConfig) -> FloatArray:
    """Scores in 0 to 1, shape (N,), in the order of the grasps."""
    score = grasps.confidence * np.exp(-grasps.reprojection_error / config.reprojection_scale)
    if config.uncertainty:
        covariance = config.temperature * grasps.covariance
        score = score * share_within(covariance[:, :3, :3], config.translation_tolerance)
        angle = np.radians(config.rotation_tolerance)
        score = score * share_within(covariance[:, 3:, 3:], float(angle))
    return np.where(np.isfinite(score), score, 0.0)


def share_within(covariance: FloatArray, radius: float) -> FloatArray:
    """Expected share of normally distributed vectors that are shorter than a radius.

    The squared length is a weighted sum of chi-squares, whose distribution is taken as the gamma
    distribution with the same mean and variance (Satterthwaite): exact for equal eigenvalues, and
    for one that stands alone.

    Args:
        covariance: Shape (N, 3, 3); zero counts as certain.
        radius: In the units of its root.

    Returns:
        Shape (N,), 0 to 1; NaN where the covariance is not finite.
    """
    mean = np.trace(covariance, axis1=1, axis2=2)
    variance = 2.0 * np.einsum("nij,nji->n", covariance, covariance)
    spread = np.where(variance > 0, variance, 1.0)
    share = gammainc(mean**2 / spread, radius**2 * mean / spread)
    return np.where(variance > 0, share, np.where(np.isnan(variance), np.nan, 1.0))
