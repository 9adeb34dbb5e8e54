# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Start a node, spin it, and leave cleanly on SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from kgnpro_ros.exceptions import KGNProError


def run_node(
    make_node: Callable[[], Node],
    make_executor: Callable[[], Executor] = SingleThreadedExecutor,
    args: Sequence[str] | None = None,
    *,
    graceful: bool = False,
) -> int:
    """Spin one node until the process is told to end.

    Args:
        make_node: Makes the node; it may have a method ``close``.
        make_executor: Makes what spins it.
        args: Command line; None is that of the process.
        graceful: Keep ROS up until ``close`` has returned, so that it can stop a robot. The node
            must have a timer: signals are looked at when something happens.

    Returns:
        Exit code: 0 after a signal, 2 when the node could not start.
    """
    # rclpy's handlers call this one: SIGTERM also ends the loading of a model, as SIGINT does.
    signal.signal(signal.SIGTERM, _interrupt)
    options = SignalHandlerOptions.NO if graceful else None
    if graceful:
        signal.signal(signal.SIGINT, _interrupt)
    rclpy.init(args=list(args) if args is not None else None, signal_handler_options=options)
    try:
        _spin(make_node, make_executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except KGNProError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RuntimeError:
        # A signal ends the ROS context under a node that is still being made.
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()
    return 0


def _spin(make_node: Callable[[], Node], make_executor: Callable[[], Executor]) -> None:
    node = executor = None
    try:
        node = make_node()
        executor = make_executor()
        executor.add_node(node)
        executor.spin()
    finally:
        if node is not None:
            if hasattr(node, "close"):
                node.close()
            if executor is not None:
                executor.shutdown(timeout_sec=2.0)
            node.destroy_node()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
