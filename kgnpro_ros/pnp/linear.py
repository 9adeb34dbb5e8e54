# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Small dense linear algebra over large batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def single_threaded() -> Iterator[None]:
    """Keep CPU work in the calling thread while many tiny operations run.

    Waking a worker thread for microseconds of work costs more than it saves, and milliseconds when
    the other cores are busy. PyTorch keeps the number per calling thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def multiply(left: Tensor, right: Tensor, addend: Tensor | None = None) -> Tensor:
    """Matrix product with the batch last: (..., n, k, B) x (..., k, m, B) -> (..., n, m, B).

    Args:
        left: First factor.
        right: Second factor; k is looped over, so it should be small.
        addend: Added to the product; broadcasts to its shape.
    """
    columns, rows = torch.split(left, 1, dim=-2), torch.split(right, 1, dim=-3)
    start = 0
    if addend is None:
        addend, start = columns[0] * rows[0], 1
    for column, row in zip(columns[start:], rows[start:], strict=True):
        addend = torch.addcmul(addend, column, row)
    return addend


def batch_last(matrix: Tensor) -> Tensor:
    """Matrices (..., B, n, m) seen as (..., n, m, B)."""
    return matrix.movedim(-3, -1)


def batch_first(matrix: Tensor) -> Tensor:
    """Matrices (..., n, m, B) seen as (..., B, n, m)."""
    return matrix.movedim(-1, -3)
