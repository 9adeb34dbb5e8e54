# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from support.hand_images import camera_view, hand_depth

from kgnpro_ros.execution.hand_view import PARTS, box_corners, find_shift, view_hand
from kgnpro_ros.geometry import Camera, load_gripper

CAMERA = Camera(400.0, 402.0, 161.0, 118.0, 320, 240)
GRIPPER = load_gripper("franka_hand")
WIDTH = 0.07


@pytest.mark.parametrize("tilt", [-1.0, 0.2, 0.6, 1.4])
def test_a_hand_where_it_should_be_agrees(tilt):
    pose = camera_view(tilt=tilt)
    depth = hand_depth(CAMERA, GRIPPER, pose, WIDTH)
    views = view_hand(depth, CAMERA, GRIPPER, pose, WIDTH)
    assert tuple(view.name for view in views) == PARTS
    points = 0
    for view in views:
        points += len(view.pixels)
        if not len(view.pixels):
            continue  # hidden behind another part
        # At edges a pixel shows what is beside the part.
        assert view.agreement(0.004) > 0.8
        assert abs(view.median) < 0.002
        assert view.missing == 0.0
    assert points > 60


def test_no_part_is_looked_for_behind_another():
    """From behind, the palm hides the fingers."""
    pose = camera_view(tilt=0.0)
    depth = hand_depth(CAMERA, GRIPPER, pose, 0.02)
    left, right, palm = view_hand(depth, CAMERA, GRIPPER, pose, 0.02)
    assert len(left.pixels) == len(right.pixels) == 0
    assert len(palm.pixels) > 30


@pytest.mark.parametrize("offset", [(0.03, 0, 0), (0, -0.03, 0), (0, 0, 0.03)])
def test_a_hand_that_is_elsewhere_disagrees(offset):
    pose = camera_view()
    depth = hand_depth(CAMERA, GRIPPER, pose, WIDTH)
    wrong = pose.copy()
    wrong[:3, 3] += offset
    shares = [v.agreement(0.01) for v in view_hand(depth, CAMERA, GRIPPER, wrong, WIDTH)]
    assert np.nanmin(shares) < 0.5


def test_depth_that_is_off_is_measured():
    pose = camera_view()
    depth = hand_depth(CAMERA, GRIPPER, pose, WIDTH)
    for view in view_hand(depth + np.float32(0.025), CAMERA, GRIPPER, pose, WIDTH):
        assert view.median == pytest.approx(0.025, abs=2e-3)


def test_missing_depth_is_counted():
    pose = camera_view()
    depth = hand_depth(CAMERA, GRIPPER, pose, WIDTH)
    depth[:, ::2] = np.nan
    for view in view_hand(depth, CAMERA, GRIPPER, pose, WIDTH):
        assert 0.2 < view.missing < 0.8
    for view in view_hand(np.full_like(depth, np.nan), CAMERA, GRIPPER, pose, WIDTH):
        assert view.missing == 1.0
        assert np.isnan(view.median)
        assert np.isnan(view.agreement(0.01))


def test_the_shift_of_a_wrong_calibration_is_found():
    pose = camera_view()
    depth = hand_depth(CAMERA, GRIPPER, pose, WIDTH)
    wrong = pose.copy()
    wrong[0, 3] -= 30 * pose[2, 3] / CAMERA.fx  # 30 px to the left
    shift, found, before = find_shift(depth, CAMERA, GRIPPER, wrong, WIDTH, 0.01)
    assert abs(shift[0] - 30) <= 6
    assert abs(shift[1]) <= 6
    assert found > before + 0.2
    shift, found, before = find_shift(depth, CAMERA, GRIPPER, pose, WIDTH, 0.01)
    assert max(map(abs, shift)) <= 3
    assert before > 0.8


def test_a_hand_outside_the_image():
    pose = camera_view(shift=(0.6, 0.0))
    depth = hand_depth(CAMERA, GRIPPER, pose, WIDTH)
    views = view_hand(depth, CAMERA, GRIPPER, pose, WIDTH)
    assert not any(view.inside.any() for view in views)
    behind = camera_view(distance=-0.4)
    assert not any(v.inside.any() for v in view_hand(depth, CAMERA, GRIPPER, behind, WIDTH))


def test_corners():
    corners = box_corners(np.array([0.0, 1, 2]), np.array([3.0, 4, 5]))
    assert {tuple(c) for c in corners} == {
        (x, y, z) for x in (0, 3) for y in (1, 4) for z in (2, 5)
    }
    np.testing.assert_array_equal(corners[0b101], [3, 1, 5])
