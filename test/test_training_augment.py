# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation: labels and pixels move by the same map; image changes stay in their bounds."""

import numpy as np
import pytest

from kgnpro_ros.config import AugmentConfig
from kgnpro_ros.training.augment import disturb_depth, jitter_color, random_affine, warp

CONFIG = AugmentConfig()


def rng(seed=0):
    return np.random.default_rng(seed)


def draws(n=400, target=(200.0, 150.0), crop=256, config=CONFIG, zoom=1.0):
    source = rng(1)
    return [random_affine(source, np.array(target), crop, config, zoom) for _ in range(n)]


def test_the_target_lands_in_the_middle_part():
    for affine in draws():
        u, v = affine[:, :2] @ (200.0, 150.0) + affine[:, 2]
        assert abs(u - 128) <= 0.35 * 256
        assert abs(v - 128) <= 0.35 * 256


def test_the_map_is_a_similarity_within_its_ranges():
    flips = 0
    for affine in draws(zoom=2.0):
        turn = affine[:, :2]
        scale = np.linalg.norm(turn[:, 0])
        np.testing.assert_allclose(turn.T @ turn, scale**2 * np.eye(2), atol=1e-12)
        assert 2.0 * CONFIG.scale_range[0] <= scale <= 2.0 * CONFIG.scale_range[1]
        # The image of "up" stays within the largest rotation.
        assert np.degrees(np.arccos(turn[1, 1] / scale)) <= CONFIG.max_rotation + 1e-9
        flips += np.linalg.det(turn) < 0
    assert 150 < flips < 250
    without = draws(50, config=AugmentConfig(flip=False))
    assert all(np.linalg.det(affine[:, :2]) > 0 for affine in without)


def test_nothing_random_with_all_ranges_closed():
    config = AugmentConfig(scale_range=(1.0, 1.0), max_rotation=0.0, flip=False)
    for affine in draws(5, config=config):
        np.testing.assert_allclose(affine[:, :2], np.eye(2), atol=1e-15)


@pytest.mark.parametrize("seed", range(6))
def test_pixels_go_where_the_map_says(seed):
    """A blurred dot at a known place is found again at the mapped place."""
    place = np.array([61.0, 47.0])
    v, u = np.mgrid[0:100, 0:120]
    dot = np.exp(-((u - place[0]) ** 2 + (v - place[1]) ** 2) / (2 * 2.5**2))
    color = np.repeat((250 * dot).round().astype(np.uint8)[..., None], 3, axis=2)
    depth = np.where(dot > 0.3, 0.5, 1.0).astype(np.float32)
    affine = random_affine(rng(seed), place, 96, CONFIG)
    warped, far = warp(color, depth, affine, 96)
    expected = affine[:, :2] @ place + affine[:, 2]
    v, u = np.mgrid[0:96, 0:96]
    for image in (warped[..., 0].astype(float), (far == 0.5).astype(float)):
        found = np.array([(u * image).sum(), (v * image).sum()]) / image.sum()
        np.testing.assert_allclose(found, expected, atol=0.35)


def test_depth_is_never_mixed_and_missing_outside():
    color = np.full((60, 60, 3), 200, np.uint8)
    depth = np.where(np.arange(60) < 30, 0.5, 1.5)[None].repeat(60, 0).astype(np.float32)
    depth[20:25, 20:25] = np.nan
    affine = np.array([[1.07, -0.2, 30.0], [0.2, 1.07, 5.0]])
    warped, far = warp(color, depth, affine, 128)
    seen = far[np.isfinite(far)]
    assert set(np.unique(seen)) == {np.float32(0.5), np.float32(1.5)}
    inverse = np.linalg.inv(affine[:, :2])
    v, u = np.mgrid[0:128, 0:128]
    source = (np.stack([u, v], -1) - affine[:, 2]) @ inverse.T
    outside = ((source < -1.5) | (source > 60.5)).any(-1)
    assert np.isnan(far[outside]).all()
    assert (warped[outside] == 0).all()
    inside = ((source > 1) & (source < 18)).all(-1)
    assert np.isfinite(far[inside]).all()
    assert (warped[inside] == 200).all()


def picture():
    return rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def test_no_jitter_at_strength_zero():
    color = picture()
    assert jitter_color(rng(), color, AugmentConfig(color_jitter=0.0)) is color


def test_jitter_keeps_the_type_and_the_input():
    color = picture()
    before = color.copy()
    changed = 0
    for seed in range(20):
        result = jitter_color(rng(seed), color, CONFIG)
        assert result.dtype == np.uint8
        assert result.shape == color.shape
        changed += (result != color).any()
    assert changed == 20
    np.testing.assert_array_equal(color, before)


def test_the_same_seed_jitters_the_same():
    first, second, other = (jitter_color(rng(s), picture(), CONFIG) for s in (4, 4, 5))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_gray_images_have_no_colour_differences():
    """Only the gains per channel remain: the channels are proportional."""
    color = np.clip(picture(), 60, 140)
    colorful = AugmentConfig(color_jitter=0.01, gray=0.0)
    gray = AugmentConfig(color_jitter=0.01, gray=1.0)
    for seed in range(10):
        result = jitter_color(rng(seed), color, gray).astype(float)
        spread = (result - result.mean((0, 1))).std(-1).mean()
        coloured = jitter_color(rng(seed), color, colorful).astype(float)
        assert spread < 0.5 * (coloured - coloured.mean((0, 1))).std(-1).mean()


def flat_depth():
    depth = np.linspace(0.5, 1.0, 80 * 90, dtype=np.float32).reshape(80, 90)
    depth[:5] = np.nan
    return depth


def test_missing_depth_stays_missing():
    depth = flat_depth()
    before = depth.copy()
    for seed in range(20):
        assert np.isnan(disturb_depth(rng(seed), depth, CONFIG)[:5]).all()
    np.testing.assert_array_equal(depth, before)


def test_noise_has_the_drawn_strength():
    config = AugmentConfig(depth_noise=0.004, depth_holes=0, far_clip=0.0)
    sigma = [np.nanstd(disturb_depth(rng(s), flat_depth(), config) - flat_depth())
             for s in range(30)]  # fmt: skip
    assert max(sigma) < 0.0041
    assert np.mean(sigma) == pytest.approx(0.002, rel=0.35)
    still = AugmentConfig(depth_noise=0.0, depth_holes=0, far_clip=0.0)
    np.testing.assert_array_equal(disturb_depth(rng(), flat_depth(), still), flat_depth())


def test_holes_are_holes():
    config = AugmentConfig(depth_noise=0.0, depth_holes=6, far_clip=0.0)
    lost = [np.isnan(disturb_depth(rng(s), flat_depth(), config)).sum() - 5 * 90
            for s in range(20)]  # fmt: skip
    assert min(lost) == 0
    assert 100 < max(lost) < 6 * np.pi * 12 * 12


def test_the_far_end_can_be_missing():
    config = AugmentConfig(depth_noise=0.0, depth_holes=0, far_clip=1.0)
    depth = flat_depth()
    for seed in range(10):
        result = disturb_depth(rng(seed), depth, config)
        lost = np.isnan(result) & np.isfinite(depth)
        kept = np.isfinite(result)
        assert kept.mean() > 0.5
        if lost.any():
            assert depth[lost].min() > depth[kept].max()


def test_an_image_without_depth_is_taken():
    result = disturb_depth(rng(), np.full((30, 30), np.nan, np.float32),
                           AugmentConfig(far_clip=1.0))  # fmt: skip
    assert np.isnan(result).all()
