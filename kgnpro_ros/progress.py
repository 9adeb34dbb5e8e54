# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The bar that long commands show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def progress_bar(
    console: Console, name: str, *, transient: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """A bar while the block runs; what it gives is called with what is done and how much it is.

    Args:
        console: Where it is drawn.
        name: What is counted.
        transient: Leave nothing behind.
    """
    with Progress(console=console, transient=transient) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
