# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Decoding of hand-made maps by equation (5) of the paper, written out here once more."""

import math

import numpy as np
import pytest
import torch

from kgnpro_ros.config import DecodeConfig
from kgnpro_ros.network.decode import (
    PLAIN_WEIGHT,
    cell_to_pixel,
    decode,
    find_peaks,
    neighbourhood_maximum,
    orientation_class,
    orientation_mismatch,
)
from kgnpro_ros.network.model import NetworkOutput
from kgnpro_ros.types import GraspStatus

CLASSES, ROWS, COLUMNS = 9, 12, 16


def logit(p):
    return math.log(p / (1 - p))


def blank(confidence=True, depth=True):
    """Maps without any grasp."""
    shape = (1, CLASSES, ROWS, COLUMNS)
    return NetworkOutput(
        heatmap=torch.full(shape, -9.0),
        subpixel=torch.zeros(1, 2, ROWS, COLUMNS),
        offsets=torch.zeros(1, CLASSES, 4, 2, ROWS, COLUMNS),
        width=torch.full(shape, 0.05),
        weights=torch.full((1, CLASSES, 4, 2, ROWS, COLUMNS), 0.5) if confidence else None,
        depth=torch.full(shape, 0.8) if depth else None,
        depth_weight=torch.full(shape, 100.0) if depth else None,
    )


def offsets_at(angle, length=4.0):
    """Keypoints minus centre [cells]: left to right tip at an angle [deg], base below."""
    a = math.radians(angle)
    along = length / 2 * np.array([math.cos(a), math.sin(a)])
    back = 3.0 * np.array([-math.sin(a), math.cos(a)])
    return np.stack([-along, along, -along + back, along + back])


def put(output, orientation, row, column, score=0.9, angle=None, subpixel=(0.0, 0.0)):
    """Write one grasp into the maps; the angle defaults to the middle of its class."""
    angle = (orientation + 0.5) * 180 / CLASSES - 90 if angle is None else angle
    offsets = torch.from_numpy(offsets_at(angle)).float()
    output.heatmap[0, orientation, row, column] = logit(score)
    output.subpixel[0, :, row, column] = torch.tensor(subpixel)
    output.offsets[0, orientation, :, :, row, column] = offsets
    return offsets.numpy()


def found(batch):
    return batch.status == int(GraspStatus.OK)


def test_a_peak_becomes_its_keypoints():
    """u = 4 (i + S + O) + 1.5 with cell i, sub-pixel S and offset O, for each axis."""
    output = blank()
    offsets = put(output, 3, row=5, column=9, subpixel=(0.3, -0.45))
    output.width[0, 3, 5, 9] = 0.071
    output.weights[0, 3, :, :, 5, 9] = torch.arange(8).reshape(4, 2) * 0.1 + 0.2
    output.depth[0, 3, 5, 9], output.depth_weight[0, 3, 5, 9] = 0.912, 250.0
    batch = decode(output, DecodeConfig())
    assert found(batch).tolist() == [True] + [False] * 99
    center = 4 * np.array([9 + 0.3, 5 - 0.45]) + 1.5
    np.testing.assert_allclose(batch.centers[0], center, atol=1e-5)
    np.testing.assert_allclose(batch.keypoints[0], center + 4 * offsets, atol=1e-5)
    np.testing.assert_allclose(batch.weights[0], np.arange(8).reshape(4, 2) * 0.1 + 0.2, atol=1e-6)
    assert batch.widths[0] == pytest.approx(0.071)
    assert batch.center_depth[0] == pytest.approx(0.912)
    assert batch.depth_weight[0] == 250.0
    assert batch.confidence[0] == pytest.approx(0.9)
    assert batch.orientation[0] == 3


def test_cell_zero_is_centred_on_its_four_pixels():
    """Pixels 0 to 3, whose centres are whole numbers: the middle is 1.5."""
    assert cell_to_pixel(torch.tensor([0.0, 1.0])).tolist() == [1.5, 5.5]


def test_scale_leads_back_to_original_pixels():
    """u' + 0.5 = scale (u + 0.5): edges of the images meet, not centres of corner pixels."""
    output = blank()
    put(output, 3, row=5, column=9)
    plain, scaled = decode(output, DecodeConfig()), decode(output, DecodeConfig(), scale=1.6)
    expected = (plain.keypoints[0] + 0.5) / 1.6 - 0.5
    torch.testing.assert_close(scaled.keypoints[0], expected)
    torch.testing.assert_close(scaled.centers[0], (plain.centers[0] + 0.5) / 1.6 - 0.5)
    # An error of one network pixel is 1/1.6 original pixels, so that the weight rises.
    torch.testing.assert_close(scaled.weights[0], plain.weights[0] * 1.6)


def test_best_first_over_all_classes():
    output = blank()
    for orientation, row, column, score in [(0, 1, 1, 0.5), (8, 3, 7, 0.95), (4, 10, 14, 0.7)]:
        put(output, orientation, row, column, score)
    batch = decode(output, DecodeConfig())
    assert batch.orientation[:3].tolist() == [8, 4, 0]
    np.testing.assert_allclose(batch.confidence[:3], [0.95, 0.7, 0.5], atol=1e-5)
    assert (batch.confidence[:-1] >= batch.confidence[1:]).all()
    assert found(batch).sum() == 3


def test_candidates_below_the_threshold_say_so():
    output = blank()
    put(output, 2, 4, 4, score=0.4)
    put(output, 6, 8, 8, score=0.6)
    status = decode(output, DecodeConfig(score_threshold=0.5)).status
    assert status[:2].tolist() == [int(GraspStatus.OK), int(GraspStatus.LOW_SCORE)]


def test_only_local_maxima_unless_asked_otherwise():
    """The switch reproduces KGN, which takes the neighbours of a peak as well."""
    output = blank()
    put(output, 4, 5, 5, 0.9)
    put(output, 4, 5, 6, 0.8)  # neighbour in the same class
    put(output, 4, 5, 8, 0.7)  # two cells away from it
    put(output, 5, 5, 5, 0.6)  # same cell, other class
    suppressed = decode(output, DecodeConfig())
    np.testing.assert_allclose(suppressed.confidence[found(suppressed)], [0.9, 0.7, 0.6], atol=1e-5)
    everything = decode(output, DecodeConfig(local_maximum=False))
    np.testing.assert_allclose(
        everything.confidence[found(everything)], [0.9, 0.8, 0.7, 0.6], atol=1e-5
    )


def test_peaks_on_the_border_count():
    heatmap = torch.full((1, 3, 3), -9.0)
    heatmap[0, 0, 0] = heatmap[0, 2, 2] = 2.0
    scores, index = find_peaks(heatmap, DecodeConfig(top_k=2))
    assert sorted(index.tolist()) == [0, 8]
    torch.testing.assert_close(scores, torch.full((2,), 2.0).sigmoid())


def test_fewer_cells_than_candidates():
    heatmap = torch.zeros(1, 2, 3)
    scores, _ = find_peaks(heatmap, DecodeConfig(top_k=100))
    assert scores.shape == (6,)


@pytest.mark.parametrize("top_k", [1, 7])
def test_top_k_limits_the_candidates(top_k):
    batch = decode(blank(), DecodeConfig(top_k=top_k))
    assert batch.keypoints.shape == (top_k, 4, 2)
    assert batch.status.shape == (top_k,)


@pytest.mark.parametrize(
    ("angle", "expected"), [(-90, 0.0), (-80, 0.5), (-70, 1.0), (0, 4.5), (80, 8.5), (90, 9.0)]
)
def test_class_is_the_direction_from_left_to_right_tip(angle, expected):
    keypoints = torch.from_numpy(offsets_at(angle + 1e-9))
    assert orientation_class(keypoints, CLASSES).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("angle", "orientation", "mismatch"),
    [
        (0, 4, False),
        (10, 4, False),  # edge of the bin
        (14, 4, False),  # within the slack of a quarter bin = 5 degrees
        (16, 4, True),
        (-16, 4, True),
        (180, 4, True),  # left and right swapped
        (-90, 0, False),
        (-94, 0, False),  # beyond vertical by less than the slack
        (-96, 0, True),
        (90, 8, False),
        (94, 8, False),
        (96, 8, True),
        (-90, 8, True),  # vertical, but with left and right swapped
        (90, 0, True),
    ],
)
def test_keypoints_must_point_where_their_class_says(angle, orientation, mismatch):
    fractional = orientation_class(torch.from_numpy(offsets_at(angle))[None], CLASSES)
    result = orientation_mismatch(fractional, torch.tensor([orientation]), CLASSES, 0.25)
    assert bool(result) is mismatch


def test_the_orientation_check_can_be_switched_off():
    output = blank()
    put(output, 4, 5, 5, angle=60.0)
    assert decode(output, DecodeConfig()).status[0] == int(GraspStatus.ORIENTATION_MISMATCH)
    assert decode(output, DecodeConfig(orientation_check=False)).status[0] == int(GraspStatus.OK)


def test_missing_depth_has_weight_zero_and_is_nan():
    output = blank()
    put(output, 4, 5, 5)
    output.depth_weight[0, 4, 5, 5] = 0.0
    batch = decode(output, DecodeConfig())
    assert torch.isnan(batch.center_depth[0])
    assert batch.depth_weight[0] == 0.0


def test_networks_without_extra_heads():
    output = blank(confidence=False, depth=False)
    put(output, 4, 5, 5)
    batch = decode(output, DecodeConfig())
    assert (batch.weights[0] == PLAIN_WEIGHT).all()
    assert torch.isnan(batch.center_depth).all()
    assert (batch.depth_weight == 0).all()


def test_weights_are_clamped():
    output = blank()
    put(output, 4, 5, 5)
    output.weights[0, 4, 0, :, 5, 5] = torch.tensor([1e-4, 1e4])
    weights = decode(output, DecodeConfig(weight_min=0.2, weight_max=3.0)).weights[0]
    np.testing.assert_allclose(weights[0], [0.2, 3.0], atol=1e-6)
    np.testing.assert_allclose(weights[1], [0.5, 0.5], atol=1e-6)


def test_neighbourhood_maximum_is_max_pooling():
    scores = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.max_pool2d(scores[None], 3, stride=1, padding=1)[0]
    torch.testing.assert_close(neighbourhood_maximum(scores), expected, rtol=0, atol=0)
