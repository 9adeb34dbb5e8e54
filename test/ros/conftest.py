# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS graph of its own for the tests: random domain, this machine only, nothing left behind."""

from __future__ import annotations

import os
import random
import threading

import pytest

# Before anything initialises ROS: tests must not talk to a robot, nor to each other.
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_LOCALHOST_ONLY"] = "1"

collect_ignore_glob: list[str] = []
try:
    import rclpy
    from rclpy.executors import MultiThreadedExecutor

    from kgnpro_ros import msg as _msg  # noqa: F401

    MISSING = ""
except ImportError as error:
    MISSING = str(error)
    collect_ignore_glob = ["test_*.py"]


def pytest_report_header():
    return f"ROS tests left out: {MISSING}" if MISSING else None


def pytest_collection_modifyitems(items):
    for item in items:
        if "test/ros/" in str(item.path).replace(os.sep, "/"):
            item.add_marker(pytest.mark.ros)


@pytest.fixture(scope="session")
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="module")
def spin(ros):
    """Spins nodes in a background thread: call it with a node, get the node."""
    executor = MultiThreadedExecutor(num_threads=10)
    stop = threading.Event()
    nodes = []

    def spin_executor():
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin_executor, daemon=True)

    def add(node):
        executor.add_node(node)
        nodes.append(node)
        if not thread.is_alive():
            thread.start()
        return node

    yield add
    for node in nodes:
        if hasattr(node, "close"):
            node.close()
    stop.set()
    if thread.is_alive():
        thread.join(timeout=10)
    executor.shutdown(timeout_sec=10)
    for node in nodes:
        node.destroy_node()
