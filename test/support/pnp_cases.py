# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Random grasps in front of a camera, for the tests of the pnp room."""

import numpy as np
import torch

from kgnpro_ros.geometry.gripper import canonical_keypoints
from kgnpro_ros.pnp.residual import project

CAMERA_MATRIX = torch.tensor([[616.0, 0.0, 320.0], [0.0, 616.0, 240.0], [0.0, 0.0, 1.0]]).double()
POINTS = torch.tensor(canonical_keypoints())


def random_poses(count, seed, max_angle=75.0):
    """Grasps 0.6 to 1 m away, approach within an angle [deg] of the optical axis, any roll."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.6, 1.0, count)
    u, v = rng.uniform(80, 560, count), rng.uniform(60, 420, count)
    translation = np.stack([(u - 320) / 616 * z, (v - 240) / 616 * z, z], axis=-1)
    cosine = rng.uniform(np.cos(np.radians(max_angle)), 1.0, count)
    sine, turn = np.sqrt(1 - cosine**2), rng.uniform(0, 2 * np.pi, count)
    approach = np.stack([sine * np.cos(turn), sine * np.sin(turn), cosine], axis=-1)
    normal = np.cross(approach, rng.normal(size=(count, 3)))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    rotation = np.stack([approach, normal, np.cross(approach, normal)], axis=-1)
    return torch.from_numpy(rotation), torch.from_numpy(translation)


def noisy_keypoints(rotation, translation, sigma, seed=0):
    """Projected gripper corners with Gaussian noise of ``sigma`` [px]."""
    generator = torch.Generator().manual_seed(seed)
    pixels = project(rotation, translation, POINTS, CAMERA_MATRIX)
    return pixels + sigma * torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
