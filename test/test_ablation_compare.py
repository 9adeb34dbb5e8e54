# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Paired differences against a plain loop over resampled scenes."""

import numpy as np
import pytest

from kgnpro_ros.ablation.compare import Estimate, SeedRates
from kgnpro_ros.config import EvaluationConfig
from kgnpro_ros.evaluation.metrics import SceneSums, resampling_weights

SCENES, CELLS = 40, 6
CONFIG = EvaluationConfig(bootstrap_samples=400)


def sums(seed, better=0):
    """Scenes of very different difficulty; ``better`` more objects are found in each."""
    rng = np.random.default_rng(1)
    objects = np.full(SCENES, 8.0)
    easy = rng.integers(0, 6, SCENES) + np.random.default_rng(seed).integers(0, 2, SCENES)
    found = np.repeat(np.minimum(easy + better, 8)[:, None], CELLS, axis=1).astype(float)
    return SceneSums(10 * objects, 30 * objects, objects, 2 * found, 3 * found, found)


def test_difference_of_rows_against_a_loop():
    a, b = SeedRates({0: sums(5, 1), 1: sums(6, 1)}, CONFIG), SeedRates({1: sums(7)}, CONFIG)
    difference, seeds = a.difference(b, "osr")
    assert seeds == [1]
    drawn = []
    for weight in resampling_weights(SCENES, 400, CONFIG.seed):
        scenes = np.repeat(np.arange(SCENES), weight.astype(int))
        found = [item.found[scenes, 0].sum() for item in (sums(6, 1), sums(7))]
        drawn.append((found[0] - found[1]) / (8 * SCENES))
    exact = (sums(6, 1).found[:, 0].sum() - sums(7).found[:, 0].sum()) / (8 * SCENES)
    assert difference[0].value == pytest.approx(exact)
    assert [difference[0].low, difference[0].high] == pytest.approx(
        list(np.quantile(drawn, [0.025, 0.975]))
    )


def test_a_small_steady_difference_is_decided_although_the_intervals_overlap():
    """Scenes differ far more than the systems do; pairing takes that out."""
    better, plain = SeedRates({0: sums(5, 1)}, CONFIG), SeedRates({0: sums(5)}, CONFIG)
    high, low = better.estimate("osr")[0], plain.estimate("osr")[0]
    assert high.low < low.high
    assert better.difference(plain, "osr")[0][0].decided
    same, _ = plain.difference(plain, "osr")
    assert (same[0].value, same[0].low, same[0].high) == (0, 0, 0)
    assert not same[0].decided


def test_mean_over_seeds_and_no_common_seed():
    both = SeedRates({0: sums(5), 1: sums(6)}, CONFIG)
    single = [both.estimate("gsr", [seed])[2].value for seed in (0, 1)]
    assert both.estimate("gsr")[2].value == pytest.approx(np.mean(single))
    apart, seeds = both.difference(SeedRates({2: sums(7)}, CONFIG), "gsr")
    assert seeds == []
    assert np.isnan(apart[0].value)
    assert apart[0].to_dict() == {"value": None, "low": None, "high": None}
    assert not Estimate(np.nan, np.nan, np.nan).decided


def test_sums_survive_json():
    original = sums(5)
    read = SceneSums.from_dict(original.to_dict())
    for name, value in vars(original).items():
        np.testing.assert_array_equal(getattr(read, name), value)
