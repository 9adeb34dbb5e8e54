# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support.perfect_maps import perfect_output

from kgnpro_ros.config import HeadConfig, LabelConfig, LossConfig, PoseLossConfig, TrainConfig
from kgnpro_ros.data.targets import make_targets
from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.geometry import Camera, canonical_keypoints
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.pnp.loss import MonteCarloPoseLoss
from kgnpro_ros.pnp.residual import project
from kgnpro_ros.training.module import GraspModule, pose_share
from kgnpro_ros.training.pose_term import pose_term, read_predictions
from kgnpro_ros.training.samples import TrainingSample, collate

CAMERA = Camera(600.0, 600.0, 159.5, 119.5, 320, 240)
SIZE = 256


def affines():
    """No change; and zoomed, turned, mirrored and shifted."""
    turn = 1.1 * Rotation.from_euler("z", 0.2).as_matrix()[:2, :2]
    mirrored = turn @ np.diag([-1.0, 1.0])
    return [np.eye(2, 3), np.column_stack([mirrored, [SIZE - 10.0, -20.0]])]


def batch_and_output(affine, noise=0.0):
    rng = np.random.default_rng(0)
    rotation = Rotation.from_euler("zyx", rng.uniform(-0.5, 0.5, (6, 3))).as_matrix()
    rotation = np.array([[0, 1.0, 0], [0, 0, 1.0], [1.0, 0, 0]]) @ rotation
    u, v = np.meshgrid([80.0, 130.0, 180.0], [90.0, 150.0])
    origins = CAMERA.backproject(np.stack([u.ravel(), v.ravel()], -1), rng.uniform(0.6, 0.9, 6))
    targets = make_targets(
        make_transform(rotation, origins), np.full(6, 0.05), CAMERA, affine,
        np.array([0.0, 1.0, 0.0]), (SIZE // 4, SIZE // 4), 9, LabelConfig(min_facing=-1.0),
    )  # fmt: skip
    empty = np.zeros((3, SIZE, SIZE), np.uint8), np.full((SIZE, SIZE), 0.8, np.float32)
    batch = collate([TrainingSample(*empty, affine, CAMERA.matrix, targets)])
    output = perfect_output(targets)
    generator = torch.Generator().manual_seed(1)
    shaken = output.offsets + noise * torch.randn(output.offsets.shape, generator=generator)
    return batch, output._replace(offsets=shaken)


@pytest.mark.parametrize("affine", affines())
def test_keypoints_return_to_the_original_image(affine):
    """To the projection of the labelled pose, corner by corner, also from a mirrored crop."""
    batch, output = batch_and_output(affine)
    found = read_predictions(output, batch, 100)
    assert len(found.image) >= 4
    corners = torch.from_numpy(canonical_keypoints()).float()
    expected = project(found.label[:, :, :3], found.label[:, :, 3], corners, found.camera_matrix[0])
    torch.testing.assert_close(found.keypoints, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("matching", [False, True])
@pytest.mark.parametrize("affine", affines())
def test_worse_keypoints_cost_more_and_gradients_reach_the_maps(affine, matching):
    torch.manual_seed(0)
    loss = MonteCarloPoseLoss(PoseLossConfig())
    values = []
    for noise in (0.0, 1.0):
        batch, output = batch_and_output(affine, noise)
        output.offsets.requires_grad_()
        output.weights.requires_grad_()
        result = pose_term(output, batch, loss, 100, matching)
        assert result.skipped == 0
        result.value.backward()
        for gradient in (output.offsets.grad, output.weights.grad):
            assert torch.isfinite(gradient).all()
        values.append(result.per_grasp.nanmean().item())
    assert output.offsets.grad.abs().sum() > 0
    assert values[1] > values[0] + 1.0


def test_a_batch_without_labels_costs_nothing():
    batch, output = batch_and_output(np.eye(2, 3))
    nothing = replace(batch, weight=torch.zeros_like(batch.weight))
    output.offsets.requires_grad_()
    result = pose_term(output, nothing, MonteCarloPoseLoss(), 100, matching=True)
    assert result.value.item() == 0.0
    result.value.backward()


def test_the_term_starts_late_and_grows():
    config = LossConfig(pose=0.1, pose_start=100, pose_ramp=50)
    assert [pose_share(step, config) for step in (0, 99, 124, 149, 900)] == [0, 0, 0.5, 1, 1]


def test_the_module_adds_the_term_to_its_loss():
    loss = LossConfig(pose=0.1, pose_start=0, pose_ramp=0, pose_grasps=16)
    module = GraspModule(TrainConfig(network="tiny", loss=loss))
    batch, _ = batch_and_output(np.eye(2, 3))
    terms = module.losses(batch)
    assert torch.isfinite(terms["pose"])
    parts = sum(value.item() for name, value in terms.items() if name != "loss")
    assert terms["loss"].item() == pytest.approx(parts, rel=1e-5)


def test_a_network_without_weights_refuses_the_term():
    with pytest.raises(ConfigError, match=r"heads\.confidence_head"):
        TrainConfig(
            network="tiny", heads=HeadConfig(confidence_head=False), loss=LossConfig(pose=0.1)
        )
