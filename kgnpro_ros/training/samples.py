# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Training samples: random crops of stored images with their targets, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from kgnpro_ros.config import TrainConfig
from kgnpro_ros.data.dataset import GraspDataset, Sample
from kgnpro_ros.data.labels import GraspLabels
from kgnpro_ros.data.targets import STRIDE, Targets, make_targets
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.geometry.se3 import invert
from kgnpro_ros.training.augment import disturb_depth, jitter_color, random_affine, warp

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingSample:
    """One augmented crop.

    Attributes:
        color: uint8, shape (3, S, S).
        depth: [m], NaN where missing, shape (S, S).
        affine: Original image to crop coordinates [px], a similarity, shape (2, 3).
        camera_matrix: Intrinsics of the original image, shape (3, 3).
        targets: Labels on the grid of the crop.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    affine: FloatArray
    camera_matrix: FloatArray
    targets: Targets


@dataclass(frozen=True)
class Batch:
    """B crops; the labelled cells of all of them in one list of length L.

    Attributes:
        color: uint8, (B, 3, S, S).
        depth: [m], NaN where missing, (B, S, S).
        affine: Original image to crop coordinates [px], (B, 2, 3).
        camera_matrix: Intrinsics of the original images, (B, 3, 3).
        heatmap: (B, C, h, w).
        image_index: Image of each labelled cell, (L,).
        cell_index: Flat index into (C, h, w), (L,).
        weight, subpixel, offsets, width, depth_label, pose: See
            :class:`kgnpro_ros.data.targets.Targets`, (L, ...).
    """

    color: Tensor
    depth: Tensor
    affine: Tensor
    camera_matrix: Tensor
    heatmap: Tensor
    image_index: Tensor
    cell_index: Tensor
    weight: Tensor
    subpixel: Tensor
    offsets: Tensor
    width: Tensor
    depth_label: Tensor
    pose: Tensor

    @property
    def scale(self) -> Tensor:
        """Zoom of each crop, (B,)."""
        zoom: Tensor = self.affine[:, :, 0].norm(dim=-1)
        return zoom

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)}
        return Batch(**moved)


class CropDataset(Dataset[Any]):
    """Random crops, addressed by a running number: sample n is the same on every machine.

    Args:
        datasets: Where images come from; each is chosen equally often.
        scenes: Which scenes to use, per data set: positions, not names.
        config: Crop size, augmentation, labels, seed.
    """

    def __init__(
        self,
        datasets: Sequence[GraspDataset],
        scenes: Sequence[Sequence[int]],
        config: TrainConfig,
    ) -> None:
        self.datasets, self.scenes, self.config = list(datasets), [list(s) for s in scenes], config
        if not self.datasets or not all(self.scenes):
            raise DatasetError("no training scenes: give at least one data set with enough scenes")
        self.network = config.architecture
        # Crops of one image follow each other, and reading it costs as much as cropping it.
        self._load = lru_cache(maxsize=2)(self._load_image)
        self._labels = lru_cache(maxsize=None)(self._load_labels)

    def __len__(self) -> int:
        return self.config.max_steps * self.config.batch_size

    def __getitem__(self, number: int) -> TrainingSample:
        config = self.config
        rng = np.random.default_rng((config.seed, number // config.crops_per_image))
        source = int(rng.integers(len(self.datasets)))
        scene = self.scenes[source][int(rng.integers(len(self.scenes[source])))]
        view = int(rng.integers(self.datasets[source].views))
        return self.crop(np.random.default_rng((config.seed, number, 1)), source, scene, view)

    def _load_image(self, source: int, scene: int, view: int) -> Sample:
        dataset = self.datasets[source]
        return dataset.load(scene * dataset.views + view)

    def _load_labels(self, source: int, scene: int) -> GraspLabels:
        dataset, labels = self.datasets[source], self.config.labels
        return dataset.grasp_labels(
            scene * dataset.views, labels.rotation_samples, labels.translation_samples,
            distinct=True,
        ).free  # fmt: skip

    def crop(self, rng: np.random.Generator, source: int, scene: int, view: int) -> TrainingSample:
        """Load a view, crop it near one of its objects, and draw its targets."""
        config = self.config
        sample, labels = self._load(source, scene, view), self._labels(source, scene)
        T_camera_world = invert(sample.T_world_camera)
        T_camera_grasp = T_camera_world @ labels.T_world_grasp
        camera = sample.image.camera
        middle = np.array([camera.width, camera.height]) / 2
        if len(T_camera_grasp):
            point = T_camera_grasp[int(rng.integers(len(T_camera_grasp))), :3, 3]
            middle = camera.project(point)
        # As the detector does: the network sees every camera at one focal length.
        zoom = self.network.focal_length / camera.focal_length
        affine = random_affine(rng, middle, config.crop, config.augment, zoom)
        color, depth = warp(sample.image.color, sample.image.depth, affine, config.crop)
        side = config.crop // STRIDE
        targets = make_targets(
            T_camera_grasp, labels.widths, camera, affine, -T_camera_world[:3, 2],
            (side, side), self.network.orientation_classes, config.labels,
        )  # fmt: skip
        return TrainingSample(
            np.ascontiguousarray(jitter_color(rng, color, config.augment).transpose(2, 0, 1)),
            disturb_depth(rng, depth, config.augment),
            affine,
            camera.matrix,
            thin_out(rng, targets, config.labels.max_cells),
        )


def thin_out(rng: np.random.Generator, targets: Targets, most: int) -> Targets:
    """Keep at most ``most`` labelled cells, chosen at random; the heat map stays."""
    if len(targets.index) <= most:
        return targets
    keep = rng.choice(len(targets.index), most, replace=False)
    chosen = {f.name: getattr(targets, f.name) for f in fields(targets)}
    return Targets(**{k: v if k == "heatmap" else v[keep] for k, v in chosen.items()})


def collate(samples: Sequence[TrainingSample]) -> Batch:
    """Stack crops; labelled cells are joined, with the number of their image."""

    def join(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(s.targets, name) for s in samples]))

    counts = [len(s.targets.index) for s in samples]
    return Batch(
        color=torch.from_numpy(np.stack([s.color for s in samples])),
        depth=torch.from_numpy(np.stack([s.depth for s in samples])),
        affine=torch.from_numpy(np.stack([s.affine for s in samples])).float(),
        camera_matrix=torch.from_numpy(np.stack([s.camera_matrix for s in samples])).float(),
        heatmap=torch.from_numpy(np.stack([s.targets.heatmap for s in samples])),
        image_index=torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts)),
        cell_index=join("index"),
        weight=join("weight"),
        subpixel=join("subpixel"),
        offsets=join("offsets"),
        width=join("width"),
        depth_label=join("depth"),
        pose=join("pose"),
    )


class ResumableSampler(Sampler[int]):
    """Running sample numbers of one process, without the ``done`` first ones of the run.

    Its length counts those too: Lightning, which goes on in the middle of a resumed epoch, would
    otherwise end the epoch early and start over from the first number after the stop.
    """

    def __init__(
        self, first: int, end: int, rank: int = 0, world_size: int = 1, done: int = 0
    ) -> None:
        self.numbers = range(first + done + rank, end, world_size)
        self.length = len(range(first + rank, end, world_size))

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return self.length
