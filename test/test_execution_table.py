# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from support.box_scene import CAMERA, box_scene

from kgnpro_ros.config import TableConfig
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.execution.table import Plane, find_table
from kgnpro_ros.types import RGBDImage

BOXES = [((-0.1, -0.05, 0.0), (-0.02, 0.05, 0.09)), ((0.03, -0.03, 0.0), (0.12, 0.06, 0.05))]


@pytest.mark.parametrize(("noise", "angle", "height"), [(0.0, 0.01, 1e-4), (0.002, 0.15, 1e-3)])
def test_finds_the_table_under_boxes(noise, angle, height):
    scene = box_scene(BOXES, noise=noise)
    plane = find_table(scene.image)
    up = scene.T_camera_world[:3, :3] @ [0, 0, 1]
    assert np.degrees(np.arccos(min(1.0, plane.normal @ up))) < angle
    assert plane.offset == pytest.approx(0.5, abs=height)
    assert 0.5 < plane.inlier_share < 1.0
    assert plane.rms == pytest.approx(noise * abs(up[2]), abs=3e-4)


def test_same_image_gives_the_same_plane():
    image = box_scene(BOXES, noise=0.002).image
    first, second = find_table(image), find_table(image)
    assert (first.normal == second.normal).all()
    assert first.offset == second.offset


def test_survives_missing_depth():
    scene = box_scene(BOXES)
    depth = scene.image.depth.copy()
    depth[np.random.default_rng(0).random(depth.shape) < 0.6] = np.nan
    plane = find_table(RGBDImage(scene.image.color, depth, CAMERA))
    assert plane.offset == pytest.approx(0.5, abs=1e-3)


def test_no_plane_in_scattered_points_or_without_depth():
    color = np.zeros((240, 320, 3), dtype=np.uint8)
    depth = np.random.default_rng(0).uniform(0.3, 2.0, (240, 320)).astype(np.float32)
    assert find_table(RGBDImage(color, depth, CAMERA)) is None
    assert find_table(RGBDImage(color, np.full_like(depth, np.nan), CAMERA)) is None


def test_share_below_the_limit_is_no_table():
    image = box_scene(BOXES).image
    assert find_table(image, TableConfig(min_share=0.99)) is None


def test_height_is_signed_and_keeps_precision():
    plane = Plane(np.array([0.0, 0.0, -1.0]), 0.6)
    points = np.array([[0.0, 0.0, 0.5], [0.3, 0.1, 0.7]], dtype=np.float32)
    height = plane.height(points)
    assert height.dtype == np.float32
    np.testing.assert_allclose(height, [0.1, -0.1], atol=1e-6)


def test_plane_refuses_a_normal_that_is_none():
    with pytest.raises(ShapeError, match="unit vector"):
        Plane(np.array([0.0, 0.0, 2.0]), 0.5)
    with pytest.raises(ShapeError, match="camera side"):
        Plane(np.array([0.0, 0.0, 1.0]), -0.5)
