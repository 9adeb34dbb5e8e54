# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Grasp families against the table of the protocol (section 2.6), written out naively here."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kgnpro_ros.data.grasp_families import MAX_OPENING, object_grasps
from kgnpro_ros.data.shape_sampling import KGN_RANGES, sample_household_shape, sample_shape
from kgnpro_ros.data.shapes import CLASSES, Shape

COUNTS = {
    (11, 5): {
        "cuboid": 60, "cylinder": 77, "stick": 55, "ring": 22, "sphere": 22, "semi_sphere": 11
    },
    (30, 10): {
        "cuboid": 120, "cylinder": 360, "stick": 300, "ring": 60, "sphere": 60, "semi_sphere": 30
    },
}  # fmt: skip

WIDTHS = {
    "cuboid": (0.048, 0.144), "sphere": (0.048, 0.120), "semi_sphere": (0.026, 0.0522),
    "cylinder": (0.0225, 0.1932), "ring": (0.015, 0.0375), "stick": (0.0138, 0.0276),
}  # fmt: skip

EX, EY, EZ = np.eye(3)


def table_rows(shape, n_r, n_t):
    """The rows of the table, one grasp after the other: (x_g, y_g, z_g, origin, width)."""
    thetas = [2 * np.pi * k / (n_r - 1) for k in range(n_r)]
    fractions = [(k + 1) / (n_t + 1) - 0.5 for k in range(n_t)]
    d = shape.dimensions

    def turned(x, y, z, origin, width):
        for theta in thetas:
            turn = Rotation.from_euler("z", theta).as_matrix()
            yield turn @ x, turn @ y, turn @ z, turn @ np.array(origin), width

    if shape.kind == "cuboid":
        for a in range(3):
            for sign in (1, -1):
                for b in set(range(3)) - {a}:
                    x, z = sign * np.eye(3)[a], np.eye(3)[b]
                    y = np.cross(z, x)
                    for fraction in fractions:
                        slide = fraction * abs(y @ np.array(d)) * y
                        yield x, y, z, -x * (d[a] / 2 - 0.02) + slide, 1.2 * d[b]
    if shape.kind in ("cylinder", "ring"):
        r, h = d
        middle, opening = (r + 1.15 * r) / 2, 0.75 * r
        yield from turned(-EZ, EY, EX, (middle, 0, h / 2 - 0.005), opening)
        yield from turned(EZ, -EY, EX, (middle, 0, -h / 2 + 0.005), opening)
    if shape.kind in ("cylinder", "stick"):
        for fraction in fractions:
            yield from turned(EX, -EZ, EY, (0, 0, fraction * d[1]), 2.76 * d[0])
    if shape.kind == "sphere":
        yield from turned(-EZ, EY, EX, (0, 0, 0), 2.4 * d[0])
        yield from turned(EX, -EZ, EY, (0, 0, 0), 2.4 * d[0])
    if shape.kind == "semi_sphere":
        yield from turned(
            -EZ, EY, EX, ((d[0] + d[0] / 1.15) / 2, 0, -0.002), 5 * (d[0] - d[0] / 1.15)
        )


@pytest.mark.parametrize("kind", CLASSES)
def test_families_are_those_of_the_protocol(kind):
    shape = sample_shape(np.random.default_rng(3), kind)
    grasps = object_grasps(shape, 7, 4)
    expected = list(table_rows(shape, 7, 4))
    rows = np.array([np.concatenate([np.stack(row[:3], -1).ravel(), row[3], [row[4]]])
                     for row in expected])  # fmt: skip
    poses = grasps.T_object_grasp
    ours = np.concatenate(
        [poses[:, :3, :3].reshape(-1, 9), poses[:, :3, 3], grasps.widths[:, None]], axis=1
    )
    assert ours.shape == rows.shape
    nearest = np.abs(ours[:, None] - rows[None]).max(axis=-1)
    assert nearest.min(axis=1).max() < 1e-12
    assert nearest.min(axis=0).max() < 1e-12


@pytest.mark.parametrize("samples", COUNTS)
def test_counts_are_those_of_the_protocol(samples):
    rng = np.random.default_rng(4)
    counts = {k: len(object_grasps(sample_shape(rng, k), *samples).widths) for k in CLASSES}
    assert counts == COUNTS[samples]


@pytest.mark.parametrize("kind", CLASSES)
def test_extreme_sizes_give_the_width_ranges_of_the_protocol(kind):
    low = Shape(kind, tuple(r[0] for r in KGN_RANGES[kind]))
    high = Shape(kind, tuple(r[1] for r in KGN_RANGES[kind]))
    widths = np.concatenate([object_grasps(s, 5, 3).widths for s in (low, high)])
    assert widths.min() == pytest.approx(WIDTHS[kind][0], abs=1e-4)
    assert widths.max() == pytest.approx(WIDTHS[kind][1], abs=1e-4)


def test_distinct_angles_leave_out_the_repeated_one():
    shape = Shape("semi_sphere", (0.06,))
    doubled = object_grasps(shape, 9, 1).T_object_grasp
    distinct = object_grasps(shape, 8, 1, distinct=True).T_object_grasp
    assert np.allclose(doubled[0], doubled[-1])
    assert np.allclose(doubled[:-1], distinct)


def test_household_grasps_are_rigid_and_within_reach_of_a_hand():
    rng = np.random.default_rng(5)
    for index in range(120):
        shape = sample_household_shape(rng, CLASSES[index % 6])
        grasps = object_grasps(shape, 12, 4, distinct=True)
        R = grasps.T_object_grasp[:, :3, :3]
        assert np.allclose(R @ R.transpose(0, 2, 1), np.eye(3))
        assert np.allclose(np.linalg.det(R), 1)
        assert (grasps.widths <= MAX_OPENING).all()
        assert (grasps.widths >= 0.004 * 2.4).all()


def test_side_grasps_of_a_mug_keep_off_its_handle():
    mug = Shape("cylinder", (0.035, 0.1), 1.1, "base", handle=True)
    plain = Shape("cylinder", (0.035, 0.1), 1.1, "base")
    grasps, handle = object_grasps(mug, 72, 5, distinct=True), mug.handle_path
    corners = np.linspace(handle[:-1], handle[1:], 20).reshape(-1, 3)
    for pose, width in zip(grasps.T_object_grasp, grasps.widths, strict=True):
        approach, across, closing = ((corners - pose[:3, 3]) @ pose[:3, :3]).T
        # Fingers of 1 cm at both sides of the opening, 2 cm broad; their tips are at 0.
        in_finger = (np.abs(closing) > width / 2) & (np.abs(closing) < width / 2 + 0.01)
        assert not (in_finger & (approach < 0) & (np.abs(across) < 0.01)).any()
    assert 100 < len(grasps.widths) < len(object_grasps(plain, 72, 5, distinct=True).widths)
