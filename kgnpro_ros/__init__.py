# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Ranked 6-DoF grasps from an RGB-D camera."""

from pkgutil import extend_path

from kgnpro_ros.version import __version__

__all__ = ["__version__"]

# colcon puts the generated modules kgnpro_ros.msg, .srv and .action into its install folder. They
# are part of this package also when it is imported from the source folder (pytest, pip -e).
__path__ = extend_path(__path__, __name__)
