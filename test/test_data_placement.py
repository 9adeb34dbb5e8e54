# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Placement: resting, not overlapping, lying sticks graspable; and the views."""

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kgnpro_ros.data.labels import grasp_labels
from kgnpro_ros.data.mujoco_model import Surface, Table, build_model
from kgnpro_ros.data.placement import Spread, place_objects, set_pose, stable_rotation
from kgnpro_ros.data.random_look import random_camera, random_camera_poses
from kgnpro_ros.data.scene import (
    SceneObject,
    kgn_camera_poses,
    look_at,
    sphere_position,
)
from kgnpro_ros.data.shape_sampling import sample_household_shape, sample_shape
from kgnpro_ros.data.shapes import CLASSES, Shape


def settled(seed, sample):
    rng = np.random.default_rng(seed)
    shapes = [sample(rng, CLASSES[k]) for k in rng.permutation(6)]
    model = build_model(shapes, [Surface((0.5, 0.5, 0.5))] * 6, Table())
    return shapes, model, place_objects(rng, model, shapes, [Spread()] * 6)


def surface_points(shape):
    if shape.kind == "cuboid":
        return shape.convex_pieces()[0]
    return shape.visual_mesh(64)[0]


@pytest.mark.parametrize("sample", [sample_shape, sample_household_shape])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_objects_touch_the_table_and_nothing_else(seed, sample):
    shapes, model, placed = settled(seed, sample)
    assert len(placed) >= 4
    for index, pose in placed.items():
        lowest = (surface_points(shapes[index]) @ pose[2, :3]).min() + pose[2, 3]
        assert -1e-3 < lowest < 1e-3
    data = mujoco.MjData(model)
    for index in range(6):
        set_pose(model, data, index, placed.get(index, np.eye(4)), 0.0 if index in placed else -9)
    mujoco.mj_forward(model, data)
    bodies = model.geom_bodyid[data.contact.geom]
    between = (bodies != 0).all(axis=1)
    assert (data.contact.dist[between] > -1e-3).all()


def test_placed_objects_stay_where_they_are():
    _, model, placed = settled(5, sample_shape)
    data = mujoco.MjData(model)
    for index in range(6):
        set_pose(model, data, index, placed.get(index, np.eye(4)), 0.0 if index in placed else -9)
    mujoco.mj_step(model, data, 250)
    for index, pose in placed.items():
        joint = model.body(f"object_{index}").jntadr[0]
        start = model.jnt_qposadr[joint]
        assert np.linalg.norm(data.qpos[start : start + 3] - pose[:3, 3]) < 2e-3


def test_same_seed_same_scene():
    first, second = settled(7, sample_shape), settled(7, sample_shape)
    assert first[0] == second[0]
    assert all(np.array_equal(first[2][k], second[2][k]) for k in first[2])


def test_lying_stick_keeps_grasps_from_above():
    model = build_model([Shape("stick", (0.005, 0.08))], [Surface((0.5, 0.5, 0.5))], Table())
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shape = Shape("stick", (0.005, 0.08))
        pose = place_objects(rng, model, [shape], [Spread()])[0]
        labels = grasp_labels([SceneObject(shape, pose)], 30, 10).free
        assert len(labels.widths) >= 20  # protocol: about 20 of 300
        assert (labels.T_world_grasp[:, 2, 0] < -0.9).all()


def test_resting_faces_come_up_as_often_as_their_solid_angle_says():
    rng = np.random.default_rng(8)
    box, half = Shape("cuboid", (0.04, 0.08, 0.12)), np.array([0.02, 0.04, 0.06])
    heights = np.array([stable_rotation(rng, box)[1] for _ in range(3000)])
    rays = Rotation.random(200000, random_state=1).as_matrix()[:, 2]
    axis = np.argmax(np.abs(rays) / half, axis=1)  # the face that a random ray goes through
    for k in range(3):
        assert (np.abs(heights - half[k]) < 1e-9).mean() == pytest.approx(
            (axis == k).mean(), abs=0.03
        )
    tube = Shape("cylinder", (0.05, 0.06))
    standing = np.mean([abs(stable_rotation(rng, tube)[0][2, 2]) > 0.5 for _ in range(3000)])
    slope = np.abs(rays[:, 2]) / np.linalg.norm(rays[:, :2], axis=1)
    assert standing == pytest.approx((slope > 0.03 / (1.15 * 0.05)).mean(), abs=0.03)


def test_every_resting_rotation_is_a_rotation_that_puts_the_shape_on_the_table():
    rng = np.random.default_rng(9)
    for index in range(90):
        shape = sample_household_shape(rng, CLASSES[index % 6])
        rotation, height = stable_rotation(rng, shape)
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert (surface_points(shape) @ rotation[2]).min() + height == pytest.approx(0, abs=2e-4)


def test_kgn_views_follow_the_protocol():
    poses = kgn_camera_poses(np.random.default_rng(0), 400)
    position, axis, up = poses[:, :3, 3], poses[:, :3, 2], -poses[:, :3, 1]
    radius = np.linalg.norm(position, axis=1)
    assert 0.6 <= radius.min() < 0.62
    assert 0.98 < radius.max() <= 1.0
    latitude = np.degrees(np.arcsin(position[:, 2] / radius))
    assert 30 <= latitude.min() < 32
    assert 88 < latitude.max() <= 90
    assert latitude.mean() == pytest.approx(60, abs=2)  # uniform in angle, not in area
    assert np.allclose(axis, -position / radius[:, None])
    assert np.allclose(poses[:, 2, 0], 0)  # no roll: image-x is level
    assert (up[:, 2] >= 0).all()


def test_camera_straight_above_has_its_image_up_along_the_longitude():
    poses = [
        look_at(sphere_position(1.0, latitude, 0.3), np.zeros(3), yaw_hint=0.3 + np.pi)
        for latitude in (np.pi / 2 - 1e-6, np.pi / 2)
    ]
    assert np.allclose(poses[0], poses[1], atol=1e-5)


def test_random_views_see_the_middle_and_keep_off_the_objects():
    rng = np.random.default_rng(1)
    centers = np.array([[0.0, 0, 0.05], [0.1, 0.1, 0.05], [0.3, 0, 0.1]])
    radii = np.array([0.06, 0.06, 0.15])
    obstacle = np.array([False, False, True])
    poses = random_camera_poses(rng, 100, centers, radii, obstacle)
    offset = centers[None] - poses[:, None, :3, 3]
    assert (np.linalg.norm(offset, axis=-1) > radii + 0.1).all()
    assert (poses[:, 2, 3] > 0.05).all()
    middle = np.einsum("nij,nj->ni", poses[:, :3, :3].transpose(0, 2, 1), offset[:, 0])
    pixels = random_camera(rng).project(middle)
    assert ((pixels > 0) & (pixels < (640, 480))).all(axis=1).mean() > 0.9
