# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Threads that libraries start by themselves; imports neither NumPy nor ROS."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

#: Number of threads of the library that NumPy multiplies matrices with.
BLAS_THREADS = "OPENBLAS_NUM_THREADS"


def keep_blas_to_one_thread(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have NumPy multiply in the thread that asks for it.

    To be called before NumPy is imported. Our products are small: OpenBLAS's other threads gain
    nothing, but spin for 0.05 s and more after each, and the network of the next detection waits
    for the core that they hold: 50 to 60 ms on two cores. What the environment sets stays.

    Args:
        environment: Of the process.
    """
    environment.setdefault(BLAS_THREADS, "1")
