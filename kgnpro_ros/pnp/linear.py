# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Small dense linear algebra over large batches, element by element.

LAPACK and GEMM calls on thousands of 3x3 to 6x6 matrices wake worker threads for microseconds of
work; on a machine whose cores are busy each call then waits milliseconds. These stay in the calling
thread at the sizes of the solver, and are differentiable. The batch axis B comes last, so that
every operation runs over contiguous memory.
"""

from __future__ import annotations

import torch
from torch import Tensor


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product over a trailing batch: (..., n, k, B) x (..., k, m, B) -> (..., n, m, B)."""
    result = left[..., :, :1, :] * right[..., :1, :, :]
    for k in range(1, left.shape[-2]):
        result = torch.addcmul(result, left[..., :, k : k + 1, :], right[..., k : k + 1, :, :])
    return result


def eliminate(system: Tensor) -> Tensor:
    """Solve positive definite systems by Gauss-Jordan elimination without pivoting.

    Args:
        system: Matrices with right-hand sides appended, shape (..., n, n + m, B).

    Returns:
        Solutions, shape (..., n, m, B); not finite where a pivot is zero.
    """
    n = system.shape[-3]
    # Unit diagonal: metres and radians differ by orders of magnitude, and float32 has seven digits.
    scale = system.diagonal(dim1=-3, dim2=-2).mT[..., None, :].rsqrt()
    system = system * scale
    system = torch.cat([system[..., :n, :] * scale.transpose(-3, -2), system[..., n:, :]], dim=-2)
    unit = torch.eye(n, dtype=system.dtype, device=system.device)[:, :, None, None]
    for k in range(n):
        # Columns left of the pivot are done, so each step only carries what is to its right.
        pivot = system[..., :, :1, :]
        right = system[..., :, 1:, :]
        row = right[..., k : k + 1, :, :] / pivot[..., k : k + 1, :, :]
        system = torch.addcmul(right, pivot - unit[k], row, value=-1.0)
    return system * scale


def inverse(matrix: Tensor) -> Tensor:
    """Inverses of positive definite matrices, symmetrised: (..., n, n, B) -> (..., n, n, B)."""
    eye = torch.eye(matrix.shape[-2], dtype=matrix.dtype, device=matrix.device)[..., None]
    result = eliminate(torch.cat([matrix, eye.expand_as(matrix)], dim=-2))
    return 0.5 * (result + result.transpose(-3, -2))


def batch_last(matrix: Tensor) -> Tensor:
    """Matrices (..., B, n, m) seen as (..., n, m, B)."""
    return matrix.movedim(-3, -1)


def batch_first(matrix: Tensor) -> Tensor:
    """Matrices (..., n, m, B) seen as (..., B, n, m)."""
    return matrix.movedim(-1, -3)
