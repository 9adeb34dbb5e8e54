# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Variants trained and evaluated alike, and the table that compares them."""
