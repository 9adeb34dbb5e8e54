# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support import grasp_validity
from support.box_scene import box_scene, top_grasp

from kgnpro_ros.config import FilterConfig, RankingConfig
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.execution.collision import solid_points
from kgnpro_ros.execution.filters import (
    accepted,
    candidate_openings,
    filter_grasps,
    mark_duplicates,
)
from kgnpro_ros.execution.ranking import rank_grasps, share_within
from kgnpro_ros.geometry import load_gripper
from kgnpro_ros.types import GraspBatch, GraspStatus, RGBDImage

GRIPPER = load_gripper("franka_hand")
BOX = ((-0.02, -0.04, 0.0), (0.02, 0.04, 0.06))
NEIGHBOUR = ((0.035, -0.04, 0.0), (0.06, 0.04, 0.08))
GOOD = top_grasp(0.0, 0.0, 0.04)


def statuses(scene, poses, widths, config=None, **arguments):
    grasps = scene.grasps(np.stack(poses), np.broadcast_to(widths, len(poses)))
    result = filter_grasps(grasps, scene.image, GRIPPER, config or FilterConfig(), **arguments)
    return [GraspStatus(value).name for value in result.status]


@pytest.fixture(scope="module")
def scene():
    return box_scene([BOX])


def test_grasps_on_a_box_get_the_right_reason(scene):
    cases = {
        "OK": (GOOD, 0.048),
        "EMPTY": (top_grasp(0.0, 0.0, 0.075), 0.048),  # hovers above the box
        "COLLISION_CLOUD": (top_grasp(0.025, 0.0, 0.04), 0.048),  # a finger in the box
        "COLLISION_TABLE": (top_grasp(0.0, -0.01, 0.02, tilt=1.5), 0.048),  # palm below the table
        "TOO_WIDE": (GOOD, 0.0801),
        "APPROACH_ANGLE": (top_grasp(0.0, 0.0, 0.04, tilt=np.radians(101)), 0.048),
    }
    poses, widths = zip(*cases.values(), strict=True)
    as_predicted = FilterConfig(
        advance_steps=(), retreat_steps=(), width_slack=0.0, palm_margin=0.0
    )
    assert statuses(scene, poses, widths, as_predicted) == list(cases)


def test_a_prediction_that_is_somewhat_too_wide_is_tried_with_open_jaws(scene):
    widths = np.array([0.0801, 0.1099, 0.1101])
    grasps = scene.grasps(np.stack([GOOD] * 3), widths)
    result = filter_grasps(grasps, scene.image, GRIPPER, FilterConfig(width_slack=0.03))
    assert [GraspStatus(v).name for v in result.status] == ["OK", "OK", "TOO_WIDE"]
    np.testing.assert_allclose(result.widths[:2], GRIPPER.max_width)
    # What does not fit between open jaws is found by touch, not by prediction.
    aside = top_grasp(0.04, 0.0, 0.03)
    assert statuses(scene, [aside], 0.09) == ["COLLISION_CLOUD"]


def test_jaws_go_as_deep_as_they_can(scene):
    """From 15 mm above the table 10 mm deeper is free, from 8 mm 5 mm, from 4 mm nothing."""
    low = box_scene([((-0.02, -0.04, 0.0), (0.02, 0.04, 0.03))])
    poses = np.stack([top_grasp(0.0, 0.0, z) for z in (0.015, 0.008, 0.004)])
    grasps = low.grasps(poses, np.full(3, 0.048))
    exact = FilterConfig(table_tolerance=0.0)
    for config, depths in ((exact, (0.01, 0.005, 0.0)),
                           (replace(exact, deepen=False), (0.0, 0.0, 0.0))):  # fmt: skip
        result = filter_grasps(grasps, low.image, GRIPPER, config)
        assert (result.status == GraspStatus.OK).all()
        moved = (np.linalg.inv(grasps.poses) @ result.poses)[:, 0, 3]
        np.testing.assert_allclose(moved, depths, atol=1e-12)


def test_a_hand_that_came_down_too_far_is_moved_back(scene):
    """The palm, 45 mm behind the tips, touches the top of the box; 5 mm further up it does not."""
    deep = top_grasp(0.0, 0.0, BOX[1][2] - GRIPPER.finger_length + 0.002)
    grasps = scene.grasps(deep[None], np.array([0.048]))
    stays = FilterConfig(retreat_steps=())
    assert statuses(scene, [deep], 0.048, stays) == ["COLLISION_CLOUD"]
    result = filter_grasps(grasps, scene.image, GRIPPER, FilterConfig())
    assert result.status.tolist() == [GraspStatus.OK]
    step = np.linalg.inv(grasps.poses[0]) @ result.poses[0]
    np.testing.assert_allclose(step[:3, 3], [-0.005, 0.0, 0.0], atol=1e-12)


def test_fingertips_below_the_table_collide_with_it():
    low = box_scene([((-0.02, -0.04, 0.0), (0.02, 0.04, 0.024))])
    depths = [0.005, 0.0005, -0.004]
    poses = [top_grasp(0.0, 0.0, z) for z in depths]
    stays = FilterConfig(retreat_steps=())
    assert statuses(low, poses, 0.048, stays) == ["OK", "OK", "COLLISION_TABLE"]
    assert statuses(low, poses, 0.048) == ["OK", "OK", "OK"]
    tolerant = replace(stays, table_tolerance=0.005)
    assert statuses(low, poses, 0.048, tolerant) == ["OK", "OK", "OK"]


def test_opening_that_is_checked_is_the_one_that_is_returned(scene):
    config = FilterConfig(width_margin=0.004, opening_steps=(0.012, 0.03))
    grasps = scene.grasps(np.stack([GOOD] * 3), np.array([0.048, 0.030, 0.005]))
    result = filter_grasps(grasps, scene.image, GRIPPER, config)
    assert (result.status == GraspStatus.OK).tolist() == [True, True, False]
    # 30 + 4 mm is narrower than the box of 40 mm; 12 mm more is the first opening that is not.
    np.testing.assert_allclose(result.widths, [0.052, 0.046, 0.009])


def test_openings_stay_within_the_gripper():
    openings = candidate_openings(np.array([0.07, -0.2]), GRIPPER, FilterConfig())
    np.testing.assert_allclose(openings[0], [0.075, 0.08, 0.08])
    assert (openings[1] == 0.0).all()
    unlimited = candidate_openings(np.array([0.15]), GRIPPER, FilterConfig(limit_width=False))
    np.testing.assert_allclose(unlimited[0], [0.155, 0.165, 0.175])


def test_neighbour_beside_the_box_blocks_a_finger():
    crowded = box_scene([BOX, NEIGHBOUR])
    across, along = GOOD, top_grasp(0.0, 0.0, 0.04, yaw=np.pi / 2)
    config = FilterConfig(limit_width=False)
    assert statuses(crowded, [across, along], [0.048, 0.09], config) == ["COLLISION_CLOUD", "OK"]


def test_straight_approach_is_checked_on_request():
    shelf = ((-0.1, 0.008, 0.16), (0.1, 0.06, 0.17))  # overhead, beside the jaws' middle
    scene = box_scene([BOX, shelf], eye=(0.0, -0.6, 0.25))
    reach = FilterConfig(approach_distance=0.15, find_table=False)
    assert statuses(scene, [GOOD], 0.048, replace(reach, approach_distance=0.0)) == ["OK"]
    assert statuses(scene, [GOOD], 0.048, reach) == ["COLLISION_CLOUD"]


def test_workspace_in_the_given_frame(scene):
    config = FilterConfig(workspace=(-0.01, -0.01, 0.0, 0.01, 0.01, 0.1))
    T_world_camera = np.linalg.inv(scene.T_camera_world)
    poses = [GOOD, top_grasp(0.0, 0.015, 0.04)]
    inside = statuses(scene, poses, 0.048, config, T_workspace_camera=T_world_camera)
    assert inside == ["OK", "OUTSIDE_WORKSPACE"]
    assert statuses(scene, poses, 0.048, config) == ["OUTSIDE_WORKSPACE"] * 2
    with pytest.raises(ShapeError, match="rigid"):
        statuses(scene, poses, 0.048, config, T_workspace_camera=2 * np.eye(4))


def test_mask_limits_where_grasp_centres_may_lie(scene):
    image = scene.image
    left = np.zeros(image.depth.shape, dtype=bool)
    left[:, : image.camera.width // 2] = True
    masked = replace(scene, image=RGBDImage(image.color, image.depth, image.camera, left))
    poses = [top_grasp(-0.004, 0.0, 0.04), top_grasp(0.004, 0.0, 0.04), top_grasp(9.0, 0.0, 0.04)]
    config = FilterConfig(collision=False)
    assert statuses(masked, poses, 0.05, config) == ["OK", "OUTSIDE_MASK", "OUTSIDE_MASK"]


def test_a_grasp_on_missing_depth_passes_only_on_request(scene):
    depth = scene.image.depth.copy()
    world_left_of = -0.015  # the box loses its depth, the table beside it does not
    pixels = scene.image.camera.project(
        np.array([[[world_left_of, 0.0, 0.06]]]) @ scene.T_camera_world[:3, :3].T
        + scene.T_camera_world[:3, 3]
    )
    u, v = np.rint(pixels[0, 0]).astype(int)
    depth[v - 30 : v + 50, u - 12 : u + 40] = np.nan
    blind = replace(scene, image=replace(scene.image, depth=depth))
    assert statuses(blind, [GOOD], 0.048) == ["EMPTY"]
    trusting = FilterConfig(max_missing_between=0.9)
    assert statuses(blind, [GOOD], 0.048, trusting) == ["OK"]
    aside = top_grasp(-0.08, 0.0, 0.04)  # nothing there, and that was seen
    assert statuses(blind, [aside], 0.048, trusting) == ["EMPTY"]


def test_earlier_reasons_are_kept_and_all_are_counted(scene):
    poses = np.stack([GOOD, GOOD, top_grasp(0.1, 0.0, 0.04), top_grasp(0.1, 0.0, 0.04)])
    grasps = scene.grasps(poses, np.full(4, 0.048))
    grasps = replace(
        grasps, status=np.array([0, GraspStatus.PNP_FAILED, 0, 0]), rejected={"empty": 5, "low": 1}
    )
    result = accepted(filter_grasps(grasps, scene.image, GRIPPER, FilterConfig()))
    assert len(result) == 1
    assert result.rejected == {"empty": 7, "low": 1, "pnp_failed": 1}


def test_most_grasps_keeps_the_best(scene):
    grasps = scene.grasps(np.stack([GOOD] * 5), np.full(5, 0.048))
    grasps = replace(grasps, score=np.array([0.1, 0.9, 0.3, 0.8, 0.2]))
    result = filter_grasps(grasps, scene.image, GRIPPER, FilterConfig(max_grasps=2))
    assert np.flatnonzero(result.status == GraspStatus.OK).tolist() == [1, 3]
    assert accepted(result).rejected == {"beyond_max_grasps": 3}


def test_no_grasps_and_no_table(scene):
    empty = GraspBatch.empty("camera")
    assert len(filter_grasps(empty, scene.image, GRIPPER, FilterConfig())) == 0
    below = top_grasp(0.0, 0.0, -0.002)
    config = FilterConfig(find_table=False, collision=False)
    assert statuses(scene, [below], 0.048, config) == ["OK"]


def test_what_is_hardly_held_loses_score(scene):
    """The second one holds the end of the box only; counted here once more, in its frame."""
    poses = np.stack([GOOD, top_grasp(0.0, 0.045, 0.04)])
    grasps = scene.grasps(poses, np.full(2, 0.048)).updated(score=np.array([0.4, 0.5]))
    config = FilterConfig(deepen=False, opening_steps=(), min_points_between=1)
    points = solid_points(scene.image, None, config, float(np.median(grasps.poses[:, 2, 3])))
    between = []
    for pose, width in zip(grasps.poses, [0.053] * 2, strict=True):
        x, y, z = pose[:3, :3].T @ (points.T - pose[:3, 3:])
        held = (x <= -config.min_depth_between) & (x >= -GRIPPER.finger_length)
        held &= (np.abs(y) <= GRIPPER.finger_breadth / 2) & (np.abs(z) < width / 2)
        between.append(int(held.sum()))
    assert between[0] > 2 * between[1] > 2
    config = replace(config, full_support=between[0])
    result = filter_grasps(grasps, scene.image, GRIPPER, config, None)
    assert result.status.tolist() == [0, 0]
    factor = 0.5 + 0.5 * between[1] / between[0]
    np.testing.assert_allclose(result.score, [0.4, 0.5 * factor])
    np.testing.assert_array_equal(accepted(result).score, np.sort(result.score)[::-1])
    untouched = filter_grasps(grasps, scene.image, GRIPPER, replace(config, full_support=0), None)
    assert untouched.score.tolist() == [0.4, 0.5]


def test_duplicates_agree_with_the_greedy_loop():
    rng = np.random.default_rng(1)
    n, distance, angle = 60, 0.02, 40.0
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.4, (n, 3))).as_matrix()
    poses[::3] = poses[::3] @ np.diag([1.0, -1.0, -1.0, 1.0])
    poses[:, :3, 3] = rng.uniform(0, 0.06, (n, 3))
    scene = box_scene([BOX])
    grasps = replace(scene.grasps(poses, np.full(n, 0.05)), poses=poses, score=rng.random(n))
    kept = []
    twin = np.diag([1.0, -1.0, -1.0])
    for i in np.argsort(-grasps.score):
        rotation = poses[i, :3, :3]
        for j in kept:
            turns = [rotation.T @ poses[j, :3, :3], rotation.T @ poses[j, :3, :3] @ twin]
            turned = min(np.degrees(Rotation.from_matrix(t).magnitude()) for t in turns)
            if np.linalg.norm(poses[i, :3, 3] - poses[j, :3, 3]) < distance and turned < angle:
                break
        else:
            kept.append(i)
    status = mark_duplicates(grasps, distance, angle).status
    assert sorted(kept) == np.flatnonzero(status == GraspStatus.OK).tolist()
    assert 10 < len(kept) < n - 10
    assert (mark_duplicates(grasps, 0.0, angle).status == GraspStatus.OK).all()


def test_accepted_grasps_satisfy_the_independent_checker():
    rng = np.random.default_rng(5)
    scene = box_scene([BOX, ((0.05, -0.05, 0.0), (0.11, 0.0, 0.04))], noise=0.001)
    n = 300
    poses = np.stack(
        [
            top_grasp(
                *rng.uniform((-0.04, -0.05, 0.0), (0.12, 0.05, 0.06)), *rng.uniform(-0.8, 0.8, 2)
            )
            for _ in range(n)
        ]
    )
    grasps = scene.grasps(poses, rng.uniform(0.03, 0.075, n))
    # The checker wants 20 points at 5 mm and leaves out edges; so do these settings.
    config = FilterConfig(
        cloud_spacing=0.0, min_points_between=40, min_depth_between=0.006, max_points_hit=5
    )
    result = accepted(filter_grasps(grasps, scene.image, GRIPPER, config))
    view = grasp_validity.observe(scene.image.depth, scene.image.camera)
    summary = grasp_validity.summarise(view, result.poses, result.widths, GRIPPER)
    assert len(result) >= 15
    assert view.objects == 2
    assert summary.covered == {1, 2}
    assert summary.share >= 0.97
    everything = grasp_validity.summarise(view, grasps.poses, grasps.widths, GRIPPER)
    assert everything.share < 0.5


def test_ranking_follows_confidence_error_and_uncertainty(scene):
    grasps = scene.grasps(np.stack([GOOD] * 3), np.full(3, 0.05))
    covariance = np.zeros((3, 6, 6))
    covariance[0] = np.diag([0.01**2, 0, 0, 0, 0, np.radians(10.0) ** 2])
    grasps = replace(
        grasps,
        confidence=np.array([0.9, 0.8, 0.7]),
        reprojection_error=np.array([0.0, 5.0, 0.0]),
        covariance=covariance,
    )
    plain = rank_grasps(grasps, RankingConfig())
    np.testing.assert_allclose(plain.score, [0.9, 0.7, 0.8 * np.exp(-0.5)])
    careful = rank_grasps(grasps, RankingConfig(uncertainty=True))
    inside = 0.6826894921**2  # one standard deviation of a normal variable, twice
    np.testing.assert_allclose(careful.score, [0.7, 0.8 * np.exp(-0.5), 0.9 * inside])
    wider = RankingConfig(uncertainty=True, temperature=0.25)
    assert rank_grasps(grasps, wider).score[0] == pytest.approx(0.9 * 0.9544997361**2)
    failed = replace(grasps, reprojection_error=np.array([np.nan, 5.0, 0.0]))
    assert rank_grasps(failed, RankingConfig()).score[-1] == 0.0
    unknown = replace(grasps, covariance=np.full((3, 6, 6), np.nan))
    assert rank_grasps(unknown, RankingConfig(uncertainty=True)).score.tolist() == [0.0] * 3


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (1.0, 0.3, 0.1), (2.0, 1.5, 0.0)])
def test_share_within_a_radius_against_samples(scales):
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    root = turn * np.array(scales)
    drawn = np.linalg.norm(rng.standard_normal((200_000, 3)) @ root.T, axis=1)
    for radius in (0.5, 1.5, 3.0):
        share = share_within((root @ root.T)[None], radius)[0]
        assert share == pytest.approx(np.mean(drawn < radius), abs=0.05)


def test_a_thin_thing_on_the_table_is_held():
    """Of 8 mm the lower 6 count as table, so that only 2 mm are left to be between the jaws."""
    thin = box_scene([((-0.05, -0.004, 0.0), (0.05, 0.004, 0.008))])
    poses = [top_grasp(0.0, 0.0, z, yaw=yaw) for z in (0.004, 0.0) for yaw in (np.pi / 2,)]
    assert statuses(thin, poses, 0.03, FilterConfig()) == ["OK", "OK"]


def test_grasps_that_end_above_the_object_are_advanced(scene):
    """Tips 3 mm below the top of the box reach not far enough around it."""
    shallow = top_grasp(0.0, 0.0, BOX[1][2] - 0.003)
    grasps = scene.grasps(shallow[None], np.array([0.048]))
    advancing = FilterConfig(min_depth_between=0.006)
    as_predicted = replace(advancing, advance_steps=())
    result = filter_grasps(grasps, scene.image, GRIPPER, as_predicted)
    assert result.status.tolist() == [GraspStatus.EMPTY]
    result = filter_grasps(grasps, scene.image, GRIPPER, advancing)
    assert result.status.tolist() == [GraspStatus.OK]
    step = np.linalg.inv(grasps.poses[0]) @ result.poses[0]
    np.testing.assert_allclose(step[:3, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(step[1:3, 3], 0.0, atol=1e-12)
    assert step[0, 3] in (pytest.approx(0.005), pytest.approx(0.01))
