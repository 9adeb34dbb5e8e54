# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The pose loss on network output: keypoints back to the original image, truths by matching."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kgnpro_ros.geometry import canonical_keypoints
from kgnpro_ros.network.decode import cell_to_pixel
from kgnpro_ros.network.model import NetworkOutput
from kgnpro_ros.pnp.loss import MonteCarloPoseLoss, PoseLoss
from kgnpro_ros.pnp.solver import solve_pnp
from kgnpro_ros.training.matching import match_grasps
from kgnpro_ros.training.samples import Batch

#: Clamp of the keypoint weights [1/px]: below, the likelihood of far poses does not fade; above,
#: the distribution is sharper than samples can follow.
WEIGHT_RANGE = (0.1, 4.0)


@dataclass(frozen=True)
class PosePredictions:
    """Predictions read at G labelled grasp centres, in the frame of the original images.

    Attributes:
        image: Image of each grasp, (G,).
        keypoints: [px], (G, 4, 2).
        weights: [1/px], (G, 4, 2).
        camera_matrix: (G, 3, 3).
        depth, depth_weight: z [m] and [1/m] of the grasp centre, (G,), or None.
        label: The label's own pose, (G, 3, 4).
    """

    image: Tensor
    keypoints: Tensor
    weights: Tensor
    camera_matrix: Tensor
    depth: Tensor | None
    depth_weight: Tensor | None
    label: Tensor


def read_predictions(output: NetworkOutput, batch: Batch, most: int) -> PosePredictions:
    """Read keypoints, weights and depth at up to ``most`` labelled centres, chosen at random.

    Keypoints go back through the crop, its zoom and its mirror to the original image, where the
    camera matrix holds: a mirrored gripper is no rotation of a gripper.
    """
    assert output.weights is not None
    centers = torch.nonzero(batch.weight == 1)[:, 0]
    chosen = centers[torch.randperm(len(centers), device=centers.device)[:most]]
    image, index = batch.image_index[chosen], batch.cell_index[chosen]
    height, width = output.heatmap.shape[-2:]
    cell, orientation = index % (height * width), index // (height * width)
    origin = torch.stack([cell % width, cell // width], dim=-1).to(output.offsets.dtype)
    center = origin + output.subpixel.flatten(2)[image, :, cell]
    offsets = output.offsets.flatten(-2)[image, orientation, :, :, cell]
    in_crop = cell_to_pixel(center[:, None] + offsets)
    turn, shift = batch.affine[image, :, :2], batch.affine[image, :, 2]
    keypoints = torch.linalg.solve(turn, (in_crop - shift[:, None]).mT).mT
    weights = output.weights.flatten(-2)[image, orientation, :, :, cell].clamp(*WEIGHT_RANGE)
    depth = depth_weight = None
    if output.depth is not None and output.depth_weight is not None:
        depth_weight = output.depth_weight.flatten(1)[image, index]
        depth = output.depth.flatten(1)[image, index]
        depth = torch.where(depth_weight > 0, depth, torch.full_like(depth, torch.nan))
    return PosePredictions(
        image, keypoints, weights, batch.camera_matrix[image], depth, depth_weight,
        batch.pose[chosen],
    )  # fmt: skip


def pose_term(
    output: NetworkOutput, batch: Batch, loss: MonteCarloPoseLoss, most: int, matching: bool
) -> PoseLoss:
    """Monte Carlo pose loss of the predictions at labelled grasp centres (paper, equation 7).

    Args:
        output: Maps with keypoint weights.
        batch: Their targets.
        loss: The loss, with its running norm factor.
        most: Grasps that enter, over all images.
        matching: Take as truth the nearest true grasp of the image; else the cell's own label,
            while predictions are still too random for a match to mean anything.
    """
    found = read_predictions(output, batch, most)
    corners = torch.from_numpy(canonical_keypoints()).to(found.keypoints)
    rotation, translation = found.label[:, :, :3], found.label[:, :, 3]
    keep = torch.ones_like(found.image, dtype=torch.bool)
    if matching:
        pose = solve_pnp(
            found.keypoints.detach(), found.weights.detach(), found.camera_matrix, corners,
            loss.config.pnp, _detach(found.depth), _detach(found.depth_weight),
        )  # fmt: skip
        same_image = found.image[:, None] == found.image[None]
        match = match_grasps(
            pose.rotation, pose.translation, rotation, translation, corners,
            loss.config.match_gate, same_image,
        )  # fmt: skip
        keep, rotation, translation = match.matched, match.rotation, match.translation
    result: PoseLoss = loss(
        found.keypoints[keep], found.weights[keep], found.camera_matrix[keep], corners,
        rotation[keep], translation[keep],
        None if found.depth is None else found.depth[keep],
        None if found.depth_weight is None else found.depth_weight[keep],
    )  # fmt: skip
    return result


def _detach(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()
