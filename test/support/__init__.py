# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
