# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.execution.boxes import boxes_of, cells_of, without_cells

EDGE = 0.01


def cloud(seed=0, n=400):
    return np.random.default_rng(seed).uniform(-0.08, 0.08, (n, 3))


def inside(points, boxes):
    """How many boxes hold each point."""
    offset = np.abs(points[:, None] - boxes.centers)
    return (offset <= boxes.sizes / 2 + 1e-12).all(-1).sum(1)


def test_boxes_cover_every_point_and_have_the_volume_of_the_cubes():
    points = cloud()
    boxes = boxes_of(points, EDGE)
    assert (inside(points, boxes) >= 1).all()
    occupied = {tuple(cell) for cell in np.floor(points / EDGE).astype(int)}
    assert boxes.sizes.prod(axis=1).sum() == pytest.approx(len(occupied) * EDGE**3)
    # No box reaches into a free cube: the middle of one is in a box only if the cube is occupied.
    grid = np.stack(np.meshgrid(*[np.arange(-9, 9)] * 3, indexing="ij"), -1).reshape(-1, 3)
    held = inside((grid + 0.5) * EDGE, boxes)
    assert [tuple(cell) in occupied for cell in grid] == (held == 1).tolist()


def test_a_column_becomes_one_box():
    z = np.arange(0.001, 0.1, 0.004)
    points = np.stack([np.full_like(z, 0.503), np.full_like(z, -0.004), z], axis=1)
    boxes = boxes_of(points, EDGE)
    assert len(boxes) == 1
    np.testing.assert_allclose(boxes.sizes, [[EDGE, EDGE, 0.1]])
    np.testing.assert_allclose(boxes.centers, [[0.505, -0.005, 0.05]])


def test_a_gap_in_a_column_stays_open():
    boxes = boxes_of(np.array([[0.001, 0.001, 0.001], [0.001, 0.001, 0.031]]), EDGE)
    np.testing.assert_allclose(boxes.sizes, np.full((2, 3), EDGE))


def test_no_points_give_no_boxes():
    assert len(boxes_of(np.zeros((0, 3)), EDGE)) == 0


def test_cubes_of_removed_points_are_dropped():
    points = cloud()
    removed = points[:100]
    left = without_cells(points, removed, EDGE)
    taken = {tuple(c) for c in np.floor(removed / EDGE).astype(int)}
    expected = [p for p in points if tuple(np.floor(p / EDGE).astype(int)) not in taken]
    np.testing.assert_array_equal(left, expected)
    assert without_cells(points, np.zeros((0, 3)), EDGE) is points


@pytest.mark.parametrize("points", [np.zeros((4, 2)), np.full((2, 3), np.nan)])
def test_what_is_no_point_is_refused(points):
    with pytest.raises(ShapeError):
        cells_of(points, EDGE)
