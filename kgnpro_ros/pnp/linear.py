# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Small dense linear algebra over large batches, on torch tensors and NumPy arrays alike.

The solver's formulas are written once, in the functions that both libraries have under the same
name; :func:`namespace` gives the library of an array. Tensors carry gradients and may lie on a GPU.
On a CPU without gradients NumPy is chosen: its operations on a hundred grasps start in a quarter of
the time, and starting them is what a pose of four points costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch

#: A torch Tensor or a NumPy array; all arrays of one call are of the same kind.
Array: TypeAlias = Any


def namespace(array: Array) -> Any:
    """The library that an array belongs to: ``numpy`` or ``torch``."""
    return np if isinstance(array, np.ndarray) else torch


def cast(array: Array, like: Array) -> Array:
    """The array in the precision (and on the device) of another."""
    if isinstance(array, np.ndarray):
        return array.astype(like.dtype, copy=False)
    return array.to(like)


def stack(arrays: list[Array]) -> Array:
    """Arrays of one shape along a new first axis."""
    return np.array(arrays) if isinstance(arrays[0], np.ndarray) else torch.stack(arrays)


def at_least(array: Array, low: float) -> Array:
    """The larger of each element and a number."""
    return np.maximum(array, low) if isinstance(array, np.ndarray) else array.clamp(min=low)


def contiguous(array: Array) -> Array:
    """The same values, written in order."""
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array.contiguous()


def copied(array: Array) -> Array:
    """The same values in memory of their own, in order."""
    return np.array(array, order="C") if isinstance(array, np.ndarray) else array.clone()


def positions(like: Array) -> Array:
    """0, 1, ... for the elements of an array, on its device."""
    count = len(like)
    return np.arange(count) if isinstance(like, np.ndarray) else torch.arange(count).to(like.device)


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


def multiply(left: Array, right: Array) -> Array:
    """Matrix product with the batch last: (..., n, k, B) x (..., k, m, B) -> (..., n, m, B).

    Args:
        left: First factor.
        right: Second factor; k is looped over, so it should be small.
    """
    product = left[..., :1, :] * right[..., :1, :, :]
    for k in range(1, right.shape[-3]):
        column, row = left[..., k : k + 1, :], right[..., k : k + 1, :, :]
        if isinstance(product, np.ndarray):
            product += column * row
        else:
            product = torch.addcmul(product, column, row)
    return product


def sum_of_outer_products(left: Array, right: Array) -> Array:
    """(..., n, k, B) and (..., m, k, B) -> (..., n, m, B), summed over k."""
    if isinstance(left, np.ndarray):
        return np.einsum("...ikb,...jkb->...ijb", left, right)
    return (left[..., :, None, :, :] * right[..., None, :, :, :]).sum(-2)


def cross(left: Array, right: Array, axis: int) -> Array:
    """Cross product along an axis of length 3, whose number counts from the end."""
    if not isinstance(left, np.ndarray):
        return torch.linalg.cross(left, right, dim=axis)
    rest: tuple[Any, ...] = (slice(None),) * (-axis - 1)
    a, b, c = (left[(..., i, *rest)] for i in range(3))
    x, y, z = (right[(..., i, *rest)] for i in range(3))
    product = np.empty(np.broadcast_shapes(left.shape, right.shape), dtype=left.dtype)
    for i, (p, q, r, s) in enumerate(((b, z, c, y), (c, x, a, z), (a, y, b, x))):
        np.subtract(p * q, r * s, out=product[(..., i, *rest)])
    return product


def wrapped(array: Array) -> Array:
    """The three rows of an array and the first two again, for :func:`wrapped_cross`."""
    return namespace(array).concatenate([array, array[:2]])


def wrapped_cross(left: Array, right: Array) -> Array:
    """Cross product along the first axis, both factors (5, ...) with wrapped rows; (3, ...)."""
    return left[1:4] * right[2:] - left[2:] * right[1:4]


def map_points(matrix: Array, points: Array) -> Array:
    """Points (N, 3) mapped by matrices (..., n, 3, B): shape (..., n, N, B)."""
    if isinstance(matrix, np.ndarray):
        return points @ matrix
    return multiply(matrix, points.T[..., None])


def solve_definite(system: Array) -> Array:
    """Solve symmetric positive definite systems; not finite where a matrix is singular.

    Args:
        system: Matrices with m right-hand sides beside them, shape (n, n + m, ...); NumPy's is
            overwritten.

    Returns:
        Shape (n, m, ...).
    """
    n = len(system)
    if not isinstance(system, np.ndarray):
        batch = torch.moveaxis(system, (0, 1), (-2, -1))
        solution = torch.linalg.solve_ex(batch[..., :n], batch[..., n:])[0]
        return torch.moveaxis(solution, (-2, -1), (0, 1))
    # Gauss-Jordan on all systems at once; definite matrices need no exchange of rows.
    for k in range(n):
        pivot_row = system[k, k + 1 :] / system[k, k]
        system[:, k + 1 :] -= system[:, k, None] * pivot_row
        system[k, k + 1 :] = pivot_row
    return system[:, n:]


def batch_last(matrix: Array) -> Array:
    """Matrices (..., B, n, m) seen as (..., n, m, B)."""
    return matrix.swapaxes(-3, -2).swapaxes(-2, -1)


def batch_first(matrix: Array) -> Array:
    """Matrices (..., n, m, B) seen as (..., B, n, m)."""
    return matrix.swapaxes(-1, -2).swapaxes(-2, -3)
