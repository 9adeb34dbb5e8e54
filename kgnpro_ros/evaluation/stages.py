# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""At which stage ground-truth grasps and objects get lost, so that the next step is aimed.

Every ground-truth grasp gets the furthest stage that any candidate brought it to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import StageConfig
from kgnpro_ros.evaluation.metrics import pose_distances
from kgnpro_ros.geometry import Camera, canonical_keypoints
from kgnpro_ros.geometry.se3 import make_transform, transform_points
from kgnpro_ros.types import GraspBatch, GraspStatus, KeypointBatch, PnPResult

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

#: Index order of the keypoints of the same grasp turned by 180 degrees about its approach axis.
SWAPPED = (1, 0, 3, 2)


class Stage(IntEnum):
    """How far a ground-truth grasp got; all but FOUND name what it was lost to."""

    PEAK_MISSED = 0
    KEYPOINTS_OFF = 1
    POSE_OFF = 2
    WRONG_PLANAR_MODE = 3
    DEPTH_ERROR = 4
    REJECTED = 5
    FOUND = 6


@dataclass(frozen=True)
class StageCounts:
    """Numbers of ground-truth grasps and of objects that ended at each stage.

    Attributes:
        grasps: Shape (7,), by :class:`Stage`.
        objects: Shape (7,): an object gets as far as the best of its grasps.
    """

    grasps: IntArray = field(default_factory=lambda: np.zeros(len(Stage), dtype=np.int64))
    objects: IntArray = field(default_factory=lambda: np.zeros(len(Stage), dtype=np.int64))

    def __add__(self, other: StageCounts) -> StageCounts:
        return StageCounts(self.grasps + other.grasps, self.objects + other.objects)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Shares by lower-case name of the stage, for grasps and objects."""
        result = {}
        for name, counts in (("grasps", self.grasps), ("objects", self.objects)):
            total = max(1, int(counts.sum()))
            result[name] = {stage.name.lower(): float(counts[stage] / total) for stage in Stage}
        return result


def count_stages(stages: IntArray, owner: IntArray) -> StageCounts:
    """Count stages (G,) by grasp, and by object for the index of the target of each grasp (G,)."""
    if len(stages) == 0:
        return StageCounts()
    _, group = np.unique(owner, return_inverse=True)
    best = np.zeros(group.max() + 1, dtype=np.int64)
    np.maximum.at(best, group, stages)
    return StageCounts(
        np.bincount(stages, minlength=len(Stage)), np.bincount(best, minlength=len(Stage))
    )


def stages_reached(
    T_camera_truth: FloatArray,
    candidates: KeypointBatch,
    solved: IntArray,
    solutions: PnPResult,
    accepted: GraspBatch,
    camera: Camera,
    config: StageConfig | None = None,
) -> IntArray:
    """Find how far each ground-truth grasp of an image got.

    Args:
        T_camera_truth: Ground-truth grasps in the camera frame, shape (G, 4, 4).
        candidates: Decoded candidates of the image; those below the score threshold are no peaks.
        solved: Indices of the candidates that PnP was solved for, shape (B,).
        solutions: Their poses.
        accepted: The grasps that were passed on, in the camera frame.
        camera: Intrinsics.
        config: Tolerances; the defaults when None.

    Returns:
        :class:`Stage` values, shape (G,).
    """
    config = config or StageConfig()
    reached = np.full(len(T_camera_truth), int(Stage.PEAK_MISSED))
    if len(T_camera_truth) == 0:
        return reached

    def advance(pairs: BoolArray, stage: Stage) -> None:
        """Ground truth that some pair (K, G) holds for got at least to a stage."""
        reached[pairs.any(axis=0)] = np.maximum(reached[pairs.any(axis=0)], int(stage))

    peaks = candidates.status.numpy() != GraspStatus.LOW_SCORE
    near = _near_peak(candidates, T_camera_truth, camera, config) & peaks[:, None]
    close = near & _keypoints_close(candidates, T_camera_truth, camera, config)
    advance(near, Stage.KEYPOINTS_OFF)
    advance(close, Stage.POSE_OFF)
    unsolved = np.ones(len(peaks), dtype=bool)
    unsolved[solved] = False
    advance(close[unsolved], Stage.REJECTED)
    chosen = make_transform(solutions.rotation.numpy(), solutions.translation.numpy())
    other = make_transform(solutions.other_rotation.numpy(), solutions.other_translation.numpy())
    for poses, stage in ((other, Stage.WRONG_PLANAR_MODE), (chosen, Stage.DEPTH_ERROR)):
        advance(_matches_at_true_depth(poses, T_camera_truth, config), stage)
    advance(_matches(chosen, T_camera_truth, config), Stage.REJECTED)
    advance(_matches(accepted.poses, T_camera_truth, config), Stage.FOUND)
    return reached


def _near_peak(
    candidates: KeypointBatch, truth: FloatArray, camera: Camera, config: StageConfig
) -> BoolArray:
    """Candidates whose centre is where the grasp's origin projects to, shape (K, G)."""
    centers = candidates.centers.numpy().astype(np.float64)
    offset = centers[:, None] - camera.project(truth[:, :3, 3])[None]
    # The tolerance of the match, seen from the camera.
    radius = config.distance * camera.fx / np.maximum(truth[:, 2, 3], 1e-6)
    near: BoolArray = np.linalg.norm(offset, axis=-1) < radius
    return near


def _keypoints_close(
    candidates: KeypointBatch, truth: FloatArray, camera: Camera, config: StageConfig
) -> BoolArray:
    """Candidates whose keypoints are where those of the grasp or its twin project to, (K, G)."""
    expected = camera.project(transform_points(truth, canonical_keypoints()))
    found = candidates.keypoints.numpy().astype(np.float64)[:, None]
    errors = [
        np.sqrt(np.mean(np.sum((found - points[None]) ** 2, axis=-1), axis=-1))
        for points in (expected, expected[:, SWAPPED])
    ]
    close: BoolArray = np.minimum(*errors) < config.keypoint_error
    return close


def _matches(poses: FloatArray, truth: FloatArray, config: StageConfig) -> BoolArray:
    """Poses within the tolerances, shape (B, G)."""
    distance, cosine = pose_distances(poses, truth)
    result: BoolArray = (distance < config.distance) & (cosine > np.cos(np.radians(config.angle)))
    return result


def _matches_at_true_depth(poses: FloatArray, truth: FloatArray, config: StageConfig) -> BoolArray:
    """As :func:`_matches`, were each origin moved along its ray to the depth of the truth."""
    _, cosine = pose_distances(poses, truth)
    origin = poses[:, :3, 3]
    ray = origin / np.where(np.abs(origin[:, 2:]) > 1e-9, origin[:, 2:], np.nan)
    offset = ray[:, None] * truth[None, :, 2, 3, None] - truth[None, :, :3, 3]
    near = np.linalg.norm(offset, axis=-1) < config.distance
    result: BoolArray = near & (cosine > np.cos(np.radians(config.angle)))
    return result
