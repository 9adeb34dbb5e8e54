# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Losses against direct formulas and plain loops."""

import numpy as np
import pytest
import torch
from support.perfect_maps import perfect_output

from kgnpro_ros.config import LossConfig
from kgnpro_ros.data.targets import Targets
from kgnpro_ros.training.losses import (
    focal_loss,
    keypoint_likelihood,
    map_losses,
    weighted_mean,
)
from kgnpro_ros.training.samples import TrainingSample, collate

C, H, W = 9, 8, 8
ONLY_L1 = LossConfig(heatmap=0.0, reprojection=0.0, depth=0.0)


def random_targets(seed, count=6):
    """Grasps in different cells."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(H * W, count, replace=False)
    index = np.sort(rng.integers(0, C, count) * H * W + cells)
    heatmap = rng.uniform(0.0, 0.9, (C, H, W)).astype(np.float32) * (rng.random((C, H, W)) < 0.2)
    heatmap.flat[index] = 1.0
    return Targets(
        heatmap=heatmap.astype(np.float32),
        index=index,
        label=np.arange(count),
        weight=np.where(np.arange(count) % 3 == 2, 0.3, 1.0).astype(np.float32),
        subpixel=rng.uniform(-0.5, 0.5, (count, 2)).astype(np.float32),
        offsets=rng.normal(size=(count, 4, 2)).astype(np.float32),
        width=rng.uniform(0.01, 0.08, count).astype(np.float32),
        depth=rng.uniform(0.4, 0.9, count).astype(np.float32),
        pose=rng.normal(size=(count, 3, 4)).astype(np.float32),
    )


def batch_of(*targets, scale=1.0):
    color, depth = np.zeros((3, 32, 32), np.uint8), np.ones((32, 32), np.float32)
    affine = scale * np.eye(2, 3)
    return collate([TrainingSample(color, depth, affine, np.eye(3), t) for t in targets])


def outputs_of(*targets, centers_only=False):
    maps = [perfect_output(t, centers_only) for t in targets]
    joined = (None if t[0] is None else torch.cat(t) for t in zip(*maps, strict=True))
    return type(maps[0])(*joined)


def focal_by_hand(logits, target):
    """CenterNet's formula, element by element in double precision."""
    total, peaks = 0.0, 0
    for x, y in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + np.exp(-x))
        if y == 1:
            total -= (1 - p) ** 2 * np.log(p)
            peaks += 1
        else:
            total -= (1 - y) ** 4 * p**2 * np.log(1 - p)
    return total / max(peaks, 1)


@pytest.mark.parametrize("peaks", [0, 1, 5])
def test_focal_loss_is_the_formula(peaks):
    rng = np.random.default_rng(peaks)
    logits = torch.from_numpy(rng.normal(size=(2, 3, 4, 5)) * 3)
    target = torch.from_numpy(rng.uniform(0, 0.99, (2, 3, 4, 5)))
    target.flatten()[rng.choice(120, peaks, replace=False)] = 1.0
    expected = focal_by_hand(logits, target)
    assert focal_loss(logits, target).item() == pytest.approx(expected, rel=1e-10)


def test_gradient_of_the_focal_loss():
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(size=(1, 2, 3, 3)) * 2).requires_grad_()
    target = torch.from_numpy(rng.uniform(0, 0.99, (1, 2, 3, 3)))
    target[0, 0, 1, 1] = 1.0
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, target), (logits,))


@pytest.mark.parametrize("size", [30.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_focal_loss_is_finite_for_extreme_logits(size, dtype):
    """Confidently wrong everywhere: a large loss, and a gradient that leads back."""
    logits = torch.tensor([[[[-size, size, size, -size]]]], dtype=dtype, requires_grad=True)
    target = torch.tensor([[[[1.0, 0.0, 0.5, 0.0]]]], dtype=dtype)
    loss = focal_loss(logits, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 0, 0, 0] < 0 < logits.grad[0, 0, 0, 1]


def test_perfect_maps_cost_nothing():
    targets = [random_targets(0), random_targets(1)]
    terms = map_losses(outputs_of(*targets), batch_of(*targets), ONLY_L1)
    for name in ("subpixel", "keypoints", "width"):
        assert terms[name].item() == pytest.approx(0.0, abs=1e-6)
    assert terms["loss"].item() == pytest.approx(0.0, abs=1e-5)


def test_terms_agree_with_a_plain_loop():
    """Random maps, each labelled cell looked up by its image, class, row and column."""
    targets = [random_targets(2), random_targets(3, count=4)]
    torch.manual_seed(0)
    output = type(outputs_of(targets[0]))(
        *(None if t is None else torch.rand_like(t) for t in outputs_of(*targets))
    )
    output.depth_weight[output.depth_weight < 0.3] = 0.0
    sums = dict.fromkeys(("subpixel", "keypoints", "width", "reprojection", "depth"), 0.0)
    total = seen = 0.0
    for image, t in enumerate(targets):
        for k, flat in enumerate(t.index):
            c, j, i = np.unravel_index(flat, (C, H, W))
            at = (image, c, ..., j, i)
            weight = t.weight[k]
            total += weight
            subpixel = output.subpixel[image, :, j, i].numpy()
            offsets = output.offsets[at].numpy()
            sums["subpixel"] += weight * np.abs(subpixel - t.subpixel[k]).mean()
            sums["keypoints"] += weight * np.abs(offsets - t.offsets[k]).mean()
            sums["width"] += weight * abs(float(output.width[image, c, j, i]) - t.width[k])
            # Keypoint error in pixels of the original image, which is zoomed by 1.5.
            error = 4 * (offsets + subpixel - t.offsets[k] - t.subpixel[k]) / 1.5
            w = output.weights[at].numpy()
            sums["reprojection"] += weight * (0.5 * (w * error) ** 2 - np.log(w)).mean()
            confidence = float(output.depth_weight[image, c, j, i])
            if confidence > 0:
                seen += weight
                miss = abs(float(output.depth[image, c, j, i]) - t.depth[k])
                nll = confidence * min(miss, 0.1) - np.log(confidence)
                sums["depth"] += weight * (100 * miss + nll)
    sums = {name: value / (seen if name == "depth" else total) for name, value in sums.items()}
    config = LossConfig(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    terms = map_losses(output, batch_of(*targets, scale=1.5), config)
    factor = {"subpixel": 2.0, "keypoints": 3.0, "width": 4.0, "reprojection": 5.0, "depth": 6.0}
    for name, value in sums.items():
        assert terms[name].item() == pytest.approx(factor[name] * value, rel=1e-4), name
    parts = sum(value.item() for name, value in terms.items() if name != "loss")
    assert terms["loss"].item() == pytest.approx(parts, rel=1e-6)


def test_a_batch_without_labels_trains_the_heat_map_only():
    targets = random_targets(4, count=0)
    output = perfect_output(targets)
    maps = [tensor.requires_grad_() for tensor in output if tensor is not None]
    terms = map_losses(output, batch_of(targets), LossConfig())
    assert torch.isfinite(terms["loss"])
    terms["loss"].backward()
    assert all(torch.isfinite(m.grad).all() for m in maps if m.grad is not None)
    assert output.heatmap.grad.abs().sum() > 0
    for name in ("offsets", "subpixel", "width", "depth"):
        gradient = getattr(output, name).grad
        assert gradient is None or gradient.abs().sum() == 0


def test_networks_without_extra_heads_have_no_such_terms():
    targets = random_targets(5)
    output = perfect_output(targets)._replace(weights=None, depth=None, depth_weight=None)
    terms = map_losses(output, batch_of(targets), LossConfig())
    assert set(terms) == {"heatmap", "subpixel", "keypoints", "width", "loss"}


def test_keypoint_weights_learn_the_size_of_the_error():
    """The likelihood is least where the weight is one over the root mean square error."""
    rng = np.random.default_rng(6)
    error = torch.from_numpy(rng.normal(size=(4000, 4, 2)) * 2.5)
    candidates = torch.linspace(0.2, 0.8, 61, dtype=torch.float64)
    values = [
        keypoint_likelihood(error, torch.full_like(error, float(w))).mean() for w in candidates
    ]
    best = candidates[int(torch.stack(values).argmin())]
    assert best.item() == pytest.approx(1 / 2.5, abs=0.011)


def test_the_likelihood_does_not_pull_the_keypoints():
    error = torch.randn(3, 4, 2, requires_grad=True)
    weights = torch.rand(3, 4, 2).requires_grad_()
    keypoint_likelihood(error, weights).sum().backward()
    assert error.grad is None
    assert weights.grad.abs().sum() > 0


def test_the_likelihood_bounds_gross_errors():
    weights = torch.ones(1, 4, 2)
    far, farther = (keypoint_likelihood(torch.full((1, 4, 2), e), weights) for e in (30.0, 1e6))
    torch.testing.assert_close(far, farther)


def test_weighted_mean():
    values, weight = torch.tensor([1.0, 5.0, 9.0]), torch.tensor([2.0, 1.0, 0.0])
    assert weighted_mean(values, weight).item() == pytest.approx(7 / 3)
    assert weighted_mean(values[:0], weight[:0]).item() == 0.0


def test_unseen_depth_has_no_loss():
    targets = random_targets(7)
    output = perfect_output(targets, centers_only=False)
    output.depth_weight.zero_()
    output.depth.fill_(5.0)
    terms = map_losses(output, batch_of(targets), LossConfig())
    assert terms["depth"].item() == 0.0
