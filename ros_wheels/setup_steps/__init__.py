# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The steps of bootstrap.py; only the standard library, any Python 3."""
