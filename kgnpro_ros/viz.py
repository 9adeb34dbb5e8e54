# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures: grasps drawn over the colour image, depth and heat maps as colours. RGB everywhere."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.types import GraspBatch

FloatArray = NDArray[np.float64]
ColorImage = NDArray[np.uint8]

#: Length of the drawn fingers and of the stem behind the crossbar [m].
FINGER_LENGTH = 0.045
STEM_LENGTH = 0.04

#: Colours of the worst, a middling and the best rank, RGB.
WORST, MIDDLE, BEST = (214, 48, 49), (245, 200, 66), (46, 204, 87)
OUTLINE = (16, 16, 16)

#: OpenCV draws at 1/16 px with this many fractional bits.
SUBPIXEL_BITS = 4


def draw_grasps(
    color: ColorImage,
    camera: Camera,
    grasps: GraspBatch,
    max_grasps: int = 30,
    keypoints: bool = True,
) -> ColorImage:
    """Draw grasps as wire forks, coloured from green (first) to red (last), the first one thick.

    Args:
        color: RGB image of the ideal pinhole camera, uint8, shape (H, W, 3).
        camera: Its intrinsics.
        grasps: Grasps in the camera frame, best first.
        max_grasps: Grasps beyond this rank are left out.
        keypoints: Mark the predicted keypoints of the first grasp.

    Returns:
        A new RGB image of the same size. A grasp that reaches behind the camera is not drawn.
    """
    # Thin lines turn ragged on a small image; a large one needs thicker ones.
    unit = max(1, round(color.shape[1] / 640))
    canvas = color.copy()
    shown = grasps.select(slice(0, max_grasps))
    lines = camera.project(fork_points(shown.poses, shown.widths))
    palette = rank_colors(len(shown))
    for i in reversed(range(1, len(shown))):
        _draw_fork(canvas, lines[i], palette[i], 2 * unit if i < 5 else unit)
    if len(shown):
        _draw_fork(canvas, lines[0], OUTLINE, 5 * unit)
        _draw_fork(canvas, lines[0], palette[0], 3 * unit)
        if keypoints:
            _draw_points(canvas, shown.keypoints[0], unit)
    return canvas


def fork_points(poses: FloatArray, widths: FloatArray) -> FloatArray:
    """Line strips of wire forks.

    Args:
        poses: ``T_frame_grasp``, shape (N, 4, 4).
        widths: Jaw openings [m], shape (N,).

    Returns:
        Points in the frame of the poses [m], shape (N, 6, 3): left tip, left root, right root,
        right tip (one strip), and root middle, end of the stem (another).
    """
    half, root, stem = widths / 2, -FINGER_LENGTH, -FINGER_LENGTH - STEM_LENGTH
    local = np.zeros((len(poses), 6, 3))
    local[:, :, 0] = (0.0, root, root, 0.0, root, stem)
    local[:, :, 2] = half[:, None] * (1.0, 1.0, -1.0, -1.0, 0.0, 0.0)
    points: FloatArray = local @ np.swapaxes(poses[:, :3, :3], 1, 2) + poses[:, None, :3, 3]
    return points


def rank_colors(n: int) -> list[tuple[int, int, int]]:
    """RGB colours of n ranks, from green over yellow to red."""
    place = np.linspace(0.0, 1.0, n) if n > 1 else np.zeros(n)
    stops = np.array([BEST, MIDDLE, WORST], dtype=float)
    channels = [np.interp(place, (0.0, 0.5, 1.0), stops[:, c]) for c in range(3)]
    return [(int(r), int(g), int(b)) for r, g, b in np.stack(channels, axis=1).round()]


def depth_image(depth: NDArray[np.float32], near: float = 0.3, far: float = 1.2) -> ColorImage:
    """Colour a depth image [m] (H, W) from near (red) to far (blue); missing depth is black."""
    known = np.isfinite(depth)
    place = (far - np.where(known, depth, far)) / (far - near)
    image = _turbo(place)
    image[~known] = 0
    return image


def heatmap_image(color: ColorImage, heatmap: NDArray[Any]) -> ColorImage:
    """Lay a heat map over an image.

    Args:
        color: RGB uint8, shape (H, W, 3).
        heatmap: Values in 0 to 1, shape (h, w), or (C, h, w) for the largest over C classes.

    Returns:
        RGB uint8, shape (H, W, 3).
    """
    flat = heatmap.max(axis=0) if heatmap.ndim == 3 else heatmap
    size = (color.shape[1], color.shape[0])
    large = cv2.resize(flat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    weight = np.clip(large, 0.0, 1.0)[..., None] ** 0.5
    blend = color * (1.0 - weight) + _turbo(np.clip(large, 0.0, 1.0)) * weight
    return blend.round().astype(np.uint8)


def _turbo(place: NDArray[Any]) -> ColorImage:
    levels = (np.clip(place, 0.0, 1.0) * 255.0).round().astype(np.uint8)
    bgr = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)
    return np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8, copy=False)


def _fixed_point(pixels: FloatArray) -> NDArray[np.int32]:
    # Far outside the image the fixed-point numbers would overflow.
    bounded = np.clip(pixels, -4000.0, 8000.0)
    fixed: NDArray[np.int32] = np.rint(bounded * 2**SUBPIXEL_BITS).astype(np.int32)
    return fixed


def _draw_fork(
    canvas: ColorImage, points: FloatArray, color: tuple[int, int, int], thickness: int
) -> None:
    if not np.isfinite(points).all():
        return
    fixed = _fixed_point(points)
    strips = [fixed[:4].reshape(-1, 1, 2), fixed[4:].reshape(-1, 1, 2)]
    cv2.polylines(canvas, strips, False, color, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_points(canvas: ColorImage, pixels: FloatArray, unit: int) -> None:
    for pixel in pixels[np.isfinite(pixels).all(axis=1)]:
        u, v = _fixed_point(pixel).tolist()
        for radius, shade in ((3 * unit, OUTLINE), (2 * unit, (255, 255, 255))):
            cv2.circle(
                canvas, (u, v), radius << SUBPIXEL_BITS, shade, -1, cv2.LINE_AA, SUBPIXEL_BITS
            )
