# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
import torch
from support.pnp_cases import CAMERA_MATRIX, POINTS, random_poses

from kgnpro_ros.config import PnPConfig
from kgnpro_ros.exceptions import CameraError, ShapeError
from kgnpro_ros.geometry import so3
from kgnpro_ros.pnp.residual import (
    jacobian,
    linearize,
    make_problem,
    project,
    reprojection_error,
    residuals,
    robust_cost,
)


def noisy_problem(count=20, config=None, with_depth=True, outlier=0.0):
    rotation, translation = random_poses(count, seed=3)
    generator = torch.Generator().manual_seed(4)
    keypoints = project(rotation, translation, POINTS, CAMERA_MATRIX)
    keypoints = keypoints + 3 * torch.randn(keypoints.shape, generator=generator).double()
    keypoints[:, 2, 0] += outlier
    weights = 0.2 + torch.rand(keypoints.shape, generator=generator).double()
    depth = translation[:, 2] + 0.01
    depth_weight = torch.full((count,), 80.0).double()
    problem = make_problem(
        keypoints, weights, CAMERA_MATRIX, POINTS, config or PnPConfig(),
        depth if with_depth else None, depth_weight if with_depth else None,
    )  # fmt: skip
    return problem, rotation, translation


def perturbed(rotation, translation, delta):
    return so3.exp(delta[..., 3:]) @ rotation, translation + delta[..., :3]


def test_projection_agrees_with_opencv():
    rotation, translation = random_poses(50, seed=1)
    ours = project(rotation, translation, POINTS, CAMERA_MATRIX).numpy()
    for i in range(50):
        vector, _ = cv2.Rodrigues(rotation[i].numpy())
        theirs, _ = cv2.projectPoints(
            POINTS.numpy(), vector, translation[i].numpy(), CAMERA_MATRIX.numpy(), None
        )
        np.testing.assert_allclose(ours[i], theirs[:, 0], atol=1e-9)


def test_residuals_are_weighted_pixel_differences_and_the_depth_error():
    rotation, translation = random_poses(5, seed=2)
    pixels = project(rotation, translation, POINTS, CAMERA_MATRIX)
    shift = torch.tensor([3.0, -2.0]).double()
    weights = torch.full_like(pixels, 0.5)
    problem = make_problem(
        pixels - shift, weights, CAMERA_MATRIX, POINTS, PnPConfig(),
        translation[:, 2] - 0.02, torch.full((5,), 100.0),
    )  # fmt: skip
    expected = torch.tensor([1.5] * 4 + [-1.0] * 4 + [2.0]).double().expand(5, 9)
    torch.testing.assert_close(residuals(problem, rotation, translation), expected)
    error = reprojection_error(problem, rotation, translation)
    torch.testing.assert_close(error, torch.full((5,), 13**0.5).double())


def test_jacobian_agrees_with_autograd_and_central_differences():
    problem, rotation, translation = noisy_problem()

    def moved(delta):
        return residuals(problem, *perturbed(rotation, translation, delta))

    zero = torch.zeros(20, 6).double()
    ours = jacobian(problem, rotation, translation)
    full = torch.autograd.functional.jacobian(moved, zero)
    by_autograd = torch.stack([full[i, :, i] for i in range(20)])
    torch.testing.assert_close(ours, by_autograd, rtol=1e-9, atol=1e-9)
    step = 1e-6
    for k in range(6):
        delta = zero.clone()
        delta[:, k] = step
        numeric = (moved(delta) - moved(-delta)) / (2 * step)
        torch.testing.assert_close(ours[..., k], numeric, rtol=1e-5, atol=1e-5)


def test_jacobian_agrees_with_autograd_behind_the_camera():
    problem, rotation, translation = noisy_problem(4)
    translation = translation * torch.tensor([1.0, 1.0, -1.0])
    translation[0, 2] = 0.03  # some points in front, some behind

    def moved(delta):
        return residuals(problem, *perturbed(rotation, translation, delta))

    full = torch.autograd.functional.jacobian(moved, torch.zeros(4, 6).double())
    by_autograd = torch.stack([full[i, :, i] for i in range(4)])
    torch.testing.assert_close(jacobian(problem, rotation, translation), by_autograd)
    assert torch.isfinite(robust_cost(problem, rotation, translation)).all()


@pytest.mark.parametrize("with_depth", [True, False])
def test_gradient_is_that_of_the_robust_cost(with_depth):
    problem, rotation, translation = noisy_problem(with_depth=with_depth, outlier=60.0)
    delta = torch.zeros(20, 6).double().requires_grad_()
    cost = robust_cost(problem, *perturbed(rotation, translation, delta))
    (expected,) = torch.autograd.grad(cost.sum(), delta)
    model = linearize(problem, rotation, translation)
    torch.testing.assert_close(model.cost, cost.detach())
    torch.testing.assert_close(model.gradient, expected)


def test_hessian_is_j_transposed_j_without_outliers():
    problem, rotation, translation = noisy_problem(config=PnPConfig(relative_delta=1000.0))
    rows = jacobian(problem, rotation, translation)
    model = linearize(problem, rotation, translation)
    torch.testing.assert_close(model.hessian, rows.mT @ rows)


def test_huber_kernel_is_quadratic_then_linear():
    rotation, translation = random_poses(1, seed=2)
    pixels = project(rotation, translation, POINTS, CAMERA_MATRIX)
    spread = pixels.var(dim=1).sum().sqrt()
    costs = []
    for error in (0.25, 0.75, 1.0, 2.0, 5.0):
        moved = pixels.clone()
        moved[0, 0, 0] += error * spread
        # The threshold follows the spread of the moved points, so state it from their own.
        problem = make_problem(
            moved, torch.ones_like(moved), CAMERA_MATRIX, POINTS, PnPConfig(relative_delta=0.5)
        )
        delta = 0.5 * moved.var(dim=1).sum().sqrt()
        r = error * spread
        expected = 0.5 * r**2 if r <= delta else delta * r - 0.5 * delta**2
        costs.append((robust_cost(problem, rotation, translation)[0], expected))
    for ours, expected in costs:
        torch.testing.assert_close(ours, expected)


def test_samples_lead_and_broadcast():
    problem, rotation, translation = noisy_problem(7)
    rotations = torch.stack([rotation, rotation.roll(1, 0), rotation.roll(2, 0)])
    translations = torch.stack([translation, translation.roll(1, 0), translation.roll(2, 0)])
    costs = robust_cost(problem, rotations, translations)
    systems = linearize(problem, rotations, translations).system
    for s in range(3):
        torch.testing.assert_close(costs[s], robust_cost(problem, rotations[s], translations[s]))
        single = linearize(problem, rotations[s], translations[s])
        torch.testing.assert_close(systems[s], single.system)


def test_one_camera_per_grasp():
    rotation, translation = random_poses(3, seed=2)
    cameras = CAMERA_MATRIX.repeat(3, 1, 1)
    cameras[1, 0, 0], cameras[2, 0, 2] = 300.0, 100.0
    pixels = project(rotation, translation, POINTS, cameras)
    problem = make_problem(pixels, torch.ones_like(pixels), cameras, POINTS, PnPConfig())
    assert reprojection_error(problem, rotation, translation).max() < 1e-9


def test_missing_depth_is_no_residual():
    rotation, translation = random_poses(4, seed=2)
    pixels = project(rotation, translation, POINTS, CAMERA_MATRIX)
    depth = torch.tensor([float("nan"), 5.0, 5.0, float("inf")])
    weight = torch.tensor([100.0, 0.0, float("nan"), 1.0])
    problem = make_problem(
        pixels, torch.ones_like(pixels), CAMERA_MATRIX, POINTS, PnPConfig(), depth, weight
    )
    assert robust_cost(problem, rotation, translation).max() < 1e-9


def test_gradients_are_finite_at_zero_residual():
    rotation, translation = random_poses(2, seed=2)
    pixels = project(rotation, translation, POINTS, CAMERA_MATRIX).requires_grad_()
    weights = torch.ones_like(pixels).requires_grad_()
    problem = make_problem(pixels, weights, CAMERA_MATRIX, POINTS, PnPConfig())
    robust_cost(problem, rotation, translation).sum().backward()
    assert torch.isfinite(pixels.grad).all()
    assert torch.isfinite(weights.grad).all()


def test_wrong_shapes_and_cameras_are_refused():
    pixels = torch.rand(2, 4, 2)
    good = (pixels, torch.ones_like(pixels), CAMERA_MATRIX, POINTS, PnPConfig())
    for index, bad in ((0, pixels[0]), (1, pixels[:1]), (2, torch.eye(4)), (3, POINTS[:3])):
        arguments = list(good)
        arguments[index] = bad
        with pytest.raises(ShapeError, match="expected"):
            make_problem(*arguments)
    with pytest.raises(ShapeError, match="depth_weight"):
        make_problem(*good, center_depth=torch.ones(2))
    for row, column, value in ((0, 1, 3.0), (0, 0, 0.0), (1, 1, float("nan"))):
        camera = CAMERA_MATRIX.clone()
        camera[row, column] = value
        with pytest.raises(CameraError, match="skew"):
            make_problem(pixels, torch.ones_like(pixels), camera, POINTS, PnPConfig())
