# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Which grasps collide with the table or with objects other than their target (protocol 2.7).

The gripper is KGN's solid box. Objects are solids made of convex hexahedra, so a gripper that lies
entirely inside a wall, or an object entirely inside the gripper, counts as a collision too. The
test is exact for these solids (separating axes); spheres are exact spheres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.geometry.se3 import invert, transform_points

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: The box [m]: length behind the fingertip plane, size along y, excess over the opening along z.
BOX_LENGTH, BOX_BREADTH, BOX_EXCESS = 0.10, 0.02, 0.04

_CHUNK = 20000


def gripper_boxes(T_world_grasp: FloatArray, widths: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The solid box of each grasp.

    Returns:
        ``T_world_box`` (N, 4, 4), origin at the centre of the box, and its half sizes (N, 3) [m].
    """
    T_world_box = np.array(T_world_grasp, dtype=np.float64)
    T_world_box[:, :3, 3] -= BOX_LENGTH / 2 * T_world_box[:, :3, 0]
    half = np.empty((len(widths), 3))
    half[:, 0], half[:, 1] = BOX_LENGTH / 2, BOX_BREADTH / 2
    half[:, 2] = (widths + BOX_EXCESS) / 2
    return T_world_box, half


def hits_table(T_world_box: FloatArray, half: FloatArray) -> BoolArray:
    """Whether boxes reach the half space z <= 0 of the world, shape (N,)."""
    reach = np.einsum("ni,ni->n", np.abs(T_world_box[:, 2, :3]), half)
    result: BoolArray = T_world_box[:, 2, 3] - reach <= 0.0
    return result


def hits_object(
    T_world_box: FloatArray, half: FloatArray, shape: Shape, T_world_object: FloatArray
) -> BoolArray:
    """Whether boxes overlap an object, shape (N,)."""
    if shape.kind == "sphere":
        center = T_world_object[None, :3, 3]
        return _sphere_distance(T_world_box, half, center)[:, 0] <= shape.outer_radius
    pieces = transform_points(T_world_object, shape.convex_pieces().reshape(-1, 3))
    pieces = pieces.reshape(-1, 8, 3)
    centers = pieces.mean(axis=1)
    radii = np.linalg.norm(pieces - centers[:, None], axis=-1).max(axis=1)
    hit = np.zeros(len(half), dtype=bool)
    bound_center = centers.mean(axis=0, keepdims=True)
    bound = float((np.linalg.norm(centers - bound_center, axis=-1) + radii).max())
    near = np.flatnonzero(_sphere_distance(T_world_box, half, bound_center)[:, 0] <= bound)
    hit |= _hits_handle(T_world_box, half, shape, T_world_object)
    if len(near) == 0:
        return hit
    close = _sphere_distance(T_world_box[near], half[near], centers) <= radii
    box, piece = np.nonzero(close)
    box = near[box]
    axes, edges = _hexahedron_axes(pieces)
    for start in range(0, len(box), _CHUNK):
        b, p = box[start : start + _CHUNK], piece[start : start + _CHUNK]
        overlap = _overlap(T_world_box[b], half[b], pieces[p], axes[p], edges[p])
        hit[b[overlap]] = True
    return hit


def colliding(
    T_world_grasp: FloatArray,
    widths: FloatArray,
    object_index: NDArray[np.int64],
    shapes: list[Shape],
    T_world_objects: FloatArray,
) -> BoolArray:
    """Collision flag of each grasp against the table and all objects but its own target.

    Args:
        T_world_grasp: Poses, shape (N, 4, 4); the table top is the plane z = 0 of the world.
        widths: Jaw openings [m], shape (N,).
        object_index: The target of each grasp, shape (N,).
        shapes: The M objects.
        T_world_objects: Their poses, shape (M, 4, 4).

    Returns:
        Flags, shape (N,).
    """
    T_world_box, half = gripper_boxes(T_world_grasp, widths)
    result = hits_table(T_world_box, half)
    for index, (shape, pose) in enumerate(zip(shapes, T_world_objects, strict=True)):
        open_cases = np.flatnonzero(~result & (object_index != index))
        result[open_cases] = hits_object(T_world_box[open_cases], half[open_cases], shape, pose)
    return result


def _hits_handle(
    T_world_box: FloatArray, half: FloatArray, shape: Shape, T_world_object: FloatArray
) -> BoolArray:
    """Whether boxes overlap the handle of a cup, taken as a chain of spheres 2 mm apart, (N,)."""
    path = shape.handle_path
    if len(path) == 0:
        return np.zeros(len(half), dtype=bool)
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    steps = np.linspace(0, len(path) - 1, int(length / 0.002) + 2)
    chain = np.stack([np.interp(steps, np.arange(len(path)), c) for c in path.T], axis=-1)
    distance = _sphere_distance(T_world_box, half, transform_points(T_world_object, chain))
    result: BoolArray = (distance <= shape.handle_radius).any(axis=1)
    return result


def _sphere_distance(T_world_box: FloatArray, half: FloatArray, centers: FloatArray) -> FloatArray:
    """Distance from boxes (N) to points (M), 0 inside, shape (N, M)."""
    local = transform_points(invert(T_world_box), centers[None])
    outside = np.maximum(np.abs(local) - half[:, None], 0.0)
    distance: FloatArray = np.linalg.norm(outside, axis=-1)
    return distance


def _hexahedron_axes(pieces: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Face normals (P, 6, 3) and edge directions (P, 12, 3), not normalised; may hold zeros.

    The two diagonals of a face span its normal also where an edge of it has shrunk to a point.
    """
    grid = pieces.reshape(-1, 2, 2, 2, 3)
    normals, edges = [], []
    for axis in (1, 2, 3):
        for side in (0, 1):
            face = np.take(grid, side, axis=axis)
            first = face[:, 1, 1] - face[:, 0, 0]
            second = face[:, 1, 0] - face[:, 0, 1]
            normals.append(np.cross(first, second))
        edge = np.diff(grid, axis=axis).reshape(-1, 4, 3)
        edges.append(edge)
    return np.stack(normals, axis=1), np.concatenate(edges, axis=1)


def _overlap(
    T_world_box: FloatArray,
    half: FloatArray,
    pieces: FloatArray,
    normals: FloatArray,
    edges: FloatArray,
) -> BoolArray:
    """Separating-axis test of K boxes against K hexahedra, shape (K,)."""
    rotation = T_world_box[:, :3, :3]
    # Everything in the frame of the box, where the box is +-half.
    vertices = (pieces - T_world_box[:, None, :3, 3]) @ rotation
    normals, edges = normals @ rotation, edges @ rotation
    outside = (vertices.min(axis=1) > half) | (vertices.max(axis=1) < -half)
    overlap: BoolArray = ~outside.any(axis=1)
    rest = np.flatnonzero(overlap)
    overlap[rest] = ~_separated(vertices[rest], half[rest], normals[rest])
    rest = np.flatnonzero(overlap)
    crossed = np.cross(edges[rest, :, None], np.eye(3)).reshape(len(rest), 36, 3)
    overlap[rest] = ~_separated(vertices[rest], half[rest], crossed)
    return overlap


def _separated(vertices: FloatArray, half: FloatArray, axes: FloatArray) -> BoolArray:
    """Whether any of the axes (K, A, 3) separates vertices (K, V, 3) from the box +-half."""
    projected = axes @ np.swapaxes(vertices, 1, 2)
    reach = np.einsum("kai,ki->ka", np.abs(axes), half)
    apart = (projected.min(axis=-1) > reach) | (projected.max(axis=-1) < -reach)
    result: BoolArray = apart.any(axis=1)
    return result
