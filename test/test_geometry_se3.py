# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms against the definition: matrices times homogeneous points."""

import numpy as np
from scipy.spatial.transform import Rotation

from kgnpro_ros.geometry.se3 import invert, make_transform, transform_points


def random_transforms(*batch, seed=0):
    n = int(np.prod(batch))
    rotation = Rotation.random(n, random_state=seed).as_matrix()
    translation = np.random.default_rng(seed).normal(size=(n, 3))
    return make_transform(rotation, translation).reshape(*batch, 4, 4)


def test_names_cancel():
    """T_a_b maps coordinates of b into a: the origin of b in a is its translation."""
    T_a_b, T_b_c = random_transforms(2)
    origin_of_c_in_b = T_b_c[:3, 3]
    expected = T_a_b[:3, :3] @ origin_of_c_in_b + T_a_b[:3, 3]
    np.testing.assert_allclose((T_a_b @ T_b_c)[:3, 3], expected, atol=1e-14)
    np.testing.assert_allclose(transform_points(T_a_b @ T_b_c, np.zeros((1, 3)))[0], expected)


def test_make_transform_broadcasts():
    rotation = Rotation.random(5, random_state=1).as_matrix()
    transform = make_transform(rotation, (1.0, 2.0, 3.0))
    assert transform.shape == (5, 4, 4)
    np.testing.assert_array_equal(transform[:, :3, 3], np.tile([1.0, 2.0, 3.0], (5, 1)))
    np.testing.assert_array_equal(transform[:, 3], np.tile([0.0, 0.0, 0.0, 1.0], (5, 1)))
    assert make_transform(np.eye(3), np.zeros((2, 7, 3))).shape == (2, 7, 4, 4)


def test_invert_agrees_with_the_matrix_inverse():
    transforms = random_transforms(3, 4)
    np.testing.assert_allclose(invert(transforms), np.linalg.inv(transforms), atol=1e-13)


def test_transform_points_agrees_with_homogeneous_coordinates():
    transforms = random_transforms(3, 4, seed=2)
    points = np.random.default_rng(5).normal(size=(3, 4, 6, 3))
    homogeneous = np.concatenate([points, np.ones((3, 4, 6, 1))], axis=-1)
    expected = np.einsum("abij,abnj->abni", transforms, homogeneous)[..., :3]
    np.testing.assert_allclose(transform_points(transforms, points), expected, atol=1e-13)


def test_one_set_of_points_in_many_frames():
    transforms = random_transforms(7, seed=3)
    points = np.random.default_rng(6).normal(size=(5, 3))
    result = transform_points(transforms, points)
    assert result.shape == (7, 5, 3)
    np.testing.assert_allclose(result[4], points @ transforms[4, :3, :3].T + transforms[4, :3, 3])
