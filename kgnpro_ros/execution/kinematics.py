# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Forward and inverse kinematics of a chain of revolute joints, batched over states."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from kgnpro_ros.execution.robot_model import RobotModel

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: A joint solution is exact to these distances.
POSITION_TOLERANCE, ROTATION_TOLERANCE = 1e-5, 1e-4

#: Damping of the least-squares step, longest step [rad], and most steps of a search.
DAMPING, LONGEST_STEP, SEARCH_STEPS = 0.02, 0.5, 25

#: States that searches start from, and metres of distance that one radian counts for among them.
LIBRARY_SIZE, METRES_PER_RADIAN = 20_000, 0.2

#: Poses farther from the first joint than all states of the library, and this [m], are far.
REACH_MARGIN = 0.03

#: Most steps to a pose close by.
FOLLOW_STEPS = 15

#: Pull of free joint motion towards the middle of the ranges, as a share per step.
CENTRING = 0.05


class Kinematics:
    """Kinematics of the chain from base to tool.

    Args:
        model: Joints and limits.
        seed: Seed of the states that searches start from.
    """

    def __init__(self, model: RobotModel, seed: int = 0) -> None:
        self.lower, self.upper = model.lower, model.upper
        self._chain = model.chain
        self._middle = (self.lower + self.upper) / 2
        self._cross = [None if j.axis is None else _cross_matrix(j.axis) for j in model.chain]
        rng = np.random.default_rng(seed)
        self._library = rng.uniform(self.lower, self.upper, (LIBRARY_SIZE, len(self.lower)))
        poses, _, points = self._frames(self._library)
        self._tree = cKDTree(_features(poses))
        self._shoulder = points[:, 0].mean(axis=0)  # the first joint does not move it
        self._reach = np.linalg.norm(poses[:, :3, 3] - self._shoulder, axis=1).max() + REACH_MARGIN

    def forward(self, joints: FloatArray) -> FloatArray:
        """Tool poses ``T_base_tool`` of joint positions [rad], (N, J) -> (N, 4, 4)."""
        return self._frames(joints)[0]

    def jacobian(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Tool poses (N, 4, 4), and velocities (v, omega) of the tool per joint, (N, 6, J)."""
        pose, axes, points = self._frames(joints)
        arms = pose[:, None, :3, 3] - points
        return pose, np.concatenate([np.cross(axes, arms), axes], axis=2).swapaxes(1, 2)

    def _frames(self, joints: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Tool poses (N, 4, 4); axes and positions of the joints, each (N, J, 3)."""
        n = len(joints)
        pose = np.broadcast_to(np.eye(4), (n, 4, 4))
        axes, points, column = [], [], 0
        for joint, cross in zip(self._chain, self._cross, strict=True):
            pose = pose @ joint.T_parent_joint
            if joint.axis is None or cross is None:
                continue
            axes.append(pose[:, :3, :3] @ joint.axis)
            points.append(pose[:, :3, 3])
            angle = joints[:, column, None, None]
            turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
            turned = pose.copy()
            turned[:, :3, :3] = pose[:, :3, :3] @ turn
            pose, column = turned, column + 1
        return pose, np.stack(axes, axis=1), np.stack(points, axis=1)

    def within_limits(self, joints: FloatArray) -> BoolArray:
        """Whether all positions are within the limits, (..., J) -> (...)."""
        inside: BoolArray = ((joints >= self.lower) & (joints <= self.upper)).all(axis=-1)
        return inside

    def solutions(
        self, T_base_tool: FloatArray, count: int, start: FloatArray | None = None
    ) -> tuple[FloatArray, BoolArray]:
        """Search joint positions for poses from several seeds: those with the most similar poses.

        Args:
            T_base_tool: Poses, shape (N, 4, 4).
            count: Number of seeds S per pose.
            start: One more seed for all poses [rad], shape (J,), or None.

        Returns:
            Joint positions (N, S, J) and which of them reach their pose, (N, S).
        """
        n = len(T_base_tool)
        nearest = self._tree.query(_features(T_base_tool), k=count)[1].reshape(n, count)
        seeds = self._library[nearest]
        if start is not None:
            seeds = np.concatenate([np.broadcast_to(start, (n, 1, len(start))), seeds], axis=1)
        poses = np.repeat(T_base_tool, seeds.shape[1], axis=0)
        joints, solved = self.search(poses, seeds.reshape(len(poses), -1))
        return joints.reshape(seeds.shape), solved.reshape(seeds.shape[:2])

    def reachable(self, T_base_tool: FloatArray) -> BoolArray:
        """Which poses (N, 4, 4) have a joint solution within the limits, (N,)."""
        reached = np.zeros(len(T_base_tool), dtype=bool)
        far = np.linalg.norm(T_base_tool[:, :3, 3] - self._shoulder, axis=1) > self._reach
        for count in (1, 4, 16):  # most poses need one seed only
            missing = np.flatnonzero(~(reached | far))
            if len(missing):
                reached[missing] = self.solutions(T_base_tool[missing], count)[1].any(axis=1)
        return reached

    def search(self, T_base_tool: FloatArray, seeds: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Search joint positions for poses, within the limits, each from its own seed.

        Damped least squares; positions are kept within the limits at every step.

        Args:
            T_base_tool: Poses, shape (N, 4, 4).
            seeds: Where each search starts [rad], shape (N, J).

        Returns:
            Joint positions (N, J) and whether they reach the pose, (N,).
        """
        joints = np.clip(seeds, self.lower, self.upper)
        solved = np.zeros(len(joints), dtype=bool)
        active = np.arange(len(joints))
        for _ in range(SEARCH_STEPS):
            pose, jacobian = self.jacobian(joints[active])
            error = pose_error(pose, T_base_tool[active])
            done = _small(error)
            solved[active[done]] = True
            active = active[~done]
            if len(active) == 0:
                break
            step = _damped_step(jacobian[~done], error[~done])
            joints[active] = np.clip(joints[active] + step, self.lower, self.upper)
        return joints, solved

    def follow(self, T_base_tool: FloatArray, start: FloatArray) -> FloatArray | None:
        """The joint positions next to ``start`` for a pose close by; limits are not looked at.

        Args:
            T_base_tool: Pose, shape (4, 4).
            start: Joint positions [rad], shape (J,), next to which the solution lies.

        Returns:
            Joint positions [rad], shape (J,), or None where the arm cannot go (a singularity).
        """
        joints = start[None].copy()
        for number in range(FOLLOW_STEPS):
            pose, jacobian = self.jacobian(joints)
            error = pose_error(pose, T_base_tool[None])
            if number > 0 and _small(error)[0]:
                result: FloatArray = joints[0]
                return result
            step = _damped_step(jacobian, error)
            if number == 0:
                step += self._centring(jacobian[0], joints[0])
            joints = joints + step
        return None

    def _centring(self, jacobian: FloatArray, joints: FloatArray) -> FloatArray:
        """A small step towards the middle of the ranges that leaves the tool where it is."""
        free = np.eye(len(joints)) - np.linalg.pinv(jacobian) @ jacobian
        step: FloatArray = CENTRING * (free @ (self._middle - joints))
        return np.clip(step, -0.02, 0.02)


def pose_error(pose: FloatArray, target: FloatArray) -> FloatArray:
    """Translation [m] and rotation vector [rad] from poses to targets, (N, 6), in base axes."""
    turn = target[:, :3, :3] @ pose[:, :3, :3].swapaxes(1, 2)
    shift = target[:, :3, 3] - pose[:, :3, 3]
    return np.concatenate([shift, Rotation.from_matrix(turn).as_rotvec()], axis=1)


def _small(error: FloatArray) -> BoolArray:
    position = np.linalg.norm(error[:, :3], axis=1) < POSITION_TOLERANCE
    small: BoolArray = position & (np.linalg.norm(error[:, 3:], axis=1) < ROTATION_TOLERANCE)
    return small


def _damped_step(jacobian: FloatArray, error: FloatArray) -> FloatArray:
    """Joint steps (N, J) that reduce errors (N, 6); the damping fades with the error."""
    size = np.minimum(np.linalg.norm(error, axis=1), 1.0)
    damping = (DAMPING * size) ** 2 + 1e-10
    gram = jacobian @ jacobian.swapaxes(1, 2) + damping[:, None, None] * np.eye(6)
    step: FloatArray = (jacobian.swapaxes(1, 2) @ np.linalg.solve(gram, error[..., None]))[..., 0]
    longest = np.abs(step).max(axis=1, keepdims=True)
    step *= np.minimum(1.0, LONGEST_STEP / np.maximum(longest, 1e-12))
    return step


def _features(poses: FloatArray) -> FloatArray:
    """Points (N, 12) whose distances tell how similar poses are."""
    # Rotations that differ by a small angle have matrices that differ by sqrt(2) times as much.
    turn = poses[:, :3, :3].reshape(-1, 9) * (METRES_PER_RADIAN / np.sqrt(2))
    return np.concatenate([poses[:, :3, 3], turn], axis=1)


def _cross_matrix(axis: FloatArray) -> FloatArray:
    x, y, z = axis
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
