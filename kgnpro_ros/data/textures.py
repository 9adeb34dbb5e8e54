# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural textures: wood, cloth, noise, checkers, stripes, printed cartons, cluttered rooms."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
FloatImage = NDArray[np.float32]

_LETTERS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%&"))


def random_color(rng: np.random.Generator) -> NDArray[np.float64]:
    """RGB in 0 to 1: any, grey-ish, dark, white-ish or saturated."""
    style = rng.choice(["any", "grey", "dark", "light", "vivid"], p=[0.25, 0.25, 0.15, 0.2, 0.15])
    color = rng.uniform(0, 1, 3)
    if style == "grey":
        return np.clip(rng.uniform(0.1, 0.9) + rng.normal(0, 0.03, 3), 0, 1)
    if style == "dark":
        return color * 0.25
    if style == "light":
        return 1 - 0.25 * color
    if style == "vivid":
        hue = np.array([[[rng.integers(180), rng.integers(170, 256), 230]]], dtype=np.uint8)
        return np.asarray(cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0], dtype=np.float64) / 255.0
    return color


def noise(
    rng: np.random.Generator, height: int, width: int, cells: tuple[float, float], octaves: int = 4
) -> FloatImage:
    """Smooth noise in 0 to 1, shape (height, width); ``cells`` (rows, columns) of octave 0."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows = int(min(height, max(2, cells[0] * 2**octave)))
        columns = int(min(width, max(2, cells[1] * 2**octave)))
        grid = rng.random((rows, columns), dtype=np.float32)
        layer = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        total += layer * np.float32(0.5**octave)
    low, high = float(total.min()), float(total.max())
    result: FloatImage = (total - low) / max(high - low, 1e-6)
    return result


def _blend(mask: FloatImage, first: NDArray[np.float64], second: NDArray[np.float64]) -> Image:
    mixed = mask[..., None] * first + (1 - mask[..., None]) * second
    image: Image = (np.clip(mixed, 0, 1) * 255).astype(np.uint8)
    return image


def wood(rng: np.random.Generator, size: int) -> Image:
    """Grain along one axis: thin streaks and warped rings between two browns."""
    streaks = noise(rng, size, size, (rng.uniform(3, 16), rng.uniform(60, 250)), 3)
    warp = noise(rng, size, size, (2, rng.uniform(3, 16)), 3)
    rings = 0.5 + 0.5 * np.sin((warp * rng.uniform(20, 150)).astype(np.float32))
    amount = rng.uniform(0.1, 0.5)
    mask = (amount * rings + (1 - amount) * streaks).astype(np.float32)
    base = np.array([0.55, 0.38, 0.24]) * rng.uniform(0.5, 1.5) + rng.normal(0, 0.05, 3)
    image = _blend(mask, base, base * rng.uniform(0.5, 0.9))
    return image if rng.uniform() < 0.5 else np.ascontiguousarray(image.transpose(1, 0, 2))


def mottled(rng: np.random.Generator, size: int) -> Image:
    """Two colours mixed by noise; close colours look like cloth or plaster, others like stone."""
    first = random_color(rng)
    spread = rng.choice([0.04, 0.1, 0.4])
    second = np.clip(first + rng.normal(0, spread, 3), 0, 1)
    cells = float(2 ** rng.uniform(1, 6.5))
    image = _blend(noise(rng, size, size, (cells, cells)), first, second)
    grain = rng.normal(0, rng.uniform(0, 10), (size, size, 1))
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def pattern(rng: np.random.Generator, size: int) -> Image:
    """Checkers or stripes."""
    step = size / rng.integers(2, 14)
    v, u = np.mgrid[:size, :size]
    cells = (u // step).astype(int)
    if rng.uniform() < 0.5:
        cells = cells + (v // step).astype(int)
    mask = (cells % 2).astype(np.float32)
    return _blend(mask, random_color(rng), random_color(rng))


def printed(rng: np.random.Generator, size: int) -> Image:
    """A carton or label: a plain ground with coloured fields and lines of text."""
    ground = tuple(float(c) for c in random_color(rng) * 255)
    image = np.full((size, size, 3), ground, np.float64).astype(np.uint8)
    for _ in range(int(rng.integers(1, 6))):
        corner = rng.integers(0, size, 2)
        extent = rng.integers(size // 10, size, 2)
        color = tuple(float(c) for c in random_color(rng) * 255)
        if rng.uniform() < 0.7:
            end = tuple(int(c) for c in corner + extent)
            cv2.rectangle(image, tuple(int(c) for c in corner), end, color, -1)
        else:
            radius = int(extent[0] // 3)
            cv2.circle(image, tuple(int(c) for c in corner), radius, color, -1)
    for _ in range(int(rng.integers(0, 7))):
        text = "".join(rng.choice(_LETTERS, int(rng.integers(3, 12))))
        place = (int(rng.integers(-10, size)), int(rng.integers(0, size)))
        color = tuple(float(c) for c in random_color(rng) * 255)
        scale, thickness = float(rng.uniform(0.2, 1.2)), int(rng.integers(1, 4))
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness)
    return image


def object_texture(rng: np.random.Generator, size: int = 96) -> Image | None:
    """Six faces of a cube texture, one below the other, shape (6 * size, size, 3); None = plain."""
    style = rng.choice(
        ["plain", "mottled", "pattern", "printed", "wood"], p=[0.4, 0.2, 0.08, 0.22, 0.1]
    )
    if style == "plain":
        return None
    make = {"mottled": mottled, "pattern": pattern, "printed": printed, "wood": wood}[style]
    faces = [make(rng, size) for _ in range(6)] if style == "printed" else [make(rng, size)] * 6
    image: Image = np.concatenate(faces)
    return image


def ground_texture(rng: np.random.Generator, size: int = 768) -> Image | None:
    """Texture of a table, shape (size, size, 3); None = plain."""
    style = rng.choice(["plain", "wood", "mottled", "pattern"], p=[0.2, 0.4, 0.33, 0.07])
    if style == "plain":
        return None
    make = {"wood": wood, "mottled": mottled, "pattern": pattern}[style]
    image: Image = make(rng, size)
    return image


def room_texture(rng: np.random.Generator, size: int = 256) -> Image:
    """Six faces of blurred clutter for the background, shape (6 * size, size, 3)."""
    faces = []
    for _ in range(6):
        image = mottled(rng, size) if rng.uniform() < 0.6 else printed(rng, size)
        for _ in range(int(rng.integers(0, 10))):
            start = rng.integers(0, size, 2)
            end = start + rng.integers(5, size, 2)
            color = tuple(float(c) for c in random_color(rng) * 255)
            points = tuple(int(c) for c in start), tuple(int(c) for c in end)
            cv2.rectangle(image, *points, color, -1)
        faces.append(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 4)))
    return np.concatenate(faces).astype(np.uint8)
