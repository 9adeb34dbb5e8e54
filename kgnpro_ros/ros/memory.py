# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the C library does with memory that was freed, in a node that runs for days.

glibc gives threads heaps of their own, up to eight for each core, and freed memory stays with the
heap that it came from. The threads of an executor take images in turn, and each heap keeps the most
that was ever alive in it: memory grows, though nothing leaks. docs/reliability.md has the figures.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

#: How often to give back what is free [s]. What is needed again is fetched within milliseconds.
GIVE_BACK_PERIOD = 30.0

#: Name in ``GLIBC_TUNABLES`` and of the variable, number in ``malloc.h``, and value: one heap for
#: all threads. Setting the thresholds ends glibc's own moving of both; these are the largest that
#: it would choose, so that a detection finds the memory of the last one. A smaller one for mmap
#: makes heaps smaller still, and PyTorch slower by half: it asks for 240 MB in each detection.
LIMITS = {
    ("glibc.malloc.arena_max", "MALLOC_ARENA_MAX"): (-8, 1),
    ("glibc.malloc.mmap_threshold", "MALLOC_MMAP_THRESHOLD_"): (-3, 32 * 2**20),
    ("glibc.malloc.trim_threshold", "MALLOC_TRIM_THRESHOLD_"): (-1, 64 * 2**20),
}


def keep_one_heap(environment: Mapping[str, str] = os.environ) -> bool:
    """Let new threads share the heaps that there are.

    To be called before rclpy and PyTorch are imported: they start threads when they are loaded.

    What the environment sets stays as it is. Other C libraries than glibc are left alone.

    Args:
        environment: Of the process.

    Returns:
        Whether everything is set, here or by the environment.
    """
    library = ctypes.CDLL(None)
    if not _is_glibc(library):
        return False
    tunables = environment.get("GLIBC_TUNABLES", "")
    done = [
        variable in environment or tunable in tunables or library.mallopt(number, value) == 1
        for (tunable, variable), (number, value) in LIMITS.items()
    ]
    return all(done)


def give_back() -> None:
    """Return the pages of the heaps that nobody uses to the system; takes some milliseconds."""
    library = ctypes.CDLL(None)
    if _is_glibc(library):
        library.malloc_trim(0)


def _is_glibc(library: ctypes.CDLL) -> bool:
    return hasattr(library, "gnu_get_libc_version")
