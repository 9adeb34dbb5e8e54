# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Collision flags against brute-force sampling of points, and special cases by hand."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kgnpro_ros.data.collision import colliding, gripper_boxes, hits_object
from kgnpro_ros.data.shape_sampling import sample_shape
from kgnpro_ros.data.shapes import CLASSES, Shape
from kgnpro_ros.geometry.se3 import invert, make_transform, transform_points

FAR = make_transform(np.eye(3), (5.0, 0.0, 1.0))


def inside(shape, points, margin):
    """Closed-form membership of points, the shape grown by a margin [m]."""
    x, y, z = points.T
    radius = np.hypot(x, y)
    if shape.kind == "cuboid":
        return (np.abs(points) <= np.array(shape.dimensions) / 2 + margin).all(axis=1)
    if shape.kind == "sphere":
        return np.linalg.norm(points, axis=1) <= shape.outer_radius + margin
    if shape.kind == "semi_sphere":
        distance = np.linalg.norm(points, axis=1)
        return (
            (distance <= shape.outer_radius + margin)
            & (distance >= shape.inner_radius - margin)
            & (z <= margin)
        )
    return (
        (radius <= shape.outer_radius + margin)
        & (radius >= shape.inner_radius - margin)
        & (np.abs(z) <= shape.height / 2 + margin)
    )


@pytest.mark.parametrize("kind", CLASSES)
def test_flags_agree_with_sampled_points(kind):
    rng = np.random.default_rng(CLASSES.index(kind))
    shape = sample_shape(rng, kind)
    count = 60
    rotation = Rotation.random(count, random_state=1).as_matrix()
    center = rng.normal(0, 0.05, (count, 3))
    T_world_object = make_transform(Rotation.random(random_state=2).as_matrix(), (0.1, 0.2, 0.3))
    T_world_grasp = make_transform(rotation, center + T_world_object[:3, 3])
    widths = rng.uniform(0.02, 0.12, count)
    T_world_box, half = gripper_boxes(T_world_grasp, widths)
    flags = hits_object(T_world_box, half, shape, T_world_object)
    unit = rng.uniform(-1, 1, (20000, 3))
    unit[:15000] = np.clip(unit[:15000] * 1.3, -1, 1)  # more on faces, edges and corners
    T_object_box = invert(T_world_object) @ T_world_box
    surely, perhaps = np.empty(count, bool), np.empty(count, bool)
    for k in range(count):
        points = transform_points(T_object_box[k], unit * half[k])
        surely[k] = inside(shape, points, -5e-4).any()
        perhaps[k] = inside(shape, points, 3e-3).any()
    assert 5 < flags.sum() < count - 5
    assert not (surely & ~flags).any()
    assert not (flags & ~perhaps).any()


def test_gripper_box_is_the_one_of_the_protocol():
    T_world_box, half = gripper_boxes(np.eye(4)[None], np.array([0.08]))
    assert np.allclose(T_world_box[0, :3, 3], (-0.05, 0, 0))
    assert np.allclose(2 * half[0], (0.10, 0.02, 0.12))


def one_flag(T_world_grasp, width, target, shapes, poses):
    return bool(
        colliding(
            T_world_grasp[None], np.array([width]), np.array([target]), shapes, np.stack(poses)
        )[0]
    )


def test_small_object_wholly_inside_the_gripper_is_noticed():
    ball = Shape("sphere", (0.004,))
    cube = Shape("cuboid", (0.006, 0.006, 0.006))
    grasp = make_transform(np.eye(3), (0, 0, 1.0))
    at = make_transform(np.eye(3), (-0.05, 0, 1.0))
    for shape in (ball, cube):
        assert one_flag(grasp, 0.08, 0, [Shape("sphere", (0.03,)), shape], [FAR, at])


def test_gripper_wholly_inside_an_object_is_noticed():
    block = Shape("cuboid", (0.5, 0.5, 0.5))
    grasp = make_transform(np.eye(3), (0, 0, 1.0))
    at = make_transform(np.eye(3), (0, 0, 1.0))
    assert one_flag(grasp, 0.05, 0, [Shape("sphere", (0.03,)), block], [FAR, at])


def test_own_target_is_never_an_obstacle():
    ball = Shape("sphere", (0.05,))
    grasp = make_transform(np.eye(3), (0, 0, 1.0))
    at = make_transform(np.eye(3), (0, 0, 1.0))
    assert not one_flag(grasp, 0.05, 0, [ball], [at])
    assert one_flag(grasp, 0.05, 1, [ball, ball], [at, FAR])


def test_space_inside_a_tube_is_free():
    tube = Shape("cylinder", (0.07, 0.1))
    down = make_transform([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], (0, 0, 1.0))
    at = make_transform(np.eye(3), (0, 0, 1.03))
    shapes, poses = [Shape("sphere", (0.01,)), tube], [FAR, at]
    assert not one_flag(down, 0.05, 0, shapes, poses)  # 9 cm wide in a hole of 14 cm
    assert one_flag(down, 0.11, 0, shapes, poses)


@pytest.mark.parametrize(("tilt_deg", "hits"), [(0.0, False), (10.0, False), (12.0, True)])
def test_lying_stick_tolerates_the_derived_tilt(tilt_deg, hits):
    """Protocol, end of 2.6: about 10.7 degrees for the thinnest stick."""
    stick = Shape("stick", (0.005, 0.08))
    width = 2.76 * 0.005
    down = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)
    rotation = down @ Rotation.from_euler("y", tilt_deg, degrees=True).as_matrix()
    grasp = make_transform(rotation, (0, 0, 0.005))
    pose = make_transform(Rotation.from_euler("x", 90, degrees=True).as_matrix(), (0, 0, 0.005))
    assert one_flag(grasp, width, 0, [stick], [pose]) is hits
