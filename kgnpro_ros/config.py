# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Every setting of the package, and the only place with defaults.

A configuration that constructs is valid. :func:`load_config` lays a YAML file over the defaults,
:func:`dump_config` writes one; a YAML file is never required.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import dacite
import yaml

from kgnpro_ros.exceptions import ConfigError

T = TypeVar("T")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _ranged(default: Any, low: float, high: float) -> Any:
    """A field whose closed range is both checked here and announced to ROS."""
    return field(default=default, metadata={"range": (low, high)})


def _check_ranges(config: Any) -> None:
    for item in fields(config):
        if "range" in item.metadata:
            low, high = item.metadata["range"]
            value = getattr(config, item.name)
            _require(low <= value <= high, f"{item.name} must be {low} to {high}, got {value}")


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of the keypoint network; stored in the card of each model.

    Attributes:
        preset: Name of the preset that it came from, for people.
        stem_channels: Channels of the stem and of DLA levels 0 and 1.
        stem_stride: 1 is the paper's (7x7 at full resolution); 2 starts at half resolution.
        level_channels: Channels of DLA levels 2 to 5 (strides 4, 8, 16, 32).
        level_depths: Depth of the aggregation tree in each of these levels; 0 is one block.
        deformable: Deformable (True) or plain (False) convolutions in the up-sampling.
        head_channels: Channels of the 3x3 convolution that starts a head.
        shared_head: One 3x3 convolution for all heads instead of one for each.
        orientation_classes: Heat maps over 180 degrees of the closing direction in the image.
        confidence_head: Predict keypoint weights (the paper's w2D).
        depth_head: Predict the offset from observed depth to the depth of the grasp centre.
        distance_head: Predict the distance of the grasp centre from the camera (KGNv2's "scale").
        direct_head: Predict rotation and depth themselves, for solving without PnP (Direct3D).
        color_mean, color_std: Standardisation of RGB / 255.
        depth_mean, depth_std: Standardisation of depth [m]; missing depth becomes 0 after it.
        depth_range: Depth beyond this interval [m] counts as missing.
        focal_length: Focal length [px] of the training images; others are resized to it.
    """

    preset: str = "full"
    stem_channels: tuple[int, int, int] = (16, 16, 32)
    stem_stride: Literal[1, 2] = 1
    level_channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    level_depths: tuple[int, int, int, int] = (1, 2, 2, 1)
    deformable: bool = True
    head_channels: int = 256
    shared_head: bool = False
    orientation_classes: int = 9
    confidence_head: bool = True
    depth_head: bool = True
    distance_head: bool = False
    direct_head: bool = False
    color_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    color_std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    depth_mean: float = 0.75
    depth_std: float = 0.2
    depth_range: tuple[float, float] = (0.2, 2.5)
    focal_length: float = 616.3

    def __post_init__(self) -> None:
        sizes = (*self.stem_channels, *self.level_channels, self.head_channels)
        _require(min(sizes) > 0, f"channel counts must be positive, got {sizes}")
        _require(min(self.level_depths) >= 0, f"level_depths must be >= 0: {self.level_depths}")
        _require(
            1 <= self.orientation_classes <= 90,
            f"orientation_classes must be 1 to 90, got {self.orientation_classes}",
        )
        _require(
            min(*self.color_std, self.depth_std) > 0,
            f"standard deviations must be positive, got {self.color_std} and {self.depth_std}",
        )
        _require(
            0 <= self.depth_range[0] < self.depth_range[1],
            f"depth_range must be two rising numbers from 0, got {self.depth_range}",
        )


#: Named architectures. ``full`` adds the depth head to the paper's network, ``paper`` has none.
NETWORK_PRESETS: dict[str, NetworkConfig] = {
    "full": NetworkConfig(),
    "paper": NetworkConfig(preset="paper", depth_head=False),
    "lite": NetworkConfig(
        preset="lite",
        stem_channels=(16, 16, 32),
        stem_stride=2,
        level_channels=(40, 80, 128, 192),
        level_depths=(0, 1, 1, 1),
        deformable=False,
        head_channels=64,
        shared_head=True,
    ),
    "tiny": NetworkConfig(
        preset="tiny",
        stem_channels=(8, 8, 8),
        stem_stride=2,
        level_channels=(8, 8, 8, 8),
        level_depths=(0, 0, 0, 0),
        deformable=False,
        head_channels=8,
        shared_head=True,
    ),
}


@dataclass(frozen=True)
class DecodeConfig:
    """From heat maps to candidates.

    Attributes:
        top_k: Candidates per image at most.
        score_threshold: Least heat-map score.
        local_maximum: Keep only the best cell of each 3x3 neighbourhood; False is KGN's choice.
        orientation_check: Drop candidates whose keypoints belong to another orientation class.
        orientation_slack: Tolerance of that check beyond the bin [fraction of a bin].
        weight_min, weight_max: Clamp of the keypoint weights [1/px].
    """

    top_k: int = _ranged(100, 1, 10000)
    score_threshold: float = _ranged(0.3, 0.0, 0.999)
    local_maximum: bool = True
    orientation_check: bool = True
    orientation_slack: float = 0.25
    weight_min: float = _ranged(0.1, 0.0001, 1000.0)
    weight_max: float = _ranged(4.0, 0.0001, 1000.0)

    def __post_init__(self) -> None:
        _check_ranges(self)
        _require(
            self.weight_min <= self.weight_max,
            f"expected weight_min <= weight_max, got {self.weight_min}, {self.weight_max}",
        )


@dataclass(frozen=True)
class PnPConfig:
    """Weighted perspective-n-point with two-fold planar ambiguity.

    Attributes:
        iterations: Levenberg-Marquardt steps from each of the two seeds; 0 keeps the closed form.
        relative_delta: Huber threshold relative to mean weight times keypoint spread.
        depth_delta: Huber threshold of the depth residual [standard deviations].
        use_depth: Use the measured depth at the grasp centre as one more residual.
        choose_mode: Choose between the planar solutions by the approach rule and the observed
            depth where costs are close; False takes the lower cost (KGN).
        mode_gap: Cost difference [nats] above which the lower cost decides alone.
        max_reprojection_error: Largest accepted root-mean-square error [px].
        min_depth: Least depth of a point in front of the camera [m].
    """

    iterations: int = _ranged(10, 0, 1000)
    relative_delta: float = _ranged(0.5, 0.001, 1000.0)
    depth_delta: float = _ranged(3.0, 0.001, 1000000.0)
    use_depth: bool = True
    choose_mode: bool = True
    mode_gap: float = _ranged(5.0, 0.001, 1000000.0)
    max_reprojection_error: float = _ranged(20.0, 0.01, 10000.0)
    min_depth: float = _ranged(0.01, 0.001, 10.0)

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True)
class PosteriorConfig:
    """Adaptive multiple importance sampling of the pose distribution.

    Attributes:
        samples: Samples per grasp, all rounds together; a multiple of ``rounds``.
        rounds: The first two start at one minimum each, later ones adapt.
        mode_gap: Cost difference [nats] beyond which the worse minimum has no mass to sample.
        minor_mode_share: Mass that earns the lighter mode every second adapted round.
        initial_share: Share of the initial covariance in an adapted one.
        position_ridge, rotation_ridge: Least standard deviations of an adapted proposal [m, rad].
    """

    samples: int = _ranged(512, 2, 1000000)
    rounds: int = _ranged(4, 2, 100)
    mode_gap: float = _ranged(10.0, 0.1, 1000000.0)
    minor_mode_share: float = _ranged(0.05, 0.0, 0.5)
    initial_share: float = _ranged(0.1, 0.001, 1.0)
    position_ridge: float = _ranged(1e-4, 1e-6, 0.1)
    rotation_ridge: float = _ranged(5e-4, 1e-6, 1.0)

    def __post_init__(self) -> None:
        _check_ranges(self)
        _require(
            self.samples % self.rounds == 0,
            f"samples must be a multiple of rounds, got {self.samples} and {self.rounds}",
        )


@dataclass(frozen=True)
class PoseLossConfig:
    """Pose supervision through the distribution p(y | X) (paper, equation 7).

    Attributes:
        norm_momentum: Share of a batch in the running weight scale that the loss is divided by.
        match_gate: Largest mean corner distance [m] between a grasp and its matched truth.
        pnp: Robust kernel, and whether the measured depth is part of the likelihood.
        posterior: Sampling.
    """

    norm_momentum: float = _ranged(0.01, 0.0, 1.0)
    match_gate: float = _ranged(0.05, 0.0001, 10.0)
    pnp: PnPConfig = field(default_factory=PnPConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True)
class TableConfig:
    """Search for the dominant plane of the observed points.

    Attributes:
        stride: Every stride-th row and column of the depth image is used.
        hypotheses: Planes through three random points that are tried.
        inlier_distance: Largest distance [m] of a point that belongs to the plane.
        min_share: Least share of the observed points that a table holds.
        seed: Seed of the random points.
    """

    stride: int = _ranged(8, 1, 64)
    hypotheses: int = _ranged(200, 1, 100000)
    inlier_distance: float = _ranged(0.008, 0.0001, 0.1)
    min_share: float = _ranged(0.2, 0.01, 1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True)
class FilterConfig:
    """Which grasps are passed on; each rejection is counted by reason.

    Attributes:
        workspace: Box (x_min, y_min, z_min, x_max, y_max, z_max) [m] for grasp origins in the
            frame of the grasps, or None for no limit.
        max_approach_angle: Largest angle [deg] between the approach axis and straight down on
            the table (its inward normal); 180 is no limit.
        limit_width: Refuse grasps that need a wider opening than the gripper has.
        width_margin: Added to the predicted opening [m] when the jaws are checked and commanded.
        opening_steps: Further openings [m] that are tried, in this order, when the fingers would
            touch something at the first one; never beyond the range of the gripper.
        collision: Check fingers and palm against the observed points and the table.
        cloud_spacing: Distance [m] between the observed points that are looked at, about; it
            gives the step in pixels from the distance of the grasps. 0 takes every pixel.
        max_incidence: Points of surfaces seen under a larger angle [deg] to their normal are
            mixed pixels at a depth edge and no evidence of anything.
        min_points_between: Fewest object points between the fingers.
        min_depth_between: How far [m] behind the fingertips these points have to be.
        max_missing_between: A grasp with too few points is passed all the same when more than this
            share of the region between its fingers has no depth, as on glass; 1 passes none.
        max_points_hit: Most observed points inside fingers and palm.
        approach_distance: Length [m] of the straight approach on which the hand must be clear too.
        table_clearance: Points within this distance [m] of the table plane (or three times its
            residual, whichever is more) are table.
        table_tolerance: How far [m] the hand may reach below the table plane.
        find_table: Fit the dominant plane to the observed cloud.
        table: Settings of that fit.
        max_grasps: Most grasps passed on.
        duplicate_distance, duplicate_angle: Grasps closer than both [m, deg] to a better one are
            dropped; a distance of 0 keeps all.
    """

    workspace: tuple[float, float, float, float, float, float] | None = None
    max_approach_angle: float = _ranged(100.0, 1.0, 180.0)
    limit_width: bool = True
    width_margin: float = _ranged(0.005, 0.0, 0.1)
    opening_steps: tuple[float, ...] = (0.01, 0.02)
    collision: bool = True
    cloud_spacing: float = _ranged(0.0025, 0.0, 0.05)
    max_incidence: float = _ranged(80.0, 1.0, 90.0)
    min_points_between: int = _ranged(5, 0, 1000000)
    min_depth_between: float = _ranged(0.003, 0.0, 0.1)
    max_missing_between: float = _ranged(1.0, 0.01, 1.0)
    max_points_hit: int = _ranged(1, 0, 1000000)
    approach_distance: float = _ranged(0.0, 0.0, 0.5)
    table_clearance: float = _ranged(0.006, 0.0, 0.1)
    table_tolerance: float = _ranged(0.0, 0.0, 0.1)
    find_table: bool = True
    table: TableConfig = field(default_factory=TableConfig)
    max_grasps: int = _ranged(100, 1, 10000)
    duplicate_distance: float = _ranged(0.0, 0.0, 1.0)
    duplicate_angle: float = _ranged(20.0, 0.0, 180.0)

    def __post_init__(self) -> None:
        if self.workspace is not None:
            low, high = self.workspace[:3], self.workspace[3:]
            ordered = all(a < b for a, b in zip(low, high, strict=True))
            _require(ordered, f"workspace corners are not ordered: {low} to {high}")
        _require(
            all(0 < step <= 0.2 for step in self.opening_steps),
            f"opening_steps must be up to 0.2 m and positive, got {self.opening_steps}",
        )
        _check_ranges(self)


@dataclass(frozen=True)
class RankingConfig:
    """Score of a grasp: confidence x exp(-reprojection_error / scale) x exp(-0.5 u^2).

    Attributes:
        reprojection_scale: Reprojection error [px] that lowers the score by 1/e.
        uncertainty: Include the predicted uncertainty u: the standard deviation in units of the
            tolerances below.
        translation_tolerance, rotation_tolerance: Units of u [m, deg].
    """

    reprojection_scale: float = _ranged(10.0, 0.01, 10000.0)
    uncertainty: bool = False
    translation_tolerance: float = _ranged(0.01, 0.0001, 10.0)
    rotation_tolerance: float = _ranged(10.0, 0.01, 360.0)

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True)
class DetectorConfig:
    """Everything that :class:`kgnpro_ros.pipeline.GraspDetector` needs.

    Attributes:
        model: Path of a ``.safetensors`` file, or the name of a shipped model.
        device: ``auto`` (CUDA when there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        gripper: Preset name or path of a gripper file.
    """

    model: str = "lite"
    device: str = "auto"
    gripper: str = "franka_hand"
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    pnp: PnPConfig = field(default_factory=PnPConfig)
    filters: FilterConfig = field(default_factory=FilterConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)


@dataclass(frozen=True)
class NodeConfig:
    """ROS side of ``grasp_detector``.

    Attributes:
        autostart: Configure and activate at start, without a lifecycle manager.
        continuous: Detect in the newest frame all the time; False detects on service calls only.
        max_rate: Most detections per second in continuous mode [Hz]; 0 is no limit.
        target_frame: TF frame of the published grasps; empty is the colour optical frame.
        tf_timeout: Longest wait for the transform at the stamp of the image [s].
        tf_latest: Take the newest transform where there is none at that stamp; wrong for a
            camera that moves.
        service_timeout: ``detect_grasps`` answers within this time when a request names none [s].
        max_age: Frames older than this are refused [s]; 0 takes any.
        sync_slop: Largest difference of the stamps of colour and depth [s].
        sync_queue: Messages of each input that wait for their partners.
        time_jump: A stamp that lies this much [s] before the previous one restarts the pairing.
        reliability: Quality of service asked of the camera. best_effort receives from every
            publisher and loses large images on a busy machine; auto asks for reliable and takes
            best_effort where the publisher offers no more.
        depth_unit: Metres per unit of 16-bit depth images (32-bit ones are metres).
        depth_is_registered: Depth has the pixels of the colour image although it names another
            frame.
        rectified: The images are rectified: intrinsics come from P, and no distortion is removed.
        use_mask: Subscribe to ``mask``; frames then wait for it.
        stall_timeout: Silence of an input [s] after which the node says what it waits for.
        log_period: The same complaint is repeated at most this often [s].
    """

    autostart: bool = True
    continuous: bool = True
    max_rate: float = _ranged(0.0, 0.0, 1000.0)
    target_frame: str = ""
    tf_timeout: float = _ranged(0.5, 0.0, 60.0)
    tf_latest: bool = False
    service_timeout: float = _ranged(5.0, 0.1, 600.0)
    max_age: float = _ranged(5.0, 0.0, 3600.0)
    sync_slop: float = _ranged(0.05, 0.001, 10.0)
    sync_queue: int = _ranged(10, 1, 100)
    time_jump: float = _ranged(0.5, 0.01, 3600.0)
    reliability: Literal["auto", "best_effort", "reliable"] = "auto"
    depth_unit: float = _ranged(0.001, 0.000001, 1.0)
    depth_is_registered: bool = False
    rectified: bool = False
    use_mask: bool = False
    stall_timeout: float = _ranged(2.0, 0.1, 60.0)
    log_period: float = _ranged(10.0, 0.1, 3600.0)

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True)
class ReplayConfig:
    """The ``rgbd_replay`` node.

    Attributes:
        frames: Folder with color.png, depth.png and camera.json, or a folder of such folders.
        rate: Images per second [Hz].
        frame_period: Seconds per frame; 0 stays until ``~/next`` is called.
        loop: Start again after the last frame; False keeps publishing the last one.
        reliability: Quality of service of the images.
        base_frame: Parent of the static transform.
        camera_pose: x, y, z [m], roll, pitch, yaw [rad] of camera_link (x forward, y left, z up)
            in the base frame.
    """

    frames: str = ""
    rate: float = _ranged(5.0, 0.1, 120.0)
    frame_period: float = _ranged(5.0, 0.0, 3600.0)
    loop: bool = True
    reliability: Literal["best_effort", "reliable"] = "reliable"
    base_frame: str = "world"
    camera_pose: tuple[float, float, float, float, float, float] = (0.0, 0.0, 0.5, 0.0, 0.5, 0.0)

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True)
class SimConfig:
    """The camera of the ``grasp_sim`` node.

    Attributes:
        seed: Seed of the scene.
        mode: ``single`` has one object, ``multi`` one of each class.
        look: ``kgn`` renders as KGN's generator does, ``random`` randomises the domain.
        depth_noise: Apply the depth-sensor model to the published depth.
        rate: Images per second [Hz].
        reliability: Quality of service of the images.
        base_frame: Frame of the table: origin on its top, z up.
    """

    seed: int = _ranged(0, 0, 2**31 - 1)
    mode: Literal["single", "multi"] = "multi"
    look: Literal["kgn", "random"] = "random"
    depth_noise: bool = True
    rate: float = _ranged(5.0, 0.1, 60.0)
    reliability: Literal["best_effort", "reliable"] = "reliable"
    base_frame: str = "world"

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True)
class SceneConfig:
    """What a generated scene holds; the sizes and camera ranges are KGN's.

    Attributes:
        mode: ``single`` has one object of a random class, ``multi`` one of each class.
        look: ``kgn`` renders as KGN's generator does, ``random`` randomises domain and sizes.
        views: Camera views per scene.
        depth_noise: Apply the depth-sensor model to the stored depth.
    """

    mode: Literal["single", "multi"] = "single"
    look: Literal["kgn", "random"] = "kgn"
    views: int = 5
    depth_noise: bool = False

    def __post_init__(self) -> None:
        _require(1 <= self.views <= 1000, f"views must be 1 to 1000, got {self.views}")


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
        _require(
            self.rotation_samples >= 2 and self.translation_samples >= 1,
            "expected rotation_samples >= 2 and translation_samples >= 1",
        )
        _require(0 <= self.edge_margin < 10, f"edge_margin must be 0 to 10, got {self.edge_margin}")
        _require(self.max_cells > 0, f"max_cells must be positive, got {self.max_cells}")


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
        _require(
            0 < self.scale_range[0] <= self.scale_range[1],
            f"scale_range must be two rising positive numbers, got {self.scale_range}",
        )
        for name in ("color_jitter", "gray", "far_clip"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"{name} must be 0 to 1, got {value}")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms (paper, equation 8; width as KGN).

    Attributes:
        heatmap, subpixel, keypoints, width: Focal H, L1 S, L1 O, L1 width.
        reprojection: Confidence-weighted keypoint likelihood; trains the weights.
        depth: Laplace likelihood of the depth offset [units of 1 cm] and its confidence.
        distance: L1 of the distance head [m]; 10 is KGNv2's.
        direct: L1 of directly regressed axes and depth.
    """

    heatmap: float = 1.0
    subpixel: float = 1.0
    keypoints: float = 1.0
    width: float = 10.0
    reprojection: float = 0.05
    depth: float = 0.1
    distance: float = 10.0
    direct: float = 1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            _require(value >= 0, f"loss weight {name} must not be negative, got {value}")


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        network: Name of a network preset.
        crop: Side of the square training crop [px], a multiple of 32.
        crops_per_image: Successive crops of one image, which is read once.
        batch_size, workers: Per device.
        max_steps: Optimiser steps.
        learning_rate, weight_decay: AdamW.
        schedule: ``cosine`` (warm-up then cosine) or ``steps`` (x0.1 at 2/3 and 5/6).
        warmup_steps: Steps of linear warm-up.
        gradient_clip: Largest gradient norm.
        ema_decay: Decay of the averaged weights, which are the ones evaluated and shipped.
        checkpoint_minutes: Minutes between checkpoints.
        validation_scenes: Scenes of each data set held out for validation.
        validation_interval: Steps between validations.
        seed: Seed of weights, order and augmentation.
        precision, devices, num_nodes, strategy: Passed on to Lightning.
    """

    network: str = "lite"
    crop: int = 256
    crops_per_image: int = 2
    batch_size: int = 8
    workers: int = 1
    max_steps: int = 5500
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "steps"] = "cosine"
    warmup_steps: int = 200
    gradient_clip: float = 5.0
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
    labels: LabelConfig = field(default_factory=LabelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        _require(
            self.network in NETWORK_PRESETS,
            f"no network preset {self.network!r}; there are {', '.join(NETWORK_PRESETS)}",
        )
        _require(
            self.crop > 0 and self.crop % 32 == 0,
            f"crop must be a positive multiple of 32, got {self.crop}",
        )
        for name in ("batch_size", "max_steps", "learning_rate", "gradient_clip"):
            _require(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")
        _require(0 <= self.ema_decay < 1, f"ema_decay must be in [0, 1), got {self.ema_decay}")


@dataclass(frozen=True)
class EvaluationConfig:
    """How predictions are compared with ground truth (KGN's protocol).

    Attributes:
        distances: Thresholds on the distance of the grasp origins [m].
        angles: Thresholds on the rotation [deg]; every distance is paired with every angle.
        kgn_pairs: KGN's own pairs (distance [m], angle [deg]).
        curve_start, curve_end: Ends (distance [m], angle [deg]) of the tolerance curve.
        curve_points: Points on it, evenly spaced.
        rotation_samples, translation_samples: Density of the ground-truth families.
        max_grasps: Best-ranked predictions per image that count.
        bootstrap_samples: Resamplings of the scenes for the 95 % intervals.
        seed: Seed of these.
    """

    distances: tuple[float, ...] = (0.010, 0.015, 0.020)
    angles: tuple[float, ...] = (10.0, 20.0)
    kgn_pairs: tuple[tuple[float, float], ...] = ((0.01, 20.0), (0.02, 30.0), (0.03, 45.0))
    curve_start: tuple[float, float] = (0.01, 10.0)
    curve_end: tuple[float, float] = (0.05, 45.0)
    curve_points: int = 9
    rotation_samples: int = 30
    translation_samples: int = 10
    max_grasps: int = 100
    bootstrap_samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        _require(min(*self.distances, *self.angles) > 0, "evaluation thresholds must be positive")
        _require(
            self.curve_points >= 2 and self.bootstrap_samples >= 1 and self.max_grasps >= 1,
            "expected curve_points >= 2, bootstrap_samples >= 1 and max_grasps >= 1",
        )
        _require(
            self.rotation_samples >= 2 and self.translation_samples >= 1,
            "expected rotation_samples >= 2 and translation_samples >= 1",
        )


@dataclass(frozen=True)
class StageConfig:
    """When a stage of the detector counts as passed, for the table of losses.

    Attributes:
        distance, angle: Tolerance of the match [m, deg].
        keypoint_error: Largest root-mean-square error of keypoints that are not off [px].
    """

    distance: float = _ranged(0.02, 0.0001, 1.0)
    angle: float = _ranged(20.0, 0.01, 180.0)
    keypoint_error: float = _ranged(8.0, 0.01, 1000.0)

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True)
class CalibrationConfig:
    """How predicted covariances are compared with errors.

    Attributes:
        rotation_samples, translation_samples: Density of the ground truth; dense, because the
            distance to a sparse sampling would count as error.
        gate_distance, gate_angle: Predictions farther than this [m, deg] from all ground truth
            are failures, not errors of a pose.
    """

    rotation_samples: int = _ranged(180, 2, 10000)
    translation_samples: int = _ranged(20, 1, 10000)
    gate_distance: float = _ranged(0.05, 0.001, 1.0)
    gate_angle: float = _ranged(45.0, 1.0, 180.0)

    def __post_init__(self) -> None:
        _check_ranges(self)


def config_from_dict(cls: type[T], data: Mapping[str, Any] | None, source: str = "config") -> T:
    """Build a configuration; absent keys keep their defaults.

    Raises:
        ConfigError: If a key is unknown, a value has the wrong type or is out of range.
    """
    settings = dacite.Config(strict=True, cast=[tuple], type_hooks={float: _float, int: _integer})
    try:
        return dacite.from_dict(cls, dict(data or {}), settings)
    except (dacite.DaciteError, TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from error


def _integer(value: Any) -> Any:
    """Make dacite refuse ``yes`` for a number: True is an int, its text is not."""
    return str(value) if isinstance(value, bool) else value


def _float(value: Any) -> Any:
    """Take whole numbers where YAML readers expect a float, but no truth values."""
    value = _integer(value)
    return float(value) if isinstance(value, int) else value


def load_config(cls: type[T], path: str | Path) -> T:
    """Read a YAML file over the defaults of a configuration class.

    Raises:
        ConfigError: If the file is missing, is not YAML, or does not fit.
    """
    try:
        data = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {type(data).__name__}")
    return config_from_dict(cls, data, str(path))


def dump_config(config: Any) -> str:
    """The YAML text of a configuration; :func:`load_config` reads it back."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False)


def _plain(value: Any) -> Any:
    """Turn tuples into lists, which YAML has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
