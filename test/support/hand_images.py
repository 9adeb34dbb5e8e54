# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth images of a hand in front of a wall, by casting one ray per pixel."""

import numpy as np

from kgnpro_ros.execution.hand_view import hand_boxes


def hand_depth(camera, gripper, T_camera_grasp, width, wall=0.8):
    """z-depth [m] of fingers and palm before a wall, shape (H, W), float32."""
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = np.stack(
        [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], -1
    )
    T_grasp_camera = np.linalg.inv(T_camera_grasp)
    origin = T_grasp_camera[:3, 3]
    rays = rays @ T_grasp_camera[:3, :3].T
    depth = np.full(u.shape, wall)
    for lower, upper in zip(*hand_boxes(gripper, width), strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = (lower - origin) / rays, (upper - origin) / rays
        enter, leave = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
        hit = (enter < leave) & (enter > 0)
        # Rays have z = 1 in the camera frame: their parameter is the depth.
        depth = np.where(hit & (enter < depth), enter, depth)
    return depth.astype(np.float32)


def camera_view(distance=0.4, tilt=0.8, shift=(0.0, 0.0)):
    """``T_camera_grasp`` of a hand that points away from a camera on the wrist, tilted."""
    c, s = np.cos(tilt), np.sin(tilt)
    pose = np.eye(4)
    # Approach (x) mostly along the optical axis, closing (z) along the columns.
    pose[:3, 0], pose[:3, 2] = (0, s, c), (1, 0, 0)
    pose[:3, 1] = np.cross(pose[:3, 2], pose[:3, 0])
    pose[:3, 3] = (*shift, distance)
    return pose
