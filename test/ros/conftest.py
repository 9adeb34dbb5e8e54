# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS graph of its own for the tests: random domain, this machine only, nothing left behind."""

from __future__ import annotations

import gc
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


class Spinner:
    """Spins nodes in a background thread: call it with a node, get the node."""

    def __init__(self):
        self._executor = MultiThreadedExecutor(num_threads=10)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._nodes = []
        self._thread.start()

    def _spin(self):
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def __call__(self, node):
        self._executor.add_node(node)
        self._nodes.append(node)
        return node

    def drop(self, node):
        """Let a node do nothing more; it is destroyed at the end, when nobody waits on it."""
        if hasattr(node, "close"):
            node.close()
        self._executor.remove_node(node)

    def pause(self):
        """Spin no more; what runs goes on. Only now a test may destroy what a node serves."""
        self._end()
        # Asked in another way, rclpy lets go of what it waited for: till then it stays in use.
        self._executor.spin_once(timeout_sec=0)

    def _end(self):
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def close(self):
        for node in self._nodes:
            if hasattr(node, "close"):
                node.close()
        self._end()
        self._executor.shutdown(timeout_sec=30)
        for node in self._nodes:
            node.destroy_node()


@pytest.fixture(scope="module")
def spin(ros):
    spinner = Spinner()
    yield spinner
    spinner.close()


@pytest.fixture
def spin_apart(ros):
    """A spinner of its own, for nodes that are taken apart while others work."""
    spinner = Spinner()
    yield spinner
    spinner.close()


@pytest.fixture
def local(spin):
    """As ``spin``, for nodes that one test needs: they work no longer than it does."""
    nodes = []

    def add(node):
        nodes.append(spin(node))
        return node

    yield add
    for node in nodes:
        spin.drop(node)


@pytest.fixture(scope="module", autouse=True)
def no_late_words():
    """Collect what a module leaves: rclpy complains on stderr whenever a task dies, then here."""
    yield
    gc.collect()
