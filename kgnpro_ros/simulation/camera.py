# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the camera of a pick world is, and what its sensor makes of a perfect picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import WorldConfig
from kgnpro_ros.data.look import Look, kgn_look
from kgnpro_ros.data.mujoco_model import Surface, Table
from kgnpro_ros.data.random_look import random_look, random_table
from kgnpro_ros.data.render import Frame, Light
from kgnpro_ros.data.scene import look_at
from kgnpro_ros.data.sensor import DepthSensor, sense_depth
from kgnpro_ros.geometry import Camera
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.types import RGBDImage

FloatArray = NDArray[np.float64]

#: Half sizes of a table that carries the arm, the scene and the box [m].
_TABLE = (0.85, 0.8, 0.02)
#: What a fixed camera looks at [m].
_TARGET = np.array([0.0, 0.0, 0.02])


def fixed_camera_pose(config: WorldConfig) -> FloatArray:
    """``T_world_camera`` of the camera beside the table, shape (4, 4)."""
    angle, azimuth = np.radians(config.camera_angle), np.radians(config.camera_azimuth)
    level = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    offset = np.cos(angle) * level + (0.0, 0.0, np.sin(angle))
    # Straight above, its picture is the right way up for someone who stands at the azimuth.
    return look_at(_TARGET + config.camera_distance * offset, _TARGET, 0.0, azimuth + np.pi / 2)


def wrist_camera_pose(config: WorldConfig) -> FloatArray:
    """``T_hand_camera`` of the camera on the hand, shape (4, 4): it looks where the hand points.

    Its picture is upright when the hand reaches forward and down.
    """
    right, down = np.array([0.0, 1.0, 0.0]), np.array([-1.0, 0.0, 0.0])
    rotation = np.stack([right, down, np.cross(right, down)], axis=-1)
    return make_transform(rotation, config.wrist_offset)


def world_look(
    rng: np.random.Generator, config: WorldConfig, objects: int, T_world_camera: FloatArray
) -> Look:
    """Appearance of a world: KGN's or a random one, with a table that carries the arm."""
    if config.look == "random":
        table = random_table(rng)
        x, y, z = np.maximum(table.half_size, _TABLE)
        table = replace(table, half_size=(float(x), float(y), float(z)))
        return random_look(rng, objects, table, T_world_camera[None])
    look = kgn_look(rng, objects, T_world_camera[None])
    return replace(look, table=Table(_TABLE, Surface((0.5, 0.5, 0.5))))


def lights_at(look: Look, T_world_camera: FloatArray, kgn: bool) -> tuple[Light, ...]:
    """The lights of a look; KGN's is a lamp at the camera, wherever that is now."""
    lights = look.lights[0]
    if not kgn:
        return lights
    pose = T_world_camera
    return tuple(replace(light, position=pose[:3, 3], direction=pose[:3, 2]) for light in lights)


def sense(frame: Frame, camera: Camera, rng: np.random.Generator, *, noise: bool) -> RGBDImage:
    """The image that an RGB-D camera gives of a rendered frame."""
    depth = frame.depth
    if noise:
        depth = sense_depth(depth, camera, DepthSensor(), rng)
    return RGBDImage(frame.color, depth.astype(np.float32, copy=False), camera)
