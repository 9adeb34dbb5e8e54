# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The renderer against the pinhole model and ray casting in closed form."""

import mujoco
import numpy as np
import pytest

from kgnpro_ros.data.look import kgn_look
from kgnpro_ros.data.mujoco_model import Surface, Table, build_model
from kgnpro_ros.data.placement import set_pose
from kgnpro_ros.data.render import Light, Renderer, make_gl_context
from kgnpro_ros.data.scene import KGN_CAMERA, look_at, sphere_position
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.geometry import Camera
from kgnpro_ros.geometry.se3 import invert, make_transform, transform_points

#: Principal point far off the centre and unequal focal lengths, so that swaps show.
ODD_CAMERA = Camera(400.0, 450.0, 210.3, 90.7, 320, 240)
POSE = look_at(sphere_position(0.7, 0.9, 0.4), np.array([0.02, -0.01, 0.0]), roll=0.2)


@pytest.fixture(scope="module")
def gl():
    return make_gl_context()


def render(gl, shapes, poses, camera, T_world_camera):
    surfaces = [Surface((1.0, 0.2, 0.1))] * len(shapes)
    model = build_model(shapes, surfaces, Table(), physics=False)
    with Renderer(model, gl) as renderer:
        for index, pose in enumerate(poses):
            set_pose(model, renderer.data, index, pose)
        mujoco.mj_kinematics(model, renderer.data)
        lights = kgn_look(np.random.default_rng(0), 1, T_world_camera[None]).lights[0]
        frame = renderer.render(camera, T_world_camera, lights)
    body = model.geom_bodyid[frame.geom]
    return frame, np.where(frame.geom >= 0, body, -1)


def rays(camera):
    """Directions with z = 1 through all pixel centres, shape (H, W, 3)."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    return np.stack(
        [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1
    )


@pytest.mark.parametrize("camera", [ODD_CAMERA, KGN_CAMERA])
def test_depth_of_the_table_is_the_ray_plane_distance(gl, camera):
    frame, body = render(gl, [], [], camera, POSE)
    expected = -POSE[2, 3] / (rays(camera) @ POSE[2, :3])
    table = body == 0
    assert table.mean() > 0.5
    assert np.abs(frame.depth - expected)[table].max() < 1e-5


@pytest.mark.parametrize("camera", [ODD_CAMERA, KGN_CAMERA])
def test_sphere_is_where_ray_casting_says(gl, camera):
    radius, center = 0.05, np.array([0.03, 0.02, 0.05])
    frame, body = render(
        gl, [Shape("sphere", (radius,))], [make_transform(np.eye(3), center)], camera, POSE
    )
    direction = rays(camera)
    c = transform_points(invert(POSE), center[None])[0]
    a, b = (direction**2).sum(-1), direction @ c
    root = b**2 - a * (c @ c - radius**2)
    expected = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.nan)
    mask, truth = body == 1, np.isfinite(expected)
    v, u = np.mgrid[: camera.height, : camera.width]
    for axis in (u, v):
        assert axis[mask].mean() == pytest.approx(axis[truth].mean(), abs=0.1)
    assert (mask != truth).sum() < 0.02 * truth.sum()
    inner = np.nan_to_num(root) > 0.2 * root.max()
    assert np.abs(frame.depth - expected)[inner & mask].max() < 3e-4


def test_colour_is_aligned_to_a_tenth_of_a_pixel(gl):
    """Centroid of a red sheet (a very thin table) against densely projected points of it."""
    sheet = Table((0.06, 0.04, 1e-5), Surface((1.0, 0.0, 0.0)))
    down = np.array([0.0, 0.0, -1.0])
    light = Light(-down, down, (0.0, 0.0, 0.0), ambient=(1.0, 1.0, 1.0), directional=True)
    model = build_model([], [], sheet, physics=False)
    with Renderer(model, gl) as renderer:
        mujoco.mj_kinematics(model, renderer.data)
        frame = renderer.render(ODD_CAMERA, POSE, [light])
    weight = (255 - frame.color[..., 1].astype(float)) / 255  # the background is white
    grid = np.stack(np.meshgrid(np.linspace(-0.06, 0.06, 601), np.linspace(-0.04, 0.04, 401)), -1)
    points = np.concatenate([grid, np.zeros((*grid.shape[:2], 1))], axis=-1).reshape(-1, 3)
    local = transform_points(invert(POSE), points)
    normal = invert(POSE)[:3, 2]
    area = np.abs(local @ normal) / local[:, 2] ** 3  # of a patch in the image, up to a factor
    truth = (ODD_CAMERA.project(local) * area[:, None]).sum(axis=0) / area.sum()
    v, u = np.mgrid[: ODD_CAMERA.height, : ODD_CAMERA.width]
    measured = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
    assert np.abs(measured - truth).max() < 0.1
    assert weight.sum() == pytest.approx(
        area.mean() * 0.12 * 0.08 * ODD_CAMERA.fx * ODD_CAMERA.fy, rel=0.01
    )
    v, u = np.nonzero(frame.geom == model.geom("table").id)
    assert np.abs((u.mean(), v.mean()) - truth).max() < 0.1


def test_instance_ids_count_objects_and_hide_what_is_hidden(gl):
    shapes = [Shape("sphere", (0.04,)), Shape("cuboid", (0.05, 0.05, 0.05))]
    above = look_at(np.array([0.0, 0.0, 0.8]), np.zeros(3))
    poses = [make_transform(np.eye(3), (0, 0, 0.2)), make_transform(np.eye(3), (0, 0, 0.025))]
    _, body = render(gl, shapes, poses, KGN_CAMERA, above)
    assert set(np.unique(body)) == {0, 1}
    poses[0][0, 3] = 0.15
    _, body = render(gl, shapes, poses, KGN_CAMERA, above)
    assert set(np.unique(body)) == {0, 1, 2}


def test_nothing_hit_is_nan_and_white(gl):
    away = look_at(np.array([0.0, 0.0, 0.5]), np.array([1.0, 0.0, 0.9]))
    frame, body = render(gl, [], [], KGN_CAMERA, away)
    assert (body == -1).all()
    assert np.isnan(frame.depth).all()
    assert (frame.color == 255).all()
