# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Training samples: reproducible, complete over processes, labels where the image shows them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.tiny_dataset import write_tiny_dataset

from kgnpro_ros.config import NETWORK_PRESETS, AugmentConfig, LabelConfig, TrainConfig
from kgnpro_ros.data.dataset import SceneDataset
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.training.samples import CropDataset, ResumableSampler, collate, thin_out

CONFIG = TrainConfig(
    network="tiny", crop=64, batch_size=2, max_steps=5,
    labels=LabelConfig(rotation_samples=8, translation_samples=3),
)  # fmt: skip
STILL = AugmentConfig(
    scale_range=(1.0, 1.0), max_rotation=0.0, flip=False, color_jitter=0.0, gray=0.0,
    depth_noise=0.0, depth_holes=0, far_clip=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return SceneDataset(write_tiny_dataset(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def crops(scenes):
    return CropDataset([scenes], [[0, 1, 2]], CONFIG)


def same(a, b):
    np.testing.assert_array_equal(a.color, b.color)
    np.testing.assert_array_equal(a.depth, b.depth)
    np.testing.assert_array_equal(a.affine, b.affine)
    for name, value in vars(a.targets).items():
        np.testing.assert_array_equal(value, getattr(b.targets, name))


def test_sample_n_is_the_same_everywhere(scenes, crops):
    """In any order, in another process, with a cache that is warm or cold."""
    other = CropDataset([scenes], [[0, 1, 2]], CONFIG)
    for number in (7, 0, 3, 7):
        same(crops[number], other[number])


def test_other_numbers_and_seeds_are_other_samples(scenes, crops):
    reseeded = CropDataset([scenes], [[0, 1, 2]], replace(CONFIG, seed=1))
    first = crops[4]
    assert (first.color != crops[5].color).any()
    assert (first.color != reseeded[4].color).any()


def test_successive_crops_share_an_image(scenes, monkeypatch):
    crops = CropDataset([scenes], [[0, 1, 2]], replace(CONFIG, crops_per_image=2))
    seen = []
    monkeypatch.setattr(crops, "crop", lambda rng, *place: seen.append(place))
    for number in range(40):
        crops[number]
    assert seen[0::2] == seen[1::2]
    assert {scene for _, scene, _ in seen} == {0, 1, 2}
    assert {view for _, _, view in seen} == {0, 1}


def test_samples_have_the_right_form(crops):
    for number in range(6):
        sample = crops[number]
        assert sample.color.shape == (3, 64, 64)
        assert sample.color.dtype == np.uint8
        assert sample.depth.shape == (64, 64)
        assert sample.depth.dtype == np.float32
        assert sample.targets.heatmap.shape == (9, 16, 16)
        assert len(sample.targets.index) > 0
        assert (sample.targets.heatmap == 1).any()


def test_labels_lie_on_the_object_and_at_its_depth(scenes):
    """In every crop: below each label is the box, no farther than it is large."""
    config = replace(CONFIG, crop=128, augment=replace(STILL, flip=True, max_rotation=15.0))
    crops = CropDataset([scenes], [[0, 1, 2]], config)
    for number in range(8):
        sample = crops[number]
        targets = sample.targets
        _, row, column = np.unravel_index(targets.index, targets.heatmap.shape)
        u, v = 4 * (column + targets.subpixel[:, 0]) + 1.5, 4 * (row + targets.subpixel[:, 1]) + 1.5
        u, v = np.rint(u).astype(int), np.rint(v).astype(int)
        inside = (u >= 0) & (u < 128) & (v >= 0) & (v < 128)
        surface = sample.depth[v[inside], u[inside]]
        assert np.isfinite(surface).all()
        behind = targets.depth[inside] - surface
        # A grasp is centred in the box: behind its surface by less than the diagonal.
        assert behind.min() > -0.006
        assert behind.max() < 0.08
        # The box is brighter than the table in the drawn images.
        assert (sample.color[:, v[inside], u[inside]].mean(0) > 100).mean() > 0.95


def test_crops_are_zoomed_to_the_focal_length_of_the_network(scenes, monkeypatch):
    preset = NETWORK_PRESETS["tiny"]
    doubled = replace(preset, focal_length=2 * preset.focal_length)
    monkeypatch.setitem(NETWORK_PRESETS, "tiny", doubled)
    near = CropDataset([scenes], [[0]], replace(CONFIG, augment=STILL))
    assert np.linalg.norm(near[0].affine[:, 0]) == pytest.approx(2.0)


def test_images_without_grasps_are_samples_too(tmp_path):
    empty = SceneDataset(write_tiny_dataset(tmp_path, scenes=1, objects=False))
    sample = CropDataset([empty], [[0]], CONFIG)[0]
    assert len(sample.targets.index) == 0
    assert sample.targets.heatmap.sum() == 0
    batch = collate([sample, sample])
    assert batch.cell_index.shape == (0,)
    assert batch.offsets.shape == (0, 4, 2)


def test_batches_keep_each_images_labels(crops):
    parts = [crops[n] for n in range(3)]
    batch = collate(parts)
    assert batch.color.shape == (3, 3, 64, 64)
    for image, part in enumerate(parts):
        mine = batch.image_index == image
        np.testing.assert_array_equal(batch.cell_index[mine], part.targets.index)
        np.testing.assert_array_equal(batch.offsets[mine], part.targets.offsets)
        np.testing.assert_array_equal(batch.depth_label[mine], part.targets.depth)
        np.testing.assert_array_equal(batch.depth[image], part.depth)
    assert torch.equal(batch.to(torch.device("cpu")).heatmap, batch.heatmap)


def test_thinning_keeps_the_heat_map(crops):
    targets = crops[0].targets
    most = len(targets.index) // 2
    thin = thin_out(np.random.default_rng(0), targets, most)
    assert len(thin.index) == most
    assert len(np.unique(thin.index)) == most
    np.testing.assert_array_equal(thin.heatmap, targets.heatmap)
    for position, index in enumerate(thin.index):
        k = int(np.flatnonzero(targets.index == index)[0])
        np.testing.assert_array_equal(thin.offsets[position], targets.offsets[k])
        assert thin.width[position] == targets.width[k]
    assert thin_out(np.random.default_rng(0), targets, 10**6) is targets


def test_no_scenes_are_refused(scenes):
    with pytest.raises(DatasetError, match="no training scenes"):
        CropDataset([], [], CONFIG)
    with pytest.raises(DatasetError, match="no training scenes"):
        CropDataset([scenes], [[]], CONFIG)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("first", "end"), [(0, 12), (5, 12), (0, 1), (7, 7)])
def test_processes_cover_every_number_once(first, end, world_size):
    ranks = [ResumableSampler(first, end, rank, world_size) for rank in range(world_size)]
    assert sorted(n for rank in ranks for n in rank) == list(range(first, end))
    assert [len(rank) for rank in ranks] == [len(list(rank)) for rank in ranks]


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_resumed_sampler_goes_on_where_the_first_stopped(world_size):
    for rank in range(world_size):
        whole = ResumableSampler(0, 20, rank, world_size)
        rest = ResumableSampler(0, 20, rank, world_size, done=8)
        assert list(whole)[8 // world_size :] == list(rest)
        # The trainer counts the batches of the resumed epoch from its beginning.
        assert len(rest) == len(whole)
