# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.evaluation_scenes import scene_object

from kgnpro_ros.config import CalibrationConfig
from kgnpro_ros.evaluation import calibration
from kgnpro_ros.geometry.se3 import make_transform

TWIN = np.diag([1.0, -1.0, -1.0, 1.0])
CONFIG = CalibrationConfig()


def draws(n, scale=1.0, seed=0):
    """Predictions whose true poses are drawn from their covariances times ``scale``."""
    rng = np.random.default_rng(seed)
    root = rng.normal(0, 0.004, (n, 6, 6))
    root[:, 3:] *= 5.0
    covariance = root @ np.swapaxes(root, 1, 2)
    error = np.sqrt(scale) * np.einsum("nij,nj->ni", root, rng.normal(size=(n, 6)))
    poses = make_transform(
        Rotation.random(n, random_state=seed).as_matrix(), rng.uniform(0, 100, (n, 3))
    )
    truth = make_transform(
        Rotation.from_rotvec(error[:, 3:]).as_matrix() @ poses[:, :3, :3],
        poses[:, :3, 3] + error[:, :3],
    )
    return poses, covariance, truth, error


def test_pose_errors_give_back_the_perturbation():
    poses, _, truth, error = draws(50)
    np.testing.assert_allclose(calibration.pose_errors(poses, truth), error, atol=1e-9)
    np.testing.assert_allclose(calibration.pose_errors(poses, truth @ TWIN), error, atol=1e-9)
    assert calibration.pose_errors(poses[:0], truth[:0]).shape == (0, 6)


def test_mahalanobis_agrees_with_the_inverse():
    poses, covariance, truth, error = draws(40)
    squared = calibration.squared_errors(poses, covariance, truth, CONFIG)
    expected = np.einsum("ni,nij,nj->n", error, np.linalg.inv(covariance), error)
    np.testing.assert_allclose(squared, expected, rtol=1e-6)


def test_calibrated_predictions_fill_their_ellipsoids():
    poses, covariance, truth, _ = draws(800)
    squared = calibration.squared_errors(poses, covariance, truth, CONFIG)
    result = calibration.calibrate(squared, np.arange(len(squared)) // 3)
    assert result.count > 750
    assert result.inside_50 == pytest.approx(0.5, abs=0.05)
    assert result.inside_90 == pytest.approx(0.9, abs=0.03)
    assert result.temperature == pytest.approx(1.0, abs=0.15)


def test_overconfidence_is_seen_and_fitted():
    poses, covariance, truth, _ = draws(800, scale=4.0)
    squared = calibration.squared_errors(poses, covariance, truth, CONFIG)
    result = calibration.calibrate(squared, np.arange(len(squared)))
    assert result.inside_50 < 0.1
    assert result.temperature == pytest.approx(4.0, rel=0.15)
    assert result.fitted_50 == pytest.approx(0.5, abs=0.05)
    assert result.fitted_90 == pytest.approx(0.9, abs=0.03)


def test_far_predictions_and_bad_covariances_are_told_apart():
    poses, covariance, truth, _ = draws(4)
    truth[0, 0, 3] += 1.0
    covariance[1] = 0.0
    covariance[2, 0, 0] = np.nan
    squared = calibration.squared_errors(poses, covariance, truth, CONFIG)
    assert np.isnan(squared).tolist() == [True, True, False]
    result = calibration.calibrate(squared, np.zeros(3, dtype=np.int64))
    assert (result.count, result.unusable) == (1, 2)


def test_nothing_to_calibrate():
    none = calibration.squared_errors(
        np.zeros((0, 4, 4)), np.zeros((0, 6, 6)), np.eye(4)[None], CONFIG
    )
    result = calibration.calibrate(none, np.zeros(0, dtype=np.int64)).to_dict()
    assert result["count"] == 0
    assert result["inside_50"] is None


def test_dense_grasps_leave_no_gap_around_a_cylinder():
    item = scene_object("cylinder")
    coarse = calibration.dense_grasps([item], CalibrationConfig(rotation_samples=7))
    dense = calibration.dense_grasps([item, scene_object("sphere", 1.0)], CONFIG)
    assert len(dense) > 20 * len(coarse)
    squared = calibration.squared_errors(
        coarse, np.tile(np.eye(6) * 1e-6, (len(coarse), 1, 1)), dense, CONFIG
    )
    # Within 1 degree and 1 mm of the dense sampling everywhere.
    assert squared.max() < (np.radians(1.0) ** 2 + 0.003**2) / 1e-6
    assert len(calibration.dense_grasps([], CONFIG)) == 0
