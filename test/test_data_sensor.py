# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth-sensor model: what it removes, how noisy it is, that seeds hold."""

from dataclasses import replace

import numpy as np
import pytest

from kgnpro_ros.data.sensor import (
    DepthSensor,
    random_sensor,
    sense_color,
    sense_depth,
    stereo_shadow,
)
from kgnpro_ros.geometry import Camera

CAMERA = Camera(600.0, 600.0, 159.5, 119.5, 320, 240)
PERFECT = DepthSensor(
    baseline=0.0, border=False, noise=0.0, smoothing=0.0, grazing=89.9, edge_holes=False, holes=0.0,
    step=1e-6,
)  # fmt: skip


def wall_and_step():
    """A wall at 0.8 m with a square 0.5 m away in front of it."""
    depth = np.full((240, 320), 0.8, np.float32)
    depth[80:160, 120:200] = 0.5
    return depth


def sense(depth, sensor, seed=0):
    return sense_depth(depth, CAMERA, sensor, np.random.default_rng(seed))


def test_perfect_sensor_changes_nothing():
    depth = wall_and_step()
    assert np.abs(sense(depth, PERFECT) - depth).max() < 2e-6


@pytest.mark.parametrize("correlation", [1.0, 4.0])
def test_noise_grows_with_the_square_of_the_distance(correlation):
    sensor = replace(PERFECT, noise=0.004, correlation=correlation)
    for distance in (0.5, 1.0):
        depth = np.full((240, 320), distance, np.float32)
        noise = sense(depth, sensor) - depth
        assert noise.std() == pytest.approx(0.004 * distance**2, rel=0.05)


def test_correlated_noise_is_smooth():
    depth = np.full((240, 320), 1.0, np.float32)
    rough, smooth = (
        sense(depth, replace(PERFECT, noise=0.004, correlation=c)) - depth for c in (1.0, 6.0)
    )
    step = [np.abs(np.diff(noise, axis=1)).mean() for noise in (rough, smooth)]
    assert step[1] < 0.5 * step[0]


def test_depth_is_quantised():
    measured = sense(wall_and_step(), replace(PERFECT, step=0.001, noise=0.003))
    assert np.abs(measured / 0.001 - np.round(measured / 0.001)).max() < 1e-3


def test_out_of_range_and_missing_are_nan():
    depth = wall_and_step()
    depth[0, 0] = np.nan
    measured = sense(depth, replace(PERFECT, near=0.6))
    assert np.isnan(measured[0, 0])
    assert np.isnan(measured[100, 150])
    assert np.isfinite(measured[200, 10])
    assert np.isnan(sense(depth, replace(PERFECT, far=0.7))[200, 10])


def test_shadow_has_the_width_of_the_disparity_and_lies_left_of_the_near_thing():
    baseline = 0.05
    hidden = stereo_shadow(wall_and_step(), 600.0 * baseline, border=False)
    width = 600.0 * baseline * (1 / 0.5 - 1 / 0.8)  # 22.5 px
    row = np.flatnonzero(hidden[120])
    assert len(row) == pytest.approx(width, abs=1.6)
    assert row.max() == 119
    assert not hidden[20].any()


def test_border_is_the_strip_that_the_second_imager_lacks():
    hidden = stereo_shadow(wall_and_step(), 600.0 * 0.05, border=True)
    assert hidden[20].sum() == np.ceil(600.0 * 0.05 / 0.8)
    assert not stereo_shadow(wall_and_step(), 0.0, border=True).any()


def test_grazing_surfaces_lose_depth():
    def plane(angle):
        """A plane through (0, 0, 1), turned about x by an angle [deg]."""
        v = (np.arange(240) - CAMERA.cy) / CAMERA.fy
        slope = np.tan(np.radians(angle))
        depth = 1 / (1 - slope * v)
        return np.repeat(np.where(depth > 0, depth, 10)[:, None], 320, 1).astype(np.float32)

    sensor = replace(PERFECT, grazing=80.0, far=100.0)
    middle = np.s_[118:122, 100:200]
    assert np.isfinite(sense(plane(78.0), sensor)[middle]).all()
    assert np.isnan(sense(plane(82.0), sensor)[middle]).all()


def test_edges_are_blurred_or_cut_out():
    blurred = sense(wall_and_step(), replace(PERFECT, smoothing=3.0))[120, 112:128]
    assert ((blurred > 0.52) & (blurred < 0.78)).sum() >= 5
    cut = sense(wall_and_step(), replace(PERFECT, edge_holes=True))[120, 112:128]
    assert 1 <= np.isnan(cut).sum() <= 3
    assert set(np.round(cut[np.isfinite(cut)], 3)) == {np.float32(0.5), np.float32(0.8)}


def test_holes_cover_their_share():
    depth = np.full((480, 640), 0.7, np.float32)
    camera = Camera(600.0, 600.0, 319.5, 239.5, 640, 480)
    sensor = replace(PERFECT, holes=0.02)
    measured = sense_depth(depth, camera, sensor, np.random.default_rng(3))
    assert np.isnan(measured).mean() == pytest.approx(0.02, abs=0.005)


def test_seeds_decide_everything():
    sensor = random_sensor(np.random.default_rng(5))
    assert sensor == random_sensor(np.random.default_rng(5))
    first, again, other = (sense(wall_and_step(), sensor, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again, equal_nan=True)
    assert not np.array_equal(first, other, equal_nan=True)
    color = np.full((24, 32, 3), 120, np.uint8)
    assert np.array_equal(
        sense_color(color, np.random.default_rng(1)), sense_color(color, np.random.default_rng(1))
    )
