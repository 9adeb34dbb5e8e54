# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Grasp batches and images: conventions by value, covariances by sampling, bad shapes."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kgnpro_ros.exceptions import FrameError, ImageError, ShapeError
from kgnpro_ros.geometry import Camera, canonical_keypoints
from kgnpro_ros.geometry.se3 import invert, make_transform, transform_points
from kgnpro_ros.types import GraspBatch, RGBDImage, check_transform

CAMERA = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)


def random_poses(n, seed=0):
    rng = np.random.default_rng(seed)
    return make_transform(
        Rotation.random(n, random_state=seed).as_matrix(), rng.normal(size=(n, 3))
    )


def batch(n=5, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, 6, 6)) * 0.01
    return GraspBatch(
        random_poses(n, seed), "camera", rng.uniform(0.01, 0.08, n), rng.random(n), rng.random(n),
        rng.random(n), root @ root.transpose(0, 2, 1), rng.normal(size=(n, 4, 2)),
        np.zeros(n, dtype=np.int64), {"too_wide": 3},
    )  # fmt: skip


def images(depth_type=np.float32):
    rng = np.random.default_rng(1)
    color = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return color, rng.uniform(0.4, 1.0, (48, 64)).astype(depth_type)


# GraspBatch


def test_transform_moves_poses_into_the_new_frame():
    grasps = batch()
    T_base_camera = random_poses(1, 9)[0]
    moved = grasps.transform(T_base_camera, "base")
    assert moved.frame == "base"
    points = transform_points(grasps.poses, canonical_keypoints())
    expected = transform_points(T_base_camera, points)
    np.testing.assert_allclose(transform_points(moved.poses, canonical_keypoints()), expected)
    for name in ("widths", "score", "confidence", "keypoints", "status"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(grasps, name))
    assert moved.rejected == {"too_wide": 3}


def test_transform_and_back_is_the_same():
    grasps = batch()
    T = random_poses(1, 9)[0]
    back = grasps.transform(T, "base").transform(invert(T), "camera")
    np.testing.assert_allclose(back.poses, grasps.poses, atol=1e-12)
    np.testing.assert_allclose(back.covariance, grasps.covariance, atol=1e-15)


def test_covariance_turns_like_sampled_poses():
    """Perturb in the old frame, express in the new one, read the perturbation there."""
    grasps = batch(1, seed=4)
    T = random_poses(1, 5)[0]
    moved = grasps.transform(T, "base")
    rng = np.random.default_rng(0)
    # A small covariance keeps the rotation vectors linear.
    noise = rng.multivariate_normal(np.zeros(6), grasps.covariance[0] * 1e-4, 40000)
    rotation = Rotation.from_rotvec(noise[:, 3:]) * Rotation.from_matrix(grasps.poses[0, :3, :3])
    samples = T @ make_transform(rotation.as_matrix(), grasps.poses[0, :3, 3] + noise[:, :3])
    dt = samples[:, :3, 3] - moved.poses[0, :3, 3]
    turn = (
        Rotation.from_matrix(samples[:, :3, :3])
        * Rotation.from_matrix(moved.poses[0, :3, :3]).inv()
    )
    sampled = np.cov(np.concatenate([dt, turn.as_rotvec()], axis=1).T) * 1e4
    scale = np.sqrt(np.diag(sampled))
    difference = (sampled - moved.covariance[0]) / np.outer(scale, scale)
    assert np.abs(difference).max() < 0.03
    # The untransformed one is far from it: the test can fail.
    assert np.abs((sampled - grasps.covariance[0]) / np.outer(scale, scale)).max() > 0.2


@pytest.mark.parametrize(
    "index", [slice(1, 3), [3, 0], np.array([True, False, False, True, True]), [], slice(0, 0)]
)
def test_select_takes_the_same_rows_of_everything(index):
    grasps = batch()
    rows = np.arange(5)[index if isinstance(index, slice) or len(index) else slice(0, 0)]
    chosen = grasps.select(index)
    assert len(chosen) == len(rows)
    for item in fields(grasps):
        if item.name not in ("frame", "rejected"):
            np.testing.assert_array_equal(
                getattr(chosen, item.name), getattr(grasps, item.name)[rows]
            )
    assert (chosen.frame, chosen.rejected) == ("camera", {"too_wide": 3})


def test_sorted_is_best_first_and_stable():
    grasps = replace(
        batch(), score=np.array([0.2, 0.9, 0.2, 0.9, 0.5]), widths=np.arange(5) / 100.0
    )
    np.testing.assert_array_equal(grasps.sorted().widths * 100, [1, 3, 4, 0, 2])


def test_twins_are_half_a_turn_about_the_approach():
    grasps = batch()
    twins = grasps.twins()
    relative = invert(grasps.poses) @ twins
    expected = Rotation.from_euler("x", 180, degrees=True).as_matrix()
    np.testing.assert_allclose(relative[:, :3, :3], np.tile(expected, (5, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(relative[:, :3, 3], 0.0, atol=1e-12)
    # Fingertips change sides, the hand stays where it is.
    np.testing.assert_allclose(
        transform_points(twins, canonical_keypoints()),
        transform_points(grasps.poses, canonical_keypoints())[:, [1, 0, 3, 2]],
        atol=1e-12,
    )


def test_an_empty_batch_works_like_any_other():
    empty = GraspBatch.empty("camera", {"low": 2})
    moved = empty.transform(random_poses(1)[0], "base").sorted().select([])
    assert (len(moved), moved.frame, moved.rejected) == (0, "base", {"low": 2})
    assert moved.twins().shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("widths", np.zeros(4)),
        ("score", np.zeros((5, 1))),
        ("covariance", np.zeros((5, 36))),
        ("keypoints", np.zeros((5, 2, 4))),
        ("status", np.zeros(6, dtype=np.int64)),
        ("poses", np.zeros((5, 3, 4))),
        ("poses", np.full((5, 4, 4), np.nan)),
        ("poses", np.tile(np.diag([1.0, 1.0, -1.0, 1.0]), (5, 1, 1))),
    ],
)
def test_wrong_shapes_are_refused(name, value):
    with pytest.raises(ShapeError, match=name):
        replace(batch(), **{name: value})


def test_a_batch_needs_a_frame():
    with pytest.raises(FrameError, match="frame"):
        replace(batch(), frame="")


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        (np.eye(3), r"\(3, 3\)"),
        (np.diag([1.1, 1.0, 1.0, 1.0]), "not rigid"),
        (np.diag([-1.0, 1.0, 1.0, 1.0]), "determinant"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
        (np.diag([1.0, 1.0, np.inf, 1.0]), "finite"),
    ],
)
def test_transforms_that_are_not_rigid_are_refused(matrix, says):
    with pytest.raises(ShapeError, match=says):
        check_transform(matrix)
    with pytest.raises(ShapeError, match=says):
        batch().transform(matrix, "base")


def test_one_transform_for_the_batch():
    with pytest.raises(ShapeError, match=r"\(5, 4, 4\)"):
        batch().transform(random_poses(5), "base")


# RGBDImage


def test_raw_depth_becomes_metres_with_nan_where_nothing_was_measured():
    color, _ = images()
    raw = np.full((48, 64), 800, dtype=np.uint16)
    raw[3, 4], raw[5, 6] = 0, 65535
    image = RGBDImage.from_raw_depth(color, raw, CAMERA, 0.001)
    assert image.depth.dtype == np.float32
    assert image.depth[0, 0] == pytest.approx(0.8)
    assert image.depth[5, 6] == pytest.approx(65.535)
    assert np.isnan(image.depth[3, 4])
    assert np.isnan(image.depth).sum() == 1


def test_unusable_floats_count_as_missing():
    color, depth = images()
    bad = [0.0, -0.5, np.nan, np.inf, -np.inf]
    depth[0, :5] = bad
    image = RGBDImage.from_raw_depth(color, depth, CAMERA, 1.0)
    assert np.isnan(image.depth[0, :5]).all()
    assert np.isfinite(image.depth).sum() == depth.size - len(bad)
    assert depth[0, 0] == 0.0, "the caller's array was changed"


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_depth_without_any_measurement_is_refused(value):
    color, depth = images()
    with pytest.raises(ImageError, match="no measurement"):
        RGBDImage.from_raw_depth(color, np.full_like(depth, value), CAMERA, 1.0)


@pytest.mark.parametrize("scale", [0.0, -0.001, np.nan, np.inf])
def test_depth_scale_must_be_positive(scale):
    color, depth = images()
    with pytest.raises(ImageError, match="depth_scale"):
        RGBDImage.from_raw_depth(color, depth, CAMERA, scale)


def test_sizes_and_types_must_agree():
    color, depth = images()
    with pytest.raises(ImageError, match=r"colour image is uint8 \(24, 64, 3\)"):
        RGBDImage(color[::2], depth, CAMERA)
    with pytest.raises(ImageError, match="colour image is float32"):
        RGBDImage(color.astype(np.float32), depth, CAMERA)
    with pytest.raises(ImageError, match="depth image is float64"):
        RGBDImage(color, depth.astype(np.float64), CAMERA)
    with pytest.raises(ImageError, match=r"depth image is float32 \(48, 32\)"):
        RGBDImage(color, depth[:, ::2], CAMERA)
    with pytest.raises(ImageError, match="mask is uint8"):
        RGBDImage(color, depth, CAMERA, np.zeros((48, 64), np.uint8))
    with pytest.raises(ImageError, match="shape"):
        RGBDImage.from_raw_depth(color, depth[..., None], CAMERA, 1.0)


def test_undistorted_without_distortion_is_the_image_itself():
    color, depth = images()
    image = RGBDImage(color, depth, CAMERA)
    assert image.undistorted() is image


def test_undistortion_never_mixes_depths():
    lens = Camera(60.0, 60.0, 31.5, 23.5, 64, 48, (0.2, -0.1, 0.0, 0.0))
    color, depth = images()
    depth[:] = np.where(np.arange(64) < 32, 0.5, 1.5)[None].astype(np.float32)
    depth[10:14, 10:14] = np.nan
    mask = np.zeros((48, 64), dtype=bool)
    mask[:, 40:] = True
    image = RGBDImage(color, depth, lens, mask).undistorted()
    assert not image.camera.is_distorted
    seen = image.depth[np.isfinite(image.depth)]
    assert set(np.unique(seen)) <= {np.float32(0.5), np.float32(1.5)}
    assert image.mask.dtype == np.bool_
    assert 0.1 < image.mask.mean() < 0.6
    expected = cv2.undistort(color, lens.matrix, np.array(lens.distortion))
    assert np.abs(image.color.astype(int) - expected.astype(int)).mean() < 1.0
    # Pixels from outside the real image have colour black and no depth.
    map_u, map_v = lens.undistort_maps()
    outside = (map_u < -1) | (map_v < -1) | (map_u > 64) | (map_v > 48)
    assert np.isnan(image.depth[outside]).all()
