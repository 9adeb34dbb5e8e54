# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Probabilistic PnP: residuals, planar seeds, weighted solver, pose distribution and loss."""
