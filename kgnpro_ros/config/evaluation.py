# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from kgnpro_ros.config.checks import check_ranges, ranged, require


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
        scenes, views: Only so many scenes, and views of each; None takes all.
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
    scenes: int | None = None
    views: int | None = None
    bootstrap_samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        require(min(*self.distances, *self.angles) > 0, "evaluation thresholds must be positive")
        require(
            self.curve_points >= 2 and self.bootstrap_samples >= 1 and self.max_grasps >= 1,
            "expected curve_points >= 2, bootstrap_samples >= 1 and max_grasps >= 1",
        )
        require(
            self.rotation_samples >= 2 and self.translation_samples >= 1,
            "expected rotation_samples >= 2 and translation_samples >= 1",
        )
        for name in ("scenes", "views"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} must be at least 1, got {value}")


@dataclass(frozen=True)
class StageConfig:
    """When a stage of the detector counts as passed, for the table of losses.

    Attributes:
        distance, angle: Tolerance of the match [m, deg].
        keypoint_error: Largest root-mean-square error of keypoints that are not off [px].
    """

    distance: float = ranged(0.02, 0.0001, 1.0)
    angle: float = ranged(20.0, 0.01, 180.0)
    keypoint_error: float = ranged(8.0, 0.01, 1000.0)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class CalibrationConfig:
    """How predicted covariances are compared with errors.

    Attributes:
        rotation_samples, translation_samples: Density of the ground truth; dense, because the
            distance to a sparse sampling would count as error.
        gate_distance, gate_angle: Predictions farther than this [m, deg] from all ground truth
            are failures, not errors of a pose.
    """

    rotation_samples: int = ranged(180, 2, 10000)
    translation_samples: int = ranged(20, 1, 10000)
    gate_distance: float = ranged(0.05, 0.001, 1.0)
    gate_angle: float = ranged(45.0, 1.0, 180.0)

    def __post_init__(self) -> None:
        check_ranges(self)
