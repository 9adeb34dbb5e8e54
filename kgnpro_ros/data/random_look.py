# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The randomised look: surfaces, tables, rooms, lights, cameras that real frames fall among."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.look import Look
from kgnpro_ros.data.mujoco_model import Prop, Surface, Table
from kgnpro_ros.data.render import Light
from kgnpro_ros.data.scene import look_at, sphere_position
from kgnpro_ros.data.textures import (
    ground_texture,
    object_texture,
    printed,
    random_color,
    room_texture,
)
from kgnpro_ros.geometry import Camera

FloatArray = NDArray[np.float64]
RGB = tuple[float, float, float]

#: Height of the floor [m].
FLOOR = -0.75


def _rgb(color: FloatArray) -> RGB:
    return float(color[0]), float(color[1]), float(color[2])


def random_camera(rng: np.random.Generator) -> Camera:
    """A 640x480 camera with the field of view of common RGB-D cameras (54 to 65 degrees)."""
    fx = float(rng.uniform(500, 640))
    fy = fx * float(rng.uniform(0.995, 1.005))
    cx, cy = 319.5 + float(rng.normal(0, 6)), 239.5 + float(rng.normal(0, 6))
    return Camera(fx, fy, cx, cy, 640, 480)


def random_camera_poses(
    rng: np.random.Generator,
    views: int,
    centers: FloatArray,
    radii: FloatArray,
    obstacle: NDArray[np.bool_],
) -> FloatArray:
    """Views from 15 to 90 degrees and 0.35 to 1.0 m, with roll, not quite at the objects' middle.

    Cameras keep 0.1 m off every object, and obstacles out of the middle of the picture.

    Args:
        rng: Source of every draw.
        views: How many.
        centers: Places of the objects [m], shape (M, 3).
        radii: Radii of their bounding spheres [m], shape (M,).
        obstacle: Which of them are not looked at, shape (M,).

    Returns:
        ``T_world_camera``, shape (views, 4, 4).
    """
    poses = np.empty((views, 4, 4))
    middle = centers[~obstacle].mean(axis=0) * (1.0, 1.0, 0.0)
    for index in range(views):
        while True:
            target = middle + np.append(rng.normal(0, 0.05, 2), rng.uniform(0, 0.08))
            latitude, longitude = np.radians(rng.uniform(15, 90)), rng.uniform(0, 2 * np.pi)
            position = target + sphere_position(rng.uniform(0.35, 1.0), latitude, longitude)
            ray = (target - position) / np.linalg.norm(target - position)
            offset = centers - position
            along = np.clip(offset @ ray, 0.0, np.linalg.norm(target - position))
            miss = np.linalg.norm(offset - along[:, None] * ray, axis=1)
            far_enough = np.linalg.norm(offset, axis=1) > radii + 0.1
            if far_enough.all() and (miss > 0.8 * radii)[obstacle].all():
                break
        roll = float(rng.normal(0, np.radians(4)))
        poses[index] = look_at(position, target, roll, longitude + np.pi)
    return poses


def _surface(rng: np.random.Generator) -> Surface:
    texture = object_texture(rng)
    # A texture carries the colour; paint it over only sometimes.
    tinted = texture is None or rng.uniform() < 0.3
    rgb = _rgb(random_color(rng)) if tinted else (1.0, 1.0, 1.0)
    specular = float(rng.choice([0.0, rng.uniform(0, 0.9)]))
    return Surface(rgb, texture, specular, float(rng.uniform(0.1, 1.0)))


def random_table(rng: np.random.Generator) -> Table:
    """A table of 0.7 to 2.4 m."""
    texture = ground_texture(rng)
    rgb = _rgb(random_color(rng)) if texture is None or rng.uniform() < 0.25 else (1.0, 1.0, 1.0)
    surface = Surface(rgb, texture, float(rng.choice([0.0, 0.3])), float(rng.uniform(0, 0.8)))
    x, y = rng.uniform(0.35, 1.2, 2)
    return Table((float(x), float(y), 0.02), surface)


def _props(rng: np.random.Generator, table: Table) -> tuple[Prop, ...]:
    """Floor, papers and seams on the table, furniture behind it."""
    floor = Surface(_rgb(random_color(rng) * 0.7), ground_texture(rng, 256))
    props = [Prop((0.0, 0.0, FLOOR - 0.01), (4.0, 4.0, 0.01), 0.0, floor)]
    half = np.array(table.half_size[:2])
    for _ in range(int(rng.choice([0, 0, 1, 2, 3]))):
        size = rng.uniform(0.01, 0.15, 2)
        xy = rng.uniform(-1, 1, 2) * np.minimum(half - 0.15, 0.5)
        thin = float(rng.uniform(0.0002, 0.0015))
        print_ = printed(rng, 96) if rng.uniform() < 0.6 else None
        surface = Surface(
            (1.0, 1.0, 1.0) if print_ is not None else _rgb(random_color(rng)), print_
        )
        place = (float(xy[0]), float(xy[1]), thin)
        half_size = (float(size[0]), float(size[1]), thin)
        props.append(Prop(place, half_size, float(rng.uniform(0, np.pi)), surface))
    if rng.uniform() < 0.25:
        offset, dark = float(rng.uniform(-0.3, 0.3)), Surface((0.08, 0.06, 0.05))
        line = (0.0015 + float(rng.uniform(0, 0.003)), table.half_size[1], 0.0002)
        props.append(Prop((offset, 0.0, 0.0002), line, 0.0, dark))
    for _ in range(int(rng.integers(0, 5))):
        size = rng.uniform(0.05, 0.6, 3)
        angle = rng.uniform(0, 2 * np.pi)
        distance = np.hypot(*half) + np.hypot(size[0], size[1]) + rng.uniform(0, 0.7)
        x, y = float(distance * np.cos(angle)), float(distance * np.sin(angle))
        height = (float(size[0]), float(size[1]), float(size[2]))
        props.append(
            Prop((x, y, FLOOR + height[2]), height, float(rng.uniform(0, np.pi)), _surface(rng))
        )
    return tuple(props)


def _lights(rng: np.random.Generator, T_world_camera: FloatArray) -> tuple[tuple[Light, ...], ...]:
    """One to three lights that all views share, and at times one at the camera; coloured a bit."""
    shared = []
    count = int(rng.integers(1, 4))
    # Its own light: MuJoCo leaves out the ambient part of a light where that light is shadowed.
    down: FloatArray = np.array([0.0, 0.0, -1.0])
    ambient = float(rng.uniform(0.2, 0.6))
    shared.append(
        Light(-2.0 * down, down, (0.0, 0.0, 0.0), ambient=(ambient,) * 3, directional=True)
    )
    for number in range(count):
        angle, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(25, 90))
        position = sphere_position(2.0, elevation, angle) + rng.normal(0, 0.2, 3) * (1, 1, 0)
        level = rng.uniform(0.4, 1.1) / count
        diffuse = _rgb(level * (1 + rng.normal(0, 0.06, 3)))
        shared.append(
            Light(
                position, -position / np.linalg.norm(position), diffuse,
                specular=float(rng.uniform(0, 0.8)),
                directional=True, shadow=number == 0 and rng.uniform() < 0.8,
            )
        )  # fmt: skip
    if rng.uniform() >= 0.25:
        return (tuple(shared),) * len(T_world_camera)
    level = float(rng.uniform(0.2, 0.6))
    return tuple(
        (*shared, Light(pose[:3, 3], pose[:3, 2], (level,) * 3, cutoff=70.0, exponent=2.0))
        for pose in T_world_camera
    )


def random_look(
    rng: np.random.Generator, objects: int, table: Table, T_world_camera: FloatArray
) -> Look:
    """Draw the appearance of a scene."""
    return Look(
        surfaces=tuple(_surface(rng) for _ in range(objects)),
        table=table,
        background=Surface((1.0, 1.0, 1.0), room_texture(rng, 128)),
        lights=_lights(rng, T_world_camera),
        props=_props(rng, table),
        gamma=float(rng.choice([1.0, rng.uniform(1.0, 1.8)])),
    )
