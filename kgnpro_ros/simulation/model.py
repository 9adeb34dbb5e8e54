# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The MuJoCo model of a pick world: table, objects, box, arm."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco

from kgnpro_ros.config import WorldConfig
from kgnpro_ros.data.look import Look
from kgnpro_ros.data.mujoco_model import (
    COLLISION_GROUP,
    DENSITY,
    FRICTION,
    OBJECT_BIT,
    TABLE_BIT,
    VISUAL_GROUP,
    Surface,
    add_material,
    build_spec,
    object_name,
)
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.simulation.meshes import MeshObject
from kgnpro_ros.simulation.panda import add_panda

BIN = "bin"
_WALL = 0.004


def build_world(
    items: Sequence[Shape | MeshObject], look: Look, config: WorldConfig
) -> mujoco.MjModel:
    """Compile the model; item k is the body ``object_k``, shapes come before meshes."""
    shapes = [item for item in items if isinstance(item, Shape)]
    count = len(shapes)
    spec = build_spec(shapes, look.surfaces[:count], look.table, look.background, look.props)
    for index, item in enumerate(items[count:], start=count):
        assert isinstance(item, MeshObject), "shapes come before meshes"
        _add_mesh_object(spec, index, item, look.surfaces[index])
    if min(config.bin_size) > 0:
        _add_bin(spec, config)
    add_panda(spec, config.base_position, config.pad_friction)
    _set_solver(spec, config)
    return spec.compile()


def _set_solver(spec: mujoco.MjSpec, config: WorldConfig) -> None:
    option = spec.option
    option.timestep = config.timestep
    # Implicit in velocity, for the damping of the servos.
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # Elliptic cones and a high ratio of friction to normal impedance keep what is held from
    # creeping out of the fingers; several contacts per pair keep it from turning between them.
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10.0
    option.noslip_iterations = 4
    for flag in ("mjENBL_MULTICCD", "mjENBL_SLEEP"):
        # The first is the default from MuJoCo 4.0 on, the second unknown to old versions: things
        # that lie still cost nothing until something touches them.
        option.enableflags |= int(getattr(mujoco.mjtEnableBit, flag, 0))


def _add_mesh_object(spec: mujoco.MjSpec, index: int, item: MeshObject, surface: Surface) -> None:
    body = spec.worldbody.add_body(name=object_name(index), pos=(10.0 + index, 0, 1))
    body.add_freejoint()
    spec.add_mesh(
        name=f"visual_{index}", uservert=item.vertices.ravel(), userface=item.triangles.ravel(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL, maxhullvert=16,
    )  # fmt: skip
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"visual_{index}", contype=0, conaffinity=0,
        group=VISUAL_GROUP, mass=0.0, material=add_material(spec, f"material_{index}", surface),
    )  # fmt: skip
    for number, part in enumerate(item.parts):
        name = f"piece_{index}_{number}"
        spec.add_mesh(name=name, uservert=part.ravel())
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, contype=OBJECT_BIT | TABLE_BIT,
            conaffinity=OBJECT_BIT, density=DENSITY, condim=6, friction=FRICTION,
            group=COLLISION_GROUP,
        )  # fmt: skip


def _add_bin(spec: mujoco.MjSpec, config: WorldConfig) -> None:
    """Four walls on the table."""
    x, y, z = config.bin_position
    length, breadth, height = (size / 2 for size in config.bin_size)
    material = add_material(spec, BIN, Surface((0.25, 0.35, 0.5)))
    walls = [(sign * (length + _WALL), 0.0, _WALL, breadth + 2 * _WALL) for sign in (-1, 1)] + [
        (0.0, sign * (breadth + _WALL), length + 2 * _WALL, _WALL) for sign in (-1, 1)
    ]
    for number, (dx, dy, half_x, half_y) in enumerate(walls):
        spec.worldbody.add_geom(
            name=f"{BIN}_{number}", type=mujoco.mjtGeom.mjGEOM_BOX, material=material,
            pos=(x + dx, y + dy, z + height), size=(half_x, half_y, height), group=VISUAL_GROUP,
            contype=0, conaffinity=OBJECT_BIT | TABLE_BIT, condim=6, friction=FRICTION,
        )  # fmt: skip
