# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes with ground truth, built in memory, as something to evaluate on."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from kgnpro_ros.data.dataset import Sample
from kgnpro_ros.data.labels import GraspLabels, grasp_labels
from kgnpro_ros.data.scene import SceneObject, look_at, sphere_position
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.geometry import Camera
from kgnpro_ros.geometry.se3 import invert, make_transform
from kgnpro_ros.types import GraspBatch, RGBDImage

CAMERA = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)
VIEWS = 2

#: One of each class, upright on the table; index of the class = index here.
SHAPES = {
    "cuboid": (Shape("cuboid", (0.06, 0.07, 0.08)), 0.04),
    "sphere": (Shape("sphere", (0.04,)), 0.04),
    "semi_sphere": (Shape("semi_sphere", (0.06,)), 0.06),
    "cylinder": (Shape("cylinder", (0.04, 0.09)), 0.045),
    "ring": (Shape("ring", (0.04, 0.02)), 0.01),
    "stick": (Shape("stick", (0.008, 0.09)), 0.045),
}


def scene_object(kind: str, x: float = 0.0, y: float = 0.0) -> SceneObject:
    """An object of a class on the table at (x, y) [m]."""
    shape, height = SHAPES[kind]
    pose = make_transform(Rotation.from_euler("z", 0.3).as_matrix(), (x, y, height))
    return SceneObject(shape, pose)


def grasp_batch(T_camera_grasp: np.ndarray) -> GraspBatch:
    """Grasps of which only the poses matter."""
    n = len(T_camera_grasp)
    zero = np.zeros(n)
    covariance = np.tile(np.eye(6), (n, 1, 1))
    return GraspBatch(
        np.asarray(T_camera_grasp, float), "camera", zero, zero, zero, zero, covariance,
        np.zeros((n, 4, 2)), np.zeros(n, dtype=np.int64),
    )  # fmt: skip


class MemoryScenes:
    """Evaluation data of scenes given as lists of objects; each has two views."""

    def __init__(self, scenes: list[list[SceneObject]]) -> None:
        self.scenes = scenes
        self.label_calls = 0
        self.last: Sample | None = None

    def __len__(self) -> int:
        return VIEWS * len(self.scenes)

    def scene_of(self, index: int) -> int:
        return 10 + index // VIEWS

    def load(self, index: int) -> Sample:
        position = sphere_position(0.8, 1.0, 0.7 * index)
        shape = (CAMERA.height, CAMERA.width)
        image = RGBDImage(np.zeros((*shape, 3), np.uint8), np.ones(shape, np.float32), CAMERA)
        pose = look_at(position, np.zeros(3))
        objects = tuple(self.scenes[index // VIEWS])
        self.last = Sample(
            image, np.zeros(shape, np.uint8), str(index // VIEWS), index % VIEWS, pose, objects
        )
        return self.last

    def grasp_labels(self, index: int, rotations: int, translations: int) -> GraspLabels:
        self.label_calls += 1
        return grasp_labels(self.scenes[index // VIEWS], rotations, translations)


def truth(sample: Sample, rotations: int = 30, translations: int = 10) -> np.ndarray:
    """The free ground-truth grasps of a sample in its camera frame, shape (N, 4, 4)."""
    free = grasp_labels(sample.objects, rotations, translations).free
    return invert(sample.T_world_camera) @ free.T_world_grasp
