# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of training: labels, augmentation, losses, the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from kgnpro_ros.config.checks import require
from kgnpro_ros.config.network import HEADS, NETWORK_PRESETS, HeadConfig, NetworkConfig
from kgnpro_ros.config.pose import PoseLossConfig


@dataclass(frozen=True)
class LabelConfig:
    """Which grasps become training labels, and how they are drawn on the grid.

    Attributes:
        rotation_samples, translation_samples: Density of the grasp families in training; dense,
            because the phase of a sparse sampling cannot be seen in an image.
        min_facing: Least cosine between approach axis and view ray: grasps that come from behind
            the object towards the camera make no label.
        down_preference: Weight of "approaches along gravity" against "approaches along the view"
            where several grasps fall into one cell and class.
        edge_margin: Labels this close to the edge of an orientation bin [deg] serve both bins.
        neighbour_weight: Weight of the regression targets in the cells around a grasp centre.
        max_cells: Labelled cells per image; more are thinned at random.
    """

    rotation_samples: int = 72
    translation_samples: int = 20
    min_facing: float = -0.2
    down_preference: float = 2.0
    edge_margin: float = 3.0
    neighbour_weight: float = 0.3
    max_cells: int = 1500

    def __post_init__(self) -> None:
        require(
            self.rotation_samples >= 2 and self.translation_samples >= 1,
            "expected rotation_samples >= 2 and translation_samples >= 1",
        )
        require(0 <= self.edge_margin < 10, f"edge_margin must be 0 to 10, got {self.edge_margin}")
        require(self.max_cells > 0, f"max_cells must be positive, got {self.max_cells}")


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of a training image; every label moves along exactly.

    Attributes:
        scale_range: Random zoom. Depth stays as it is, so a wide range blurs the relation between
            distance and apparent size.
        max_rotation: Rotation about the optical axis [deg].
        flip: Mirror half of the images.
        color_jitter: Strength of brightness, contrast, saturation and hue changes; 0 is none.
        gray: Share of images without colour, so that shape alone must do.
        depth_noise: Largest standard deviation of pixel noise [m], drawn per image.
        depth_holes: Largest number of holes punched into the depth.
        far_clip: Share of images whose far depth is missing, as some sensors deliver it.
    """

    scale_range: tuple[float, float] = (0.9, 1.12)
    max_rotation: float = 15.0
    flip: bool = True
    color_jitter: float = 0.4
    gray: float = 0.15
    depth_noise: float = 0.002
    depth_holes: int = 6
    far_clip: float = 0.15

    def __post_init__(self) -> None:
        require(
            0 < self.scale_range[0] <= self.scale_range[1],
            f"scale_range must be two rising positive numbers, got {self.scale_range}",
        )
        for name in ("color_jitter", "gray", "far_clip"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} must be 0 to 1, got {value}")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms (paper, equation 8; width as KGN).

    Attributes:
        heatmap, subpixel, keypoints, width: Focal H, L1 S, L1 O, L1 width.
        reprojection: Confidence-weighted keypoint likelihood; trains the weights.
        depth: Laplace likelihood of the depth offset [units of 1 cm] and its confidence.
        distance: L1 of the distance head [m]; 10 is KGNv2's.
        direct: L1 of directly regressed axes and depth.
        pose: Pose loss through p(y | X) (the paper's KL term, 0.1 there); 0 leaves it out.
        pose_start, pose_ramp: Steps before it starts, and over which it then grows; until its full
            weight is reached each grasp is compared with its own label, later with the nearest.
        pose_grasps: Grasps per batch that enter it.
    """

    heatmap: float = 1.0
    subpixel: float = 1.0
    keypoints: float = 1.0
    width: float = 10.0
    reprojection: float = 0.05
    depth: float = 0.1
    distance: float = 10.0
    direct: float = 1.0
    pose: float = 0.0
    pose_start: int = 1000
    pose_ramp: int = 1000
    pose_grasps: int = 128

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            require(value >= 0, f"loss weight {name} must not be negative, got {value}")


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        network: Name of a network preset.
        heads: Optional heads that the preset has not, or that are left out.
        start: Weights that training starts from: a model name or file, or a checkpoint. Heads that
            it lacks are drawn new; the optimiser starts anew. None draws all weights.
        fresh_heads: Heads that are drawn new although ``start`` has them.
        crop: Side of the square training crop [px], a multiple of 32.
        crops_per_image: Successive crops of one image, which is read once.
        batch_size, workers: Per device.
        max_steps: Optimiser steps.
        max_minutes: Minutes, over all stretches, after which the run ends although steps are left;
            the schedule then follows whichever of the two is further on. None has no limit.
        learning_rate, weight_decay: AdamW.
        schedule: ``cosine`` (warm-up then cosine) or ``steps`` (x0.1 at 2/3 and 5/6).
        warmup_steps: Steps of linear warm-up.
        gradient_clip: Largest gradient norm.
        divergence_factor, divergence_steps: Training stops when for so many steps in a row the loss
            was not finite, or more than so many times the lowest running mean before.
        ema_decay: Decay of the averaged weights, which are the ones evaluated and shipped.
        checkpoint_minutes: Minutes between checkpoints.
        validation_scenes: Scenes of each data set held out for validation.
        validation_interval: Steps between validations.
        seed: Seed of weights, order and augmentation.
        precision, devices, num_nodes, strategy: Passed on to Lightning.
        loss, labels, augment: Weights of the terms, choice of labels, augmentation.
        pose: The pose loss, where ``loss.pose`` switches it on.
    """

    network: str = "lite"
    heads: HeadConfig = field(default_factory=HeadConfig)
    start: str | None = None
    fresh_heads: tuple[str, ...] = ()
    crop: int = 256
    crops_per_image: int = 2
    batch_size: int = 8
    workers: int = 1
    max_steps: int = 5500
    max_minutes: float | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "steps"] = "cosine"
    warmup_steps: int = 200
    gradient_clip: float = 5.0
    divergence_factor: float = 100.0
    divergence_steps: int = 50
    ema_decay: float = 0.998
    checkpoint_minutes: float = 5.0
    validation_scenes: int = 10
    validation_interval: int = 500
    seed: int = 0
    precision: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    loss: LossConfig = field(default_factory=LossConfig)
    pose: PoseLossConfig = field(default_factory=PoseLossConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        require(
            self.network in NETWORK_PRESETS,
            f"no network preset {self.network!r}; there are {', '.join(NETWORK_PRESETS)}",
        )
        require(
            self.crop > 0 and self.crop % 32 == 0,
            f"crop must be a positive multiple of 32, got {self.crop}",
        )
        for name in ("batch_size", "max_steps", "learning_rate", "gradient_clip"):
            require(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")
        require(
            self.max_minutes is None or self.max_minutes > 0,
            f"max_minutes must be positive, got {self.max_minutes}",
        )
        require(0 <= self.ema_decay < 1, f"ema_decay must be in [0, 1), got {self.ema_decay}")
        require(
            self.divergence_factor > 1 and self.divergence_steps >= 1,
            "expected divergence_factor > 1 and divergence_steps >= 1, got "
            f"{self.divergence_factor} and {self.divergence_steps}",
        )
        unknown = [name for name in self.fresh_heads if name not in HEADS]
        require(not unknown, f"no head {', '.join(unknown)}; there are {', '.join(HEADS)}")
        self._check_heads()

    @property
    def architecture(self) -> NetworkConfig:
        """The preset with the heads of this run."""
        return self.heads.apply(NETWORK_PRESETS[self.network])

    def _check_heads(self) -> None:
        """Refuse combinations in which a head or a loss has nothing to do."""
        network = self.architecture
        require(
            self.loss.pose == 0 or network.confidence_head,
            f"the pose loss needs keypoint weights, which network {self.network!r} with these "
            "heads does not predict; set loss.pose to 0 or heads.confidence_head to true",
        )
        require(
            not (network.direct_head and network.distance_head),
            "a direct_head regresses the pose without PnP, so a distance_head cannot correct it; "
            "choose one",
        )
        for name in ("distance", "direct"):
            require(
                not getattr(network, f"{name}_head") or getattr(self.loss, name) > 0,
                f"heads.{name}_head is on, but loss.{name} is 0, so it would learn nothing",
            )
