# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Random crops and image changes for training; seeded by the caller's generator."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import AugmentConfig

FloatArray = NDArray[np.float64]
Color = NDArray[np.uint8]
Depth = NDArray[np.float32]


def random_affine(
    rng: np.random.Generator,
    target: FloatArray,
    crop: int,
    config: AugmentConfig,
    zoom: float = 1.0,
) -> FloatArray:
    """A similarity that brings a point near the middle of the crop.

    Args:
        rng: Source of randomness.
        target: Image point of interest [px], shape (2,).
        crop: Side of the square output [px].
        config: Ranges.
        zoom: What the random zoom is relative to.

    Returns:
        Map from original to crop coordinates, shape (2, 3).
    """
    low, high = np.log(config.scale_range)
    scale = zoom * float(np.exp(rng.uniform(low, high)))
    angle = np.deg2rad(rng.uniform(-config.max_rotation, config.max_rotation))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if config.flip and rng.random() < 0.5:
        turn[:, 0] *= -1
    middle = crop / 2 + rng.uniform(-0.35, 0.35, 2) * crop
    affine: FloatArray = np.column_stack([turn, middle - turn @ target])
    return affine


def warp(color: Color, depth: Depth, affine: FloatArray, crop: int) -> tuple[Color, Depth]:
    """Resample an image; outside of it colour is black and depth missing (NaN)."""
    size = (crop, crop)
    warped = cv2.warpAffine(color, affine, size, flags=cv2.INTER_LINEAR)
    # Nearest: interpolated depth at an edge is a surface that does not exist.
    far = cv2.warpAffine(depth, affine, size, flags=cv2.INTER_NEAREST, borderValue=(float("nan"),))
    return warped.astype(np.uint8, copy=False), far.astype(np.float32, copy=False)


def jitter_color(rng: np.random.Generator, color: Color, config: AugmentConfig) -> Color:
    """Random brightness, contrast, saturation, hue, white balance, blur and pixel noise."""
    strength = config.color_jitter
    if strength == 0:
        return color
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(color, cv2.COLOR_RGB2HSV)
        shift = np.array([rng.integers(0, 180)], dtype=np.uint8)
        hsv[..., 0] = (hsv[..., 0] + shift) % 180
        color = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.uint8, copy=False)
    gray = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    saturation = 0.0 if rng.random() < config.gray else rng.uniform(1 - strength, 1 + strength)
    image = gray + np.float32(saturation) * (color.astype(np.float32) - gray)
    contrast = rng.uniform(1 - strength, 1 + strength)
    gains = contrast * rng.uniform(1 - 0.3 * strength, 1 + 0.3 * strength, 3)
    middle = float(gray.mean())
    offset = middle * (1 - contrast) + rng.uniform(-80, 80) * strength
    image = image * gains.astype(np.float32) + np.float32(offset)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2)).astype(np.float32)
    if rng.random() < 0.3:
        sigma = rng.uniform(1, 8)
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
    return np.clip(image, 0, 255).astype(np.uint8)


def disturb_depth(rng: np.random.Generator, depth: Depth, config: AugmentConfig) -> Depth:
    """Random noise, holes and a far limit; missing depth stays missing."""
    depth = depth.copy()
    sigma = rng.uniform(0, config.depth_noise)
    depth += rng.standard_normal(depth.shape, dtype=np.float32) * np.float32(sigma)
    height, width = depth.shape
    for _ in range(rng.integers(0, config.depth_holes + 1)):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(1, 12)), int(rng.integers(1, 12)))
        hole = np.zeros(depth.shape, dtype=np.uint8)
        cv2.ellipse(hole, center, axes, float(rng.uniform(0, 180)), 0, 360, (1,), -1)
        depth[hole > 0] = np.nan
    if rng.random() < config.far_clip:
        seen = depth[np.isfinite(depth)]
        if seen.size:
            depth[depth > np.quantile(seen, rng.uniform(0.6, 1.0))] = np.nan
    return depth
