# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What a real RGB-D camera adds: stereo shadows, holes, noise, soft edges, quantisation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.geometry import Camera

FloatImage = NDArray[np.float32]
BoolImage = NDArray[np.bool_]


@dataclass(frozen=True)
class DepthSensor:
    """Parameters of one stereo depth camera, registered to its colour camera.

    Attributes:
        baseline: Distance of the second imager to the left [m]; where it sees nothing, depth is
            missing: shadows left of near things. 0 is no shadow.
        border: The second imager has no wider view, so a strip at the left is missing too.
        noise: Standard deviation at 1 m [m]; grows with the square of the distance.
        correlation: Scale of the noise [px].
        smoothing: Standard deviation of the edge-blurring spatial filter [px]; 0 is none.
        grazing: Surfaces seen at more than this angle from their normal [deg] lose depth.
        edge_holes: Depth is missing along depth steps too, else they are only blurred.
        holes: Share of the image in random holes.
        near, far: Range [m].
        step: Quantisation [m].
    """

    baseline: float = 0.05
    border: bool = True
    noise: float = 0.002
    correlation: float = 2.0
    smoothing: float = 0.0
    grazing: float = 82.0
    edge_holes: bool = True
    holes: float = 0.002
    near: float = 0.2
    far: float = 1.5
    step: float = 0.001


def random_sensor(rng: np.random.Generator) -> DepthSensor:
    """Draw a sensor from ranges around four real frames (table noise 0.8 to 2.3 mm RMS)."""
    return DepthSensor(
        baseline=float(rng.choice([0.0, rng.uniform(0.02, 0.075)], p=[0.2, 0.8])),
        border=bool(rng.uniform() < 0.5),
        noise=float(rng.uniform(0.0005, 0.006)),
        correlation=float(rng.uniform(0.8, 6.0)),
        smoothing=float(rng.choice([0.0, rng.uniform(0.5, 1.5), rng.uniform(1.5, 4.0)])),
        grazing=float(rng.uniform(76, 88)),
        edge_holes=bool(rng.uniform() < 0.4),
        holes=float(rng.choice([0.0, rng.uniform(0.0, 0.01)])),
        near=float(rng.uniform(0.15, 0.3)),
        far=float(rng.choice([rng.uniform(0.85, 1.2), rng.uniform(1.2, 4.0)])),
        step=float(rng.choice([0.0001, 0.001])),
    )


def sense_depth(
    depth: FloatImage, camera: Camera, sensor: DepthSensor, rng: np.random.Generator
) -> FloatImage:
    """What the sensor measures of a perfect depth image.

    Args:
        depth: z-depth [m], NaN where there is nothing, shape (H, W).
        camera: Intrinsics.
        sensor: The sensor.
        rng: Source of the noise.

    Returns:
        z-depth [m], float32, NaN where missing, shape (H, W).
    """
    missing = ~np.isfinite(depth)
    filled = np.where(missing, np.float32(10.0), depth)
    lost = missing | (filled < sensor.near) | (filled > sensor.far)
    lost |= stereo_shadow(filled, camera.fx * sensor.baseline, sensor.border)
    step = _depth_step(filled)
    grazing = _grazing(filled, camera, np.radians(sensor.grazing))
    lost |= np.where(step, sensor.edge_holes, grazing)
    lost |= _random_holes(lost.shape, sensor.holes, rng)
    measured = filled
    if sensor.smoothing > 0:
        measured = _blur_valid(filled, ~lost, sensor.smoothing)
    measured = measured + _noise(depth.shape, sensor.correlation, rng) * sensor.noise * filled**2
    measured = np.round(measured / sensor.step) * sensor.step
    measured[lost] = np.nan
    result: FloatImage = measured.astype(np.float32)
    return result


def stereo_shadow(depth: FloatImage, focal_baseline: float, border: bool) -> BoolImage:
    """Pixels that an imager further left does not see.

    It sees a point at column u - f b / z; a point is hidden when one to its right projects to its
    left there.

    Args:
        depth: z-depth [m], finite everywhere, shape (H, W).
        focal_baseline: Focal length times baseline [px m].
        border: Whether its image ends at column 0.
    """
    if focal_baseline <= 0:
        return np.zeros(depth.shape, bool)
    column = np.arange(depth.shape[1], dtype=np.float32) - np.float32(focal_baseline) / depth
    leftmost = np.minimum.accumulate(column[:, ::-1], axis=1)[:, ::-1]
    hidden = column > leftmost + 0.5
    if border:
        hidden |= column < 0
    result: BoolImage = hidden
    return result


def _depth_step(depth: FloatImage) -> BoolImage:
    """Pixels beside a jump of more than 4 % of the distance."""
    kernel = np.ones((3, 3), np.uint8)
    result: BoolImage = cv2.dilate(depth, kernel) - cv2.erode(depth, kernel) > 0.04 * depth
    return result


def _grazing(depth: FloatImage, camera: Camera, limit: float) -> BoolImage:
    """Pixels whose surface is seen at more than ``limit`` [rad] from its normal."""
    du = cv2.Sobel(depth, cv2.CV_32F, 1, 0, ksize=3, scale=0.125) * np.float32(camera.fx)
    dv = cv2.Sobel(depth, cv2.CV_32F, 0, 1, ksize=3, scale=0.125) * np.float32(camera.fy)
    u = (np.arange(depth.shape[1], dtype=np.float32) - np.float32(camera.cx)) / camera.fx
    v = (np.arange(depth.shape[0], dtype=np.float32) - np.float32(camera.cy)) / camera.fy
    u, v = u[None, :].astype(np.float32), v[:, None].astype(np.float32)
    # Normal (-z_u, -z_v, z + u z_u + v z_v) up to scale, with z_u = dz/d(u/f).
    normal_z = depth + u * du + v * dv
    along = np.abs(depth) / np.sqrt(1 + u**2 + v**2)
    cosine = along / np.sqrt(du**2 + dv**2 + normal_z**2)
    result: BoolImage = cosine < np.cos(limit)
    return result


def _random_holes(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> BoolImage:
    """Blobs over about ``share`` of the image."""
    if share <= 0:
        return np.zeros(shape, bool)
    coarse = rng.random((shape[0] // 20, shape[1] // 20), dtype=np.float32)
    field = np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC))
    result: BoolImage = field > np.quantile(field[::4, ::4], 1 - share)
    return result


def _noise(shape: tuple[int, ...], correlation: float, rng: np.random.Generator) -> FloatImage:
    """Correlated noise of standard deviation 1, made coarse and enlarged."""
    step = max(1.0, correlation)
    rows, columns = int(shape[0] / step) + 2, int(shape[1] / step) + 2
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    if step > 1.0:
        size = (shape[1], shape[0])
        coarse = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    field = coarse[: shape[0], : shape[1]]
    result: FloatImage = field / max(float(field.std()), 1e-6)
    return result


def _blur_valid(depth: FloatImage, valid: BoolImage, sigma: float) -> FloatImage:
    """Gaussian blur that ignores missing pixels."""
    weight = valid.astype(np.float32)
    total = cv2.GaussianBlur(depth * weight, (0, 0), sigma)
    share = cv2.GaussianBlur(weight, (0, 0), sigma)
    result: FloatImage = np.where(share > 1e-3, total / np.maximum(share, 1e-3), depth)
    return result


def sense_color(color: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, white balance, softness and noise of a cheap colour camera."""
    image = color.astype(np.float32)
    if rng.uniform() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.2))).astype(np.float32)
    gain = np.float32(rng.uniform(0.75, 1.3)) * (1 + rng.normal(0, 0.05, 3)).astype(np.float32)
    image = image * gain + np.float32(rng.uniform(-10, 15))
    image += rng.standard_normal(color.shape, dtype=np.float32) * np.float32(rng.uniform(0.5, 6))
    result: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return result
