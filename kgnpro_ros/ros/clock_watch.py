# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""With use_sim_time and without /clock time stands still: no timer of a node fires, in silence."""

from __future__ import annotations

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock as ClockMsg

from kgnpro_ros.ros.inputs import publisher_problem, type_name, who_publishes
from kgnpro_ros.ros.problems import ProblemLog

TOPIC = "/clock"
#: As rclpy subscribes to it.
CLOCK_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
WATCH_PERIOD, LOG_PERIOD = 1.0, 10.0


def missing_clock(node: Node) -> str:
    """Why the time of a node does not run, or an empty string while it does."""
    if not node.get_parameter("use_sim_time").value or node.get_clock().now().nanoseconds > 0:
        return ""
    problem = publisher_problem(node, TOPIC, ClockMsg, CLOCK_QOS) or (
        f"{who_publishes(node, TOPIC)} is there but sends nothing")  # fmt: skip
    kind = f"{type_name(ClockMsg)}, {CLOCK_QOS.reliability.name.lower()}"
    return f"the time on {TOPIC} ({kind}), since use_sim_time is true: {problem}"


class ClockWatch:
    """Says that a node waits for the time, for nodes that wait for nothing else.

    Args:
        node: Owns the timer, which does not need the time that may be missing.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._problems = ProblemLog(node.get_logger(), LOG_PERIOD)
        self._timer = node.create_timer(
            WATCH_PERIOD, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    @property
    def last(self) -> str:
        """What was missing last, with its age; empty if nothing was."""
        return self._problems.last

    def _look(self) -> None:
        missing = missing_clock(self._node)
        if missing:
            self._problems.report(f"waiting for {missing}", error=False)
        else:
            self._problems.resolved("the time runs")
