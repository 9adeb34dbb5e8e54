# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Parallel-jaw grippers: canonical keypoints, collision boxes, and the link that is planned for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.files import file_exists, parse_yaml, read_yaml
from kgnpro_ros.geometry.se3 import invert
from kgnpro_ros.types import check_transform

FloatArray = NDArray[np.float64]

#: Presets are stored beside the code so that the core finds them without ROS.
PRESETS = ("franka_hand", "robotiq_2f85", "robotiq_2f140")

#: Spacing [m] of the canonical keypoints: KGN's labels use it whatever the jaw opening is.
CANONICAL_WIDTH = 0.1

NUMBERS = ("min_width", "max_width", "finger_length", "finger_thickness", "finger_breadth")
MAX_NAME = 200


def canonical_keypoints(width: float = CANONICAL_WIDTH) -> FloatArray:
    """The paper's four gripper corners ("box" layout) in the grasp frame [m], shape (4, 3).

    Order: left tip, right tip, back left, back right; all at y = 0.
    """
    half = width / 2
    return np.array([[0, 0, half], [0, 0, -half], [-width, 0, half], [-width, 0, -half]], float)


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in the grasp frame [m]: ``lower`` and ``upper`` corners (x, y, z)."""

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]

    def __post_init__(self) -> None:
        if len(self.lower) != 3 or len(self.upper) != 3:
            raise ConfigError(f"a box needs 3 numbers per corner, got {self.lower}, {self.upper}")
        if not all(low < high for low, high in zip(self.lower, self.upper, strict=True)):
            raise ConfigError(f"box corners are not ordered: {self.lower} to {self.upper}")


@dataclass(frozen=True)
class Gripper:
    """A parallel-jaw gripper.

    Attributes:
        name: Name of the preset or file.
        min_width, max_width: Range of the jaw opening [m].
        finger_length: From the palm to the fingertip along the approach axis [m].
        finger_thickness: Size of a finger along the closing axis [m].
        finger_breadth: Size of a finger along the grasp frame's y [m].
        palm: Solid box behind the fingers, in the grasp frame.
        T_tool_grasp: Grasp frame in the link that the motion planner moves, shape (4, 4).
        tool_link: Name of that link.
    """

    name: str
    min_width: float
    max_width: float
    finger_length: float
    finger_thickness: float
    finger_breadth: float
    palm: Box
    T_tool_grasp: FloatArray
    tool_link: str

    def __post_init__(self) -> None:
        for text in (self.name, self.tool_link):
            # They go into messages and TF: a stray surrogate would fail there.
            if not (text.isprintable() and 0 < len(text) <= MAX_NAME):
                raise ConfigError(f"gripper name or link {text!r} is no printable name")
        numbers = [getattr(self, name) for name in NUMBERS]
        if not all(map(math.isfinite, (*numbers, *self.palm.lower, *self.palm.upper))):
            raise ConfigError(f"gripper {self.name!r}: sizes must be finite numbers")
        check_transform(self.T_tool_grasp, f"T_tool_grasp of gripper {self.name!r}")
        if self.T_tool_grasp.shape != (4, 4):
            raise ConfigError(f"T_tool_grasp has shape {self.T_tool_grasp.shape}; expected (4, 4)")
        if not 0 <= self.min_width < self.max_width:
            raise ConfigError(
                f"gripper {self.name!r}: expected 0 <= min_width < max_width, got "
                f"{self.min_width} and {self.max_width}"
            )
        for name in NUMBERS[2:]:
            if not getattr(self, name) > 0:
                raise ConfigError(f"gripper {self.name!r}: {name} must be positive")

    def finger_boxes(self, widths: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Boxes of both fingers at given openings, in the grasp frame [m].

        Args:
            widths: Jaw openings [m], shape (N,).

        Returns:
            Lower and upper corners, each of shape (N, 2, 3); index 0 is the left finger (+z).
        """
        inner, outer = widths / 2, widths / 2 + self.finger_thickness
        lower = np.empty((len(widths), 2, 3))
        upper = np.empty((len(widths), 2, 3))
        lower[..., 0], upper[..., 0] = -self.finger_length, 0.0
        lower[..., 1], upper[..., 1] = -self.finger_breadth / 2, self.finger_breadth / 2
        lower[:, 0, 2], upper[:, 0, 2] = inner, outer
        lower[:, 1, 2], upper[:, 1, 2] = -outer, -inner
        return lower, upper

    def tool_poses(self, poses: FloatArray) -> FloatArray:
        """Poses of the tool link for grasp poses ``T_frame_grasp``, shape (N, 4, 4)."""
        # Not LAPACK's inverse: OpenBLAS has its threads spin for 0.1 s after each call.
        result: FloatArray = poses @ invert(self.T_tool_grasp)
        return result


def load_gripper(name_or_path: str | Path) -> Gripper:
    """Load a preset by name, or a gripper YAML file by path.

    Raises:
        ConfigError: If the name is no preset and no file, or the file is not valid.
    """
    name = str(name_or_path)
    if name in PRESETS:
        text = resources.files("kgnpro_ros.geometry.grippers").joinpath(f"{name}.yaml").read_text()
        return gripper_from_dict(parse_yaml(text, name, ConfigError), name)
    if not file_exists(Path(name)):
        raise ConfigError(f"no gripper {name!r}: neither a file nor one of {', '.join(PRESETS)}")
    return gripper_from_dict(read_yaml(Path(name), ConfigError), name)


def gripper_from_dict(data: Any, source: str) -> Gripper:
    """Build a gripper from the content of its YAML file; ``source`` is named in errors."""
    keys = {
        "name", "tool_link", "min_width", "max_width", "finger_length", "finger_thickness",
        "finger_breadth", "palm", "T_tool_grasp",
    }  # fmt: skip
    if not isinstance(data, dict) or set(data) != keys:
        found = sorted(map(str, data)) if isinstance(data, dict) else type(data).__name__
        raise ConfigError(
            f"gripper {source}: expected exactly the keys {sorted(keys)}, got {found}"
        )
    try:
        palm = Box(_corner(data["palm"]["lower"]), _corner(data["palm"]["upper"]))
        numbers = {key: float(data[key]) for key in NUMBERS}
        transform = np.asarray(data["T_tool_grasp"], dtype=np.float64)
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise ConfigError(f"gripper {source}: {type(error).__name__}: {error}") from error
    return Gripper(
        name=str(data["name"]), tool_link=str(data["tool_link"]), palm=palm,
        T_tool_grasp=transform, **numbers,
    )  # fmt: skip


def _corner(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
