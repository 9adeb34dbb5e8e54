# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Rotations, rigid transforms, cameras and grippers."""

from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.geometry.gripper import Gripper, canonical_keypoints, load_gripper

__all__ = ["Camera", "Gripper", "canonical_keypoints", "load_gripper"]
