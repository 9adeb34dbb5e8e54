# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What a scene is: resting objects, one camera, several views. Plain values, no renderer.

World frame: z up, the table top is the plane z = 0. Cameras are OpenCV's: x right, y down, z
forward.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.exceptions import DatasetError, KGNProError
from kgnpro_ros.geometry import Camera
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.types import check_transform

FloatArray = NDArray[np.float64]

#: KGN's intrinsics ("realsense"); its principal point counts from the corner of the pixel.
KGN_CAMERA = Camera(616.36529541, 616.20294189, 310.25881958 - 0.5, 236.59980774 - 0.5, 640, 480)


@dataclass(frozen=True)
class SceneObject:
    """One object at rest.

    Attributes:
        shape: Its geometry.
        T_world_object: Its pose, shape (4, 4).
        graspable: False for a distractor, which gets no grasps but is in their way.
    """

    shape: Shape
    T_world_object: FloatArray
    graspable: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        pose = self.T_world_object.tolist()
        return {**self.shape.to_dict(), "T_world_object": pose, "graspable": self.graspable}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SceneObject:
        """Read what :meth:`to_dict` wrote."""
        pose = check_transform(data["T_world_object"], "T_world_object")
        return cls(Shape.from_dict(dict(data)), pose, bool(data.get("graspable", True)))


@dataclass(frozen=True)
class Scene:
    """A scene and the views of it.

    Attributes:
        scene_id: Name of the scene, unique in its data set.
        objects: What stands on the table; instance ids of masks are the index here + 1.
        camera: Intrinsics of all views.
        T_world_camera: Camera poses, shape (V, 4, 4).
    """

    scene_id: str
    objects: tuple[SceneObject, ...]
    camera: Camera
    T_world_camera: FloatArray

    def __post_init__(self) -> None:
        # Results are stored under this name: it must not lead into another folder.
        if not re.fullmatch(r"\w[\w.-]{0,99}", self.scene_id, re.ASCII):
            raise DatasetError(f"scene_id is {self.scene_id!r}; expected letters, digits, . _ -")

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "scene_id": self.scene_id,
            "camera": self.camera.to_dict(),
            "T_world_camera": self.T_world_camera.tolist(),
            "objects": [item.to_dict() for item in self.objects],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str) -> Scene:
        """Read what :meth:`to_dict` wrote.

        Raises:
            DatasetError: If something is missing or wrong; ``source`` is named in the message.
        """
        try:
            objects = tuple(SceneObject.from_dict(item) for item in data["objects"])
            poses = check_transform(data["T_world_camera"], "T_world_camera")
            return cls(str(data["scene_id"]), objects, Camera.from_dict(data["camera"]), poses)
        except (KeyError, TypeError, ValueError, KGNProError) as error:
            raise DatasetError(f"{source} is no scene: {type(error).__name__}: {error}") from error


def look_at(
    position: FloatArray, target: FloatArray, roll: float = 0.0, yaw_hint: float = 0.0
) -> FloatArray:
    """Pose of a camera at a position that looks at a target, image-up towards world-up.

    Args:
        position: Camera centre [m], shape (3,).
        target: Point on the optical axis [m], shape (3,).
        roll: Turn about the optical axis [rad].
        yaw_hint: Longitude [rad] that decides image-up for a camera straight above its target.

    Returns:
        ``T_world_camera`` with OpenCV axes, shape (4, 4).
    """
    z = (target - position) / np.linalg.norm(target - position)
    x = np.cross(z, (0.0, 0.0, 1.0))
    if np.linalg.norm(x) < 1e-9:
        x = np.array([np.cos(yaw_hint), np.sin(yaw_hint), 0.0])
    x = x / np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(roll), np.sin(roll)
    return make_transform(np.stack([c * x + s * y, c * y - s * x, z], axis=-1), position)


def sphere_position(radius: float, latitude: float, longitude: float) -> FloatArray:
    """Point [m] on KGN's camera sphere about the world origin (angles in rad)."""
    return radius * np.array(
        [
            -np.sin(longitude) * np.cos(latitude),
            np.cos(longitude) * np.cos(latitude),
            np.sin(latitude),
        ]
    )


def kgn_camera_poses(rng: np.random.Generator, views: int) -> FloatArray:
    """KGN's views: 0.6 to 1.0 m, 30 to 90 degrees above the table, looking at the origin."""
    poses = np.empty((views, 4, 4))
    for index in range(views):
        radius = rng.uniform(0.6, 1.0)
        latitude, longitude = rng.uniform(np.pi / 6, np.pi / 2), rng.uniform(0, 2 * np.pi)
        poses[index] = look_at(
            sphere_position(radius, latitude, longitude), np.zeros(3), yaw_hint=longitude + np.pi
        )
    return poses
