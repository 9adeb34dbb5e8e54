# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The Panda arm with its hand as a MuJoCo model, from the files of ``example-robot-data``.

Link masses, joint limits and torque limits are the URDF's. MuJoCo collides each link by the convex
hull of its collision mesh, the fingers by the boxes of the URDF. Joints are held by position
servos; the motors carry the weight of the arm too, within the same torque limits.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.mujoco_model import COLLISION_GROUP, OBJECT_BIT, TABLE_BIT, VISUAL_GROUP
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.execution.robot_model import installed_file
from kgnpro_ros.simulation.collada import ColorMesh, coarser, read_collada

FloatArray = NDArray[np.float64]

ARM_JOINTS = tuple(f"panda_joint{number}" for number in range(1, 8))
FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
FINGERS = ("panda_leftfinger", "panda_rightfinger")
BASE, HAND = "panda_link0", "panda_hand"
GRIPPER_ACTUATOR = "panda_gripper"
_PREFIX = "panda_"
#: Largest jaw opening [m].
MAX_WIDTH = 0.08
#: Where the arm waits [rad]: hand over the near edge of the scene, pointing down.
HOME: FloatArray = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])
#: The same for an arm that carries the camera: the default wrist camera is 0.64 m above the scene.
WRIST_HOME: FloatArray = np.array([0.0, -0.2116, 0.0, -1.7162, 0.0, 1.5046, np.pi / 4])
#: Velocity limits of the URDF [rad/s].
VELOCITY_LIMITS: FloatArray = np.array([2.175] * 4 + [2.61] * 3)
#: Torque limits of the URDF [N m].
_TORQUE = (87.0,) * 4 + (12.0,) * 3
#: Stiffness [N m/rad] and damping [N m s/rad] of the servos, and rotor inertia [kg m^2].
STIFFNESS: FloatArray = np.array([4500, 4500, 3500, 3500, 2000, 2000, 2000], float)
DAMPING: FloatArray = STIFFNESS / 10
_ARMATURE = 0.1
#: Servo of the jaw opening: stiffness [N/m] and damping [N s/m]; inertia of its drive [kg].
_GRIP_STIFFNESS, _GRIP_DAMPING, _FINGER_ARMATURE = 8000.0, 60.0, 0.1
#: For the eye: vertices closer than this are merged [m], meshes with fewer vertices are left out,
#: and the colours of the files are darkened.
_GRID, _FINE_GRID, _FEWEST, _WHITENESS = 0.005, 0.001, 20, 0.92
#: Contacts of the arm: with objects (their bit is its affinity), with table and bin.
_ARM_CONTACT = {"contype": TABLE_BIT, "conaffinity": OBJECT_BIT, "group": COLLISION_GROUP}
#: Fingertips decide over their contacts, and are hard: MuJoCo's contacts yield to a given force the
#: more the lighter the object, and a stick of some grams would vanish between soft ones.
_RIGID, _HARD = (0.004, 1.0), (0.998, 0.9998, 0.0005, 0.5, 2.0)
#: Profile of a fingertip's face: share of half its breadth, and how far it lies back there [m].
_CROWN = ((0.35, 0.0), (0.7, 0.0007), (1.0, 0.0018))


def panda_urdf() -> Path:
    """The installed description.

    Raises:
        ModelError: If the package is not installed, or incomplete.
    """
    return installed_file("example-robot-data", "robots/panda_description/urdf/panda.urdf")


def add_panda(
    world: mujoco.MjSpec, position: tuple[float, float, float], pad_friction: float
) -> None:
    """Put the arm into a world.

    Args:
        world: The model to add to; it needs an integrator that is implicit in velocity.
        position: Place of ``panda_link0`` in the world frame [m].
        pad_friction: Sliding friction of the fingertips.

    Raises:
        ModelError: If the description is missing or MuJoCo cannot read it.
    """
    urdf = panda_urdf()
    spec = _read_urdf(urdf)
    for body in spec.bodies:
        body.gravcomp = 1.0
    _dress_links(spec, urdf)
    _dress_fingers(spec, pad_friction)
    _add_servos(spec)
    world.attach(spec, prefix=_PREFIX, frame=world.worldbody.add_frame(pos=position))


def _read_urdf(urdf: Path) -> mujoco.MjSpec:
    text = _resolved(urdf.read_text(), urdf)
    # The visual meshes are Collada files, which MuJoCo does not read.
    text = re.sub(r"<visual>.*?</visual>", "", text, flags=re.DOTALL)
    # Attaching puts the prefix of all names back.
    text = text.replace(f'"{_PREFIX}', '"')
    options = '<mujoco><compiler fusestatic="false" strippath="false"/></mujoco>'
    text = re.sub(r"(<robot [^>]*>)", rf"\1{options}", text, count=1)
    try:
        return mujoco.MjSpec.from_string(text)
    except ValueError as error:
        raise ModelError(f"MuJoCo cannot read {urdf}: {error}") from error


def _resolved(text: str, urdf: Path) -> str:
    """Text of the description with paths instead of package URLs."""
    return text.replace("package://example-robot-data", str(urdf.parents[3]))


@cache
def _visuals(urdf: Path) -> tuple[tuple[str, float, tuple[ColorMesh, ...]], ...]:
    """Link, turn about z [rad] and meshes of everything that the description shows."""
    result = []
    for link in ElementTree.parse(urdf).getroot().findall("link"):
        for visual in link.findall("visual"):
            mesh, origin = visual.find("geometry/mesh"), visual.find("origin")
            if mesh is None:
                continue
            path = _resolved(mesh.attrib["filename"], urdf)
            turn = 0.0 if origin is None else float(origin.attrib["rpy"].split()[2])
            fine = link.attrib["name"] in FINGERS
            grid = _FINE_GRID if fine else _GRID
            meshes = (coarser(part, grid) for part in read_collada(Path(path)))
            # Lamps of some millimetres are gone by then.
            kept = tuple(mesh for mesh in meshes if len(mesh.vertices) >= _FEWEST)
            result.append((_bare(link.attrib["name"]), turn, kept))
    return tuple(result)


def _dress_links(spec: mujoco.MjSpec, urdf: Path) -> None:
    """Contacts for the links, and meshes for the eye."""
    for geom in list(spec.geoms):
        geom.mass = 0.0
        for key, value in _ARM_CONTACT.items():
            setattr(geom, key, value)
    # The foot stands on the table.
    for geom in spec.body(_bare(BASE)).geoms:
        geom.contype = 0
    for link, turn, meshes in _visuals(urdf):
        for number, mesh in enumerate(meshes):
            name = f"{link}_visual_{number}"
            spec.add_mesh(
                name=name, uservert=mesh.vertices.ravel(), userface=mesh.triangles.ravel(),
                inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL, maxhullvert=16,
            )  # fmt: skip
            spec.add_material(
                name=name, rgba=(*np.multiply(mesh.rgb, _WHITENESS), 1.0), specular=0.3,
                shininess=0.3,
            )  # fmt: skip
            spec.body(link).add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, contype=0, conaffinity=0,
                group=VISUAL_GROUP, mass=0.0, material=name,
                quat=(np.cos(turn / 2), 0, 0, np.sin(turn / 2)),
            )  # fmt: skip


def _dress_fingers(spec: mujoco.MjSpec, pad_friction: float) -> None:
    """The last box of each finger is its rubber tip, which is what holds an object."""
    for name in map(_bare, FINGERS):
        boxes = [g for g in spec.body(name).geoms if g.type == mujoco.mjtGeom.mjGEOM_BOX]
        pad = boxes[-1]
        pad.name = pad_name(name)
        pad.condim, pad.friction = 6, (pad_friction, 0.01, 0.001)
        pad.solref, pad.solimp, pad.priority = _RIGID, _HARD, 1
        _crown(spec, pad)


def _crown(spec: mujoco.MjSpec, pad: mujoco.MjsGeom) -> None:
    """Give the box of a fingertip the crowned face of yielding rubber.

    The edges of a hard flat face dig into the seams between the convex pieces of a hollow thing:
    contacts along the face then push with kilonewtons, and the thing bursts out of the hand.
    """
    breadth, depth, length = pad.size
    inner = -float(np.sign(pad.pos[1]))  # the fingers close along y, towards 0
    profile = [(sign * share * breadth, depth - back) for share, back in _CROWN for sign in (-1, 1)]
    profile += [(-breadth, -depth), (breadth, -depth)]
    vertices = [(x, inner * y, z) for x, y in profile for z in (-length, length)]
    spec.add_mesh(name=pad.name, uservert=np.array(vertices).ravel())
    pad.type, pad.meshname = mujoco.mjtGeom.mjGEOM_MESH, pad.name


def pad_name(finger: str) -> str:
    """Name of the collision geom of a fingertip."""
    return f"{finger}_pad"


def _bare(name: str) -> str:
    return name.removeprefix(_PREFIX)


def _add_servos(spec: mujoco.MjSpec) -> None:
    servo = mujoco.mjtBias.mjBIAS_AFFINE
    for name, torque, stiffness, damping in zip(
        map(_bare, ARM_JOINTS), _TORQUE, STIFFNESS, DAMPING, strict=True
    ):
        joint = spec.joint(name)
        joint.armature = _ARMATURE
        # Gravity compensation is a motor's torque like any other.
        joint.actgravcomp, joint.actfrclimited = True, mujoco.mjtLimited.mjLIMITED_TRUE
        joint.actfrcrange = (-torque, torque)
        actuator = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.biastype = servo
        actuator.gainprm[0], actuator.biasprm[:3] = stiffness, (0.0, -stiffness, -damping)
    grip_name = _bare(GRIPPER_ACTUATOR)
    opening = spec.add_tendon(name=grip_name)
    for name in map(_bare, FINGER_JOINTS):
        joint = spec.joint(name)
        joint.armature = _FINGER_ARMATURE
        # Fingers are light: at a soft end stop the grip's force would push one through the other.
        joint.solref_limit, joint.solimp_limit = _RIGID, _HARD
        opening.wrap_joint(name, 1.0)
    grip = spec.add_actuator(name=grip_name, target=grip_name, trntype=mujoco.mjtTrn.mjTRN_TENDON)
    grip.biastype = servo
    grip.gainprm[0] = _GRIP_STIFFNESS
    grip.biasprm[:3] = (0.0, -_GRIP_STIFFNESS, -_GRIP_DAMPING)
    grip.forcelimited, grip.forcerange = mujoco.mjtLimited.mjLIMITED_TRUE, (-40.0, 40.0)
