# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Times along joint paths against the closed form of a trapezoidal velocity profile."""

import numpy as np
import pytest

from kgnpro_ros.execution.time_scaling import SHARE, time_path


def profile_time(distance, velocity, acceleration):
    """Shortest time from rest to rest."""
    if distance >= velocity**2 / acceleration:
        return distance / velocity + velocity / acceleration
    return 2 * np.sqrt(distance / acceleration)


@pytest.mark.parametrize(("distance", "velocity"), [(1.0, 0.5), (2.0, 1.0), (0.1, 2.0)])
def test_one_joint_takes_the_shortest_time(distance, velocity):
    path = np.linspace(0.0, distance, 20)[:, None] * np.array([1.0, 0.25])
    result = time_path(("a", "b"), path, np.full(2, velocity), np.full(2, 1.5))
    expected = profile_time(distance, SHARE * velocity, SHARE * 1.5)
    assert result.duration == pytest.approx(expected, rel=0.02)
    np.testing.assert_allclose(result.positions[-1], path[-1], atol=1e-9)
    np.testing.assert_allclose(result.positions[:, 1], 0.25 * result.positions[:, 0], atol=1e-9)
    assert np.abs(result.velocities).max() <= velocity


def test_velocities_are_the_derivative_of_positions():
    share = np.linspace(0, 1, 30)[:, None]
    path = np.concatenate([np.sin(2 * share), share**2, -share], axis=1)
    result = time_path(("a", "b", "c"), path, np.full(3, 0.5), np.full(3, 1.0))
    middle = (result.velocities[1:] + result.velocities[:-1]) / 2
    slope = np.diff(result.positions, axis=0) / np.diff(result.times)[:, None]
    np.testing.assert_allclose(slope, middle, atol=0.01)


def test_half_the_speed_takes_longer():
    path = np.linspace(0, 1, 20)[:, None] * np.ones(7)
    fast, slow = (
        time_path(tuple("abcdefg"), path, np.full(7, speed), np.full(7, 5.0)).duration
        for speed in (1.0, 0.5)
    )
    assert slow == pytest.approx(2 * fast, rel=0.2)


def test_a_path_that_goes_nowhere_takes_no_time():
    result = time_path(("a",), np.ones((3, 1)), np.ones(1), np.ones(1))
    assert result.duration == 0.0
    assert result.positions.tolist() == [[1.0]]


def test_states_given_twice_do_no_harm():
    path = np.array([[0.0], [0.5], [0.5], [1.0]])
    result = time_path(("a",), path, np.ones(1), np.ones(1))
    assert result.duration == pytest.approx(profile_time(1.0, SHARE, SHARE), rel=0.05)


@pytest.mark.parametrize("distance", [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
def test_the_smallest_motions_can_be_timed(distance):
    path = np.stack([np.zeros(7), distance * np.linspace(-1, 1, 7)])
    result = time_path(tuple("abcdefg"), path, np.full(7, 0.4), np.full(7, 2.0))
    expected = profile_time(distance, SHARE * 0.4, SHARE * 2.0)
    assert result.duration == pytest.approx(expected, rel=0.05)
    np.testing.assert_allclose(result.positions[-1], path[-1], atol=1e-9)
