# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Shapes: volumes against closed forms, bad values, JSON form."""

import json

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from kgnpro_ros.data.shape_sampling import KGN_RANGES, sample_household_shape, sample_shape
from kgnpro_ros.data.shapes import CLASSES, Shape
from kgnpro_ros.exceptions import DatasetError


def closed_form_volume(shape):
    """Volumes of the textbook."""
    d = shape.dimensions
    if shape.kind == "cuboid":
        return d[0] * d[1] * d[2]
    if shape.kind == "sphere":
        return 4 / 3 * np.pi * d[0] ** 3
    if shape.kind == "semi_sphere":
        return 2 / 3 * np.pi * (d[0] ** 3 - (d[0] / shape.wall) ** 3)
    if shape.kind == "stick" or shape.closure == "solid":
        return np.pi * shape.outer_radius**2 * d[1]
    wall = shape.outer_radius - d[0]
    floor = np.pi * d[0] ** 2 * wall if shape.closure == "base" else 0.0
    return np.pi * (shape.outer_radius**2 - d[0] ** 2) * d[1] + floor


def example_shapes():
    rng = np.random.default_rng(0)
    shapes = [sample_shape(rng, kind) for kind in CLASSES]
    return [
        *shapes,
        Shape("cylinder", (0.035, 0.1), 1.1, "base"),
        Shape("cylinder", (0.035, 0.1), 1.1, "solid"),
    ]


@pytest.mark.parametrize("shape", example_shapes(), ids=lambda s: f"{s.kind}-{s.closure}")
def test_volume_of_the_pieces_is_the_closed_form(shape):
    pieces = shape.convex_pieces() if shape.kind == "cuboid" else shape.convex_pieces(64)
    volume = sum(ConvexHull(piece, qhull_options="QJ").volume for piece in pieces)
    assert volume == pytest.approx(closed_form_volume(shape), rel=0.01)


@pytest.mark.parametrize("shape", example_shapes()[1:], ids=lambda s: f"{s.kind}-{s.closure}")
def test_surface_is_closed_and_points_outwards(shape):
    vertices, triangles = shape.visual_mesh(128)
    a, b, c = np.moveaxis(vertices[triangles], 1, 0)
    assert np.abs(np.cross(b - a, c - a).sum(axis=0)).max() < 1e-12  # closed: areas cancel
    volume = np.einsum("ni,ni->n", a, np.cross(b, c)).sum() / 6
    assert volume == pytest.approx(closed_form_volume(shape), rel=0.003)


def test_tapered_cup_pieces_fill_the_same_solid_as_its_surface():
    shape = Shape("cylinder", (0.06, 0.09), 1.08, "base", taper=0.5)
    vertices, triangles = shape.visual_mesh(64)
    a, b, c = np.moveaxis(vertices[triangles], 1, 0)
    surface = np.einsum("ni,ni->n", a, np.cross(b, c)).sum() / 6
    pieces = sum(ConvexHull(p, qhull_options="QJ").volume for p in shape.convex_pieces(64))
    assert pieces == pytest.approx(surface, rel=1e-3)
    assert np.abs(vertices[:, 2]).max() == pytest.approx(0.045)


def test_bowl_hangs_below_its_rim_plane():
    vertices, _ = Shape("semi_sphere", (0.06,)).visual_mesh()
    assert vertices[:, 2].max() == pytest.approx(0.0, abs=1e-12)
    assert vertices[:, 2].min() == pytest.approx(-0.06)


def test_drawn_sizes_fill_the_ranges_of_kgn():
    rng = np.random.default_rng(1)
    for kind, ranges in KGN_RANGES.items():
        sizes = np.array([sample_shape(rng, kind).dimensions for _ in range(400)])
        low, high = np.array(ranges).T
        assert (sizes >= low).all()
        assert (sizes <= high).all()
        assert np.allclose(sizes.mean(axis=0), (low + high) / 2, rtol=0.06)


def test_json_form_comes_back_unchanged():
    rng = np.random.default_rng(2)
    for index in range(60):
        shape = sample_household_shape(rng, CLASSES[index % 6])
        assert Shape.from_dict(json.loads(json.dumps(shape.to_dict()))) == shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cone", (0.1,)), "no shape class"),
        (("cuboid", (0.1, 0.1)), "3 positive dimensions"),
        (("sphere", (-0.1,)), "1 positive dimensions"),
        (("sphere", (float("nan"),)), "1 positive dimensions"),
        (("ring", (0.03, 0.01), 0.9), "wall > 1"),
        (("sphere", (0.03,), 1.15, "solid"), "only cylinders"),
        (("cylinder", (0.03, 0.1), 1.15, "open", 0.5), "only a cup"),
        (("cylinder", (0.03, 0.1), 1.15, "base", 0.01), "taper must be"),
    ],
)
def test_impossible_shapes_are_refused(arguments, message):
    with pytest.raises(DatasetError, match=message):
        Shape(*arguments)


def test_json_without_dimensions_is_refused():
    with pytest.raises(DatasetError, match="not a shape"):
        Shape.from_dict({"class": "sphere"})
