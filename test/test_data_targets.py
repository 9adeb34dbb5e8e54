# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Targets: decoded and solved again they give back the labelled grasps."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support.perfect_maps import perfect_output

from kgnpro_ros.config import DecodeConfig, LabelConfig, PnPConfig
from kgnpro_ros.data.targets import (
    STAMP_CORNER,
    STAMP_EDGE,
    assign_classes,
    label_priority,
    make_targets,
    project_keypoints,
)
from kgnpro_ros.geometry import Camera, canonical_keypoints
from kgnpro_ros.geometry.se3 import make_transform, transform_points
from kgnpro_ros.network.decode import decode, orientation_class, orientation_mismatch
from kgnpro_ros.pnp.solver import solve_pnp
from kgnpro_ros.types import GraspStatus

CAMERA = Camera(300.0, 300.0, 159.5, 119.5, 320, 240)
IDENTITY = np.eye(3)[:2]
DOWN = np.array([0.0, 0.6, 0.8])
GRID = (60, 80)
CLASSES = 9


def looking_away(n, seed=0, spread=0.9):
    """Rotations whose approach axis is within spread [rad] of the optical axis."""
    rng = np.random.default_rng(seed)
    base = np.stack([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]], axis=1)
    tilt = Rotation.from_rotvec(rng.uniform(-spread, spread, (n, 3)) * (0.7, 0.7, 0.0))
    yaw = Rotation.from_rotvec(rng.uniform(-np.pi, np.pi, (n, 1)) * (0.0, 0.0, 1.0))
    return (tilt * yaw).as_matrix() @ base


def grasps_in_view(n=12, seed=0):
    """Grasps whose centres are far apart in the image."""
    rng = np.random.default_rng(seed)
    u, v = np.meshgrid(np.linspace(60, 260, 4), np.linspace(50, 190, 3))
    pixels = np.stack([u.ravel(), v.ravel()], -1)[:n] + rng.uniform(-8, 8, (n, 2))
    points = CAMERA.backproject(pixels, rng.uniform(0.5, 0.9, n))
    return make_transform(looking_away(n, seed), points), rng.uniform(0.01, 0.08, n)


def targets_of(poses, widths=None, affine=IDENTITY, grid=GRID, down=DOWN, **settings):
    widths = np.full(len(poses), 0.05) if widths is None else widths
    return make_targets(poses, widths, CAMERA, affine, down, grid, CLASSES, LabelConfig(**settings))


def decoded(targets, local_maximum=True):
    batch = decode(
        perfect_output(targets, local_maximum),
        DecodeConfig(local_maximum=local_maximum, top_k=500, score_threshold=0.5),
    )
    assert (batch.status != int(GraspStatus.ORIENTATION_MISMATCH)).all()
    keep = batch.status == int(GraspStatus.OK)
    return batch.keypoints[keep].numpy(), batch.widths[keep], batch.center_depth[keep]


def nearest_grasp(poses, rotation, translation):
    """Index, distance [m] and angle [deg] (up to half a turn) of the nearest grasp."""
    distance = np.linalg.norm(poses[:, :3, 3] - translation, axis=-1)
    index = int(distance.argmin())
    relative = poses[index, :3, :3].T @ rotation
    twin = relative @ np.diag([1.0, -1.0, -1.0])
    angle = min(np.degrees(Rotation.from_matrix([relative, twin]).magnitude()))
    return index, distance[index], angle


def similarity(zoom, degrees, flip, shift):
    a = np.radians(degrees)
    turn = zoom * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    if flip:
        turn[:, 0] *= -1
    middle = np.array([CAMERA.cx, CAMERA.cy])
    return np.column_stack([turn, middle - turn @ middle + shift])


@pytest.mark.parametrize(
    "affine",
    [
        IDENTITY,
        similarity(1.0, 0, True, (0, 0)),
        similarity(1.1, 14, False, (7.3, -4.1)),
        similarity(0.9, -11, True, (-3.0, 5.5)),
    ],
    ids=["plain", "flip", "turn and zoom", "all"],
)
def test_targets_lead_back_to_the_grasps(affine):
    poses, widths = grasps_in_view()
    keypoints, jaw, depth = decoded(targets_of(poses, widths, affine))
    # Back to the original image, where the camera matrix holds.
    keypoints = (keypoints - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T
    n = len(keypoints)
    result = solve_pnp(
        torch.from_numpy(keypoints),
        torch.ones(n, 4, 2, dtype=torch.float64),
        torch.from_numpy(CAMERA.matrix),
        torch.from_numpy(canonical_keypoints()),
        PnPConfig(choose_mode=False),
    )
    assert (result.status == int(GraspStatus.OK)).all()
    seen = set()
    for i in range(n):
        which, distance, angle = nearest_grasp(
            poses, result.rotation[i].numpy(), result.translation[i].numpy()
        )
        assert distance < 1e-3
        assert angle < 0.5
        assert float(jaw[i]) == pytest.approx(widths[which], abs=1e-6)
        assert float(depth[i]) == pytest.approx(poses[which, 2, 3], abs=1e-6)
        seen.add(which)
    assert seen == set(range(len(poses)))


def test_cells_around_a_centre_point_to_the_same_keypoints():
    """All labelled cells of a grasp decode to its keypoints; only their weight is less."""
    poses, _ = grasps_in_view()
    targets = targets_of(poses, neighbour_weight=0.3)
    at_center, _, _ = decoded(targets)
    everywhere, _, _ = decoded(targets, local_maximum=False)
    assert len(everywhere) >= 9 * len(poses)
    for keypoints in everywhere:
        assert np.abs(at_center - keypoints).max((1, 2)).min() < 1e-3
    assert set(np.unique(targets.weight)) == {np.float32(0.3), np.float32(1.0)}
    assert (np.abs(targets.subpixel) <= 1.5).all()


def test_heat_map_is_kgns_stamp():
    poses, _ = grasps_in_view(1)
    targets = targets_of(poses, edge_margin=0.0)
    center = (CAMERA.project(poses[0, :3, 3]) - 1.5) / 4
    column, row = np.rint(center).astype(int)
    keypoints = project_keypoints(poses, CAMERA, IDENTITY)[0]
    orientation = int(orientation_class(torch.from_numpy(keypoints), CLASSES)[0])
    expected = np.zeros_like(targets.heatmap)
    stamp = np.exp(-(np.array([[2, 1, 2], [1, 0, 1], [2, 1, 2]])) / (2 * 0.5**2))
    expected[orientation, row - 1 : row + 2, column - 1 : column + 2] = stamp
    np.testing.assert_allclose(targets.heatmap, expected, atol=1e-6)
    assert pytest.approx((0.13533528, 0.01831564)) == (STAMP_EDGE, STAMP_CORNER)
    assert len(targets.index) == 9
    own = targets.index == np.ravel_multi_index((orientation, row, column), expected.shape)
    np.testing.assert_allclose(targets.subpixel[own][0], center - (column, row), atol=1e-5)


def test_turning_the_image_is_turning_the_camera():
    """An affine about the principal point equals grasps turned about the optical axis."""
    poses, widths = grasps_in_view()
    turn = make_transform(Rotation.from_euler("z", 12, degrees=True).as_matrix(), np.zeros(3))
    by_image = targets_of(poses, widths, similarity(1.0, 12, False, (0, 0)))
    by_pose = targets_of(turn @ poses, widths, down=turn[:3, :3] @ DOWN)
    same_targets(by_image, by_pose)


def test_mirroring_the_image_is_mirroring_the_grasps():
    poses, widths = grasps_in_view()
    mirrored = poses.copy()
    # The keypoints lie at y = 0, so that the second mirror keeps them and restores handedness.
    mirrored[:, :3, :3] = np.diag([-1.0, 1, 1]) @ poses[:, :3, :3] @ np.diag([1.0, -1, 1])
    mirrored[:, 0, 3] *= -1
    by_image = targets_of(poses, widths, similarity(1.0, 0, True, (0, 0)))
    same_targets(by_image, targets_of(mirrored, widths, down=DOWN * (-1, 1, 1)))


def test_zooming_the_image_is_another_focal_length():
    poses, widths = grasps_in_view()
    by_image = targets_of(poses, widths, similarity(1.12, 0, False, (0, 0)))
    tele = Camera(336.0, 336.0, 159.5, 119.5, 320, 240)
    by_camera = make_targets(poses, widths, tele, IDENTITY, DOWN, GRID, CLASSES, LabelConfig())
    same_targets(by_image, by_camera)


def same_targets(a, b):
    np.testing.assert_array_equal(a.heatmap, b.heatmap)
    np.testing.assert_array_equal(a.index, b.index)
    for name in ("label", "weight", "subpixel", "offsets", "width", "depth"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-4)


def direction(degrees):
    """Keypoints with a given direction from the left to the right tip."""
    a = np.radians(np.atleast_1d(degrees))
    along = np.stack([np.cos(a), np.sin(a)], -1)
    return np.stack([-along, along, -along, along], axis=1)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (0.0, [(4, False)]),
        (11.0, [(5, False), (4, False)]),
        (9.0, [(4, False), (5, False)]),
        (14.0, [(5, False)]),
        (-89.0, [(0, False), (8, True)]),
        (89.0, [(8, False), (0, True)]),
        (-90.0, [(0, False), (8, True)]),
        (90.0, [(8, False), (0, True)]),
    ],
)
def test_grasps_at_the_edge_of_a_bin_serve_both(degrees, expected):
    source, classes, swapped = assign_classes(direction(degrees), CLASSES, margin=3.0)
    assert source.tolist() == [0] * len(expected)
    assert sorted(zip(classes.tolist(), swapped.tolist(), strict=True)) == sorted(expected)


def test_every_class_a_grasp_serves_passes_the_orientation_check():
    """Labels and the check in decode agree, over all directions."""
    keypoints = direction(np.linspace(-90.0, 90.0, 721))
    source, classes, swapped = assign_classes(keypoints, CLASSES, margin=3.0)
    chosen = keypoints[source]
    chosen[swapped] = chosen[swapped][:, [1, 0, 3, 2]]
    fractional = orientation_class(torch.from_numpy(chosen), CLASSES)
    wrong = orientation_mismatch(
        fractional, torch.from_numpy(classes), CLASSES, DecodeConfig().orientation_slack
    )
    assert not wrong.any()
    assert len(source) > 721


def test_the_left_tip_is_on_the_left():
    poses, _ = grasps_in_view()
    twins = poses @ np.diag([1.0, -1.0, -1.0, 1.0])
    keypoints, centers, _ = project_keypoints(poses, CAMERA, IDENTITY)
    assert (keypoints[:, 0, 0] <= keypoints[:, 1, 0]).all()
    of_twins, twin_centers, _ = project_keypoints(twins, CAMERA, IDENTITY)
    np.testing.assert_allclose(of_twins, keypoints)
    np.testing.assert_allclose(centers, twin_centers)
    np.testing.assert_allclose(4 * centers + 1.5, CAMERA.project(poses[:, :3, 3]))


def rivals():
    """Two grasps with the same origin and closing direction; the first goes down, as DOWN says."""
    closing = np.array([1.0, 0.0, 0.0])
    rotations = []
    for approach in (DOWN, np.array([0.0, -0.5, np.sqrt(0.75)])):
        rotations.append(np.stack([approach, np.cross(closing, approach), closing], axis=1))
    return make_transform(np.array(rotations), (0.003, -0.002, 0.7)), np.array([0.03, 0.04])


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_grasp_along_gravity_wins_a_cell(order):
    poses, widths = rivals()
    targets = targets_of(poses[order], widths[order])
    assert (targets.width[targets.weight == 1] == np.float32(0.03)).all()
    assert (targets.label == order.index(0)).all()
    other = targets_of(poses[order], widths[order], down=poses[1, :3, 0])
    assert (other.width[other.weight == 1] == np.float32(0.04)).all()


def test_priority_by_value():
    poses, _ = rivals()
    poses[:, :3, 3] = 0.0, 0.0, 0.7
    down_weight = 2.0
    expected = poses[:, 2, 0] + down_weight * poses[:, :3, 0] @ DOWN
    config = LabelConfig(down_preference=down_weight)
    np.testing.assert_allclose(label_priority(poses, DOWN, config), expected)


def test_grasps_from_behind_the_object_make_no_label():
    poses, widths = grasps_in_view()
    behind = poses @ make_transform(Rotation.from_euler("y", 180, degrees=True).as_matrix(),
                                    np.zeros(3))  # fmt: skip
    assert np.isnan(label_priority(behind, DOWN, LabelConfig())).all()
    assert len(targets_of(behind, widths).index) == 0


def shifted(u, v, depth=0.7):
    rotation = np.stack([[0.0, 0, 1], [0.0, -1, 0], [1.0, 0, 0]], axis=1)
    return make_transform(rotation, CAMERA.backproject([u, v], depth))[None]


@pytest.mark.parametrize(
    ("u", "v", "cells"),
    [
        (1.5, 1.5, 4),  # middle of the corner cell: the stamp is cut to 2x2
        (160.0, 0.0, 6),
        (-0.6, 100.0, 0),  # beyond the edge of the first pixel
        (319.6, 100.0, 0),
        (100.0, 239.6, 0),
        (318.0, 238.0, 4),
    ],
)
def test_centres_outside_the_image_make_no_label(u, v, cells):
    targets = targets_of(shifted(u, v))
    assert len(targets.index) == cells
    assert (targets.heatmap == 1).sum() == (cells > 0)
    assert np.isfinite(targets.offsets).all()


def test_grasps_behind_the_camera_make_no_label():
    poses = shifted(160.0, 120.0)
    poses[:, 2, 3] = -0.7
    assert len(targets_of(poses).index) == 0
    poses[:, 2, 3] = 0.05  # its back keypoints are behind the camera
    assert len(targets_of(poses).index) == 0


def test_an_image_without_grasps():
    targets = targets_of(np.zeros((0, 4, 4)), np.zeros(0))
    assert targets.heatmap.shape == (CLASSES, *GRID)
    assert targets.heatmap.sum() == 0
    assert targets.index.shape == (0,)
    assert targets.offsets.shape == (0, 4, 2)
    assert targets.subpixel.dtype == targets.offsets.dtype == np.float32


def test_peaks_survive_the_stamps_of_their_neighbours():
    """Two grasps in adjacent cells: each keeps its own peak and labels."""
    poses = np.concatenate([shifted(101.5, 101.5), shifted(105.5, 101.5)])
    targets = targets_of(poses, np.array([0.02, 0.06]))
    assert (targets.heatmap == 1).sum() == 2
    main = targets.weight == 1
    assert sorted(targets.width[main].tolist()) == pytest.approx([0.02, 0.06])
    # Each labelled cell belongs to one grasp only.
    assert len(np.unique(targets.index)) == len(targets.index) == 12


def test_poses_project_to_the_labelled_keypoints_in_their_order():
    """Also where left and right are swapped, by the image or by a neighbouring class."""
    poses, widths = grasps_in_view()
    targets = targets_of(poses, widths, IDENTITY)
    full = make_transform(targets.pose[:, :, :3], targets.pose[:, :, 3])
    pixels = CAMERA.project(transform_points(full, canonical_keypoints()))
    height, width = GRID
    cells = np.stack([targets.index % width, targets.index // width % height], axis=-1)
    expected = (cells + targets.subpixel)[:, None] + targets.offsets
    np.testing.assert_allclose((pixels - 1.5) / 4, expected, atol=1e-3)
