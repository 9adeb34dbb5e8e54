# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Ranked 6-DoF grasps from an RGB-D camera."""
