# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Ground-truth grasps of a scene, with collision flags. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.collision import colliding as collision_flags
from kgnpro_ros.data.grasp_families import object_grasps
from kgnpro_ros.data.scene import SceneObject

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class GraspLabels:
    """All grasps of one scene, object by object.

    Attributes:
        T_world_grasp: Poses, shape (N, 4, 4).
        widths: Jaw openings [m], shape (N,).
        object_index: Target of each grasp: index into the objects of the scene, int64, (N,).
        class_index: Class of the target: index into ``shapes.CLASSES``, int64, (N,).
        colliding: The gripper would hit the table or another object, bool, (N,).
    """

    T_world_grasp: FloatArray
    widths: FloatArray
    object_index: NDArray[np.int64]
    class_index: NDArray[np.int64]
    colliding: NDArray[np.bool_]

    def select(self, keep: NDArray[np.bool_]) -> GraspLabels:
        """The grasps where ``keep`` (N,) is true."""
        return GraspLabels(
            self.T_world_grasp[keep],
            self.widths[keep],
            self.object_index[keep],
            self.class_index[keep],
            self.colliding[keep],
        )

    @property
    def free(self) -> GraspLabels:
        """The grasps that do not collide."""
        return self.select(~self.colliding)


def grasp_labels(
    objects: Sequence[SceneObject],
    rotation_samples: int,
    translation_samples: int,
    *,
    distinct: bool = False,
    colliding: NDArray[np.bool_] | None = None,
) -> GraspLabels:
    """Sample the grasp families of all graspable objects.

    Args:
        objects: The objects of one scene.
        rotation_samples: See :func:`kgnpro_ros.data.grasp_families.object_grasps`.
        translation_samples: See there.
        distinct: See there.
        colliding: Flags that an earlier call with the same arguments returned; computed if None.
    """
    poses, widths, owner, classes = [np.empty((0, 4, 4))], [np.empty(0)], [], []
    for index, item in enumerate(objects):
        if not item.graspable:
            continue
        grasps = object_grasps(item.shape, rotation_samples, translation_samples, distinct=distinct)
        poses.append(item.T_world_object @ grasps.T_object_grasp)
        widths.append(grasps.widths)
        owner += [index] * len(grasps.widths)
        classes += [item.shape.class_index] * len(grasps.widths)
    T_world_grasp, opening = np.concatenate(poses), np.concatenate(widths)
    object_index = np.asarray(owner, dtype=np.int64)
    if colliding is None:
        colliding = collision_flags(
            T_world_grasp,
            opening,
            object_index,
            [item.shape for item in objects],
            np.array([item.T_world_object for item in objects]).reshape(-1, 4, 4),
        )
    return GraspLabels(
        T_world_grasp, opening, object_index, np.asarray(classes, dtype=np.int64), colliding
    )
