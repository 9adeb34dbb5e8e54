# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What a URDF tells about an arm: joints, limits and convex collision shapes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.geometry.se3 import make_transform

FloatArray = NDArray[np.float64]

#: Acceleration limits of the Panda's joints [rad/s^2], which its URDF lacks; from the maker's data.
PANDA_ACCELERATION = (15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0)

_STL = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@dataclass(frozen=True)
class Joint:
    """One joint of the chain from base to tool.

    Attributes:
        name: Its name.
        T_parent_joint: Pose at position zero in the link before, shape (4, 4).
        axis: Axis of rotation in the joint's frame, shape (3,); None for a fixed joint.
        lower, upper: Limits of the position [rad].
        velocity: Limit of the velocity [rad/s].
    """

    name: str
    T_parent_joint: FloatArray
    axis: FloatArray | None
    lower: float
    upper: float
    velocity: float


@dataclass(frozen=True)
class Shape:
    """A convex collision shape in the frame of its link.

    Attributes:
        vertices: Corners [m], shape (V, 3).
        faces: Triangles, seen from outside, of indices of corners, shape (F, 3).
        planes: Outward normals and offsets: ``normal . p + offset <= 0`` inside, shape (F, 4).
    """

    vertices: FloatArray
    faces: NDArray[np.int32]
    planes: FloatArray


@dataclass(frozen=True)
class RobotModel:
    """An arm with a gripper.

    Attributes:
        name: Name of the robot.
        urdf: Its description without shapes.
        srdf: Text with the pairs of links that need no collision check.
        base, tool: Links at the ends of the chain.
        chain: Its joints from base to tool.
        fingers: Names of the finger joints; each moves by half the jaw opening.
        finger_links: Links that may touch what is grasped.
        hand_links: Links that may touch what is held.
        foot_links: Links that stand on the table.
        shapes: Collision shapes of each link.
        acceleration: Limits of the joint accelerations [rad/s^2], shape (J,).
    """

    name: str
    urdf: str
    srdf: str
    base: str
    tool: str
    chain: tuple[Joint, ...]
    fingers: tuple[str, ...]
    finger_links: tuple[str, ...]
    hand_links: tuple[str, ...]
    foot_links: tuple[str, ...]
    shapes: dict[str, tuple[Shape, ...]]
    acceleration: FloatArray

    @property
    def joints(self) -> tuple[Joint, ...]:
        """The J joints that move."""
        return tuple(joint for joint in self.chain if joint.axis is not None)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(joint.name for joint in self.joints)

    @property
    def lower(self) -> FloatArray:
        """Lower limits [rad], shape (J,)."""
        return np.array([joint.lower for joint in self.joints])

    @property
    def upper(self) -> FloatArray:
        """Upper limits [rad], shape (J,)."""
        return np.array([joint.upper for joint in self.joints])

    @property
    def velocity(self) -> FloatArray:
        """Velocity limits [rad/s], shape (J,)."""
        return np.array([joint.velocity for joint in self.joints])


def panda_model() -> RobotModel:
    """The Franka Emika Panda with its hand, from the installed ``example-robot-data``.

    Raises:
        ModelError: If the package or one of its files is missing.
    """
    urdf = installed_file("example-robot-data", "robots/panda_description/urdf/panda.urdf")
    srdf = urdf.parents[1] / "srdf" / "panda.srdf"
    root = _parse(urdf)
    folder = {"example-robot-data": urdf.parents[3]}
    shapes = {
        link.attrib["name"]: tuple(_shape(item, folder) for item in link.findall("collision"))
        for link in root.findall("link")
    }
    hand = ("panda_hand", "panda_leftfinger", "panda_rightfinger")
    return RobotModel(
        name="panda", urdf=_without_shapes(root), srdf=_read(srdf),
        base="panda_link0", tool="panda_hand", chain=_chain(root, "panda_link0", "panda_hand"),
        fingers=("panda_finger_joint1", "panda_finger_joint2"), finger_links=hand[1:],
        hand_links=hand, foot_links=("panda_link0", "panda_link1"), shapes=shapes,
        acceleration=np.array(PANDA_ACCELERATION),
    )  # fmt: skip


def installed_file(package: str, ending: str) -> Path:
    """Path of a file of an installed Python package.

    Args:
        package: Name of the package.
        ending: How the path ends.

    Raises:
        ModelError: If the package is not installed, or has no such file.
    """
    try:
        files = metadata.distribution(package).files or []
    except metadata.PackageNotFoundError as error:
        raise ModelError(f"the robot's description is missing: pip install {package}") from error
    for file in files:
        if str(file).endswith(ending):
            return Path(str(file.locate())).resolve()
    raise ModelError(f"the installed {package} lists no file {ending}")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error}") from error


def _parse(path: Path) -> ET.Element:
    try:
        return ET.fromstring(_read(path))
    except ET.ParseError as error:
        raise ModelError(f"{path} is no URDF: {error}") from error


def _without_shapes(root: ET.Element) -> str:
    for link in root.findall("link"):
        for kind in ("visual", "collision"):
            for item in link.findall(kind):
                link.remove(item)
    return ET.tostring(root, encoding="unicode")


def _numbers(text: str) -> FloatArray:
    return np.array([float(word) for word in text.split()])


def _origin(element: ET.Element) -> FloatArray:
    origin = element.find("origin")
    values = {} if origin is None else origin.attrib
    rotation = Rotation.from_euler("xyz", _numbers(values.get("rpy", "0 0 0")))
    return make_transform(rotation.as_matrix(), _numbers(values.get("xyz", "0 0 0")))


def _chain(root: ET.Element, base: str, tool: str) -> tuple[Joint, ...]:
    """The joints from base to tool, found from the tool up."""
    above = {_link(joint, "child"): joint for joint in root.findall("joint")}
    chain, link = [], tool
    while link != base:
        if link not in above:
            raise ModelError(f"the URDF has no chain from {base} to {tool}: {link} has no parent")
        chain.append(_joint(above[link]))
        link = _link(above[link], "parent")
    return tuple(reversed(chain))


def _link(joint: ET.Element, which: str) -> str:
    element = joint.find(which)
    if element is None:
        raise ModelError(f"joint {joint.attrib.get('name')} of the URDF names no {which}")
    return element.attrib["link"]


def _joint(element: ET.Element) -> Joint:
    name, kind = element.attrib["name"], element.attrib["type"]
    if kind == "fixed":
        return Joint(name, _origin(element), None, 0.0, 0.0, 0.0)
    limit, axis = element.find("limit"), element.find("axis")
    if kind != "revolute" or limit is None:
        raise ModelError(f"joint {name} is {kind}; expected revolute with limits, or fixed")
    direction = np.array([1.0, 0.0, 0.0]) if axis is None else _numbers(axis.attrib["xyz"])
    return Joint(
        name, _origin(element), direction / np.linalg.norm(direction),
        *(float(limit.attrib[key]) for key in ("lower", "upper", "velocity")),
    )  # fmt: skip


def _shape(element: ET.Element, folders: dict[str, Path]) -> Shape:
    """The convex hull of a collision element: a mesh file or a box."""
    mesh, box = element.find("geometry/mesh"), element.find("geometry/box")
    if mesh is not None:
        package, _, rest = mesh.attrib["filename"].removeprefix("package://").partition("/")
        vertices = _stl_corners(folders[package] / rest)
    elif box is not None:
        signs = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3), axis=-1).reshape(-1, 3)
        vertices = signs * _numbers(box.attrib["size"])
    else:
        raise ModelError("a collision shape of the URDF is neither a mesh nor a box")
    pose = _origin(element)
    return convex_shape(vertices @ pose[:3, :3].T + pose[:3, 3])


def convex_shape(points: FloatArray) -> Shape:
    """The convex hull of points, shape (N, 3), with outward triangles."""
    hull = ConvexHull(points)
    index = np.full(len(points), -1)
    index[hull.vertices] = np.arange(len(hull.vertices))
    corner = points[hull.simplices]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    inward = (normal * hull.equations[:, :3]).sum(axis=1) < 0
    faces = index[hull.simplices]
    faces[inward] = faces[inward][:, ::-1]
    return Shape(points[hull.vertices], faces.astype(np.int32), hull.equations)


def _stl_corners(path: Path) -> FloatArray:
    """Corners of the triangles of a binary STL file, shape (N, 3)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    count = int.from_bytes(data[80:84], "little")
    if len(data) != 84 + count * _STL.itemsize:
        raise ModelError(f"{path} is no binary STL file of {count} triangles")
    triangles = np.frombuffer(data, _STL, count, 84)
    return triangles["corners"].reshape(-1, 3).astype(np.float64)
