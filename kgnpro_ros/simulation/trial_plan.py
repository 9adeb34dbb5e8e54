# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Which trials the physical experiment consists of: objects, places, cameras, seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from kgnpro_ros.config import TrialConfig
from kgnpro_ros.data.mujoco_model import WHITE, Table, build_model
from kgnpro_ros.data.placement import Spread, place_objects
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.simulation.layout import LIMIT, PlacedObject
from kgnpro_ros.simulation.trial_objects import TRIAL_CLASSES, draw_object, fits_hand

FloatArray = NDArray[np.float64]

#: Streams of random numbers: one experiment does not change the objects of the other.
_SINGLE, _MULTI = 71, 72


@dataclass(frozen=True)
class Trial:
    """One run: an object to pick once, or a scene to clear.

    Attributes:
        key: Its name, and that of its result file.
        kind: ``single`` or ``multi``.
        group: Row of the table: a class, or a camera angle.
        camera_angle: Above the table [deg].
        seed: Of the world: noise, look.
        max_attempts: Most grasps.
        objects: What stands where.
        classes: Class of each object.
    """

    key: str
    kind: Literal["single", "multi"]
    group: str
    camera_angle: float
    seed: int
    max_attempts: int
    objects: tuple[PlacedObject, ...]
    classes: tuple[str, ...]


def plan_trials(config: TrialConfig, *, quick: bool = False) -> list[Trial]:
    """All trials of the experiment, or a few of each row.

    Args:
        config: Numbers and seed.
        quick: One object of each class from two sides, and one scene per camera angle: some of the
            full list, so that a full run goes on from a quick one.
    """
    trials = [trial for name in TRIAL_CLASSES for trial in _single_trials(config, name)]
    scenes = [_draw_scene(config, number) for number in range(config.placements)]
    for angle in config.camera_angles:
        trials += [
            Trial(
                f"multi_{angle:g}deg_{number:02d}", "multi", f"{angle:g}", angle,
                _seed(config, _MULTI, number), config.max_attempts, objects, TRIAL_CLASSES,
            )
            for number, objects in enumerate(scenes)
        ]  # fmt: skip
    if quick:
        trials = [trial for trial in trials if _in_quick(trial)]
    return trials


def _in_quick(trial: Trial) -> bool:
    parts = trial.key.split("_")
    if trial.kind == "multi":
        return parts[-1] == "00"
    return parts[-2] == "0" and parts[-1] in ("0", "1")


def _seed(config: TrialConfig, stream: int, *numbers: int) -> int:
    """A seed of its own for everything that is numbered."""
    return int(np.random.SeedSequence([config.seed, stream, *numbers]).generate_state(1)[0] >> 1)


def _single_trials(config: TrialConfig, name: str) -> list[Trial]:
    """Every object of a class from every side."""
    number = TRIAL_CLASSES.index(name)
    trials = []
    for index in range(config.objects):
        rng = np.random.default_rng([config.seed, _SINGLE, number, index])
        shape, rest = draw_object(rng, name, index)
        start = rng.uniform(0.0, 2 * np.pi)
        for side in range(config.yaws):
            x, y = rng.uniform(-config.single_spread, config.single_spread, 2)
            yaw = start + 2 * np.pi * side / config.yaws
            pose = make_transform(Rotation.from_rotvec([0, 0, yaw]).as_matrix(), (x, y, 0)) @ rest
            trials.append(
                Trial(
                    f"single_{name}_{index}_{side}", "single", name, config.single_angle,
                    _seed(config, _SINGLE, number, index, side), 1,
                    (PlacedObject(shape, pose),), (name,),
                )
            )  # fmt: skip
    return trials


def _draw_scene(config: TrialConfig, number: int) -> tuple[PlacedObject, ...]:
    """One object of each class, at rest and apart, as the scene generator places them."""
    rng = np.random.default_rng([config.seed, _MULTI, number])
    while True:
        shapes = [draw_object(rng, name, number)[0] for name in TRIAL_CLASSES]
        poses = _place(rng, shapes, config.world.spread)
        if poses is not None:
            return tuple(
                PlacedObject(shape, pose) for shape, pose in zip(shapes, poses, strict=True)
            )


def _place(rng: np.random.Generator, shapes: list[Shape], sigma: float) -> list[FloatArray] | None:
    """Places of all, in poses that the hand can take; None where one finds none."""
    model = build_model(shapes, [WHITE] * len(shapes), Table())
    placed = place_objects(rng, model, shapes, [Spread(sigma, LIMIT)] * len(shapes))
    if len(placed) < len(shapes):
        return None
    poses = [placed[index] for index in range(len(shapes))]
    fit = all(fits_hand(shape, pose[:3, :3]) for shape, pose in zip(shapes, poses, strict=True))
    return poses if fit and not _nested(shapes, poses) else None


def _nested(shapes: list[Shape], poses: list[FloatArray]) -> bool:
    """Whether a thing stands inside a hollow one."""
    places = np.array([pose[:2, 3] for pose in poses])
    apart = np.linalg.norm(places[:, None] - places, axis=-1) + np.diag(np.full(len(places), 1e3))
    hollow = np.array([shape.inner_radius for shape in shapes])
    return bool((apart < hollow).any())
