# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from kgnpro_ros.config import ExecutorConfig
from kgnpro_ros.exceptions import ImageError
from kgnpro_ros.execution.observed import box_points, observed_obstacles
from kgnpro_ros.geometry import Camera
from kgnpro_ros.types import RGBDImage

CAMERA = Camera(200.0, 200.0, 79.5, 59.5, 160, 120)
#: 0.7 m over the base frame's origin, looking down.
T_BASE_CAMERA = np.array(
    [[1.0, 0, 0, 0.4], [0, -1, 0, 0.1], [0, 0, -1, 0.7], [0, 0, 0, 1]], dtype=np.float64
)


def image_of(depth):
    return RGBDImage(np.zeros((120, 160, 3), np.uint8), depth.astype(np.float32), CAMERA)


@pytest.fixture
def block():
    """A table at z = 0.1 and a block on it, 0.05 m high, in the middle of the view."""
    depth = np.full((120, 160), 0.6)
    depth[50:70, 70:90] = 0.55
    return image_of(depth)


@pytest.mark.parametrize(
    ("settings", "height"),
    [({}, 0.1), ({"table": "fixed", "table_height": 0.1}, 0.1), ({"table": "none"}, None)],
)
def test_points_above_the_table_in_the_base_frame(block, settings, height):
    obstacles = observed_obstacles(block, T_BASE_CAMERA, ExecutorConfig(**settings))
    if height is None:
        assert obstacles.table_height is None
        assert (np.abs(obstacles.points[:, 2] - 0.1) < 1e-6).any()
        return
    assert obstacles.table_height == pytest.approx(height, abs=1e-4)
    # By hand: 20 pixels at 0.55 m and 200 px are 5.5 cm; the optical axis is at (0.4, 0.1).
    assert len(obstacles.points) > 20
    np.testing.assert_allclose(obstacles.points[:, 2], 0.15, atol=1e-6)
    assert (np.abs(obstacles.points[:, :2] - (0.4, 0.1)) < 0.03).all()


def test_known_boxes_are_added(block):
    box = (0.0, 0.4, 0.0, 0.02, 0.43, 0.1)
    plain = observed_obstacles(block, T_BASE_CAMERA, ExecutorConfig())
    more = observed_obstacles(block, T_BASE_CAMERA, ExecutorConfig(boxes=box))
    np.testing.assert_allclose(more.points[len(plain.points) :], box_points(box))


def test_points_lie_on_the_faces_and_close_to_one_another():
    box = np.array([0.0, 0.0, 0.0, 0.02, 0.035, 0.1])
    points = box_points(box)
    low, high = box[:3], box[3:]
    assert ((points >= low) & (points <= high)).all()
    on_face = np.isclose(points, low) | np.isclose(points, high)
    assert on_face.any(axis=1).all()
    # 3 x 5 x 11 grid points without the 1 x 3 x 9 inner ones.
    assert len(points) == len(np.unique(points, axis=0)) == 3 * 5 * 11 - 1 * 3 * 9
    for axis in range(3):
        assert np.diff(np.unique(points[:, axis])).max() <= 0.01 + 1e-9
    assert box_points(()).shape == (0, 3)


def test_a_view_without_a_level_table_is_said():
    rows = np.arange(120)[:, None] * np.ones(160)
    with pytest.raises(ImageError, match=r"tilted by \d+ degrees"):
        observed_obstacles(image_of(0.5 + 0.003 * rows), T_BASE_CAMERA, ExecutorConfig())
    noise = np.random.default_rng(0).uniform(0.3, 2.0, (120, 160))
    with pytest.raises(ImageError, match="no table"):
        observed_obstacles(image_of(noise), T_BASE_CAMERA, ExecutorConfig())
