# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Rotations in PyTorch: batched and differentiable. Quaternions are (w, x, y, z)."""

from __future__ import annotations

import torch
from torch import Tensor

#: Below this angle [rad] series expansions replace sin(x)/x and its kin, per dtype.
SMALL_ANGLE = {torch.float32: 1e-3, torch.float64: 1e-5}


def hat(vector: Tensor) -> Tensor:
    """Cross-product matrices of vectors: (..., 3) -> (..., 3, 3), ``hat(a) @ b = a x b``."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    return rows.reshape(*vector.shape[:-1], 3, 3)


def exp(rotation_vector: Tensor) -> Tensor:
    """Rotation matrices of rotation vectors [rad]: (..., 3) -> (..., 3, 3) (Rodrigues)."""
    angle_sq = (rotation_vector**2).sum(-1)[..., None, None]
    small = angle_sq < SMALL_ANGLE[rotation_vector.dtype] ** 2
    safe = torch.where(small, torch.ones_like(angle_sq), angle_sq)
    angle = safe.sqrt()
    a = torch.where(small, 1.0 - angle_sq / 6.0, angle.sin() / angle)
    b = torch.where(small, 0.5 - angle_sq / 24.0, (1.0 - angle.cos()) / safe)
    skew = hat(rotation_vector)
    eye = torch.eye(3, dtype=skew.dtype, device=skew.device)
    return eye + a * skew + b * (skew @ skew)


def matrix_from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotation matrices of quaternions (w, x, y, z) of any length: (..., 4) -> (..., 3, 3)."""
    w, x, y, z = quaternion.unbind(-1)
    k = 2.0 / (w * w + x * x + y * y + z * z)
    kx, ky, kz = k * x, k * y, k * z
    xx, yy, zz, xy, xz, yz = kx * x, ky * y, kz * z, kx * y, kx * z, ky * z
    wx, wy, wz = kx * w, ky * w, kz * w
    # Stacked in front: large batches are then written and read in order.
    rows = torch.stack(
        [
            1 - yy - zz, xy - wz, xz + wy,
            xy + wz, 1 - xx - zz, yz - wx,
            xz - wy, yz + wx, 1 - xx - yy,
        ]
    )  # fmt: skip
    return rows.movedim(0, -1).reshape(*quaternion.shape[:-1], 3, 3)


def quaternion_from_matrix(rotation: Tensor) -> Tensor:
    """Unit quaternions (w, x, y, z), w >= 0, of rotation matrices: (..., 3, 3) -> (..., 4).

    The four candidate formulas are evaluated and the best conditioned one is taken (Shepperd).
    """
    m = rotation
    d0, d1, d2 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    e, f, g = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    candidates = torch.stack(
        [
            torch.stack([1 + d0 + d1 + d2, a, b, c], dim=-1),
            torch.stack([a, 1 + d0 - d1 - d2, e, f], dim=-1),
            torch.stack([b, e, 1 - d0 + d1 - d2, g], dim=-1),
            torch.stack([c, f, g, 1 - d0 - d1 + d2], dim=-1),
        ],
        dim=-2,
    )
    best = torch.diagonal(candidates, dim1=-2, dim2=-1).argmax(-1)
    index = best[..., None, None].expand(*best.shape, 1, 4)
    quaternion = candidates.gather(-2, index).squeeze(-2)
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def angle_between(rotation_a: Tensor, rotation_b: Tensor) -> Tensor:
    """Angle of the relative rotation [rad], in [0, pi]: (..., 3, 3) twice -> (...).

    Uses the Frobenius distance, which keeps its digits at small angles where arccos loses them.
    """
    chord = (rotation_a - rotation_b).flatten(-2).norm(dim=-1) / (2.0 * 2.0**0.5)
    return 2.0 * torch.asin(chord.clamp(max=1.0))


def orthonormalize(rotation: Tensor) -> Tensor:
    """The rotations next to nearly orthonormal matrices, shape (..., 3, 3).

    One Newton step of the polar decomposition: an error of 1e-4 becomes one of 1e-8.
    """
    return 1.5 * rotation - 0.5 * (rotation @ (rotation.swapaxes(-1, -2) @ rotation))


def from_grasp_axes(axes: Tensor) -> Tensor:
    """Rotations with given approach (x) and closing (z) axes, (..., 6) -> (..., 3, 3).

    The approach axis keeps its direction; the closing axis is made perpendicular to it
    (Gram-Schmidt, the continuous representation of Zhou et al., CVPR 2019).
    """
    x = torch.nn.functional.normalize(axes[..., :3], dim=-1)
    z = axes[..., 3:] - (axes[..., 3:] * x).sum(-1, keepdim=True) * x
    z = torch.nn.functional.normalize(z, dim=-1)
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)
