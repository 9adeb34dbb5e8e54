# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Which observed points are the object between the jaws."""

import numpy as np
from pick_fakes import GRIPPER, grasp_at

from kgnpro_ros.execution.grasped import grasped_points

GRASP = grasp_at(0.5, 0.1, 0.05)


def bar(x0, x1, y=0.1, z=0.05, step=0.004):
    x = np.arange(x0, x1, step)
    return np.stack([x, np.full_like(x, y), np.full_like(x, z + 0.01)], axis=1)


def grasped(points, width=0.06, gap=0.012, radius=0.15):
    return grasped_points(points, GRASP, width, GRIPPER, gap=gap, radius=radius)


def test_the_whole_object_is_found_from_what_is_between_the_jaws():
    held, other = bar(0.42, 0.58), bar(0.42, 0.58, y=0.16)
    mask = grasped(np.concatenate([held, other]))
    np.testing.assert_array_equal(mask, [True] * len(held) + [False] * len(other))


def test_a_gap_ends_the_object():
    points = np.concatenate([bar(0.45, 0.53), bar(0.56, 0.60)])
    assert grasped(points).sum() == len(bar(0.45, 0.53))
    assert grasped(points, gap=0.04).all()


def test_touching_objects_are_bounded_by_the_radius():
    points = bar(0.2, 0.8)
    mask = grasped(points, radius=0.1)
    far = np.linalg.norm(points - GRASP[:3, 3], axis=1) > 0.1
    np.testing.assert_array_equal(mask, ~far)


def test_nothing_between_the_jaws_holds_nothing():
    assert not grasped(bar(0.42, 0.58, y=0.16)).any()
    assert not grasped(bar(0.42, 0.58, z=0.2)).any(), "above the palm"
    assert not grasped(bar(0.9, 1.0)).any()
    assert grasped(np.zeros((0, 3))).shape == (0,)
