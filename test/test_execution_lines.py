# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kgnpro_ros.execution.lines import ROTATION_STEP, bend_of, line, pose_error


def pose(turn, position):
    result = np.eye(4)
    result[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    result[:3, 3] = position
    return result


def test_a_line_is_straight_even_and_ends_where_it_should():
    begin, end = pose([0.1, 0.2, -0.3], [0.4, 0, 0.3]), pose([0.1, 0.7, 0.2], [0.5, 0.1, 0.1])
    poses = line(begin, end, 0.01)
    np.testing.assert_allclose(poses[-1], end, atol=1e-12)
    whole = np.concatenate([begin[None], poses])
    steps = [pose_error(a, b) for a, b in itertools.pairwise(whole)]
    distance, angle = np.array(steps).T
    assert distance.max() <= 0.01 + 1e-12
    assert np.ptp(distance) < 1e-9
    assert np.ptp(angle) < 1e-9  # turns at an even pace, the short way
    assert angle.sum() == pytest.approx(pose_error(begin, end)[1])
    assert bend_of(whole[:, :3, 3]) < 1e-12


def test_a_turn_on_the_spot_is_cut_by_its_angle():
    poses = line(np.eye(4), pose([0, 0, 1.0], [0, 0, 0]), 0.01)
    assert len(poses) == np.ceil(1.0 / ROTATION_STEP)


def test_no_way_at_all_is_one_pose():
    np.testing.assert_allclose(line(np.eye(4), np.eye(4), 0.01), np.eye(4)[None])


def test_the_error_of_poses():
    first = pose([0.3, -0.1, 0.2], [0.1, 0.2, 0.3])
    second = first @ pose([0, 0.4, 0], [0.03, 0, 0.04])
    assert pose_error(first, second) == pytest.approx((0.05, 0.4))


def test_the_bend_of_an_arc_is_its_sagitta():
    angle = np.linspace(-0.5, 0.5, 101)
    arc = np.stack([np.sin(angle), np.cos(angle), np.zeros(101)], axis=1)
    assert bend_of(arc) == pytest.approx(1 - np.cos(0.5), rel=1e-6)
    # Past the end of the line it is the distance from the end.
    assert bend_of(np.array([[0.0, 0, 0], [1.3, 0, 0], [1, 0, 0]])) == pytest.approx(0.3)
    assert bend_of(np.zeros((3, 3))) == 0.0
