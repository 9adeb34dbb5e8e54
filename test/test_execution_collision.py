# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Contact counts against a plain loop over grasps, points and boxes in double precision."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.box_scene import box_scene

from kgnpro_ros.config import FilterConfig
from kgnpro_ros.execution import collision
from kgnpro_ros.execution.table import Plane, find_table
from kgnpro_ros.geometry import Camera, load_gripper
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.types import RGBDImage

GRIPPERS = ["franka_hand", "robotiq_2f85", "robotiq_2f140"]


def random_hands(n, seed=0):
    rng = np.random.default_rng(seed)
    poses = make_transform(
        Rotation.random(n, random_state=seed).as_matrix(), rng.uniform(-0.05, 0.05, (n, 3))
    )
    return poses, rng.uniform(0.01, 0.08, (n, 2)), rng.uniform(-0.15, 0.15, (4000, 3))


def boxes_of(gripper, opening, back):
    half, outer = opening / 2, opening / 2 + gripper.finger_thickness
    length, breadth = gripper.finger_length, gripper.finger_breadth / 2
    palm = np.array([gripper.palm.lower, gripper.palm.upper])
    palm[0, 0] -= back
    return [
        np.array([[-length - back, -breadth, half], [0, breadth, outer]]),
        np.array([[-length - back, -breadth, -outer], [0, breadth, -half]]),
        palm,
    ]


@pytest.mark.parametrize("name", GRIPPERS)
@pytest.mark.parametrize("back", [0.0, 0.04])
def test_counts_agree_with_the_plain_loop(name, back):
    gripper = load_gripper(name)
    config = FilterConfig(
        approach_distance=back, min_depth_between=0.004, palm_margin=0.0, finger_margin=0.0
    )
    poses, openings, points = random_hands(12)
    points = points.astype(np.float32)
    contacts = collision.count_contacts(points, poses, openings, gripper, config)
    assert contacts.hits.max() > 20
    assert contacts.between.max() > 2
    for i, k in itertools.product(range(12), range(2)):
        local = (points.astype(float) - poses[i, :3, 3]) @ poses[i, :3, :3]
        boxes = boxes_of(gripper, openings[i, k], back)
        inside = [((local >= low) & (local <= high)).all(axis=1) for low, high in boxes]
        jaw = (np.abs(local[:, 2]) < openings[i, k] / 2) & (
            np.abs(local[:, 1]) <= gripper.finger_breadth / 2
        )
        jaw &= (local[:, 0] <= -0.004) & (local[:, 0] >= -gripper.finger_length)
        assert contacts.hits[i, k] == np.logical_or.reduce(inside).sum()
        assert contacts.between[i, k] == jaw.sum()


def test_counts_do_not_depend_on_the_chunks(monkeypatch):
    gripper, config = load_gripper("franka_hand"), FilterConfig()
    poses, openings, points = random_hands(9)
    points = points.astype(np.float32)
    whole = collision.count_contacts(points, poses, openings, gripper, config)
    monkeypatch.setattr(collision, "PAIRS_AT_ONCE", 2 * len(points) + 5)
    parts = collision.count_contacts(points, poses, openings, gripper, config)
    np.testing.assert_array_equal(whole.hits, parts.hits)
    np.testing.assert_array_equal(whole.between, parts.between)


def test_counts_without_points_are_zero():
    gripper = load_gripper("franka_hand")
    poses, openings, _ = random_hands(3)
    none = np.zeros((0, 3), dtype=np.float32)
    contacts = collision.count_contacts(none, poses, openings, gripper, FilterConfig())
    assert contacts.hits.shape == (3, 2)
    assert contacts.hits.sum() + contacts.between.sum() == 0


@pytest.mark.parametrize("name", GRIPPERS)
def test_table_gap_is_the_lowest_corner(name):
    gripper = load_gripper(name)
    poses, openings, _ = random_hands(20)
    normal = np.array([0.1, -0.7, -0.7]) / np.linalg.norm([0.1, -0.7, -0.7])
    table = Plane(normal, 0.1)
    gaps = collision.table_gaps(poses, openings, table, gripper, FilterConfig())
    for i, k in itertools.product(range(20), range(2)):
        corners = [
            np.where(np.array(pick) > 0, box[1], box[0])
            for box in boxes_of(gripper, openings[i, k], 0.0)
            for pick in np.ndindex(2, 2, 2)
        ]
        heights = (np.array(corners) @ poses[i, :3, :3].T + poses[i, :3, 3]) @ normal + 0.1
        assert gaps[i, k] == pytest.approx(heights.min(), abs=1e-12)


def test_solid_points_hold_the_object_and_not_the_table():
    scene = box_scene([((-0.03, -0.03, 0.0), (0.03, 0.03, 0.06))])
    table = find_table(scene.image)
    points = collision.solid_points(scene.image, table, FilterConfig(cloud_spacing=0.0), 0.6)
    world = (points - scene.T_camera_world[:3, 3]) @ scene.T_camera_world[:3, :3]
    assert len(points) > 1000
    assert np.abs(world[:, :2]).max() < 0.0301
    assert world[:, 2].min() > 0.0055
    assert world[:, 2].max() < 0.0601


def test_mixed_pixels_at_an_edge_are_left_out():
    scene = box_scene([((-0.03, -0.03, 0.0), (0.03, 0.03, 0.1))])
    depth = scene.image.depth
    # A sensor that smears each edge puts points into the air beside the box.
    kernel = np.ones(3) / 3
    smeared = np.apply_along_axis(np.convolve, 1, depth, kernel, mode="same")
    smeared = smeared.astype(np.float32)
    smeared[:, :2] = smeared[:, -2:] = np.nan
    image = type(scene.image)(scene.image.color, smeared, scene.image.camera)
    table = find_table(image)

    def beside(limit):
        points = collision.solid_points(image, table, FilterConfig(max_incidence=limit), 0.5)
        world = (points - scene.T_camera_world[:3, 3]) @ scene.T_camera_world[:3, :3]
        return int(((np.abs(world[:, 0]) > 0.032) & (world[:, 2] > 0.03)).sum())

    assert beside(90.0) > 5
    assert beside(80.0) <= beside(90.0) / 8


def test_missing_share_of_the_jaw_region():
    scene = box_scene([((-0.03, -0.03, 0.0), (0.03, 0.03, 0.06))])
    gripper = load_gripper("franka_hand")
    pose = np.eye(4)[None].copy()
    pose[0, :3, 3] = 0.0, 0.0, 0.5
    camera = scene.image.camera
    depth = scene.image.depth.copy()

    def share(image_depth, at=pose):
        opening = np.array([0.05])
        return collision.missing_between(at, opening, image_depth, camera, gripper)[0]

    assert share(depth) == 0.0
    assert share(np.full_like(depth, np.nan)) == 1.0
    half = depth.copy()
    half[:, : camera.width // 2] = np.nan
    # The region lies to the left of the image centre, where its x is negative.
    assert share(half) > 0.7
    aside = pose.copy()
    aside[0, 0, 3] = 5.0
    assert share(depth, aside) == 1.0


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 5), (5, 1), (5, 2), (2, 2), (3, 3)], ids=str)
def test_solid_points_of_images_with_hardly_a_pixel(size):
    height, width = size
    camera = Camera(60.0, 60.0, (width - 1) / 2, (height - 1) / 2, width, height)
    image = RGBDImage(np.zeros((*size, 3), np.uint8), np.full(size, 0.5, np.float32), camera)
    points = collision.solid_points(image, None, FilterConfig(), 0.5)
    assert points.shape == (height * width, 3)
    np.testing.assert_allclose(points[:, 2], 0.5)
