# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Composes one scene from its seed: draws objects, settles them, chooses cameras, renders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import SceneConfig
from kgnpro_ros.data.look import Look, kgn_look
from kgnpro_ros.data.mujoco_model import Surface, Table, build_model
from kgnpro_ros.data.placement import Spread, place_objects, set_pose
from kgnpro_ros.data.random_look import (
    random_camera,
    random_camera_poses,
    random_look,
    random_table,
)
from kgnpro_ros.data.render import Frame, Renderer
from kgnpro_ros.data.scene import KGN_CAMERA, Scene, SceneObject, kgn_camera_poses
from kgnpro_ros.data.sensor import random_sensor, sense_color, sense_depth
from kgnpro_ros.data.shape_sampling import sample_household_shape, sample_obstacle, sample_shape
from kgnpro_ros.data.shapes import CLASSES, Shape
from kgnpro_ros.exceptions import DatasetError

FloatArray = NDArray[np.float64]
MAX_RANDOM_OBJECTS = 8


@dataclass(frozen=True)
class _Item:
    """A shape to place."""

    shape: Shape
    spread: Spread
    graspable: bool = True


def make_scene(
    config: SceneConfig, seed: int, index: int, gl: Any
) -> tuple[Scene, list[Frame], list[NDArray[np.uint8]]]:
    """Make and render one scene.

    Args:
        config: What to make.
        seed: Seed of the data set.
        index: Number of the scene.
        gl: Context of :func:`kgnpro_ros.data.render.make_gl_context`.

    Returns:
        The scene, a frame for each view, and the instance mask of each.
    """
    rng = np.random.default_rng([seed, index])
    name = f"{index:05d}"
    if config.look == "kgn":
        objects = _settled(rng, lambda: _kgn_items(rng, config))
        poses = kgn_camera_poses(rng, config.views)
        scene = Scene(name, objects, KGN_CAMERA, poses)
        look = kgn_look(rng, len(objects), poses)
    else:
        table = random_table(rng)
        objects = _settled(rng, lambda: _random_items(rng, config, table))
        poses = random_camera_poses(rng, config.views, *_bounds(objects))
        scene = Scene(name, objects, random_camera(rng), poses)
        look = random_look(rng, len(objects), table, poses)
    frames, masks = render_scene(scene, look, gl)
    return scene, _sensed(rng, config, scene, frames), masks


def _sensed(
    rng: np.random.Generator, config: SceneConfig, scene: Scene, frames: list[Frame]
) -> list[Frame]:
    """The frames as a real camera would give them, where the configuration asks for it."""
    if config.look == "random":
        frames = [replace(frame, color=sense_color(frame.color, rng)) for frame in frames]
    if not config.depth_noise:
        return frames
    sensor = random_sensor(rng)
    middle = np.mean([item.T_world_object[:3, 3] for item in scene.objects], axis=0)
    result = []
    for frame, pose in zip(frames, scene.T_world_camera, strict=True):
        # A range that ends before the objects would only make unlearnable images.
        far = max(sensor.far, float(np.linalg.norm(pose[:3, 3] - middle)) + 0.15)
        depth = sense_depth(frame.depth, scene.camera, replace(sensor, far=far), rng)
        result.append(replace(frame, depth=depth))
    return result


def render_scene(scene: Scene, look: Look, gl: Any) -> tuple[list[Frame], list[NDArray[np.uint8]]]:
    """Render all views; returns frames and instance masks (0 background, k + 1 = object k)."""
    shapes = [item.shape for item in scene.objects]
    model = build_model(
        shapes, look.surfaces, look.table, look.background, look.props, physics=False
    )
    with Renderer(model, gl) as renderer:
        for number, item in enumerate(scene.objects):
            set_pose(model, renderer.data, number, item.T_world_object)
        mujoco.mj_kinematics(model, renderer.data)
        frames = [
            renderer.render(scene.camera, pose, lights, look.gamma)
            for pose, lights in zip(scene.T_world_camera, look.lights, strict=True)
        ]
    instance = _instance_of_geom(model)
    return frames, [instance[frame.geom] for frame in frames]


def _kgn_items(rng: np.random.Generator, config: SceneConfig) -> list[_Item]:
    """One object of a random class, or one of each class in random order."""
    allowed = _class_numbers(config)
    kinds = [kind for kind in rng.permutation(len(CLASSES)).tolist() if kind in allowed]
    if config.mode == "single":
        kinds = kinds[:1]
    return [_Item(sample_shape(rng, CLASSES[kind]), Spread()) for kind in kinds]


def _class_numbers(config: SceneConfig) -> list[int]:
    """Indices of the classes to draw from."""
    names = [name.strip() for name in config.classes.split(",") if name.strip()]
    unknown = [name for name in names if name not in CLASSES]
    if unknown:
        raise DatasetError(f"no class {', '.join(unknown)}; there are {', '.join(CLASSES)}")
    return [number for number, name in enumerate(CLASSES) if not names or name in names]


def _random_items(rng: np.random.Generator, config: SceneConfig, table: Table) -> list[_Item]:
    """One to eight things of random classes, and at times something large beside them."""
    count = 1 if config.mode == "single" else int(rng.integers(1, MAX_RANDOM_OBJECTS + 1))
    limit = min(table.half_size[:2]) - 0.05
    spread = Spread(float(rng.uniform(0.05, 0.12)), limit)
    allowed = _class_numbers(config)
    items = [
        _Item(sample_household_shape(rng, CLASSES[int(kind)]), spread)
        for kind in np.asarray(allowed)[rng.integers(0, len(allowed), count)]
    ]
    obstacles = int(rng.choice([0, 1, 2], p=[0.6, 0.25, 0.15]))
    away = Spread(0.25, limit, hole=min(0.22, 0.8 * limit))
    return items + [_Item(sample_obstacle(rng), away, graspable=False) for _ in range(obstacles)]


def _settled(rng: np.random.Generator, draw: Callable[[], list[_Item]]) -> tuple[SceneObject, ...]:
    """Draw items until at least one graspable one rests."""
    while True:
        items = draw()
        shapes = [item.shape for item in items]
        grey = Surface((0.5, 0.5, 0.5))
        model = build_model(shapes, [grey] * len(shapes), Table())
        placed = place_objects(rng, model, shapes, [item.spread for item in items])
        if any(items[number].graspable for number in placed):
            return tuple(
                SceneObject(items[number].shape, placed[number], items[number].graspable)
                for number in sorted(placed)
            )


def _bounds(objects: Sequence[SceneObject]) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Centres [m] (M, 3) and radii [m] (M,) of bounding spheres, and which are obstacles (M,)."""
    centers = np.array([item.T_world_object[:3, 3] for item in objects])
    radii = [np.hypot(item.shape.outer_radius, item.shape.height / 2) for item in objects]
    return centers, np.array(radii), np.array([not item.graspable for item in objects])


def _instance_of_geom(model: mujoco.MjModel) -> NDArray[np.uint8]:
    """Instance id of each geom, with one more entry at the end for index -1 (nothing)."""
    instance = np.zeros(model.ngeom + 1, np.uint8)
    for geom in range(model.ngeom):
        name = model.body(model.geom_bodyid[geom]).name
        if name.startswith("object_"):
            instance[geom] = int(name.removeprefix("object_")) + 1
    return instance
