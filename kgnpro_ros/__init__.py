# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Ranked 6-DoF grasps from an RGB-D camera.

The names in ``__all__`` are the public interface of the ROS-free core. They are imported when they
are first used, so that importing a message type or asking for help does not load PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

from kgnpro_ros.version import __version__

if TYPE_CHECKING:
    from kgnpro_ros.config import DetectorConfig, TrainConfig, load_config
    from kgnpro_ros.data.dataset import SceneDataset
    from kgnpro_ros.exceptions import KGNProError
    from kgnpro_ros.geometry import Camera, Gripper, load_gripper
    from kgnpro_ros.pipeline import GraspDetector
    from kgnpro_ros.predictions import read_frame, read_predictions, write_predictions
    from kgnpro_ros.types import GraspBatch, GraspStatus, RGBDImage
    from kgnpro_ros.viz import draw_grasps

__all__ = [
    "Camera",
    "DetectorConfig",
    "GraspBatch",
    "GraspDetector",
    "GraspStatus",
    "Gripper",
    "KGNProError",
    "RGBDImage",
    "SceneDataset",
    "TrainConfig",
    "__version__",
    "draw_grasps",
    "load_config",
    "load_gripper",
    "read_frame",
    "read_predictions",
    "write_predictions",
]

_MODULES = {
    "config": ("DetectorConfig", "TrainConfig", "load_config"),
    "data.dataset": ("SceneDataset",),
    "exceptions": ("KGNProError",),
    "geometry": ("Camera", "Gripper", "load_gripper"),
    "pipeline": ("GraspDetector",),
    "predictions": ("read_frame", "read_predictions", "write_predictions"),
    "types": ("GraspBatch", "GraspStatus", "RGBDImage"),
    "viz": ("draw_grasps",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

# colcon puts the generated modules kgnpro_ros.msg, .srv and .action into its install folder. They
# are part of this package also when it is imported from the source folder (pytest, pip -e).
__path__ = extend_path(__path__, __name__)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
