# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A generated-format data set of boxes on a table, drawn in closed form: small and quick."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kgnpro_ros.data import storage
from kgnpro_ros.data.generate import write_scene
from kgnpro_ros.data.render import Frame
from kgnpro_ros.data.scene import Scene, SceneObject
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.geometry import Camera
from kgnpro_ros.geometry.se3 import invert, make_transform
from support.box_scene import box_scene

#: The training focal length, so that crops are not resized; a narrow image.
CAMERA = Camera(616.3, 616.3, 63.5, 63.5, 128, 128)
BOX = (0.04, 0.03, 0.05)
EYES = ((0.0, -0.3, 0.4), (0.25, 0.1, 0.45))


def write_tiny_dataset(root: Path, scenes: int = 3, objects: bool = True) -> Path:
    """Write scenes of one box, seen from two places; without objects there are no labels."""
    rng = np.random.default_rng(0)
    for index in range(scenes):
        x, y = rng.uniform(-0.01, 0.01, 2)
        lower = (x - BOX[0] / 2, y - BOX[1] / 2, 0.0)
        upper = (x + BOX[0] / 2, y + BOX[1] / 2, BOX[2])
        frames, masks, poses = [], [], []
        for eye in EYES:
            view = box_scene([(lower, upper)] if objects else [], eye=eye, camera=CAMERA)
            poses.append(invert(view.T_camera_world))
            cloud = view.image.camera.point_cloud(view.image.depth)
            height = cloud @ poses[-1][2, :3] + poses[-1][2, 3]
            mask = (height > 1e-3).astype(np.uint8)
            shade = rng.integers(0, 80, (*mask.shape, 3)) + 120 * mask[..., None]
            frames.append(Frame(shade.astype(np.uint8), view.image.depth, mask.astype(np.int32)))
            masks.append(mask)
        placed = SceneObject(Shape("cuboid", BOX), make_transform(np.eye(3), (x, y, BOX[2] / 2)))
        scene = Scene(f"{index:05d}", (placed,) if objects else (), CAMERA, np.array(poses))
        write_scene(storage.scene_folder(root, index), scene, frames, masks)
    manifest = {"format": storage.FORMAT, "version": storage.VERSION, "seed": 0, "mode": "single",
                "views": len(EYES), "scenes": scenes}  # fmt: skip
    storage.write_json(root / "manifest.json", manifest)
    return root
