# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The camera against OpenCV, and its pixel convention by value."""

import cv2
import numpy as np
import pytest

from kgnpro_ros.exceptions import CameraError, ShapeError
from kgnpro_ros.geometry import Camera

CAMERA = Camera(610.0, 605.0, 318.2, 243.7, 640, 480)
LENS = Camera(610.0, 605.0, 318.2, 243.7, 640, 480, (0.11, -0.23, 0.001, -0.0006, 0.05))


def points_in_view(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform((-0.3, -0.3, 0.4), (0.3, 0.3, 1.5), (n, 3))


def test_project_agrees_with_opencv():
    points = points_in_view()
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), CAMERA.matrix, None)
    np.testing.assert_allclose(CAMERA.project(points), expected[:, 0], atol=1e-9)


def test_axes_point_right_down_forward():
    """A point right of, and below, the optical axis has larger u and v."""
    np.testing.assert_allclose(CAMERA.project([0.0, 0.0, 1.0]), (318.2, 243.7))
    np.testing.assert_allclose(CAMERA.project([0.1, 0.0, 1.0]), (318.2 + 61.0, 243.7))
    np.testing.assert_allclose(CAMERA.project([0.0, 0.1, 1.0]), (318.2, 243.7 + 60.5))


def test_pixel_centres_are_integers():
    """Row j, column i of a depth image is the ray through pixel coordinate (i, j)."""
    camera = Camera(100.0, 100.0, 1.0, 0.0, 3, 2)
    cloud = camera.point_cloud(np.full((2, 3), 2.0, np.float32))
    np.testing.assert_allclose(cloud[0, 1], (0.0, 0.0, 2.0), atol=1e-7)
    np.testing.assert_allclose(cloud[1, 2], (0.02, 0.02, 2.0), atol=1e-7)


def test_points_behind_the_camera_are_nan():
    pixels = CAMERA.project([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0], [0.1, 0.1, 1.0]])
    assert np.isnan(pixels[:2]).all()
    assert np.isfinite(pixels[2]).all()


def test_backproject_inverts_project():
    points = points_in_view()
    np.testing.assert_allclose(
        CAMERA.backproject(CAMERA.project(points), points[:, 2]), points, atol=1e-12
    )


@pytest.mark.parametrize("stride", [1, 3, 4])
def test_point_cloud_is_backprojection(stride):
    rng = np.random.default_rng(1)
    depth = rng.uniform(0.5, 1.0, (480, 640)).astype(np.float32)
    depth[::7] = np.nan
    v, u = np.mgrid[0:480:stride, 0:640:stride]
    expected = CAMERA.backproject(np.stack([u, v], -1), depth[::stride, ::stride])
    cloud = CAMERA.point_cloud(depth, stride)
    assert cloud.dtype == np.float32
    hole = np.isnan(depth[::stride, ::stride])
    assert np.isnan(cloud[hole]).all()
    np.testing.assert_allclose(cloud[~hole], expected[~hole], atol=1e-5)


def test_undistort_maps_agree_with_opencv():
    image = np.random.default_rng(2).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    map_u, map_v = LENS.undistort_maps()
    mine = cv2.remap(image, map_u, map_v, cv2.INTER_LINEAR)
    theirs = cv2.undistort(image, LENS.matrix, np.array(LENS.distortion))
    assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= 1


def test_undistorted_pixels_follow_the_pinhole_model():
    """The map says, for an ideal pixel, where the lens put that ray in the real image."""
    points = points_in_view(50, seed=3)
    ideal = np.rint(CAMERA.project(points)).astype(int)
    ideal = ideal[((ideal > 20) & (ideal < (620, 460))).all(1)]
    rays = CAMERA.backproject(ideal, np.ones(len(ideal)))
    real, _ = cv2.projectPoints(
        rays, np.zeros(3), np.zeros(3), LENS.matrix, np.array(LENS.distortion)
    )
    map_u, map_v = LENS.undistort_maps()
    u, v = ideal.T
    np.testing.assert_allclose(map_u[v, u], real[:, 0, 0], atol=1e-3)
    np.testing.assert_allclose(map_v[v, u], real[:, 0, 1], atol=1e-3)


def test_dictionary_round_trip():
    assert Camera.from_dict(LENS.to_dict()) == LENS
    assert Camera.from_dict({**CAMERA.to_dict(), "depth_scale": 0.001}) == CAMERA


def test_zero_coefficients_are_no_distortion():
    assert not Camera(600, 600, 320, 240, 640, 480, (0.0,) * 5).is_distorted
    assert LENS.is_distorted
    assert not LENS.without_distortion().is_distorted
    assert LENS.without_distortion() == CAMERA


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fx": 0.0}, "focal lengths must be positive"),
        ({"fy": -600.0}, "focal lengths must be positive"),
        ({"cx": float("nan")}, "finite"),
        ({"width": 0}, "image size must be positive"),
        ({"cx": 5000.0}, "principal point"),
        ({"distortion": (0.1, 0.2, 0.3)}, "3 distortion coefficients"),
        ({"distortion": (0.1, float("inf"), 0.0, 0.0)}, "finite"),
    ],
)
def test_impossible_cameras_are_refused(change, says):
    with pytest.raises(CameraError, match=says):
        Camera(**{**CAMERA.to_dict(), "distortion": (), **change})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fx": None}, "numbers"),
        ({"fx": "wide"}, "numbers"),
        ({"width": 640.5}, "whole numbers"),
        ({"height": float("inf")}, "whole numbers"),
        ({"distortion": ["a"]}, "numbers"),
    ],
)
def test_impossible_camera_files_are_refused(change, says):
    with pytest.raises(CameraError, match=says):
        Camera.from_dict({**CAMERA.to_dict(), **change})


def test_missing_keys_are_named():
    with pytest.raises(CameraError, match="lacks cy, height"):
        Camera.from_dict({"fx": 1, "fy": 1, "cx": 0, "width": 3})


def test_points_need_three_coordinates():
    with pytest.raises(ShapeError, match=r"\(5, 2\)"):
        CAMERA.project(np.zeros((5, 2)))
