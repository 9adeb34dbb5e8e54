# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Moves the simulated Panda without a planner: inverse kinematics by damped least squares."""

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from kgnpro_ros.execution.trajectory import JointTrajectory
from kgnpro_ros.geometry import load_gripper
from kgnpro_ros.simulation import panda

GRIPPER = load_gripper("franka_hand")


class PandaKinematics:
    """Forward and inverse kinematics of the arm alone, in its base frame."""

    def __init__(self):
        spec = mujoco.MjSpec()
        panda.add_panda(spec, (0.0, 0.0, 0.0), 1.0)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.hand = self.model.body(panda.HAND).id
        self.limits = self.model.jnt_range[:7]

    def forward(self, joints):
        self.data.qpos[:7] = joints
        mujoco.mj_kinematics(self.model, self.data)
        pose = np.eye(4)
        pose[:3, :3] = self.data.xmat[self.hand].reshape(3, 3)
        pose[:3, 3] = self.data.xpos[self.hand]
        return pose

    def inverse(self, T_base_hand, start):
        joints = np.array(start, float)
        for _ in range(300):
            pose = self.forward(joints)
            mujoco.mj_comPos(self.model, self.data)
            turn = Rotation.from_matrix(T_base_hand[:3, :3] @ pose[:3, :3].T).as_rotvec()
            error = np.concatenate([T_base_hand[:3, 3] - pose[:3, 3], turn])
            if np.abs(error).max() < 1e-5:
                return joints
            jacobian = np.zeros((6, self.model.nv))
            mujoco.mj_jacBody(self.model, self.data, jacobian[:3], jacobian[3:], self.hand)
            J = jacobian[:, :7]
            null = 0.02 * (start - joints)
            step = J.T @ np.linalg.solve(J @ J.T + 1e-5 * np.eye(6), error - J @ null) + null
            joints = np.clip(joints + np.clip(step, -0.2, 0.2), *self.limits.T)
        raise AssertionError(f"no joints for {T_base_hand.tolist()}")


def smooth(start, end, seconds=None, points=20):
    """A trajectory straight through joint space that starts and ends at rest."""
    seconds = seconds or max(0.5, 1.5 * float(np.abs(end - start).max()))
    s = np.linspace(0, 1, points)
    way, rate = s**2 * (3 - 2 * s), 6 * s * (1 - s) / seconds
    positions = start + way[:, None] * (end - start)
    return JointTrajectory(panda.ARM_JOINTS, s * seconds, positions, rate[:, None] * (end - start))


def straight(kinematics, start, T_base_hand, seconds=1.0, points=12):
    """A trajectory whose hand moves straight up or down, or wherever, turning not at all."""
    first = kinematics.forward(start)[:3, 3]
    s = np.linspace(0, 1, points)
    way = s**2 * (3 - 2 * s)
    joints, pose = [np.array(start)], T_base_hand.copy()
    for part in way[1:]:
        pose[:3, 3] = first + part * (T_base_hand[:3, 3] - first)
        joints.append(kinematics.inverse(pose, joints[-1]))
    positions = np.array(joints)
    velocities = np.gradient(positions, s * seconds, axis=0)
    velocities[[0, -1]] = 0.0
    return JointTrajectory(panda.ARM_JOINTS, s * seconds, positions, velocities)


def top_grasp(x, y, z, yaw=0.0):
    """``T_world_grasp`` straight from above; the fingers close along the world's y at yaw 0."""
    rotation = np.stack([(0, 0, -1.0), (1.0, 0, 0), (0, -1.0, 0)], axis=-1)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0, 0, yaw]).as_matrix() @ rotation
    pose[:3, 3] = x, y, z
    return pose


def pick(world, controllers, kinematics, T_world_grasp, width=0.08, lift=0.1):
    """Approach from 0.1 m back, close, lift straight up; returns the gripper's state."""
    T_base_hand = np.linalg.inv(world.T_world_base) @ GRIPPER.tool_poses(T_world_grasp[None])[0]
    approach = T_base_hand @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -0.1], [0, 0, 0, 1]])
    above = kinematics.inverse(approach, controllers.joints())
    controllers.move_gripper(width)
    controllers.follow(smooth(controllers.joints(), above))
    controllers.follow(straight(kinematics, above, T_base_hand))
    state = controllers.move_gripper(0.0)
    lifted = T_base_hand.copy()
    lifted[2, 3] += lift
    controllers.follow(straight(kinematics, controllers.joints(), lifted))
    return state
