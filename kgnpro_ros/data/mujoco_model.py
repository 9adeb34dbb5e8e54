# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A MuJoCo model of shapes on a table, for settling and for rendering.

Geom groups: 0 is what cameras see, 3 what collides. MuJoCo collides a mesh by its convex hull, so a
hollow object collides with other objects by its convex pieces; with the table by the full cylinder
or sphere, which is smooth, so that a lying tube does not rock on facets.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.shapes import Shape

FloatArray = NDArray[np.float64]

#: Collision bits: objects against each other, and objects against the table.
OBJECT_BIT, TABLE_BIT = 1, 2
#: Of objects and table: sliding, torsional [m], rolling [m]; and density [kg/m^3].
FRICTION, DENSITY = (0.8, 0.01, 0.002), 500.0
_SEGMENTS = 16
_GROW = 1.0 / np.cos(np.pi / _SEGMENTS)
VISUAL_GROUP, COLLISION_GROUP = 0, 3


@dataclass(frozen=True)
class Surface:
    """How a surface looks.

    Attributes:
        rgb: Base colour, 0 to 1.
        texture: RGB image that multiplies it, uint8: (H, H, 3) for flat things, (6 H, H, 3), the
            faces of a cube that is shrunk onto the thing, for objects; or None.
        specular, shininess: Highlights, 0 to 1.
        repeat: Repetitions of the texture.
    """

    rgb: tuple[float, float, float]
    texture: NDArray[np.uint8] | None = None
    specular: float = 0.0
    shininess: float = 0.0
    repeat: float = 1.0


WHITE = Surface((1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Table:
    """The table: half sizes [m] of its box and its surface; its top is z = 0."""

    half_size: tuple[float, float, float] = (0.5, 0.5, 0.02)
    surface: Surface = field(default_factory=lambda: Surface((0.5, 0.5, 0.5)))


@dataclass(frozen=True)
class Prop:
    """A fixed box that is only seen: floor, paper on the table, furniture.

    Attributes:
        position, half_size: Centre and half sizes [m], world frame.
        yaw: Turn about z [rad].
        surface: How it looks.
    """

    position: tuple[float, float, float]
    half_size: tuple[float, float, float]
    yaw: float
    surface: Surface


def object_name(index: int) -> str:
    """Name of the body of an object."""
    return f"object_{index}"


def build_model(
    shapes: Sequence[Shape],
    surfaces: Sequence[Surface],
    table: Table,
    background: Surface = WHITE,
    props: Sequence[Prop] = (),
    *,
    physics: bool = True,
) -> mujoco.MjModel:
    """Compile the model; object k is the body :func:`object_name` (k) with a free joint."""
    return build_spec(shapes, surfaces, table, background, props, physics=physics).compile()


def build_spec(
    shapes: Sequence[Shape],
    surfaces: Sequence[Surface],
    table: Table,
    background: Surface = WHITE,
    props: Sequence[Prop] = (),
    *,
    physics: bool = True,
) -> mujoco.MjSpec:
    """As :func:`build_model`, not compiled yet, so that more can be added."""
    spec = _empty_spec(background)
    _add_box(spec, "table", (0.0, 0.0, -table.half_size[2]), table.half_size, 0.0, table.surface)
    spec.worldbody.add_geom(
        name="table_plane", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(0, 0, 1), contype=0,
        conaffinity=TABLE_BIT, group=COLLISION_GROUP, condim=6, friction=FRICTION,
    )  # fmt: skip
    for index, prop in enumerate(props):
        place = prop.position, prop.half_size, prop.yaw
        _add_box(spec, f"prop_{index}", *place, prop.surface)
    for index, (shape, surface) in enumerate(zip(shapes, surfaces, strict=True)):
        body = spec.worldbody.add_body(name=object_name(index), pos=(10.0 + index, 0, 1))
        body.add_freejoint()
        material = add_material(spec, f"material_{index}", surface)
        _add_visual(spec, body, index, shape, material)
        if physics:
            _add_collision(spec, body, index, shape)
        else:
            body.explicitinertial = True
            body.mass, body.inertia = 1.0, (1.0, 1.0, 1.0)
    return spec


def _empty_spec(background: Surface) -> mujoco.MjSpec:
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.002
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 2048
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.visual.quality.numslices, spec.visual.quality.numstacks = 64, 32
    spec.visual.quality.numquads = 16
    spec.visual.headlight.active = 0
    spec.visual.map.shadowclip = 1.2
    spec.stat.extent, spec.stat.center = 1.0, (0.0, 0.0, 0.0)
    sky = background.texture
    if sky is None:
        sky = np.full((48, 8, 3), np.multiply(background.rgb, 255), np.float64).astype(np.uint8)
    _add_texture(spec, "sky", mujoco.mjtTexture.mjTEXTURE_SKYBOX, sky)
    return spec


def _add_texture(
    spec: mujoco.MjSpec, name: str, kind: mujoco.mjtTexture, image: NDArray[np.uint8]
) -> None:
    texture = spec.add_texture(
        name=name, type=kind, width=image.shape[1], height=image.shape[0], nchannel=3
    )
    texture.data = np.ascontiguousarray(image).tobytes()


def add_material(spec: mujoco.MjSpec, name: str, surface: Surface) -> str:
    """Add a surface to a model under a name, and return the name."""
    material = spec.add_material(
        name=name, rgba=(*surface.rgb, 1.0), specular=surface.specular,
        shininess=surface.shininess, texrepeat=(surface.repeat, surface.repeat),
    )  # fmt: skip
    image = surface.texture
    if image is not None:
        flat = image.shape[0] == image.shape[1]
        kind = mujoco.mjtTexture.mjTEXTURE_2D if flat else mujoco.mjtTexture.mjTEXTURE_CUBE
        _add_texture(spec, f"{name}_texture", kind, image)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"{name}_texture"
    return name


def _add_box(
    spec: mujoco.MjSpec,
    name: str,
    position: tuple[float, float, float],
    half_size: tuple[float, float, float],
    yaw: float,
    surface: Surface,
) -> None:
    spec.worldbody.add_geom(
        name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=half_size, pos=position,
        quat=(np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)), contype=0, conaffinity=0,
        material=add_material(spec, name, surface), group=VISUAL_GROUP,
    )  # fmt: skip


def _add_visual(
    spec: mujoco.MjSpec, body: mujoco.MjsBody, index: int, shape: Shape, material: str
) -> None:
    common = {
        "material": material, "contype": 0, "conaffinity": 0, "group": VISUAL_GROUP, "mass": 0.0
    }  # fmt: skip
    if shape.kind == "cuboid":
        half = np.asarray(shape.dimensions) / 2
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=half, **common)
    elif shape.kind == "sphere":
        size = (shape.outer_radius, 0, 0)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=size, **common)
    else:
        vertices, triangles = shape.visual_mesh()
        name = f"visual_{index}"
        spec.add_mesh(
            name=name, uservert=vertices.ravel(), userface=triangles.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL, maxhullvert=16,
        )  # fmt: skip
        # Compilation moves a mesh to its centre of mass; MuJoCo moves the geom back.
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, **common)
    _add_handle(body, shape, common)


def _add_handle(body: mujoco.MjsBody, shape: Shape, common: dict[str, Any]) -> None:
    path = shape.handle_path
    for start, end in itertools.pairwise(path):
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=(*start, *end),
            size=(shape.handle_radius, 0, 0), **common,
        )  # fmt: skip


def _add_collision(spec: mujoco.MjSpec, body: mujoco.MjsBody, index: int, shape: Shape) -> None:
    contact = {"condim": 6, "friction": FRICTION, "group": COLLISION_GROUP}
    light = {"contype": OBJECT_BIT, "conaffinity": OBJECT_BIT, "mass": 0.0}
    _add_handle(body, shape, {**light, **contact})
    both = {"contype": OBJECT_BIT | TABLE_BIT, "conaffinity": OBJECT_BIT, "density": DENSITY}
    radius, half = shape.outer_radius, shape.height / 2
    if shape.kind == "cuboid":
        size = tuple(value / 2 for value in shape.dimensions)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=size, **both, **contact)
        return
    if shape.kind == "sphere":
        size = (radius, 0.0, 0.0)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=size, **both, **contact)
        return
    if shape.inner_radius == 0.0:
        size = (radius, half, 0.0)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=size, **both, **contact)
        return
    table_only = {"contype": TABLE_BIT, "conaffinity": 0, "mass": 0.0}
    if shape.kind == "semi_sphere":
        size = (radius, 0.0, 0.0)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=size, **table_only, **contact)
    else:
        # The foot of a tapered cup; such cups stand upright.
        size = (radius * shape.taper, half, 0.0)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=size, **table_only, **contact)
    # Circumscribed, so that a gap between pieces is a gap between the true round surfaces.
    grow = np.array([_GROW, _GROW, _GROW if shape.kind == "semi_sphere" else 1.0])
    for number, piece in enumerate(shape.convex_pieces(_SEGMENTS) * grow):
        name = f"piece_{index}_{number}"
        vertices = np.unique(piece.round(9), axis=0)
        spec.add_mesh(name=name, uservert=vertices.ravel())
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, contype=OBJECT_BIT,
            conaffinity=OBJECT_BIT, density=DENSITY, **contact,
        )  # fmt: skip
