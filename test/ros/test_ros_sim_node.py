# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import time

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from tf2_ros import Buffer, TransformListener

from kgnpro_ros.geometry.se3 import transform_points
from kgnpro_ros.ros.camera_publisher import COLOR_TOPIC, DEPTH_TOPIC, INFO_TOPIC
from kgnpro_ros.ros.conversions import InputOptions, matrix_from_transform, rgbd_from_messages

pytest.importorskip("mujoco")
from kgnpro_ros.data.render import make_gl_context
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.ros.sim_node import SimNode

PARAMETERS = {"seed": 3, "mode": "multi", "look": "kgn", "depth_noise": False, "rate": 20.0}


class Graph:
    """Simulator and listener in one thread: an OpenGL context belongs to a thread."""

    def __init__(self):
        overrides = [Parameter(name, value=value) for name, value in PARAMETERS.items()]
        self.sim = SimNode(parameter_overrides=overrides, use_global_arguments=False)
        self.node = rclpy.create_node("sim_listener", use_global_arguments=False)
        self.received = {}
        for topic, kind in ((COLOR_TOPIC, Image), (DEPTH_TOPIC, Image), (INFO_TOPIC, CameraInfo)):
            self.node.create_subscription(
                kind, topic, lambda m, t=topic: self.received.__setitem__(t, m), 5
            )
        self.buffer = Buffer()
        self.tf = TransformListener(self.buffer, self.node)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.sim)
        self.executor.add_node(self.node)

    def spin_until(self, condition, wait=10.0):
        deadline = time.monotonic() + wait
        while not condition() and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.05)
        assert condition()

    def frame(self):
        self.received.clear()
        self.spin_until(lambda: len(self.received) == 3)
        messages = (self.received[topic] for topic in (COLOR_TOPIC, DEPTH_TOPIC, INFO_TOPIC))
        return rgbd_from_messages(*messages, InputOptions(0.001, False, False))

    def close(self):
        self.executor.shutdown()
        self.sim.destroy_node()
        self.node.destroy_node()


@pytest.fixture(scope="module")
def graph(ros):
    try:
        make_gl_context()
    except DatasetError as error:
        pytest.skip(str(error))
    graph = Graph()
    yield graph
    graph.close()


def world_points(graph, image):
    frames = ("world", "camera_color_optical_frame", Time())
    graph.spin_until(lambda: graph.buffer.can_transform(*frames))
    matrix = matrix_from_transform(graph.buffer.lookup_transform(*frames).transform)
    cloud = image.camera.point_cloud(image.depth).reshape(-1, 3)
    return transform_points(matrix, cloud[np.isfinite(cloud).all(1)])


def test_depth_intrinsics_and_transforms_agree_on_the_table(graph):
    image = graph.frame()
    assert image.color.shape == (480, 640, 3)
    heights = world_points(graph, image)[:, 2]
    table = np.abs(heights) < 0.002
    # Most of the view is table at z = 0, to the millimetre that 16-bit depth has.
    assert table.mean() > 0.4
    assert abs(np.median(heights[table])) < 5e-4
    assert (heights > 0.01).mean() > 0.005
    assert image.color.std() > 5


def test_the_scene_stands_still_until_the_next_one_is_asked_for(graph):
    first, again = graph.frame(), graph.frame()
    np.testing.assert_array_equal(first.depth, again.depth)
    client = graph.node.create_client(Trigger, "/grasp_sim/next")
    graph.spin_until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    graph.spin_until(future.done)
    assert future.result().message == "scene_1"
    graph.frame()
    other = graph.frame()
    assert not np.array_equal(first.depth, other.depth)
    heights = world_points(graph, other)[:, 2]
    assert (np.abs(heights) < 0.002).mean() > 0.4
