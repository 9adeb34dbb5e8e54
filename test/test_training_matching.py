# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support.pnp_cases import POINTS, random_poses

from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.geometry import so3
from kgnpro_ros.training.matching import match_grasps

TWIN = torch.diag(torch.tensor([1.0, -1.0, -1.0])).double()


def by_hand(rotation, translation, true_rotation, true_translation):
    """The metric of the docstring in a plain loop: distance and twin of every pair."""
    distances = np.empty((len(rotation), len(true_rotation), 2))
    points = POINTS.numpy()
    half_turn = Rotation.from_euler("x", 180, degrees=True).as_matrix()
    for i, (r, t) in enumerate(zip(rotation.numpy(), translation.numpy(), strict=True)):
        for j, (s, u) in enumerate(
            zip(true_rotation.numpy(), true_translation.numpy(), strict=True)
        ):
            for k, turn in enumerate((np.eye(3), half_turn)):
                gap = [r @ p + t - (s @ turn @ p + u) for p in points]
                distances[i, j, k] = np.mean(np.linalg.norm(gap, axis=1))
    return distances


def test_same_as_a_loop_over_all_pairs():
    rotation, translation = random_poses(30, seed=1)
    true_rotation, true_translation = random_poses(40, seed=2)
    distances = by_hand(rotation, translation, true_rotation, true_translation)
    best = distances.reshape(30, -1).argmin(1)
    gate = float(np.median(distances.min((1, 2))))
    matches = match_grasps(
        rotation, translation, true_rotation, true_translation, POINTS, gate=gate
    )
    np.testing.assert_allclose(matches.distance, distances.min((1, 2)), atol=1e-12)
    np.testing.assert_array_equal(matches.index, best // 2)
    np.testing.assert_array_equal(matches.matched, distances.min((1, 2)) <= gate)
    turned = torch.from_numpy(best % 2 == 1)
    assert turned.any()
    assert not turned.all()
    expected = true_rotation[matches.index]
    expected = torch.where(turned[:, None, None], expected @ TWIN, expected)
    torch.testing.assert_close(matches.rotation, expected)
    torch.testing.assert_close(matches.translation, true_translation[matches.index])


def test_a_turn_by_180_degrees_is_no_distance():
    rotation, translation = random_poses(10, seed=3)
    matches = match_grasps(rotation @ TWIN, translation, rotation, translation, POINTS, gate=0.05)
    assert matches.matched.all()
    assert matches.distance.max() < 1e-12
    torch.testing.assert_close(matches.rotation, rotation @ TWIN)


def test_gate():
    rotation, translation = random_poses(1, seed=4)
    for shift, expected in ((0.049, True), (0.051, False)):
        moved = translation + torch.tensor([0.0, shift, 0.0])
        matches = match_grasps(rotation, moved, rotation, translation, POINTS, gate=0.05)
        assert matches.distance.item() == pytest.approx(shift)
        assert matches.matched.item() is expected


def test_turn_counts_by_the_way_of_the_corners():
    rotation, translation = random_poses(1, seed=4)
    angle = torch.tensor(0.1).double()
    turned = rotation @ so3.exp(torch.tensor([[0.0, 1.0, 0.0]]).double() * angle)
    matches = match_grasps(turned, translation, rotation, translation, POINTS, gate=0.05)
    arms = POINTS.norm(dim=-1)
    assert matches.distance.item() == pytest.approx(float((2 * (angle / 2).sin() * arms).mean()))


def test_only_allowed_pairs_match():
    rotation, translation = random_poses(3, seed=5)
    allowed = torch.tensor([[False, True, True], [True, True, True], [False, False, False]])
    matches = match_grasps(
        rotation, translation, rotation, translation, POINTS, gate=10.0, allowed=allowed
    )
    assert matches.index[0] != 0
    assert matches.index[1] == 1
    assert matches.matched.tolist() == [True, True, False]
    assert matches.distance[2] == torch.inf
    assert matches.rotation[2].isnan().all()


def test_failed_predictions_match_nothing():
    rotation, translation = random_poses(2, seed=6)
    broken = rotation.clone()
    broken[0] = torch.nan
    matches = match_grasps(broken, translation, rotation, translation, POINTS, gate=10.0)
    assert matches.matched.tolist() == [False, True]
    assert matches.translation[0].isnan().all()


@pytest.mark.parametrize(("count", "truths"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_match(count, truths):
    rotation, translation = random_poses(count, seed=7)
    true_rotation, true_translation = random_poses(truths, seed=8)
    matches = match_grasps(
        rotation, translation, true_rotation, true_translation, POINTS, gate=0.05
    )
    assert matches.matched.shape == (count,)
    assert not matches.matched.any()
    assert matches.rotation.shape == (count, 3, 3)
    assert matches.rotation.isnan().all()


def test_wrong_shapes_are_refused():
    rotation, translation = random_poses(2, seed=9)
    with pytest.raises(ShapeError, match="true grasps"):
        match_grasps(rotation, translation, rotation, translation[:1], POINTS, gate=0.05)
    with pytest.raises(ShapeError, match="allowed"):
        match_grasps(
            rotation, translation, rotation, translation, POINTS, 0.05, torch.ones(2, 3).bool()
        )
