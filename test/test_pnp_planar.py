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
from kgnpro_ros.pnp.planar import mirrored_pose, planar_seeds
from kgnpro_ros.pnp.residual import make_problem, project, reprojection_error


def problem_of(keypoints, points=POINTS):
    return make_problem(keypoints, torch.ones_like(keypoints), CAMERA_MATRIX, points, PnPConfig())


def is_edge_on(keypoints, limit=0.1):
    """Whether the image points are nearly on one line."""
    centred = keypoints - keypoints.mean(1, keepdim=True)
    values = torch.linalg.svdvals(centred)
    return values[:, 1] < limit * values[:, 0]


def test_one_seed_is_the_pose_on_exact_keypoints():
    rotation, translation = random_poses(1000, seed=1)
    keypoints = noisy_keypoints(rotation, translation, 0.0)
    seeds = planar_seeds(problem_of(keypoints))
    assert not seeds.degenerate.any()
    angle = so3.angle_between(seeds.rotation, rotation).amin(0)
    best = so3.angle_between(seeds.rotation, rotation).argmin(0)
    shift = (seeds.translation - translation).norm(dim=-1)[best, torch.arange(1000)]
    regular = ~is_edge_on(keypoints, 0.3)
    assert regular.sum() > 300
    assert angle[regular].max() < 1e-6
    assert shift[regular].max() < 1e-6
    assert angle.rad2deg().max() < 1.0  # edge-on: an affine map, near but not exact
    assert shift.max() < 0.05


def test_same_two_solutions_as_opencv_ippe():
    rotation, translation = random_poses(1000, seed=2)
    keypoints = noisy_keypoints(rotation, translation, 1.0)
    keep = ~is_edge_on(keypoints, 0.3)
    keypoints = keypoints[keep]
    seeds = planar_seeds(problem_of(keypoints))
    # OpenCV's IPPE wants the plane z = 0; ours is y = 0.
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    flat = POINTS.numpy() @ turn.T
    differences = []
    for i, pixels in enumerate(keypoints.numpy()):
        _, vectors, shifts, _ = cv2.solvePnPGeneric(
            flat, pixels, CAMERA_MATRIX.numpy(), None, flags=cv2.SOLVEPNP_IPPE
        )
        for vector, shift in zip(vectors, shifts, strict=True):
            theirs = torch.from_numpy(cv2.Rodrigues(vector)[0] @ turn)
            angle = so3.angle_between(seeds.rotation[:, i], theirs)
            k = int(angle.argmin())
            gap = float((seeds.translation[k, i] - torch.from_numpy(shift[:, 0])).norm())
            differences.append((float(angle[k]), gap))
    angle, gap = np.array(differences).T
    # The two differ in the least-squares details of the homography only.
    assert np.quantile(np.degrees(angle), 0.99) < 0.5
    assert np.quantile(gap, 0.99) < 0.005


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plane_seen_edge_on_is_no_special_case(dtype):
    # The camera lies in the finger plane: all four corners fall on one image line.
    half = torch.tensor(0.3).double()
    rotation = torch.stack(
        [
            torch.tensor([half.sin(), 0.0, half.cos()]),
            torch.tensor([0.0, 1.0, 0.0]).double(),
            torch.tensor([-half.cos(), 0.0, half.sin()]),
        ],
        dim=-1,
    )[None]
    translation = torch.tensor([[0.05, 0.0, 0.7]]).double()
    keypoints = noisy_keypoints(rotation, translation, 0.0)
    assert keypoints[..., 1].var() < 1e-12
    seeds = planar_seeds(problem_of(keypoints.to(dtype)))
    assert not seeds.degenerate.any()
    angle = so3.angle_between(seeds.rotation.double(), rotation).amin(0)
    assert angle.rad2deg().max() < 5.0


def test_mirror_formula_gives_the_second_seed():
    rotation, translation = random_poses(200, seed=3)
    keypoints = noisy_keypoints(rotation, translation, 1.0)
    problem = problem_of(keypoints)
    seeds = planar_seeds(problem)
    mirrored, shift = mirrored_pose(seeds.rotation[0], seeds.translation[0], POINTS)
    close = so3.angle_between(mirrored, seeds.rotation[1]).rad2deg()
    # Equal but for the centroid's ray, which the homography and the mean of the pose see apart.
    assert close.median() < 1.0
    back, back_shift = mirrored_pose(mirrored, shift, POINTS)
    torch.testing.assert_close(back, seeds.rotation[0])
    torch.testing.assert_close(back_shift, seeds.translation[0])
    assert torch.linalg.det(mirrored).min() > 0.999


def test_any_plane_in_the_object_frame_will_do():
    angles = torch.tensor([0.4, -0.8, 1.1]).double()
    turn = so3.exp(angles)
    points = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.1, 0.05, 0], [-0.02, 0.07, 0]]).double()
    points = points @ turn.T + torch.tensor([0.01, 0.02, -0.03])
    rotation, translation = random_poses(100, seed=4)
    keypoints = project(rotation, translation, points, CAMERA_MATRIX)
    problem = problem_of(keypoints, points)
    seeds = planar_seeds(problem)
    error = reprojection_error(problem, seeds.rotation, seeds.translation).amin(0)
    # Most views are regular and exact; nearly edge-on ones start from an affine map.
    assert error.median() < 1e-6
    assert torch.isfinite(error).all()


def test_coinciding_and_missing_points_are_degenerate_and_disturb_no_other():
    rotation, translation = random_poses(4, seed=5)
    keypoints = noisy_keypoints(rotation, translation, 0.0)
    alone = planar_seeds(problem_of(keypoints))
    keypoints[1] = torch.tensor([300.0, 200.0])
    keypoints[2, 3, 0] = float("nan")
    seeds = planar_seeds(problem_of(keypoints))
    assert seeds.degenerate.tolist() == [False, True, True, False]
    torch.testing.assert_close(seeds.rotation[:, ::3], alone.rotation[:, ::3])


def test_object_points_must_be_planar():
    bent = POINTS.clone()
    bent[3, 1] = 0.02
    flat = POINTS.clone()
    flat[2:] = POINTS[:2] * 2.0
    keypoints = torch.rand(2, 4, 2).double()
    for points in (bent, flat):
        with pytest.raises(ShapeError, match="coplanar"):
            planar_seeds(problem_of(keypoints, points))
