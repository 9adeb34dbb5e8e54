# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated camera on the hand, over DDS: it moves with the arm, and what it sees stays."""

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from rclpy.parameter import Parameter
from rclpy.time import Time
from ros_graph import wait_until
from test_ros_sim_node import OPTICAL, PARAMETERS, Listener, way

from kgnpro_ros.geometry.se3 import invert, transform_points
from kgnpro_ros.ros.camera_publisher import COLOR_TOPIC
from kgnpro_ros.ros.conversions import matrix_from_transform

pytest.importorskip("mujoco")
from kgnpro_ros.data.render import make_gl_context
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.ros.sim_node import SimNode
from kgnpro_ros.simulation import panda
from kgnpro_ros.simulation.camera import wrist_camera_pose


@pytest.fixture(scope="module")
def sim(spin):
    try:
        make_gl_context()
    except DatasetError as error:
        pytest.skip(str(error))
    overrides = {**PARAMETERS, "camera": "wrist", "overview_rate": 0.0}
    return spin(SimNode(
        parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()],
        use_global_arguments=False,
    ))  # fmt: skip


@pytest.fixture(scope="module")
def listener(spin, sim):
    return spin(Listener())


def at_stamp(listener, target):
    """The next frame, and ``T_target_optical`` at its very stamp."""
    image = listener.frame()
    stamp = Time.from_msg(listener.received[COLOR_TOPIC].header.stamp)
    assert wait_until(lambda: listener.buffer.can_transform(target, OPTICAL, stamp))
    message = listener.buffer.lookup_transform(target, OPTICAL, stamp)
    return image, matrix_from_transform(message.transform)


def heights(image, T_world_optical):
    cloud = image.camera.point_cloud(image.depth).reshape(-1, 3)
    return transform_points(T_world_optical, cloud[np.isfinite(cloud).all(axis=1)])[:, 2]


def test_it_hangs_on_the_hand_and_sees_the_table(listener, sim):
    image, T_world_optical = at_stamp(listener, "world")
    hand = listener.transform("panda_hand", OPTICAL)
    np.testing.assert_allclose(hand, wrist_camera_pose(sim._world), atol=1e-6)
    z = heights(image, T_world_optical)
    assert abs(np.median(z[np.abs(z) < 0.005])) < 1e-3
    assert (np.abs(z) < 0.003).mean() > 0.3
    assert (z > 0.01).mean() > 0.005


@pytest.mark.slow
def test_what_it_sees_stays_where_it_is_while_the_arm_moves(listener):
    """Images in mid-motion, each with the transform at its own stamp, agree on the table."""
    _, before = at_stamp(listener, "world")
    goal = panda.WRIST_HOME.copy()
    goal[[0, 5]] += (0.3, 0.15)
    call = listener.send(listener.arm, way((6.0, goal)))
    assert call.accepted
    moved = 0.0
    while not call.done:
        image, pose = at_stamp(listener, "world")
        moved = max(moved, float(np.linalg.norm((invert(before) @ pose)[:3, 3])))
        z = heights(image, pose)
        # The state is published 25 times a second: between two, the arm is where TF has it to mm.
        assert abs(np.median(z[np.abs(z) < 0.02])) < 4e-3
    assert call.status == GoalStatus.STATUS_SUCCEEDED
    assert moved > 0.05
