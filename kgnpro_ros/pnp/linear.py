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


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product with the batch last: (..., n, k, B) x (..., k, m, B) -> (..., n, m, B)."""
    columns, rows = torch.split(left, 1, dim=-2), torch.split(right, 1, dim=-3)
    result = columns[0] * rows[0]
    for column, row in zip(columns[1:], rows[1:], strict=True):
        result = torch.addcmul(result, column, row)
    return result


def batch_last(matrix: Tensor) -> Tensor:
    """Matrices (..., B, n, m) seen as (..., n, m, B)."""
    return matrix.movedim(-3, -1)


def batch_first(matrix: Tensor) -> Tensor:
    """Matrices (..., n, m, B) seen as (..., B, n, m)."""
    return matrix.movedim(-1, -3)
