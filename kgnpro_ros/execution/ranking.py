# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the grasps are ranked by: confidence, reprojection error and, on a switch, uncertainty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import RankingConfig
from kgnpro_ros.types import GraspBatch


def rank_grasps(grasps: GraspBatch, config: RankingConfig) -> GraspBatch:
    """Set the scores and sort by them, best first; ties keep their order.

    Args:
        grasps: Grasps with confidence, reprojection error and covariance.
        config: Settings; the formula is in :class:`~kgnpro_ros.config.RankingConfig`.

    Returns:
        The sorted grasps. A score that is not finite (from a failed pose) becomes 0.
    """
    return replace(grasps, score=grasp_scores(grasps, config)).sorted()


def grasp_scores(grasps: GraspBatch, config: RankingConfig) -> NDArray[np.float64]:
    """Scores in 0 to 1, shape (N,), in the order of the grasps."""
    score = grasps.confidence * np.exp(-grasps.reprojection_error / config.reprojection_scale)
    if config.uncertainty:
        variance = np.diagonal(grasps.covariance, axis1=1, axis2=2)
        tolerance = np.radians(config.rotation_tolerance)
        squared = variance[:, :3].sum(axis=1) / config.translation_tolerance**2
        squared = squared + variance[:, 3:].sum(axis=1) / tolerance**2
        score = score * np.exp(-0.5 * squared)
    return np.where(np.isfinite(score), score, 0.0)
