# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Training targets: grasp labels drawn onto the output grid of the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import LabelConfig
from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.geometry.gripper import canonical_keypoints
from kgnpro_ros.geometry.se3 import transform_points

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Image pixels per cell of the grid.
STRIDE = 4

#: Index order of the keypoints when left and right swap.
SWAP = np.array([1, 0, 3, 2])

#: KGN's stamp: a Gaussian of sigma 0.5 cells cut to 3x3.
STAMP_EDGE = float(np.exp(-1 / (2 * 0.5**2)))
STAMP_CORNER = float(np.exp(-2 / (2 * 0.5**2)))


@dataclass(frozen=True)
class Targets:
    """Targets of one image; L labelled cells.

    Attributes:
        heatmap: float32, shape (C, h, w), 1 where a grasp is centred.
        index: Flat index of the labelled cells into (C, h, w), int64, shape (L,).
        label: Index of the grasp that each labelled cell stands for, shape (L,).
        weight: 1 for the cell of the grasp centre, less around it, float32, shape (L,).
        subpixel: Grasp centre minus cell [cells], float32, shape (L, 2).
        offsets: Keypoints minus grasp centre [cells], float32, shape (L, 4, 2).
        width: Jaw opening [m], float32, shape (L,).
        depth: z of the grasp centre [m], float32, shape (L,).
        pose: ``T_camera_grasp`` without its last row, turned by 180 degrees about x where left and
            right keypoints are swapped, float32, shape (L, 3, 4).
    """

    heatmap: NDArray[np.float32]
    index: IntArray
    label: IntArray
    weight: NDArray[np.float32]
    subpixel: NDArray[np.float32]
    offsets: NDArray[np.float32]
    width: NDArray[np.float32]
    depth: NDArray[np.float32]
    pose: NDArray[np.float32]


def project_keypoints(
    T_camera_grasp: FloatArray, camera: Camera, affine: FloatArray
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Grid coordinates of the keypoints and centres of grasps, left tip on the left.

    Args:
        T_camera_grasp: Shape (N, 4, 4).
        camera: Intrinsics of the original image.
        affine: Maps original to augmented image coordinates [px], shape (2, 3).

    Returns:
        Keypoints (N, 4, 2) and centres (N, 2) [cells], NaN behind the camera; and whether left
        and right were swapped (N,).
    """
    points = np.concatenate([canonical_keypoints(), np.zeros((1, 3))])
    pixels = camera.project(transform_points(T_camera_grasp, points))
    pixels = pixels @ affine[:, :2].T + affine[:, 2]
    cells = (pixels - (STRIDE - 1) / 2) / STRIDE
    keypoints, centers = cells[:, :4], cells[:, 4]
    swapped = keypoints[:, 0, 0] > keypoints[:, 1, 0]
    keypoints[swapped] = keypoints[swapped][:, SWAP]
    return keypoints, centers, swapped


def label_priority(T_camera_grasp: FloatArray, down: FloatArray, config: LabelConfig) -> FloatArray:
    """Which grasp wins a cell that several fall into; NaN for grasps that make no label.

    A fixed preference makes the label a function of the image: approaches along gravity first,
    then those along the view. KGN keeps the first in storage order, which no image shows.

    Args:
        T_camera_grasp: Shape (N, 4, 4).
        down: Unit vector of gravity in the camera frame, shape (3,).
        config: ``down_preference`` and ``min_facing``.
    """
    approach = T_camera_grasp[:, :3, 0]
    view = T_camera_grasp[:, :3, 3]
    facing = (approach * view).sum(-1) / np.linalg.norm(view, axis=-1)
    priority: FloatArray = facing + config.down_preference * (approach @ down)
    return np.where(facing >= config.min_facing, priority, np.nan)


def make_targets(
    T_camera_grasp: FloatArray,
    widths: FloatArray,
    camera: Camera,
    affine: FloatArray,
    down: FloatArray,
    grid: tuple[int, int],
    classes: int,
    config: LabelConfig,
) -> Targets:
    """Draw grasps onto the grid.

    Args:
        T_camera_grasp: Collision-free grasps, shape (N, 4, 4).
        widths: Their jaw openings [m], shape (N,).
        camera: Intrinsics of the original image.
        affine: Original to augmented image coordinates [px], shape (2, 3).
        down: Gravity in the camera frame, unit length, shape (3,).
        grid: Height and width of the output grid.
        classes: Number of orientation classes over 180 degrees.
        config: How labels are chosen and drawn.

    Returns:
        The targets; no labelled cells where no grasp is in the image.
    """
    height, width = grid
    keypoints, centers, turned = project_keypoints(T_camera_grasp, camera, affine)
    priority = label_priority(T_camera_grasp, down, config)
    inside = ((centers > -0.5) & (centers < np.array([width, height]) - 0.5)).all(-1)
    keep = np.flatnonzero(inside & np.isfinite(keypoints).all((1, 2)) & ~np.isnan(priority))
    keep = keep[np.argsort(priority[keep], kind="stable")]
    source, orientation, swapped = assign_classes(keypoints[keep], classes, config.edge_margin)
    grasp = keep[source]
    column, row = np.rint(centers[grasp]).astype(np.int64).T
    heatmap, painted = _paint(row, column, orientation, (classes, height, width))
    index = np.flatnonzero(painted >= 0)
    grasp, swapped = grasp[painted[index]], swapped[painted[index]]
    offsets = (keypoints - centers[:, None])[grasp]
    offsets[swapped] = offsets[swapped][:, SWAP]
    pose = T_camera_grasp[grasp, :3]
    pose[turned[grasp] != swapped, :, 1:3] *= -1
    subpixel = centers[grasp] - np.stack([index % width, index // width % height], axis=-1)
    at_center = np.abs(subpixel).max(-1, initial=0.0) <= 0.5
    return Targets(
        heatmap=heatmap,
        index=index,
        label=grasp,
        weight=np.where(at_center, 1.0, config.neighbour_weight).astype(np.float32),
        subpixel=subpixel.astype(np.float32),
        offsets=offsets.astype(np.float32),
        width=widths[grasp].astype(np.float32),
        depth=pose[:, 2, 3].astype(np.float32),
        pose=pose.astype(np.float32),
    )


def assign_classes(
    keypoints: FloatArray, classes: int, margin: float
) -> tuple[IntArray, IntArray, NDArray[np.bool_]]:
    """Orientation classes of grasps; one near the edge of a bin serves both bins.

    Args:
        keypoints: Left tip on the left, shape (N, 4, 2).
        classes: Bins over 180 degrees.
        margin: Width of the edge [deg].

    Returns:
        For each of M >= N assignments: the index of the grasp, its class, and whether left and
        right are swapped (beyond +-90 degrees). The order of the grasps is kept.
    """
    direction = keypoints[:, 1] - keypoints[:, 0]
    position = (np.arctan2(direction[:, 1], direction[:, 0]) / np.pi + 0.5) * classes
    main = np.clip(np.floor(position), 0, classes - 1).astype(np.int64)
    fraction = position - main
    edge = margin / (180.0 / classes)
    neighbour = np.where(fraction < edge, main - 1, np.where(fraction > 1 - edge, main + 1, -9))
    source = np.arange(len(main))
    near = np.flatnonzero(neighbour > -9)
    order = np.argsort(np.concatenate([source, near]), kind="stable")
    everyone = np.concatenate([source, near])[order]
    assigned = np.concatenate([main, neighbour[near]])[order]
    swapped = (assigned < 0) | (assigned >= classes)
    return everyone, assigned % classes, swapped


def _paint(
    row: IntArray, column: IntArray, orientation: IntArray, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float32], IntArray]:
    """Heat map, and for each cell the assignment it belongs to (-1: none); later ones win."""
    _, height, width = shape
    heatmap = np.zeros(shape, dtype=np.float32)
    painted = np.full(shape, -1, dtype=np.int64)
    number = np.arange(len(row))
    for distance, value in ((2, STAMP_CORNER), (1, STAMP_EDGE), (0, 1.0)):
        for dv, du in [(v, u) for v in (-1, 0, 1) for u in (-1, 0, 1) if v * v + u * u == distance]:
            v, u = row + dv, column + du
            inside = (v >= 0) & (v < height) & (u >= 0) & (u < width)
            at = (orientation[inside], v[inside], u[inside])
            heatmap[at] = value
            painted[at] = number[inside]
    return heatmap, painted.reshape(-1)
