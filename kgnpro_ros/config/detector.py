# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of detection: decoding, PnP, filters, ranking."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from kgnpro_ros.config.checks import check_ranges, ranged, require


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

    top_k: int = ranged(100, 1, 10000)
    score_threshold: float = ranged(0.25, 0.0, 0.999)
    local_maximum: bool = True
    orientation_check: bool = True
    orientation_slack: float = 0.25
    weight_min: float = ranged(0.1, 0.0001, 1000.0)
    weight_max: float = ranged(4.0, 0.0001, 1000.0)

    def __post_init__(self) -> None:
        check_ranges(self)
        require(
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

    iterations: int = ranged(10, 0, 1000)
    relative_delta: float = ranged(0.5, 0.001, 1000.0)
    depth_delta: float = ranged(3.0, 0.001, 1000000.0)
    use_depth: bool = True
    choose_mode: bool = True
    mode_gap: float = ranged(5.0, 0.001, 1000000.0)
    max_reprojection_error: float = ranged(20.0, 0.01, 10000.0)
    min_depth: float = ranged(0.01, 0.001, 10.0)

    def __post_init__(self) -> None:
        check_ranges(self)


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

    stride: int = ranged(8, 1, 64)
    hypotheses: int = ranged(200, 1, 100000)
    inlier_distance: float = ranged(0.008, 0.0001, 0.1)
    min_share: float = ranged(0.2, 0.01, 1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class FilterConfig:
    """Which grasps are passed on; each rejection is counted by reason.

    Attributes:
        workspace: Box (x_min, y_min, z_min, x_max, y_max, z_max) [m] for grasp origins in the
            frame of the grasps, or None for no limit.
        max_approach_angle: Largest angle [deg] between the approach axis and straight down on
            the table (its inward normal); 180 is no limit.
        limit_width: Refuse grasps that need a wider opening than the gripper has.
        width_slack: Grasps are refused only when the predicted opening exceeds the gripper's by
            more than this [m]; the others are checked with the jaws wide open: what was measured
            tells better than the prediction whether something fits.
        width_margin: Added to the predicted opening [m] when the jaws are checked and commanded.
        opening_steps: Further openings [m] that are tried, in this order, when the fingers would
            touch something at the first one; never beyond the range of the gripper.
        advance_steps: How far [m] a grasp is moved along its approach, smallest first, when its
            jaws hold too few points: the rim grasps of KGN's families reach 2 to 5 mm deep only.
        deepen: Take the largest of these steps that passes, even where the jaws hold enough without
            it: what is held at the tips slips when it swings.
        retreat_steps: How far [m] it is moved back, smallest first, when the hand would touch
            something: a hand that came down too far on a high object.
        collision: Check fingers and palm against the observed points and the table.
        cloud_spacing: Distance [m] between the observed points that are looked at, about; it
            gives the step in pixels from the distance of the grasps. 0 takes every pixel.
        max_incidence: Points of surfaces seen under a larger angle [deg] to their normal are
            mixed pixels at a depth edge and no evidence of anything.
        min_points_between: Fewest object points between the fingers.
        min_depth_between: How far [m] behind the fingertips these points have to be; more than a
            little leaves nothing of a thin stick, whose lower part counts as table.
        full_support: With so many points between the fingers the score stays as it is; fewer lower
            it, down to its half for none: what is hardly held slips. 0 keeps all scores.
        max_missing_between: A grasp with too few points is passed all the same when more than this
            share of the region between its fingers has no depth, as on glass; 1 passes none.
        max_points_hit: Most observed points inside fingers and palm.
        finger_margin: The fingers keep this far [m] from the points to both sides: at an edge some
            pixels are always lost.
        palm_margin: The palm keeps this far [m] from the points in front of it.
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
    max_approach_angle: float = ranged(100.0, 1.0, 180.0)
    limit_width: bool = True
    width_slack: float = ranged(0.03, 0.0, 0.1)
    width_margin: float = ranged(0.005, 0.0, 0.1)
    opening_steps: tuple[float, ...] = (0.01, 0.02)
    advance_steps: tuple[float, ...] = (0.005, 0.01)
    deepen: bool = True
    retreat_steps: tuple[float, ...] = (0.005, 0.01)
    collision: bool = True
    cloud_spacing: float = ranged(0.0025, 0.0, 0.05)
    max_incidence: float = ranged(80.0, 1.0, 90.0)
    min_points_between: int = ranged(5, 0, 1000000)
    min_depth_between: float = ranged(0.002, 0.0, 0.1)
    full_support: int = ranged(20, 0, 1000000)
    max_missing_between: float = ranged(1.0, 0.01, 1.0)
    max_points_hit: int = ranged(1, 0, 1000000)
    finger_margin: float = ranged(0.002, 0.0, 0.05)
    palm_margin: float = ranged(0.004, 0.0, 0.05)
    approach_distance: float = ranged(0.0, 0.0, 0.5)
    table_clearance: float = ranged(0.006, 0.0, 0.1)
    table_tolerance: float = ranged(0.002, 0.0, 0.1)
    find_table: bool = True
    table: TableConfig = field(default_factory=TableConfig)
    max_grasps: int = ranged(100, 1, 10000)
    duplicate_distance: float = ranged(0.0, 0.0, 1.0)
    duplicate_angle: float = ranged(20.0, 0.0, 180.0)

    def without_gripper(self) -> FilterConfig:
        """Without what the benchmark's metric does not know: width, collision, workspace, angle."""
        return replace(
            self, workspace=None, max_approach_angle=180.0, limit_width=False, collision=False,
            find_table=False,
        )  # fmt: skip

    def __post_init__(self) -> None:
        if self.workspace is not None:
            low, high = self.workspace[:3], self.workspace[3:]
            ordered = all(a < b for a, b in zip(low, high, strict=True))
            require(ordered, f"workspace corners are not ordered: {low} to {high}")
        require(
            all(0 < step <= 0.2 for step in self.opening_steps),
            f"opening_steps must be up to 0.2 m and positive, got {self.opening_steps}",
        )
        for name in ("advance_steps", "retreat_steps"):
            steps = getattr(self, name)
            require(
                all(0 < step <= 0.1 for step in steps),
                f"{name} must be up to 0.1 m and positive, got {steps}",
            )
        check_ranges(self)


@dataclass(frozen=True)
class RankingConfig:
    """Score of a grasp: confidence x exp(-reprojection_error / scale), and on a switch x the share.

    The filters lower it where the jaws hold little (``FilterConfig.full_support``).

    Attributes:
        reprojection_scale: Reprojection error [px] that lowers the score by 1/e.
        uncertainty: Multiply by the expected share of the pose distribution within the tolerances.
        translation_tolerance, rotation_tolerance: Tolerances of the origin [m] and rotation [deg].
        temperature: Factor on the predicted covariance; ``kgnpro evaluate`` prints the one that
            fits the errors.
    """

    reprojection_scale: float = ranged(10.0, 0.01, 10000.0)
    uncertainty: bool = False
    translation_tolerance: float = ranged(0.01, 0.0001, 10.0)
    rotation_tolerance: float = ranged(10.0, 0.01, 360.0)
    temperature: float = ranged(1.0, 0.001, 1000.0)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class DetectorConfig:
    """Everything that :class:`kgnpro_ros.pipeline.GraspDetector` needs.

    Attributes:
        model: Path of a ``.safetensors`` file, or the name of a shipped model.
        device: ``auto`` (CUDA when there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        runtime: What runs the network. ``auto`` takes the fastest that is installed and says which.
            All but torch, compiled and half read an ONNX file beside the model. ``int8`` is faster
            on a CPU and finds other grasps; ``auto`` never takes it.
        gripper: Preset name or path of a gripper file.
    """

    model: str = "lite"
    device: str = "auto"
    runtime: Literal[
        "auto", "torch", "compiled", "half", "onnxruntime", "onnxruntime-cuda", "tensorrt",
        "openvino", "int8",
    ] = "auto"  # fmt: skip
    gripper: str = "franka_hand"
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    pnp: PnPConfig = field(default_factory=PnPConfig)
    filters: FilterConfig = field(default_factory=FilterConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)
