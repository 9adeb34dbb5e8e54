# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The fastest way along a joint path within velocity and acceleration limits (TOPP-RA)."""

from __future__ import annotations

import logging

import numpy as np
import toppra
from numpy.typing import NDArray
from toppra import algorithm, constraint

from kgnpro_ros.exceptions import PlanningError
from kgnpro_ros.execution.trajectory import JointTrajectory

FloatArray = NDArray[np.float64]

logging.getLogger("toppra").setLevel(logging.ERROR)  # it reports its own retries

#: Time between way points [s].
TIME_STEP = 0.04

#: Points on the path at which the limits are held, and the share of the limits that is used: they
#: are exceeded a little between these points.
GRID_POINTS, SHARE = 200, 0.99


def time_path(
    names: tuple[str, ...], path: FloatArray, velocity: FloatArray, acceleration: FloatArray
) -> JointTrajectory:
    """Give times to a path; it starts and ends at rest.

    Args:
        names: Joint names, J of them.
        path: States [rad], shape (N, J), N >= 2; a cubic spline goes through them.
        velocity: Velocity limits [rad/s], shape (J,).
        acceleration: Acceleration limits [rad/s^2], shape (J,).

    Raises:
        PlanningError: If the path cannot be timed.
    """
    length = np.abs(np.diff(path, axis=0)).max(axis=1)
    path = path[np.concatenate([[True], length > 1e-9])]
    if len(path) < 2:
        return JointTrajectory(names, np.zeros(1), path[:1], np.zeros((1, len(names))))
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    spline = toppra.SplineInterpolator(at, path)
    velocity, acceleration = SHARE * velocity, SHARE * acceleration
    limits = [
        constraint.JointVelocityConstraint(np.stack([-velocity, velocity], axis=1)),
        constraint.JointAccelerationConstraint(np.stack([-acceleration, acceleration], axis=1)),
    ]
    grid = np.linspace(0.0, at[-1], GRID_POINTS + 1)
    solver = algorithm.TOPPRA(limits, spline, grid, parametrizer="ParametrizeConstAccel")
    timed = solver.compute_trajectory(0.0, 0.0)
    if timed is None:
        raise PlanningError(f"a path of {len(path)} states cannot be timed within the limits")
    times = np.linspace(0.0, timed.duration, max(2, int(np.ceil(timed.duration / TIME_STEP)) + 1))
    positions, velocities = timed(times), timed(times, 1)
    velocities[[0, -1]] = 0.0
    return JointTrajectory(names, times, positions, velocities)
