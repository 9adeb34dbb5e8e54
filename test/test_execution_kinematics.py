# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Kinematics of the Panda against MuJoCo's reading of the same URDF, and differences."""

import re
from importlib import metadata

import mujoco
import numpy as np
import pytest

from kgnpro_ros.execution.kinematics import Kinematics
from kgnpro_ros.execution.robot_model import convex_shape, panda_model

HOME = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])


@pytest.fixture(scope="module")
def model():
    return panda_model()


@pytest.fixture(scope="module")
def kinematics(model):
    return Kinematics(model)


@pytest.fixture(scope="module")
def states(model):
    return np.random.default_rng(1).uniform(model.lower, model.upper, (60, 7))


@pytest.fixture(scope="module")
def mujoco_panda():
    (urdf,) = (
        file.locate()
        for file in metadata.files("example-robot-data")
        if str(file).endswith("panda_description/urdf/panda.urdf")
    )
    text = re.sub(r"<(visual|collision)>.*?</\1>", "", urdf.read_text(), flags=re.DOTALL)
    options = '<mujoco><compiler fusestatic="false"/></mujoco>'
    text = re.sub(r"(<robot [^>]*>)", rf"\1{options}", text, count=1)
    return mujoco.MjModel.from_xml_string(text)


def mujoco_pose(model, joints, body):
    data = mujoco.MjData(model)
    data.qpos[:7] = joints
    mujoco.mj_kinematics(model, data)
    pose = np.eye(4)
    pose[:3, :3] = data.body(body).xmat.reshape(3, 3)
    pose[:3, 3] = data.body(body).xpos
    return pose


def test_the_tool_is_where_mujoco_has_it(kinematics, states, mujoco_panda):
    for joints, pose in zip(states, kinematics.forward(states), strict=True):
        expected = mujoco_pose(mujoco_panda, joints, "panda_hand")
        np.testing.assert_allclose(pose, expected, atol=1e-9)


def test_the_model_has_the_limits_of_the_urdf(model, mujoco_panda):
    np.testing.assert_allclose(
        np.stack([model.lower, model.upper], axis=1), mujoco_panda.jnt_range[:7], atol=1e-9
    )
    assert model.joint_names == tuple(f"panda_joint{n}" for n in range(1, 8))
    np.testing.assert_allclose(model.velocity, [2.175] * 4 + [2.61] * 3)


def test_the_jacobian_is_the_derivative(kinematics, states):
    pose, jacobian = kinematics.jacobian(states)
    step = 1e-6
    for joint in range(7):
        moved = kinematics.forward(states + step * np.eye(7)[joint])
        shift = (moved[:, :3, 3] - pose[:, :3, 3]) / step
        turn = (moved[:, :3, :3] - pose[:, :3, :3]) / step @ pose[:, :3, :3].swapaxes(1, 2)
        spin = np.stack([turn[:, 2, 1], turn[:, 0, 2], turn[:, 1, 0]], axis=1)
        np.testing.assert_allclose(jacobian[:, :3, joint], shift, atol=1e-5)
        np.testing.assert_allclose(jacobian[:, 3:, joint], spin, atol=1e-5)


def test_solutions_reach_their_poses_within_the_limits(kinematics, states):
    poses = kinematics.forward(states)
    joints, solved = kinematics.solutions(poses, 8, HOME)
    assert joints.shape == (60, 9, 7)
    assert solved.any(axis=1).mean() > 0.95
    found = joints[solved]
    assert kinematics.within_limits(found).all()
    reached = kinematics.forward(found)
    expected = np.repeat(poses, solved.sum(axis=1), axis=0)
    np.testing.assert_allclose(reached[:, :3, 3], expected[:, :3, 3], atol=2e-5)
    np.testing.assert_allclose(reached[:, :3, :3], expected[:, :3, :3], atol=2e-4)


def test_reachable_knows_near_from_far(kinematics, states):
    poses = kinematics.forward(states)
    assert kinematics.reachable(poses).mean() > 0.97
    far = poses.copy()
    far[:, :3, 3] *= 1.5 / np.linalg.norm(far[:, :3, 3], axis=1, keepdims=True)
    assert not kinematics.reachable(far).any()
    below = poses[:3].copy()
    below[:, :3, 3] = (0.0, 0.0, 0.3)  # inside the foot of the arm
    below[:, :3, :3] = np.diag([1.0, -1.0, -1.0])
    assert not kinematics.reachable(below).any()
    assert kinematics.reachable(np.zeros((0, 4, 4))).shape == (0,)


def test_reachable_is_the_same_each_time(model, states, kinematics):
    other = Kinematics(model)
    poses = kinematics.forward(states)
    poses[:, :3, 3] *= 1.1
    np.testing.assert_array_equal(kinematics.reachable(poses), other.reachable(poses))


def test_following_stays_next_to_the_start(kinematics):
    pose = kinematics.forward(HOME[None])[0]
    pose[:3, 3] += (0.003, 0.0, -0.004)
    joints = kinematics.follow(pose, HOME)
    assert np.abs(joints - HOME).max() < 0.05
    np.testing.assert_allclose(kinematics.forward(joints[None])[0], pose, atol=1e-4)
    pose[:3, 3] = (2.0, 0.0, 0.5)
    assert kinematics.follow(pose, HOME) is None


def test_collision_shapes_are_closed_hulls_of_the_size_of_the_arm(model):
    for name, shapes in model.shapes.items():
        for shape in shapes:
            corners = shape.vertices[shape.faces]
            volume = np.linalg.det(corners).sum() / 6
            assert 1e-7 < volume < 0.004, name
            inside = shape.vertices.mean(axis=0)
            assert (shape.planes[:, :3] @ inside + shape.planes[:, 3] < 0).all()
    lower, upper = (getattr(model.shapes["panda_hand"][0].vertices, f)(0) for f in ("min", "max"))
    np.testing.assert_allclose(upper - lower, (0.063, 0.204, 0.092), atol=0.003)


def test_a_hull_keeps_the_volume_of_a_box():
    corners = np.stack(np.meshgrid([0, 1.0], [0, 2.0], [0, 3.0]), axis=-1).reshape(-1, 3)
    shape = convex_shape(np.concatenate([corners, corners * 0.5 + 0.1]))
    assert len(shape.vertices) == 8
    assert np.linalg.det(shape.vertices[shape.faces]).sum() / 6 == pytest.approx(6.0)
