# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth images of boxes on a table by closed-form ray casting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kgnpro_ros.geometry import Camera
from kgnpro_ros.types import GraspBatch, RGBDImage

CAMERA = Camera(fx=300.0, fy=300.0, cx=159.5, cy=119.5, width=320, height=240)


@dataclass(frozen=True)
class BoxScene:
    """A frame of a table (world z = 0) with axis-aligned boxes, and its camera pose."""

    image: RGBDImage
    T_camera_world: np.ndarray

    def grasps(self, T_world_grasp: np.ndarray, widths: np.ndarray) -> GraspBatch:
        """Grasps given in the world, in the camera frame; the first one scores best."""
        n = len(T_world_grasp)
        zeros = np.zeros(n)
        return GraspBatch(
            self.T_camera_world @ T_world_grasp, "camera", np.asarray(widths, float), zeros + 0.5,
            np.linspace(1.0, 0.5, n), zeros, np.zeros((n, 6, 6)), np.zeros((n, 4, 2)),
            np.zeros(n, dtype=np.int64),
        )  # fmt: skip


def look_at(eye: tuple[float, float, float], target: tuple[float, float, float]) -> np.ndarray:
    """``T_camera_world`` of a camera at ``eye`` (x right, y down, z forward)."""
    z = np.subtract(target, eye)
    z /= np.linalg.norm(z)
    x = np.cross(z, (0.0, 0.0, 1.0)) if abs(z[2]) < 0.999 else np.array([1.0, 0.0, 0.0])
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z])
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = -rotation @ np.asarray(eye)
    return transform


def box_scene(
    boxes: list[tuple[tuple[float, float, float], tuple[float, float, float]]],
    eye: tuple[float, float, float] = (0.0, -0.35, 0.5),
    noise: float = 0.0,
    camera: Camera = CAMERA,
) -> BoxScene:
    """Render boxes given by lower and upper corner [m] on the table z = 0."""
    T_camera_world = look_at(eye, (0.0, 0.0, 0.03))
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = np.stack(
        [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], -1
    )
    directions = rays @ T_camera_world[:3, :3]
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(directions[..., 2] < 0, -eye[2] / directions[..., 2], np.nan)
        for lower, upper in boxes:
            a = (np.asarray(lower) - eye) / directions
            b = (np.asarray(upper) - eye) / directions
            enter, leave = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
            depth = np.where((enter < leave) & (enter > 0), np.fmin(depth, enter), depth)
    rng = np.random.default_rng(3)
    depth = (depth + rng.normal(0.0, noise, depth.shape)).astype(np.float32)
    color = np.full((*depth.shape, 3), 128, dtype=np.uint8)
    return BoxScene(RGBDImage(color, depth, camera), T_camera_world)


def top_grasp(x: float, y: float, z: float, yaw: float = 0.0, tilt: float = 0.0) -> np.ndarray:
    """``T_world_grasp`` approaching straight down at a point; closing along world x for yaw 0.

    ``tilt`` [rad] turns the hand about its closing axis.
    """
    c, s = np.cos(yaw), np.sin(yaw)
    closing = np.array([c, s, 0.0])
    down = np.array([0.0, 0.0, -1.0])
    side = np.cross(closing, down)
    approach = np.cos(tilt) * down + np.sin(tilt) * side
    transform = np.eye(4)
    transform[:3, :3] = np.stack([approach, np.cross(closing, approach), closing], axis=1)
    transform[:3, 3] = x, y, z
    return transform
