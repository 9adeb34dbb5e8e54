# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
import torch
from support.pnp_cases import CAMERA_MATRIX, POINTS, noisy_keypoints, random_poses

from kgnpro_ros.config import PnPConfig
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.geometry import so3
from kgnpro_ros.pnp.residual import make_problem, robust_cost
from kgnpro_ros.pnp.solver import _solve, solve_pnp
from kgnpro_ros.types import GraspStatus

#: Approach along the optical axis, fingers in a horizontal plane through the camera.
EDGE_ON = torch.tensor([[[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]]).double()
NO_HUBER = {"relative_delta": 1000.0}


def solve(keypoints, weights=None, config=None, **measured):
    weights = torch.ones_like(keypoints) if weights is None else weights
    return solve_pnp(keypoints, weights, CAMERA_MATRIX, POINTS, config, **measured)


def angle(result, rotation):
    return so3.angle_between(result.rotation.double(), rotation).rad2deg()


def both(result, rotation):
    """Angle [deg] of the minimum that is nearer to a rotation."""
    other = so3.angle_between(result.other_rotation.double(), rotation).rad2deg()
    return torch.minimum(angle(result, rotation), other)


def opencv_minima(pixels):
    """Both IPPE poses, refined by OpenCV: list of (rotation, translation, cost)."""
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    flat, camera = POINTS.numpy() @ turn.T, CAMERA_MATRIX.numpy()
    minima = []
    _, vectors, shifts, _ = cv2.solvePnPGeneric(flat, pixels, camera, None, flags=cv2.SOLVEPNP_IPPE)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-12)
    for vector, shift in zip(vectors, shifts, strict=True):
        vector, shift = cv2.solvePnPRefineLM(flat, pixels, camera, None, vector, shift, criteria)
        projected, _ = cv2.projectPoints(flat, vector, shift, camera, None)
        cost = 0.5 * ((projected[:, 0] - pixels) ** 2).sum()
        minima.append((cv2.Rodrigues(vector)[0] @ turn, shift[:, 0], cost))
    return sorted(minima, key=lambda item: item[2])


@pytest.mark.parametrize("sigma", [0.0, 1.0, 3.0])
def test_global_minimum_is_at_least_as_good_as_opencv_finds(sigma):
    rotation, translation = random_poses(1000, seed=1)
    keypoints = noisy_keypoints(rotation, translation, sigma)
    config = PnPConfig(choose_mode=False, iterations=20, **NO_HUBER)
    result = solve(keypoints, config=config)
    assert (result.status == GraspStatus.OK).all()
    theirs = [opencv_minima(pixels)[0] for pixels in keypoints.numpy()]
    cost = torch.tensor([item[2] for item in theirs]).double()
    assert (result.cost <= cost + 0.01).all()
    # Same cost, same pose: compare where OpenCV reached the minimum too.
    same = (cost - result.cost).abs() < 1e-4
    assert same.double().mean() > 0.95
    reference = torch.from_numpy(np.stack([item[0] for item in theirs]))
    shift = torch.from_numpy(np.stack([item[1] for item in theirs]))
    close = both(result, reference)[same]
    assert close.quantile(0.95) < 0.2
    nearest = torch.minimum(
        (result.translation - shift).norm(dim=-1), (result.other_translation - shift).norm(dim=-1)
    )
    assert nearest[same].quantile(0.95) < 0.002


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_keypoints_give_back_the_pose(dtype):
    rotation, translation = random_poses(1000, seed=2)
    keypoints = noisy_keypoints(rotation, translation, 0.0).to(dtype)
    # Trusted to 0.05 px: the costs decide between the minima, not the approach rule.
    result = solve(keypoints, torch.full_like(keypoints, 20.0))
    assert result.rotation.dtype == dtype
    assert (result.status == GraspStatus.OK).all()
    assert angle(result, rotation).max() < 0.05
    assert (result.translation - translation).norm(dim=-1).max() < 5e-4
    assert result.reprojection_error.max() < 0.01


def test_both_minima_are_kept():
    rotation, translation = random_poses(1000, seed=3)
    keypoints = noisy_keypoints(rotation, translation, 1.0)
    result = solve(keypoints, config=PnPConfig(iterations=20, **NO_HUBER))
    problem = make_problem(
        keypoints, torch.ones_like(keypoints), CAMERA_MATRIX, POINTS, PnPConfig(**NO_HUBER)
    )
    at_other = robust_cost(problem, result.other_rotation, result.other_translation)
    torch.testing.assert_close(at_other, result.other_cost, rtol=1e-6, atol=1e-9)
    assert both(result, rotation).quantile(0.999) < 15.0
    two = so3.angle_between(result.rotation, result.other_rotation).rad2deg() > 5
    assert two.double().mean() > 0.9


@pytest.mark.parametrize(
    ("sigma", "limit", "count"),
    [(1.0, 0.005, 6000), pytest.param(2.0, 0.01, 40000, marks=pytest.mark.slow)],
)
def test_wrong_mode_rate(sigma, limit, count):
    rotation, translation = random_poses(count, seed=4)
    keypoints = noisy_keypoints(rotation, translation, sigma).float()
    weights = torch.full_like(keypoints, 1 / sigma)
    rate = (angle(solve(keypoints, weights), rotation) > 20).double().mean()
    lowest = solve(keypoints, weights, PnPConfig(choose_mode=False))
    lowest_rate = (angle(lowest, rotation) > 20).double().mean()
    assert rate < limit
    assert lowest_rate > 3 * rate  # or the choice would bring nothing


def test_depth_at_the_tips_decides_a_tie():
    # Closing across the view, fingers square to it: the approach rule sees no difference.
    rotation = torch.tensor([[[1.0, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]]]).double()
    translation = torch.tensor([[0.05, 0.0, 0.8]]).double()
    keypoints = noisy_keypoints(rotation, translation, 0.0)
    weights = torch.full_like(keypoints, 0.02)
    tips = translation[:, 2:] + rotation[:, 2, 2:] * torch.tensor([0.05, -0.05])
    right = solve(keypoints, weights, tip_depth=tips)
    wrong = solve(keypoints, weights, tip_depth=tips.flip(-1))
    one_tip = tips.clone()
    one_tip[0, 0] = float("nan")
    assert angle(right, rotation) < 1
    assert angle(wrong, rotation) > 20
    assert angle(solve(keypoints, weights, tip_depth=one_tip), rotation) < 1


def test_weights_pull_towards_the_trusted_points():
    rotation, translation = random_poses(200, seed=5)
    keypoints = noisy_keypoints(rotation, translation, 0.0)
    keypoints[:, 3] += 10.0
    weights = torch.ones_like(keypoints)
    weights[:, 3] = 0.001
    trusted = both(solve(keypoints, weights), rotation)
    equal = both(solve(keypoints), rotation)
    assert trusted.quantile(0.9) < 1.0
    assert trusted.median() < 0.2 * equal.median()


def test_depth_sets_the_scale():
    rotation, translation = random_poses(300, seed=6)
    keypoints = noisy_keypoints(rotation, translation, 2.0)
    weights = torch.full_like(keypoints, 0.5)
    depth, weight = translation[:, 2].clone(), torch.full((300,), 1000.0)
    without = solve(keypoints, weights)
    with_depth = solve(keypoints, weights, center_depth=depth, depth_weight=weight)
    off = PnPConfig(use_depth=False)
    ignored = solve(keypoints, weights, off, center_depth=depth, depth_weight=weight)
    error = (with_depth.translation - translation).norm(dim=-1)
    assert (with_depth.translation[:, 2] - depth).abs().quantile(0.95) < 0.003
    assert error.median() < 0.3 * (without.translation - translation).norm(dim=-1).median()
    torch.testing.assert_close(ignored.translation, without.translation)
    assert (with_depth.covariance[:, 2, 2] < 0.1 * without.covariance[:, 2, 2]).all()


def test_wrong_depth_cannot_drag_the_pose_without_bound():
    rotation, translation = random_poses(100, seed=6)
    keypoints = noisy_keypoints(rotation, translation, 0.5)
    weights = torch.full_like(keypoints, 2.0)
    wrong = translation[:, 2] + 1.0
    result = solve(keypoints, weights, center_depth=wrong, depth_weight=torch.full((100,), 100.0))
    assert (result.translation[:, 2] - translation[:, 2]).abs().median() < 0.05


def test_covariance_matches_the_scatter_of_the_estimates():
    rotation, translation = random_poses(1, seed=8, max_angle=40.0)
    count = 4000
    keypoints = noisy_keypoints(
        rotation.expand(count, 3, 3), translation.expand(count, 3), sigma=0.3
    )
    result = solve(keypoints, torch.full_like(keypoints, 1 / 0.3))
    turn = result.rotation @ rotation.mT
    omega = 0.5 * torch.stack(
        [turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0],
         turn[:, 1, 0] - turn[:, 0, 1]], dim=-1,
    )  # fmt: skip
    errors = torch.cat([result.translation - translation, omega], dim=-1)
    right = omega.norm(dim=-1) < 0.3
    assert right.double().mean() > 0.98
    distance = torch.einsum("bi,bij,bj->b", errors, torch.linalg.inv(result.covariance), errors)
    # Six degrees of freedom: the squared Mahalanobis distance has mean 6 and median 5.35.
    assert distance[right].mean() == pytest.approx(6.0, rel=0.06)
    assert distance[right].median() == pytest.approx(5.35, rel=0.06)


def test_huge_outlier_keeps_the_result_finite_and_shows_in_the_error():
    rotation, translation = random_poses(50, seed=9)
    keypoints = noisy_keypoints(rotation, translation, 0.0).float()
    keypoints[0, 1, 0] = 1e5
    result = solve(keypoints)
    if result.status[0] == GraspStatus.OK:
        assert result.reprojection_error[0] > 100
    assert (result.status[1:] == GraspStatus.OK).all()
    assert angle(result, rotation)[1:].max() < 0.05


def test_unusable_input_is_a_status_and_nan_never_a_substitute():
    rotation, translation = random_poses(6, seed=10)
    keypoints = noisy_keypoints(rotation, translation, 0.0)
    weights = torch.ones_like(keypoints)
    keypoints[1, 2, 1] = float("nan")
    keypoints[2] = torch.tensor([100.0, 100.0])
    weights[3] = 0.0
    weights[4, 0, 0] = float("inf")
    result = solve(keypoints, weights)
    assert (result.status[1:5] == GraspStatus.PNP_FAILED).all()
    for values in (result.rotation, result.translation, result.covariance, result.cost):
        assert values[1:5].isnan().all()
        assert torch.isfinite(values[[0, 5]]).all()
    assert (result.status[[0, 5]] == GraspStatus.OK).all()


def test_solutions_nearer_than_the_least_depth_are_behind_the_camera():
    rotation, translation = random_poses(3, seed=11)
    keypoints = noisy_keypoints(rotation, translation, 0.0)
    result = solve(keypoints, config=PnPConfig(min_depth=3.0))
    assert (result.status == GraspStatus.BEHIND_CAMERA).all()
    for values in (result.rotation, result.cost, result.other_translation):
        assert values.isnan().all()


@pytest.mark.parametrize("depth", [0.03, 0.05, 0.08])
def test_gripper_that_straddles_the_camera_plane_is_not_explained(depth):
    rotation = so3.exp(torch.tensor([[0.3, 0.4, 0.2]]).double()) @ EDGE_ON
    keypoints = noisy_keypoints(rotation, torch.tensor([[0.01, 0.02, depth]]).double(), 0.0)
    result = solve(keypoints)
    assert result.status[0] != GraspStatus.OK or result.reprojection_error[0] > 100


def test_collinear_points_that_no_view_explains_have_a_large_error_or_a_status():
    # Tips and back pair interleaved on a line: no view of the square shows that order.
    line = torch.tensor([[0.0, 0.0], [60.0, 30.0], [90.0, 45.0], [20.0, 10.0]]).double()
    result = solve((line + 200.0)[None])
    explained = (result.status == GraspStatus.OK) & (result.reprojection_error < 2.0)
    assert not explained.any()


def test_edge_on_view_is_solved():
    translation = torch.tensor([[0.0, 0.0, 0.7]]).double()
    keypoints = noisy_keypoints(EDGE_ON, translation, 0.0)
    assert keypoints[..., 1].var() < 1e-12
    result = solve(keypoints.float())
    assert result.status[0] == GraspStatus.OK
    assert angle(result, EDGE_ON) < 0.1


def test_no_candidates():
    result = solve(torch.zeros(0, 4, 2), tip_depth=torch.zeros(0, 2))
    assert result.rotation.shape == (0, 3, 3)
    assert result.status.shape == (0,)
    assert result.covariance.shape == (0, 6, 6)


def test_zero_iterations_keep_the_closed_form():
    rotation, translation = random_poses(20, seed=12)
    keypoints = noisy_keypoints(rotation, translation, 1.0)
    closed = solve(keypoints, config=PnPConfig(iterations=0, choose_mode=False))
    refined = solve(keypoints, config=PnPConfig(choose_mode=False))
    assert (closed.status == GraspStatus.OK).all()
    assert (closed.cost >= refined.cost - 1e-9).all()


def test_half_precision_input_under_autocast_is_solved_in_single():
    rotation, translation = random_poses(5, seed=13)
    keypoints = noisy_keypoints(rotation, translation, 0.0).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = solve(keypoints)
    assert result.rotation.dtype == torch.float32
    expected = solve(keypoints.float())
    torch.testing.assert_close(result.translation, expected.translation)


def test_wrong_shape_of_tip_depth_is_refused():
    with pytest.raises(ShapeError, match="tip_depth"):
        solve(torch.rand(3, 4, 2), tip_depth=torch.zeros(3))


def test_thread_count_is_restored():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        solve(torch.zeros(0, 4, 2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_numpy_and_torch_run_the_same_formulas(precision):
    rotation, translation = random_poses(200, seed=11)
    keypoints = noisy_keypoints(rotation, translation, 2.0).to(precision)
    keypoints[7] = torch.nan
    keypoints[8] = 100.0
    weights = torch.full_like(keypoints, 0.4)
    depth = translation[:, 2].clone().to(precision)
    depth[::3] = torch.nan
    tips = translation[:, 2:].repeat(1, 2).to(precision)
    measured = (
        keypoints, weights, CAMERA_MATRIX, POINTS, depth, torch.full_like(depth, 90.0), tips,
    )  # fmt: skip
    by_torch = _solve(PnPConfig(), *measured)
    by_numpy = vars(solve_pnp(*measured[:4], PnPConfig(), *measured[4:]))
    assert by_torch.keys() == by_numpy.keys()
    assert (by_torch["status"] == by_numpy["status"]).all()
    # A rounding error may let the steps end one earlier, within the tolerance of the cost.
    close = torch.isclose(by_torch["cost"], by_numpy["cost"], rtol=1e-3, equal_nan=True)
    assert close.float().mean() > (0.98 if precision == torch.float32 else 0.999)
    for name, values in by_torch.items():
        assert values.dtype == by_numpy[name].dtype
        limit = 2e-3 * values[close].nan_to_num().abs().max()
        torch.testing.assert_close(
            values[close], by_numpy[name][close], rtol=2e-2, atol=float(limit), equal_nan=True
        )
