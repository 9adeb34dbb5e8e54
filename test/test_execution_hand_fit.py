# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""How wide the jaws open, and how deep the fingertips go, among observed points."""

import numpy as np
import pytest
from pick_fakes import GRIPPER, FakeArm, batch, grasp_at
from scipy.spatial.transform import Rotation

from kgnpro_ros.config import CandidateConfig
from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.execution.candidates import select_candidates
from kgnpro_ros.execution.hand_fit import fit_hand, leveled, tip_heights

#: The grasp closes along y and comes down; its origin is 4 cm above the table.
GRASP = grasp_at(0.5, 0.0, 0.04)
OVERHANG = CandidateConfig().tip_overhang


def box(center, size, step=0.003):
    """Points that fill a box."""
    axes = [c + np.arange(-s / 2, s / 2 + 1e-9, step) for c, s in zip(center, size, strict=True)]
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3)


def fit(points, width=0.05, pose=GRASP, table=None, **settings):
    poses, widths = np.array([pose]), np.array([width])
    return fit_hand(poses, widths, points, GRIPPER, CandidateConfig(**settings), table)


def touched(fit, points):
    """Points inside the fingers, by their own frame: from the palm to the real tips."""
    local = (points - fit.poses[0, :3, 3]) @ fit.poses[0, :3, :3]
    x, y, z = local.T
    side = np.abs(z) - fit.widths[0] / 2
    inside = (x <= OVERHANG) & (x >= -GRIPPER.finger_length)
    inside &= np.abs(y) <= GRIPPER.finger_breadth / 2
    return int((inside & (side >= 0) & (side <= GRIPPER.finger_thickness)).sum())


BETWEEN = box((0.5, 0.0, 0.04), (0.03, 0.03, 0.03))


def test_free_jaws_open_as_wide_as_they_go():
    found = fit(BETWEEN)
    assert found.widths == pytest.approx([GRIPPER.max_width])
    assert found.least_widths == pytest.approx([0.05])
    assert found.fits.all()
    np.testing.assert_array_equal(found.poses, [GRASP])
    assert fit(BETWEEN, widening=0.02).widths == pytest.approx([0.07])
    assert fit(BETWEEN, widening=0.0).widths == pytest.approx([0.05])


def test_a_neighbour_ends_the_widening():
    """It stands 42 mm from the middle: fingers of 12 mm, 2 mm off, leave 56 mm at the most."""
    points = np.concatenate([BETWEEN, box((0.5, 0.052, 0.04), (0.03, 0.02, 0.03))])
    found = fit(points, width=0.04)
    assert found.widths == pytest.approx([0.055])
    assert found.fits.all()
    assert touched(found, points) == 0


def test_it_does_not_open_around_a_neighbour():
    """Beyond a thin wall there is space again, but the wall would be pushed along."""
    slim = box((0.5, 0.0, 0.04), (0.03, 0.012, 0.03))
    points = np.concatenate([slim, box((0.5, 0.026, 0.04), (0.03, 0.001, 0.03))])
    found = fit(points, width=0.02)
    assert found.widths == pytest.approx([0.02])
    assert touched(found, points) == 0
    wide = fit(points, width=0.06)
    assert wide.widths == pytest.approx([GRIPPER.max_width])


def test_an_object_wider_than_detected_is_opened_for():
    points = box((0.5, 0.0, 0.03), (0.04, 0.062, 0.05))
    found = fit(points, width=0.045)
    assert found.fits.all()
    assert 0.062 < found.least_widths[0] <= found.widths[0] == pytest.approx(GRIPPER.max_width)
    np.testing.assert_array_equal(found.poses, [GRASP])


def test_the_hand_stays_back_where_its_tips_would_land_on_something():
    """A shelf 6 mm below the origin: the frame is clear of it, the real fingertips are not."""
    points = np.concatenate([BETWEEN, box((0.5, 0.0, 0.024), (0.06, 0.2, 0.02))])
    found = fit(points)
    assert found.poses[0, 2, 3] - GRASP[2, 3] in (pytest.approx(0.005), pytest.approx(0.01))
    assert touched(found, points) == 0
    assert found.fits.all()
    blocked = fit(points, fit_retreat_steps=())
    np.testing.assert_array_equal(blocked.poses, [GRASP])
    assert not blocked.fits.any()
    assert blocked.widths == pytest.approx([0.05])


def test_it_does_not_back_off_from_the_object_itself():
    """What is left of a low thing would not be between the jaws any more."""
    low = box((0.5, 0.0, 0.0315), (0.03, 0.03, 0.001))
    points = np.concatenate([low, box((0.5, 0.0, 0.0225), (0.06, 0.2, 0.018))])
    found = fit(points, pose=grasp_at(0.5, 0.0, 0.03), fit_retreat_steps=(0.02,))
    assert not found.fits.any()
    np.testing.assert_array_equal(found.poses, [grasp_at(0.5, 0.0, 0.03)])


def test_without_points_nothing_changes():
    found = fit(np.zeros((0, 3)))
    assert found.widths == pytest.approx([0.05])
    np.testing.assert_array_equal(found.poses, [GRASP])
    assert found.fits.all()


def test_a_tilted_hand_opens_only_as_wide_as_the_table_lets_it():
    pose = grasp_at(0.5, 0.0, 0.03)
    pose[:3, :3] = Rotation.from_euler("x", 25.0, degrees=True).as_matrix() @ pose[:3, :3]
    points = box((0.5, 0.0, 0.03), (0.01, 0.01, 0.02))
    free, above = fit(points, pose=pose), fit(points, pose=pose, table=0.0)
    assert 0.05 < above.widths[0] < free.widths[0]
    config = CandidateConfig()
    heights = tip_heights(above.poses, above.widths[:, None], 0.0, GRIPPER, config)
    assert heights[0, 0] >= config.tip_clearance
    corners = [
        pose @ (OVERHANG, y, side * z, 1.0)
        for y in (-GRIPPER.finger_breadth / 2, GRIPPER.finger_breadth / 2)
        for z in (above.widths[0] / 2, above.widths[0] / 2 + GRIPPER.finger_thickness)
        for side in (-1, 1)
    ]
    assert heights[0, 0] == pytest.approx(min(corner[2] for corner in corners))


def test_candidates_that_touch_something_come_later():
    free, blocked = grasp_at(0.4, 0.2, 0.04), GRASP
    shelf = box((0.5, 0.0, 0.0255), (0.06, 0.2, 0.022), step=0.004)
    around = box((0.4, 0.2, 0.04), (0.03, 0.03, 0.03))
    grasps = batch([blocked, free], scores=[0.8, 0.5])
    found = select_candidates(
        grasps, FakeArm(), GRIPPER, CandidateConfig(), 0.0, np.concatenate([shelf, around])
    )
    assert [(c.index, c.score) for c in found.candidates] == [(1, 0.5), (0, 0.8)]
    assert found.candidates[0].width == pytest.approx(GRIPPER.max_width)
    assert found.candidates[0].least_width == pytest.approx(0.05)
    same = select_candidates(grasps, FakeArm(), GRIPPER, CandidateConfig(), 0.0)
    assert [c.index for c in same.candidates] == [0, 1]


def test_steps_have_to_be_lengths():
    with pytest.raises(ConfigError, match="fit_retreat_steps must be positive"):
        CandidateConfig(fit_retreat_steps=(0.0,))


# ---------------------------------------------------------------------- level at the table


def tilted(about, angle, z):
    pose = grasp_at(0.5, 0.0, z)
    turn = Rotation.from_euler(about, angle, degrees=True).as_matrix()
    pose[:3, :3] = turn @ pose[:3, :3]
    return pose


def level(pose, width=0.05, table=0.0, **settings):
    poses, widths = np.array([pose]), np.array([width])
    return leveled(poses, widths, table, GRIPPER, CandidateConfig(**settings))[0]


@pytest.mark.parametrize("angle", [-20.0, 8.0, 25.0])
def test_a_hand_that_the_table_would_stop_is_turned_level(angle):
    pose = tilted("x", angle, 0.006)
    turned = level(pose)
    np.testing.assert_allclose(turned[:3, :3], grasp_at(0, 0, 0)[:3, :3], atol=1e-12)
    np.testing.assert_array_equal(turned[:3, 3], pose[:3, 3])
    assert Rotation.from_matrix(pose[:3, :3].T @ turned[:3, :3]).magnitude() == pytest.approx(
        np.radians(abs(angle))
    )


def test_a_hand_that_leans_both_ways_keeps_its_breadth_axis():
    pose = tilted("xy", [15.0, 20.0], 0.004)
    turned = level(pose)
    assert turned[2, 2] == pytest.approx(0.0, abs=1e-12)
    assert turned[2, 0] < pose[2, 0]
    np.testing.assert_allclose(turned[:3, 1], pose[:3, 1], atol=1e-12)
    np.testing.assert_allclose(turned[:3, :3] @ turned[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turned[:3, :3]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("pose", "limit"),
    [
        (tilted("x", 20.0, 0.10), 30.0),  # far from the table
        (tilted("x", 35.0, 0.004), 30.0),  # meant to be tilted
        (tilted("x", 20.0, 0.004), 0.0),  # switched off
    ],
)
def test_other_hands_stay_tilted(pose, limit):
    np.testing.assert_array_equal(level(pose, max_leveling=limit), pose)
