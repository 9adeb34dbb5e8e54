# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Rotations against SciPy, by value and by gradient."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from kgnpro_ros.geometry import so3

ANGLES = [0.0, 1e-12, 1e-7, 9.9e-6, 1.1e-5, 1e-3, 0.5, 3.0, math.pi - 1e-6, math.pi]


def vectors(angle, n=20, seed=0):
    axis = np.random.default_rng(seed).normal(size=(n, 3))
    return angle * axis / np.linalg.norm(axis, axis=1, keepdims=True)


@pytest.mark.parametrize("angle", ANGLES)
def test_exp_agrees_with_scipy(angle):
    v = vectors(angle)
    expected = Rotation.from_rotvec(v).as_matrix()
    np.testing.assert_allclose(so3.exp(torch.from_numpy(v)).numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 9e-4, 1.1e-3, 0.1, 3.14159])
def test_exp_in_single_precision(angle):
    v = vectors(angle)
    result = so3.exp(torch.from_numpy(v).float())
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), Rotation.from_rotvec(v).as_matrix(), atol=2e-6)


@pytest.mark.parametrize("angle", [0.0, 5e-6, 1e-3, 1.0, math.pi - 1e-9])
def test_gradient_of_exp_is_right_everywhere(angle):
    v = torch.from_numpy(vectors(angle, 2)).requires_grad_()
    assert torch.autograd.gradcheck(so3.exp, (v,), eps=1e-6, atol=1e-6)


def test_derivative_of_exp_at_zero_is_hat():
    jacobian = torch.autograd.functional.jacobian(so3.exp, torch.zeros(3, dtype=torch.float64))
    for k in range(3):
        unit = torch.zeros(3, dtype=torch.float64)
        unit[k] = 1.0
        torch.testing.assert_close(jacobian[..., k], so3.hat(unit))


def test_hat_is_the_cross_product():
    a, b = np.random.default_rng(1).normal(size=(2, 5, 3))
    product = so3.hat(torch.from_numpy(a)) @ torch.from_numpy(b)[..., None]
    np.testing.assert_allclose(product[..., 0].numpy(), np.cross(a, b), atol=1e-14)


def test_quaternions_are_w_first():
    quarter_about_x = torch.tensor([math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0])
    y_becomes_z = so3.matrix_from_quaternion(quarter_about_x) @ torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(y_becomes_z, torch.tensor([0.0, 0.0, 1.0]), atol=1e-6, rtol=0)


def test_quaternions_agree_with_scipy():
    rotation = Rotation.random(200, random_state=2)
    xyzw = rotation.as_quat()
    wxyz = torch.from_numpy(np.roll(xyzw, 1, axis=1) * np.where(xyzw[:, 3:] < 0, -1, 1))
    matrix = torch.from_numpy(rotation.as_matrix())
    torch.testing.assert_close(so3.matrix_from_quaternion(3.7 * wxyz), matrix)
    torch.testing.assert_close(so3.quaternion_from_matrix(matrix), wxyz)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -2, 3)])
@pytest.mark.parametrize("angle", [0.0, 1e-9, math.pi - 1e-7, math.pi])
def test_quaternion_round_trip_near_half_a_turn(axis, angle):
    unit = np.array(axis) / np.linalg.norm(axis)
    matrix = torch.from_numpy(Rotation.from_rotvec(angle * unit).as_matrix()).requires_grad_()
    quaternion = so3.quaternion_from_matrix(matrix)
    assert quaternion[0] >= 0
    torch.testing.assert_close(so3.matrix_from_quaternion(quaternion), matrix, atol=1e-12, rtol=0)
    quaternion.sum().backward()
    assert torch.isfinite(matrix.grad).all()


@pytest.mark.parametrize("angle", [1e-9, 1e-6, 0.3, 2.0, math.pi - 1e-3, math.pi])
def test_angle_between(angle):
    a = torch.from_numpy(Rotation.random(10, random_state=3).as_matrix())
    b = a @ so3.exp(torch.from_numpy(vectors(angle, 10, 4)))
    torch.testing.assert_close(
        so3.angle_between(a, b), torch.full((10,), angle, dtype=torch.float64), atol=1e-7, rtol=1e-6
    )


def test_angle_between_has_a_finite_gradient_at_zero():
    v = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    so3.angle_between(so3.exp(v), torch.eye(3, dtype=torch.float64)[None]).sum().backward()
    assert torch.isfinite(v.grad).all()
