# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion between image messages and arrays: the upstream names and behaviour."""

from .core import CvBridge, CvBridgeError

__all__ = ["CvBridge", "CvBridgeError"]
