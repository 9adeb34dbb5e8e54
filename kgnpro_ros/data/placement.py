# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Places shapes on the table without overlap and lets physics bring them to rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from kgnpro_ros.data.mujoco_model import object_name
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.geometry.se3 import make_transform

FloatArray = NDArray[np.float64]

#: Tries per object before it is left out, as in KGN.
TRIES = 20
#: Gap under a placed object [m] that physics closes.
_DROP = 2e-4
#: Simulated time [s], and what counts as rest: speed [m/s, rad/s] and drift from the start [m].
_SETTLE_TIME, _REST_SPEED, _MAX_DRIFT = 0.4, 0.02, 0.02


def stable_rotation(rng: np.random.Generator, shape: Shape) -> tuple[FloatArray, float]:
    """Draw a resting orientation: the face that the centre of mass falls through at random.

    The probability of a face is its solid angle seen from the centre of mass (trimesh's rule
    without perturbation). Spheres and bowls stand upright.

    Returns:
        ``R_world_object`` (3, 3) and the height of the object's origin above the table [m].
    """
    if shape.kind in ("sphere", "semi_sphere"):
        return np.eye(3), shape.dimensions[0]
    if shape.kind == "cuboid":
        return _cuboid_rotation(rng, shape)
    half = shape.height / 2
    if shape.taper < 1.0 or shape.handle:
        return np.eye(3), half
    lying = np.cos(np.arctan2(shape.outer_radius, half))
    draw = rng.uniform()
    # A cup seldom lies and seldom stands on its head, whatever its faces say.
    if shape.closure == "base":
        lying *= 0.3
    if draw >= lying:
        flip = rng.uniform() < (0.1 if shape.closure == "base" else 0.5)
        return np.diag([1.0, -1.0, -1.0]) if flip else np.eye(3), half
    # Object x points up and z lies level; all but the stick are then turned about their axis.
    roll = 0.0 if shape.kind == "stick" else rng.uniform(0, 2 * np.pi)
    upright = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    return upright @ Rotation.from_rotvec([0, 0, roll]).as_matrix(), shape.outer_radius


def _cuboid_rotation(rng: np.random.Generator, shape: Shape) -> tuple[FloatArray, float]:
    half = np.asarray(shape.dimensions) / 2
    weights = []
    for axis in range(3):
        a, b = np.delete(half, axis)
        c = half[axis]
        weights.append(np.arctan2(a * b, c * np.sqrt(a * a + b * b + c * c)))
    axis = int(rng.choice(3, p=np.asarray(weights) / np.sum(weights)))
    sign = 1.0 if rng.uniform() < 0.5 else -1.0
    up = np.zeros(3)
    up[axis] = sign
    first = np.zeros(3)
    first[(axis + 1) % 3] = 1.0
    return np.stack([first, np.cross(up, first), up]), float(half[axis])


@dataclass(frozen=True)
class Spread:
    """Where an object may be placed.

    Attributes:
        sigma: Standard deviation of x and y [m].
        limit: Largest |x| and |y| [m].
        hole: Least distance from the world origin [m].
    """

    sigma: float = 0.0625
    limit: float = 0.5
    hole: float = 0.0


def random_pose(rng: np.random.Generator, shape: Shape, spread: Spread) -> FloatArray:
    """A resting pose: stable orientation, any yaw, Gaussian place, ``T_world_object`` (4, 4)."""
    rotation, height = stable_rotation(rng, shape)
    yaw = Rotation.from_rotvec([0, 0, rng.uniform(0, 2 * np.pi)]).as_matrix()
    while True:
        xy = rng.normal(0.0, spread.sigma, 2)
        if np.abs(xy).max() < spread.limit and np.hypot(*xy) >= spread.hole:
            return make_transform(yaw @ rotation, (*xy, height))


def place_objects(
    rng: np.random.Generator,
    model: mujoco.MjModel,
    shapes: Sequence[Shape],
    spreads: Sequence[Spread],
) -> dict[int, FloatArray]:
    """Place and settle the objects of a model.

    Args:
        rng: Source of every draw.
        model: From :func:`kgnpro_ros.data.mujoco_model.build_model`, with physics.
        shapes: The shapes that it was built from.
        spreads: Where each of them may be.

    Returns:
        ``T_world_object`` by index; an object for which no free place was found is absent, one
        that did not come to rest nearby too.
    """
    data = mujoco.MjData(model)
    placed: dict[int, FloatArray] = {}
    for index, (shape, spread) in enumerate(zip(shapes, spreads, strict=True)):
        for _ in range(TRIES):
            pose = random_pose(rng, shape, spread)
            set_pose(model, data, index, pose)
            if not _touches(model, data, index):
                placed[index] = pose
                break
        else:
            _park(model, data, index)
    return _settle(model, data, shapes, placed)


def _address(model: mujoco.MjModel, index: int) -> tuple[int, int]:
    joint = model.body(object_name(index)).jntadr[0]
    return int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint])


def set_pose(
    model: mujoco.MjModel, data: mujoco.MjData, index: int, pose: FloatArray, lift: float = 0.0
) -> None:
    """Put object ``index`` at ``T_world_object`` (4, 4), raised by ``lift`` [m]."""
    start = _address(model, index)[0]
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
    data.qpos[start : start + 3] = pose[:3, 3] + (0.0, 0.0, lift)
    data.qpos[start + 3 : start + 7] = (w, x, y, z)


def _park(model: mujoco.MjModel, data: mujoco.MjData, index: int) -> None:
    """Move an object far away, above the endless table plane and clear of other parked ones."""
    set_pose(model, data, index, make_transform(np.eye(3), (10.0 + index, 0.0, 1.0)))


def _touches(model: mujoco.MjModel, data: mujoco.MjData, index: int) -> bool:
    """Whether an object touches or overlaps another one."""
    body = model.body(object_name(index)).id
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_collision(model, data)
    bodies = model.geom_bodyid[data.contact.geom]
    return bool(((bodies == body).any(axis=1) & (bodies != 0).all(axis=1)).any())


def _settle(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    shapes: Sequence[Shape],
    placed: dict[int, FloatArray],
) -> dict[int, FloatArray]:
    for index, pose in placed.items():
        set_pose(model, data, index, pose, _DROP)
    data.qvel[:] = 0
    for _ in range(round(_SETTLE_TIME / model.opt.timestep)):
        mujoco.mj_step(model, data)
    result = {}
    for index, start in placed.items():
        position, dof = _address(model, index)
        speed = np.abs(data.qvel[dof : dof + 6]).max()
        w, x, y, z = data.qpos[position + 3 : position + 7]
        pose = make_transform(
            Rotation.from_quat([x, y, z, w]).as_matrix(), data.qpos[position : position + 3]
        )
        drift = np.linalg.norm(pose[:3, 3] - start[:3, 3])
        if speed < _REST_SPEED and drift < _MAX_DRIFT:
            result[index] = _stick_upwards(pose) if shapes[index].kind == "stick" else pose
    return result


def _stick_upwards(pose: FloatArray) -> FloatArray:
    """Turn a lying stick about its own axis until its x points up.

    The turn changes nothing that can be seen, but side grasps are sampled from there, and only
    those that come nearly straight down are free of the table.
    """
    axis = pose[:3, 2]
    if abs(axis[2]) >= 0.1:
        return pose
    x = np.array([0.0, 0.0, 1.0]) - axis[2] * axis
    x /= np.linalg.norm(x)
    return make_transform(np.stack([x, np.cross(axis, x), axis], axis=-1), pose[:3, 3])
