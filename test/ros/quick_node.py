# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The detector node as a process of its own, without PyTorch: ``python quick_node.py --ros-args``.

Everything but the network is the real thing: the executor, the signal handlers, DDS.
"""

import sys

from rclpy.executors import MultiThreadedExecutor
from ros_graph import QuickDetector

from kgnpro_ros.ros.detector_node import THREADS, GraspDetectorNode
from kgnpro_ros.ros.spinning import run_node


def make_node():
    node = GraspDetectorNode(detector_factory=QuickDetector)
    node.autostart()
    return node


if __name__ == "__main__":
    sys.exit(run_node(make_node, lambda: MultiThreadedExecutor(THREADS)))
