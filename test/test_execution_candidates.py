# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Which grasps are attempted, in which order and which way round."""

from dataclasses import replace

import numpy as np
import pytest
from pick_fakes import GRIPPER, FakeArm, batch, grasp_at
from scipy.spatial.transform import Rotation

from kgnpro_ros.config import CandidateConfig
from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.execution.candidates import TWIN, backed_off, raised, select_candidates
from kgnpro_ros.types import GraspStatus


def tilted(angle, about="y", z=0.1):
    pose = grasp_at(0.5, 0.0, z)
    pose[:3, :3] = Rotation.from_euler(about, angle, degrees=True).as_matrix() @ pose[:3, :3]
    return pose


def select(grasps, arm=None, table=None, **settings):
    return select_candidates(grasps, arm or FakeArm(), GRIPPER, CandidateConfig(**settings), table)


def test_the_best_score_comes_first_and_ties_keep_their_order():
    poses = [grasp_at(0.5, y, 0.1) for y in (0.0, 0.1, 0.2, 0.3)]
    found = select(batch(poses, scores=[0.3, 0.9, 0.3, 0.5])).candidates
    assert [candidate.index for candidate in found] == [1, 3, 0, 2]
    assert [candidate.score for candidate in found] == [0.9, 0.5, 0.3, 0.3]
    np.testing.assert_allclose(found[0].poses[0][:3, 3], (0.5, 0.1, 0.1))


def test_every_rejection_is_counted_by_its_first_reason():
    good = grasp_at(0.5, 0.0, 0.1)
    poses = [good, good, grasp_at(0.9, 0.0, 0.1), tilted(50.0), good, good]
    grasps = batch(poses, scores=[0.9, 0.1, 0.9, 0.9, 0.9, 0.8])
    grasps = replace(
        grasps,
        widths=np.array([0.05, 0.05, 0.05, 0.05, 0.081, 0.05]),
        status=np.array([0, 0, 0, 0, 0, GraspStatus.COLLISION_CLOUD]),
    )
    box = (0.3, -0.3, 0.0, 0.7, 0.3, 0.5)
    found = select(grasps, min_score=0.2, workspace=box, max_approach_angle=45.0)
    assert [candidate.index for candidate in found.candidates] == [0]
    assert found.rejected == {
        "low_score": 1, "outside_workspace": 1, "approach_angle": 1, "too_wide": 1,
        "collision_cloud": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("angle", "passes"), [(44.9, True), (45.1, False)])
def test_the_approach_angle_is_that_to_straight_down(angle, passes):
    found = select(batch([tilted(angle)]), max_approach_angle=45.0)
    assert bool(found.candidates) is passes


def test_reachable_is_asked_once_for_grasps_pregrasps_and_twins():
    arm, asked = FakeArm(), []
    arm.unreachable = lambda poses: asked.append(poses) or np.zeros(len(poses), dtype=bool)
    poses = [grasp_at(0.5, 0.0, 0.1), tilted(20.0)]
    select(batch(poses), arm, pregrasp_distance=0.07)
    (tools,) = asked
    expected = []
    for pose in poses:
        for way in (pose, pose @ TWIN):
            before = way.copy()
            before[:3, 3] -= 0.07 * way[:3, 0]
            expected += [way, before]
    expected = GRIPPER.tool_poses(np.array(expected))
    assert len(tools) == len(expected)
    for pose in expected:
        assert np.abs(tools - pose).max(axis=(1, 2)).min() < 1e-12


@pytest.mark.parametrize(
    ("height", "reason"), [(0.25, "unreachable_grasp"), (0.35, "unreachable_pregrasp")]
)
def test_unreachable_poses_name_what_cannot_be_reached(height, reason):
    arm = FakeArm()
    # Tools of the grasp are 0.10 m above it, of the pre-grasp 0.20 m.
    arm.unreachable = lambda poses: poses[:, 2, 3] > height - 0.1
    found = select(batch([grasp_at(0.5, 0.0, 0.1)]), arm)
    assert found.candidates == ()
    assert found.rejected == {reason: 1}


def test_the_twin_that_points_outward_comes_first():
    grasps = batch([grasp_at(0.5, 0.0, 0.1), grasp_at(0.5, 0.0, 0.1) @ TWIN])
    for candidate in select(grasps).candidates:
        tool = GRIPPER.tool_poses(candidate.poses)
        assert len(tool) == 2
        assert tool[0][0, 0] > 0.9 > -0.9 > tool[1][0, 0]


def test_the_only_way_round_that_is_reachable_is_taken():
    arm = FakeArm()
    arm.unreachable = lambda poses: poses[:, 0, 0] > 0  # tool x outward
    (candidate,) = select(batch([grasp_at(0.5, 0.0, 0.1)]), arm).candidates
    assert candidate.poses.shape == (1, 4, 4)
    assert GRIPPER.tool_poses(candidate.poses)[0][0, 0] < -0.9


def test_a_twin_is_the_same_grasp_with_fingers_exchanged():
    (candidate,) = select(batch([tilted(20.0)])).candidates
    first, second = candidate.poses
    np.testing.assert_allclose(first[:3, 3], second[:3, 3])
    np.testing.assert_allclose(first[:3, 0], second[:3, 0])
    np.testing.assert_allclose(first[:3, 1:3], -second[:3, 1:3])


# ---------------------------------------------------------------------- fingertips and table


def lowest_tip(pose, width, overhang):
    """Lowest corner of both fingers' ends, by transforming all of them."""
    corners = [
        (overhang, y, side * z, 1.0)
        for y in (-GRIPPER.finger_breadth / 2, GRIPPER.finger_breadth / 2)
        for z in (width / 2, width / 2 + GRIPPER.finger_thickness)
        for side in (-1, 1)
    ]
    return min((pose @ np.array(corner))[2] for corner in corners)


@pytest.mark.parametrize("angle", [0.0, 20.0])
@pytest.mark.parametrize("about", ["x", "y"])
def test_fingertips_stay_above_the_table(angle, about):
    pose = tilted(angle, about)
    reach = pose[2, 3] - lowest_tip(pose, 0.05, 0.0095)
    pose[2, 3] = reach - 0.003  # 3 mm in the table
    (candidate,) = select(batch([pose]), table=0.0, max_leveling=0.0).candidates
    assert lowest_tip(candidate.poses[0], 0.05, 0.0095) == pytest.approx(0.001, abs=1e-6)
    shift = candidate.poses[0][:3, 3] - pose[:3, 3]
    np.testing.assert_allclose(np.cross(shift, pose[:3, 0]), 0.0, atol=1e-12)


def test_a_grasp_is_not_moved_back_farther_than_the_tips_reach():
    pose = grasp_at(0.5, 0.0, -0.001)
    (candidate,) = select(batch([pose]), table=0.0).candidates
    assert candidate.poses[0][2, 3] == pytest.approx(-0.001 + 0.0095)
    low = select(batch([grasp_at(0.5, 0.0, -0.003)]), table=0.0)
    assert low.candidates == ()
    assert low.rejected == {"collision_table": 1}


def test_a_grasp_high_above_the_table_stays_where_it_is():
    pose = grasp_at(0.5, 0.0, 0.1)
    for table in (None, 0.0):
        (candidate,) = select(batch([pose]), table=table).candidates
        np.testing.assert_array_equal(candidate.poses[0][:3, 3], pose[:3, 3])


# ---------------------------------------------------------------------- small parts


def test_poses_move_back_along_the_approach_and_up_along_z():
    pose = tilted(30.0)
    np.testing.assert_allclose((pose @ [-0.1, 0, 0, 1])[:3], backed_off(pose, 0.1)[:3, 3])
    np.testing.assert_allclose(raised(pose, 0.1)[:3, 3] - pose[:3, 3], (0, 0, 0.1))
    np.testing.assert_array_equal(raised(pose, 0.1)[:3, :3], pose[:3, :3])


def test_a_workspace_with_exchanged_corners_is_refused():
    with pytest.raises(ConfigError, match="not ordered"):
        CandidateConfig(workspace=(0.5, 0, 0, 0.3, 1, 1))


def test_no_grasps():
    assert select(batch([])).candidates == ()
