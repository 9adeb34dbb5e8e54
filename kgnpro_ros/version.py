# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Version of the package; package.xml says the same, which a test checks."""

__version__ = "0.1.0"
