# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Candidates below the threshold that are the best around their place."""

import math

import numpy as np
import pytest
import torch
from test_network_decode import FOCAL_LENGTH, blank, found, put

from kgnpro_ros.config import DecodeConfig
from kgnpro_ros.network.decode import decode, lone_candidates
from kgnpro_ros.types import GraspStatus

CONFIG = DecodeConfig(score_threshold=0.5, lone_threshold=0.3, lone_distance=0.03)
#: One cell of four pixels at this depth [m] is 6.7 mm wide: 16 columns are 0.1 m.
DEPTH = 1.0


def by_hand(scores, centers, depth, usable, config):
    """The definition, pair by pair."""
    result = []
    for i, score in enumerate(scores):
        lone = config.lone_threshold <= score < config.score_threshold
        lone = lone and usable[i] and math.isfinite(depth[i])
        for j in range(i):
            across = math.dist(centers[i], centers[j]) * depth[i]
            along = 0.0 if math.isnan(depth[j]) else depth[i] - depth[j]
            if usable[j] and math.hypot(across, along) < config.lone_distance:
                lone = False
        result.append(lone)
    return result


@pytest.mark.parametrize("seed", range(5))
def test_as_the_definition_says(seed):
    rng = np.random.default_rng(seed)
    count = 60
    scores = np.sort(rng.uniform(0.1, 0.8, count))[::-1].copy()
    centers = rng.uniform(0, 0.2, (count, 2))
    depth = np.where(rng.random(count) < 0.1, np.nan, rng.uniform(0.7, 0.9, count))
    usable = rng.random(count) < 0.8
    got = lone_candidates(*map(torch.from_numpy, (scores, centers, depth, usable)), CONFIG)
    expected = by_hand(scores, centers, depth, usable, CONFIG)
    assert 0 < sum(expected) < ((scores >= 0.3) & (scores < 0.5)).sum()
    assert got.tolist() == expected


def detected(*grasps, config=CONFIG, depths=None):
    """Columns and scores of the candidates that count, of (column, score) in one row."""
    output = blank()
    output.depth.fill_(DEPTH)
    for column, score in grasps:
        put(output, 4, 5, column, score)
        if depths:
            output.depth[0, 4, 5, column] = depths[column]
            output.depth_weight[0, 4, 5, column] = 0.0 if math.isnan(depths[column]) else 100.0
    batch = decode(output, config, FOCAL_LENGTH)
    columns = (batch.centers[:, 0] - 1.5) / 4
    return [(round(float(c)), round(float(s), 3)) for c, s, ok in
            zip(columns, batch.confidence, found(batch), strict=True) if ok]  # fmt: skip


def test_a_weak_candidate_counts_far_from_better_ones_only():
    """Five cells are 33 mm, four are 27 mm."""
    assert detected((2, 0.9), (7, 0.4)) == [(2, 0.9), (7, 0.4)]
    assert detected((2, 0.9), (6, 0.4)) == [(2, 0.9)]


def test_of_weak_neighbours_the_best_counts():
    """The last one is near the second only, which is near the first."""
    assert detected((2, 0.35), (6, 0.4), (10, 0.45)) == [(10, 0.45)]
    assert detected((2, 0.35), (7, 0.4), (12, 0.45)) == [(12, 0.45), (7, 0.4), (2, 0.35)]


def test_below_the_lower_threshold_nothing_counts():
    assert detected((2, 0.9), (14, 0.29)) == [(2, 0.9)]
    equal = DecodeConfig(score_threshold=0.5, lone_threshold=0.5)
    assert detected((2, 0.9), (14, 0.4), config=equal) == [(2, 0.9)]


def test_what_is_behind_a_better_one_is_elsewhere():
    near, behind = {2: 0.7, 4: 0.72}, {2: 0.7, 4: 0.75}
    assert detected((2, 0.9), (4, 0.4), depths=near) == [(2, 0.9)]
    assert detected((2, 0.9), (4, 0.4), depths=behind) == [(2, 0.9), (4, 0.4)]


def test_without_depth_nobody_knows():
    assert detected((2, 0.9), (14, 0.4), depths={2: 0.7, 14: math.nan}) == [(2, 0.9)]
    assert detected((2, 0.9), (4, 0.4), depths={2: math.nan, 4: 0.7}) == [(2, 0.9)]
    assert detected((2, 0.9), (14, 0.4), depths={2: math.nan, 14: 0.7}) == [(2, 0.9), (14, 0.4)]


def test_a_candidate_that_is_dropped_hides_nobody():
    output = blank()
    output.depth.fill_(DEPTH)
    put(output, 4, 5, 2, 0.9, angle=70.0)
    put(output, 4, 5, 6, 0.4)
    batch = decode(output, CONFIG, FOCAL_LENGTH)
    assert batch.status[:2].tolist() == [int(GraspStatus.ORIENTATION_MISMATCH), int(GraspStatus.OK)]


def test_a_lone_one_takes_the_place_of_the_last():
    """Four good ones in a corner and a lone one: three candidates hold the lone one."""
    grasps = [(0, 0.9), (2, 0.8), (4, 0.7), (6, 0.6), (14, 0.4)]
    config = DecodeConfig(score_threshold=0.5, lone_threshold=0.3, top_k=3)
    assert detected(*grasps, config=config) == [(0, 0.9), (2, 0.8), (14, 0.4)]
    config = DecodeConfig(score_threshold=0.5, lone_threshold=0.5, top_k=3)
    assert detected(*grasps, config=config) == [(0, 0.9), (2, 0.8), (4, 0.7)]


def test_more_lone_ones_than_places():
    config = DecodeConfig(score_threshold=0.5, lone_threshold=0.3, lone_distance=0.01, top_k=2)
    grasps = [(0, 0.49), (3, 0.48), (6, 0.47), (9, 0.46)]
    assert detected(*grasps, config=config) == [(0, 0.49), (3, 0.48)]


def test_a_rule_in_metres_does_not_depend_on_the_image_size():
    """The same view with 1.5 times the focal length and pixels."""
    output = blank()
    output.depth.fill_(DEPTH)
    put(output, 4, 5, 2, 0.9)
    put(output, 4, 5, 7, 0.4)
    small = decode(output, CONFIG, FOCAL_LENGTH)
    large = decode(output, CONFIG, 1.5 * FOCAL_LENGTH, scale=1 / 1.5)
    assert found(small).tolist() == found(large).tolist()
    assert found(small).sum() == 2
