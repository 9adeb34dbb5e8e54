# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from support.box_scene import CAMERA, box_scene, top_grasp

from kgnpro_ros import viz
from kgnpro_ros.types import GraspBatch

SCENE = box_scene([((-0.02, -0.04, 0.0), (0.02, 0.04, 0.06))])


def batch(*poses):
    return SCENE.grasps(np.stack(poses), np.full(len(poses), 0.05))


def changed(image):
    return (image != SCENE.image.color).any(axis=-1)


def test_fork_lies_where_the_projection_of_its_points_says():
    grasps = batch(top_grasp(0.0, 0.0, 0.04))
    image = viz.draw_grasps(SCENE.image.color, CAMERA, grasps, keypoints=False)
    tips = grasps.poses[0] @ np.array([[0, 0, 0.025, 1], [0, 0, -0.025, 1]]).T
    for u, v in CAMERA.project(tips[:3].T):
        assert (image[round(v), round(u)] == viz.BEST).all()
    v, u = np.nonzero(changed(image))
    points = CAMERA.project(viz.fork_points(grasps.poses, grasps.widths)[0])
    assert u.min() == pytest.approx(points[:, 0].min(), abs=4)
    assert u.max() == pytest.approx(points[:, 0].max(), abs=4)
    assert v.min() == pytest.approx(points[:, 1].min(), abs=4)


def test_fork_has_the_opening_and_points_along_the_approach():
    pose = np.eye(4)[None]
    points = viz.fork_points(pose, np.array([0.06]))[0]
    np.testing.assert_allclose(points[[0, 3]], [[0, 0, 0.03], [0, 0, -0.03]])
    assert (points[1:3, 0] < 0).all()
    assert points[5, 0] < points[4, 0] < 0


def test_input_is_left_alone_and_size_kept():
    before = SCENE.image.color.copy()
    image = viz.draw_grasps(SCENE.image.color, CAMERA, batch(top_grasp(0, 0, 0.04)))
    np.testing.assert_array_equal(SCENE.image.color, before)
    assert image.shape == before.shape
    assert image.dtype == np.uint8


def test_nothing_to_draw():
    for grasps in (GraspBatch.empty("camera"), batch(top_grasp(0.0, 0.0, 1.5))):
        grasps = replace(grasps, keypoints=np.full((len(grasps), 4, 2), np.nan))
        assert not changed(viz.draw_grasps(SCENE.image.color, CAMERA, grasps)).any()


def test_far_outside_the_image_is_harmless():
    side = np.eye(4)
    side[:3, 3] = 1000.0, 0.0, 0.01
    grasps = replace(batch(top_grasp(0, 0, 0.04)), poses=side[None])
    assert not changed(viz.draw_grasps(SCENE.image.color, CAMERA, grasps, keypoints=False)).any()


def test_best_grasp_is_on_top_and_only_the_first_are_drawn():
    best, other = top_grasp(0.0, 0.0, 0.04), top_grasp(0.07, 0.0, 0.04)
    two = viz.draw_grasps(SCENE.image.color, CAMERA, batch(best, other), keypoints=False)
    one = viz.draw_grasps(SCENE.image.color, CAMERA, batch(best, other), 1, keypoints=False)
    assert (two == viz.WORST).all(axis=-1).any()
    assert not (one == viz.WORST).all(axis=-1).any()
    same = viz.draw_grasps(SCENE.image.color, CAMERA, batch(best, best), keypoints=False)
    assert not (same == viz.WORST).all(axis=-1).any()


def test_keypoints_are_marked():
    grasps = batch(top_grasp(0.0, 0.0, 0.04))
    grasps = replace(grasps, keypoints=np.array([[[20.0, 30], [40, 30], [20, 60], [300, 200]]]))
    image = viz.draw_grasps(SCENE.image.color, CAMERA, grasps)
    for u, v in grasps.keypoints[0].astype(int):
        assert (image[v, u] == 255).all()


def test_ranks_go_from_green_to_red():
    colors = viz.rank_colors(9)
    assert colors[0] == viz.BEST
    assert colors[4] == viz.MIDDLE
    assert colors[8] == viz.WORST
    assert viz.rank_colors(1) == [viz.BEST]
    assert viz.rank_colors(0) == []


def test_depth_and_heatmap_pictures():
    depth = np.array([[0.3, 1.2, np.nan]], dtype=np.float32)
    near, far, missing = viz.depth_image(depth)[0].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]
    assert (missing == 0).all()
    color = np.full((8, 8, 3), 100, dtype=np.uint8)
    heat = np.zeros((2, 2, 2), dtype=np.float32)
    np.testing.assert_array_equal(viz.heatmap_image(color, heat), color)
    heat[1] = 1.0
    hot = viz.heatmap_image(color, heat)
    assert (hot != color).any(axis=-1).all()
    np.testing.assert_array_equal(hot, viz.heatmap_image(color, heat[1]))
