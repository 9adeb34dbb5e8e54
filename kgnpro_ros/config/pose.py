# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the pose distribution and the loss on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from kgnpro_ros.config.checks import check_ranges, ranged, require
from kgnpro_ros.config.detector import PnPConfig


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

    samples: int = ranged(512, 2, 1000000)
    rounds: int = ranged(4, 2, 100)
    mode_gap: float = ranged(10.0, 0.1, 1000000.0)
    minor_mode_share: float = ranged(0.05, 0.0, 0.5)
    initial_share: float = ranged(0.1, 0.001, 1.0)
    position_ridge: float = ranged(1e-4, 1e-6, 0.1)
    rotation_ridge: float = ranged(5e-4, 1e-6, 1.0)

    def __post_init__(self) -> None:
        check_ranges(self)
        require(
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

    norm_momentum: float = ranged(0.01, 0.0, 1.0)
    match_gate: float = ranged(0.05, 0.0001, 10.0)
    pnp: PnPConfig = field(default_factory=PnPConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)

    def __post_init__(self) -> None:
        check_ranges(self)
