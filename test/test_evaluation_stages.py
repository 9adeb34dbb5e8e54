# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""One ground-truth grasp, and candidates that are lost at one stage each."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support.evaluation_scenes import grasp_batch

from kgnpro_ros.evaluation.stages import Stage, StageCounts, count_stages, stages_reached
from kgnpro_ros.geometry import Camera, canonical_keypoints
from kgnpro_ros.geometry.se3 import make_transform, transform_points
from kgnpro_ros.types import GraspStatus, KeypointBatch, PnPResult

CAMERA = Camera(600.0, 600.0, 319.5, 239.5, 640, 480)
TRUTH = make_transform(
    Rotation.from_euler("yxz", [-70, 15, 20], degrees=True).as_matrix(), (0.05, -0.02, 0.7)
)
TURN = make_transform(Rotation.from_euler("y", 60, degrees=True).as_matrix(), np.zeros(3))


def farther(pose, factor=1.15):
    """The same grasp moved along its viewing ray."""
    moved = pose.copy()
    moved[:3, 3] *= factor
    return moved


def reached(truth=TRUTH, **changes):
    """Stage of the truth when one candidate is perfect but for the changes."""
    case = {
        "pose": TRUTH, "other": TRUTH @ TURN, "accepted": True, "shift": 0.0, "keypoint_shift": 0.0,
        "status": GraspStatus.OK, "swap": False, **changes,
    }  # fmt: skip
    keypoints = CAMERA.project(transform_points(TRUTH, canonical_keypoints()))
    if case["swap"]:
        keypoints = keypoints[[1, 0, 3, 2]]
    center = CAMERA.project(TRUTH[:3, 3])
    center[0] += case["shift"]
    keypoints = keypoints + case["keypoint_shift"]
    solved = np.array([0] if case["status"] == GraspStatus.OK else [], dtype=np.int64)
    poses = np.stack([case["pose"]])[: len(solved)]
    others = np.stack([case["other"]])[: len(solved)]

    def tensor(value):
        return torch.as_tensor(np.asarray(value), dtype=torch.float32)

    n = len(solved)
    candidates = KeypointBatch(
        keypoints=tensor(keypoints[None]), centers=tensor(center[None]),
        weights=torch.ones(1, 4, 2), center_depth=torch.ones(1),
        depth_weight=torch.ones(1), widths=torch.ones(1),
        confidence=torch.ones(1), orientation=torch.zeros(1, dtype=torch.int64),
        status=torch.tensor([int(case["status"])]),
    )  # fmt: skip
    solutions = PnPResult(
        rotation=tensor(poses[:, :3, :3]), translation=tensor(poses[:, :3, 3]),
        cost=torch.zeros(n), reprojection_error=torch.zeros(n), covariance=torch.zeros(n, 6, 6),
        status=torch.zeros(n, dtype=torch.int64), other_rotation=tensor(others[:, :3, :3]),
        other_translation=tensor(others[:, :3, 3]), other_cost=torch.zeros(n),
    )  # fmt: skip
    grasps = grasp_batch(poses if case["accepted"] else poses[:0])
    stages = stages_reached(truth[None], candidates, solved, solutions, grasps, CAMERA)
    return Stage(stages[0])


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({}, Stage.FOUND),
        ({"swap": True}, Stage.FOUND),
        ({"accepted": False}, Stage.REJECTED),
        ({"pose": farther(TRUTH)}, Stage.DEPTH_ERROR),
        ({"pose": TRUTH @ TURN, "other": TRUTH}, Stage.WRONG_PLANAR_MODE),
        ({"pose": TRUTH @ TURN, "other": farther(TRUTH)}, Stage.WRONG_PLANAR_MODE),
        ({"pose": TRUTH @ TURN, "other": TRUTH @ TURN}, Stage.POSE_OFF),
        ({"pose": TRUTH @ TURN, "keypoint_shift": 20.0}, Stage.KEYPOINTS_OFF),
        ({"pose": TRUTH @ TURN, "shift": 40.0}, Stage.PEAK_MISSED),
        ({"status": GraspStatus.ORIENTATION_MISMATCH}, Stage.REJECTED),
        ({"status": GraspStatus.LOW_SCORE}, Stage.PEAK_MISSED),
    ],
)
def test_stage_of_each_loss(changes, stage):
    assert reached(**changes) == stage


def test_twin_of_the_truth_is_the_same_grasp():
    assert reached(truth=TRUTH @ np.diag([1.0, -1.0, -1.0, 1.0])) == Stage.FOUND


def test_counts_by_grasp_and_by_object():
    stages = np.array([Stage.PEAK_MISSED, Stage.FOUND, Stage.DEPTH_ERROR, Stage.POSE_OFF])
    counts = count_stages(stages, np.array([3, 3, 8, 8]))
    assert counts.grasps.tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert counts.objects.tolist() == [0, 0, 0, 0, 1, 0, 1]
    both = counts + counts + count_stages(np.zeros(0, dtype=np.int64), np.zeros(0))
    assert both.grasps.sum() == 8
    shares = both.to_dict()
    assert shares["objects"]["found"] == 0.5
    assert shares["grasps"]["peak_missed"] == 0.25
    assert sum(shares["grasps"].values()) == pytest.approx(1.0)
    assert sum(StageCounts().to_dict()["grasps"].values()) == 0.0
