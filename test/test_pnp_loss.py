# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from support.pnp_cases import CAMERA_MATRIX, POINTS, noisy_keypoints, random_poses

from kgnpro_ros.config import PnPConfig, PoseLossConfig, PosteriorConfig
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.geometry import so3
from kgnpro_ros.pnp.loss import MonteCarloPoseLoss, refined_pose
from kgnpro_ros.pnp.posterior import log_integral, sample_posterior
from kgnpro_ros.pnp.residual import make_problem, robust_cost
from kgnpro_ros.pnp.solver import solve_pnp

CAREFUL = PnPConfig(iterations=40)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=6, sigma=1.0, seed=1):
    rotation, translation = random_poses(count, seed)
    keypoints = noisy_keypoints(rotation, translation, sigma, seed)
    return keypoints, torch.full_like(keypoints, 1 / sigma), rotation, translation


def evaluate(keypoints, weights, rotation, translation, loss=None, **options):
    loss = loss or MonteCarloPoseLoss().eval()
    options.setdefault("generator", generator())
    return loss(keypoints, weights, CAMERA_MATRIX, POINTS, rotation, translation, **options)


def test_gradcheck_of_the_loss_with_fixed_samples():
    keypoints, weights, rotation, translation = batch(3)
    depth, depth_weight = translation[:, 2] + 0.01, torch.full((3,), 60.0).double()
    modes = solve_pnp(keypoints, weights, CAMERA_MATRIX, POINTS, CAREFUL, depth, depth_weight)
    fixed = sample_posterior(
        make_problem(keypoints, weights, CAMERA_MATRIX, POINTS, CAREFUL, depth, depth_weight),
        modes, PosteriorConfig(samples=64), generator(),
    )  # fmt: skip
    # The Huber threshold takes the spread of the keypoints as a constant, so that part of the
    # derivative is left out on purpose; a large threshold removes it from the comparison.
    config = PnPConfig(relative_delta=1000.0)

    def negative_log_density(keypoints, weights, depth, depth_weight):
        problem = make_problem(
            keypoints, weights, CAMERA_MATRIX, POINTS, config, depth, depth_weight
        )
        return robust_cost(problem, rotation, translation) + log_integral(problem, fixed)

    inputs = [t.clone().requires_grad_() for t in (keypoints, weights, depth, depth_weight)]
    assert torch.autograd.gradcheck(negative_log_density, inputs)


def test_gradcheck_through_the_huber_kernel():
    keypoints, weights, rotation, translation = batch(3)
    keypoints[:, 1, 0] += 90.0  # beyond the threshold at the truth
    modes = solve_pnp(keypoints, weights, CAMERA_MATRIX, POINTS, CAREFUL)
    problem = make_problem(keypoints, weights, CAMERA_MATRIX, POINTS, CAREFUL)
    fixed = sample_posterior(problem, modes, PosteriorConfig(samples=64), generator())
    at_truth = robust_cost(problem, rotation, translation)
    square = ((keypoints - noisy_keypoints(rotation, translation, 0.0)) ** 2).sum((1, 2)) / 2
    assert (at_truth < 0.9 * square).all()

    def negative_log_density(weights):
        problem = make_problem(keypoints, weights, CAMERA_MATRIX, POINTS, CAREFUL)
        return robust_cost(problem, rotation, translation) + log_integral(problem, fixed)

    assert torch.autograd.gradcheck(negative_log_density, [weights.requires_grad_()])


def test_module_is_the_mean_of_cost_at_truth_plus_log_integral_over_the_norm():
    keypoints, weights, rotation, translation = batch()
    loss = MonteCarloPoseLoss().eval()
    loss.norm_factor.fill_(2.5)
    result = evaluate(keypoints, weights, rotation, translation, loss)
    problem = make_problem(keypoints, weights, CAMERA_MATRIX, POINTS, PnPConfig())
    modes = solve_pnp(keypoints, weights, CAMERA_MATRIX, POINTS)
    integral = sample_posterior(problem, modes, generator=generator()).log_integral
    expected = robust_cost(problem, rotation, translation) + integral
    torch.testing.assert_close(result.per_grasp, expected)
    torch.testing.assert_close(result.value, expected.mean() / 2.5)
    assert result.skipped == 0
    assert result.norm_factor == 2.5
    assert 1 < result.effective_samples <= 512


def test_laplace_value_of_a_sharp_unimodal_loss():
    # Six-dimensional Gaussian negative log-density of the truth.
    keypoints, weights, rotation, translation = batch(40, sigma=0.1)
    result = evaluate(keypoints, weights, rotation, translation)
    modes = solve_pnp(keypoints, weights, CAMERA_MATRIX, POINTS, CAREFUL)
    alone = (modes.other_cost - modes.cost) > 20
    problem = make_problem(keypoints, weights, CAMERA_MATRIX, POINTS, CAREFUL)
    expected = robust_cost(problem, rotation, translation) - modes.cost
    expected = expected + 3 * math.log(2 * math.pi) + 0.5 * torch.logdet(modes.covariance)
    assert alone.sum() > 20
    assert (result.per_grasp - expected)[alone].abs().median() < 0.1
    assert (result.per_grasp - expected)[alone].abs().max() < 0.4


def test_truth_far_away_costs_more():
    keypoints, weights, rotation, translation = batch()
    near = evaluate(keypoints, weights, rotation, translation).per_grasp
    turned = so3.exp(torch.tensor([0.0, 0.0, 0.3]).double()) @ rotation
    far = evaluate(keypoints, weights, turned, translation).per_grasp
    assert (far > near).all()


def test_descent_moves_keypoints_towards_the_truth():
    keypoints, weights, rotation, translation = batch(20, sigma=3.0)
    exact = noisy_keypoints(rotation, translation, 0.0)
    keypoints.requires_grad_()
    evaluate(keypoints, weights, rotation, translation).value.backward()
    gain = -(keypoints.grad * (exact - keypoints.detach())).sum((1, 2))
    assert (gain > 0).double().mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_one_global_scale_recovers_the_noise(sigma):
    keypoints, _, rotation, translation = batch(600, sigma=sigma, seed=5)
    log_scales = torch.linspace(-0.6, 0.6, 9).double() - math.log(sigma)
    values = []
    for log_scale in log_scales:
        weights = torch.full_like(keypoints, float(log_scale.exp()))
        values.append(evaluate(keypoints, weights, rotation, translation).value)
    a, b, _ = torch.linalg.lstsq(
        torch.stack([log_scales**2, log_scales, torch.ones(9).double()], dim=1),
        torch.stack(values)[:, None],
    ).solution[:, 0]
    recovered = float((-b / (2 * a)).exp())
    assert a > 0
    assert recovered == pytest.approx(1 / sigma, rel=0.15)


def test_unusable_grasps_are_counted_and_leave_the_gradients_finite():
    keypoints, weights, rotation, translation = batch(6)
    keypoints[1, 2, 0] = torch.nan
    weights[2, 0, 1] = torch.inf
    keypoints[3] = 200.0
    rotation[4] = torch.nan
    keypoints.requires_grad_()
    weights.requires_grad_()
    result = evaluate(keypoints, weights, rotation, translation)
    result.value.backward()
    assert result.skipped == 4
    assert result.per_grasp.isnan().tolist() == [False, True, True, True, True, False]
    assert torch.isfinite(result.value)
    for gradient in (keypoints.grad, weights.grad):
        assert torch.isfinite(gradient).all()
        assert (gradient[1:5] == 0).all()
        assert (gradient[[0, 5]] != 0).any()


def test_huge_outlier_is_finite():
    keypoints, weights, rotation, translation = batch(4)
    keypoints[0, 0, 0] = 1e4
    inputs = [t.float().requires_grad_() for t in (keypoints, weights)]
    result = evaluate(*inputs, rotation.float(), translation.float())
    result.value.backward()
    assert torch.isfinite(result.value)
    assert all(torch.isfinite(t.grad).all() for t in inputs)


@pytest.mark.parametrize("count", [0, 2])
def test_nothing_to_learn_from_is_zero_and_part_of_the_graph(count):
    keypoints, weights, rotation, translation = batch(2)
    rotation = rotation * torch.nan
    keypoints = keypoints[:count].requires_grad_()
    loss = MonteCarloPoseLoss()
    result = evaluate(keypoints, weights[:count], rotation[:count], translation[:count], loss)
    result.value.backward()
    assert result.value == 0
    assert (keypoints.grad == 0).all()
    assert result.skipped == count
    assert math.isnan(result.effective_samples)
    assert loss.norm_factor == 1


def test_norm_factor_follows_the_weight_scale_in_training_only():
    keypoints, _, rotation, translation = batch(4)
    weights = torch.full_like(keypoints, 3.0)
    loss = MonteCarloPoseLoss(PoseLossConfig(norm_momentum=0.1))
    loss.eval()
    assert evaluate(keypoints, weights, rotation, translation, loss).norm_factor == 1.0
    loss.train()
    first = evaluate(keypoints, weights, rotation, translation, loss).norm_factor
    second = evaluate(keypoints, weights, rotation, translation, loss).norm_factor
    # Four weights of 3 sum to 12: 0.9 + 0.1 * 12, then the same again.
    assert first == pytest.approx(2.1)
    assert second == pytest.approx(0.9 * 2.1 + 1.2)
    assert "norm_factor" in loss.state_dict()


def test_depth_and_one_camera_per_grasp():
    keypoints, weights, rotation, translation = batch(4)
    keypoints[2] = torch.nan
    cameras = CAMERA_MATRIX.repeat(4, 1, 1)
    depth = translation[:, 2].clone()
    depth[0] = torch.nan
    loss = MonteCarloPoseLoss().eval()
    arguments = (keypoints, weights, cameras, POINTS, rotation, translation)
    with_depth = loss(*arguments, depth, torch.full((4,), 200.0), generator())
    without = loss(*arguments, generator=generator())
    assert with_depth.skipped == without.skipped == 1
    torch.testing.assert_close(with_depth.per_grasp[0], without.per_grasp[0])
    # A measured depth that agrees with the truth makes the truth more likely.
    assert (with_depth.per_grasp[[1, 3]] < without.per_grasp[[1, 3]] - 0.5).all()


def test_half_precision_under_autocast_is_computed_in_single():
    keypoints, weights, rotation, translation = (t.float() for t in batch(3))
    plain = evaluate(keypoints, weights, rotation, translation)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = evaluate(keypoints, weights, rotation, translation)
    assert cast.value.dtype == torch.float32
    torch.testing.assert_close(cast.per_grasp, plain.per_grasp)


def test_wrong_shape_of_the_truth_is_refused():
    keypoints, weights, rotation, translation = batch(3)
    with pytest.raises(ShapeError, match="truth"):
        evaluate(keypoints, weights, rotation, translation[:2])


def test_gradcheck_of_the_refined_pose():
    keypoints, weights, _, translation = batch(3)
    depth, depth_weight = translation[:, 2] + 0.01, torch.full((3,), 60.0).double()
    modes = solve_pnp(keypoints, weights, CAMERA_MATRIX, POINTS, CAREFUL, depth, depth_weight)
    config = PnPConfig(relative_delta=1000.0)

    def pose(keypoints, weights, depth, depth_weight):
        problem = make_problem(
            keypoints, weights, CAMERA_MATRIX, POINTS, config, depth, depth_weight
        )
        return refined_pose(problem, modes.rotation, modes.translation)

    inputs = [t.clone().requires_grad_() for t in (keypoints, weights, depth, depth_weight)]
    assert torch.autograd.gradcheck(pose, inputs)


def test_derivative_of_the_pose_is_that_of_solving_again():
    keypoints, weights, _, translation = batch(8, sigma=0.2, seed=6)
    weights = torch.ones_like(weights)
    config = PnPConfig(iterations=60, relative_delta=1000.0, choose_mode=False)

    def solved(keypoints, weights):
        # Well conditioned by a depth; started from the planar seeds each time.
        return solve_pnp(
            keypoints, weights, CAMERA_MATRIX, POINTS, config,
            translation[:, 2], torch.full((8,), 300.0),
        )  # fmt: skip

    start = solved(keypoints, weights)
    inputs = [keypoints.clone().requires_grad_(), weights.clone().requires_grad_()]
    problem = make_problem(
        *inputs, CAMERA_MATRIX, POINTS, config, translation[:, 2], torch.full((8,), 300.0)
    )
    _, refined = refined_pose(problem, start.rotation, start.translation)
    torch.testing.assert_close(refined.detach(), start.translation, rtol=0, atol=2e-5)
    for which, step in ((0, 1e-2), (1, 1e-2)):
        numeric, ours = [], []
        for point, axis, coordinate in ((0, 0, 0), (1, 1, 1), (2, 0, 2), (3, 1, 2)):
            (gradient,) = torch.autograd.grad(
                refined[:, coordinate].sum(), inputs[which], retain_graph=True
            )
            ours.append(gradient[:, point, axis])
            ends = []
            for sign in (1, -1):
                moved = [keypoints.clone(), weights.clone()]
                moved[which][:, point, axis] += sign * step
                ends.append(solved(*moved).translation[:, coordinate])
            numeric.append((ends[0] - ends[1]) / (2 * step))
        ours, numeric = torch.stack(ours), torch.stack(numeric)
        error = (ours - numeric).norm() / numeric.norm()
        assert error < 0.05
