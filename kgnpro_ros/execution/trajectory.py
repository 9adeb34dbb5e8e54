# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A motion of the arm's joints over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.exceptions import ShapeError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class JointTrajectory:
    """Way points with times, ready for a controller.

    Attributes:
        names: Joint names, J of them.
        times: Seconds from the start, increasing from 0, shape (T,).
        positions: Joint positions [rad], shape (T, J).
        velocities: Joint velocities [rad/s], shape (T, J).
    """

    names: tuple[str, ...]
    times: FloatArray
    positions: FloatArray
    velocities: FloatArray

    def __post_init__(self) -> None:
        shape = (len(self.times), len(self.names))
        if len(self.times) < 1 or self.times[0] != 0.0 or (np.diff(self.times) <= 0).any():
            raise ShapeError(f"times are {self.times}; expected values that increase from 0")
        for name in ("positions", "velocities"):
            array = getattr(self, name)
            if array.shape != shape:
                raise ShapeError(f"{name} has shape {array.shape}; expected {shape}")
            if not np.isfinite(array).all():
                raise ShapeError(f"{name} of a trajectory holds values that are not finite")

    @property
    def duration(self) -> float:
        """Time from first to last way point [s]."""
        return float(self.times[-1])

    def at(self, time: float) -> FloatArray:
        """Joint positions [rad] at a time [s], linear between way points, shape (J,)."""
        return np.array([np.interp(time, self.times, column) for column in self.positions.T])
