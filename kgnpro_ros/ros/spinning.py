# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Start a node, spin it, and leave cleanly on SIGINT or SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.ros.delivery import may_be_lost
from kgnpro_ros.ros.transport import room_for_images

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_node(
    make_node: Callable[[], Node],
    make_executor: Callable[[], Executor] = SingleThreadedExecutor,
    args: Sequence[str] | None = None,
) -> int:
    """Spin one node until the process is told to end.

    A signal that comes while the node is made breaks that off. Afterwards it only ends the
    spinning: ROS is up until ``close`` has returned, so that a node can stop a robot. With rclpy's
    own handlers the context would go down in another thread while this one still uses it, and an
    interrupt in the midst of rclpy leaves objects behind that complain when they are collected.

    Args:
        make_node: Makes the node; it may have a method ``close``.
        make_executor: Makes what spins it.
        args: Command line; None is that of the process.

    Returns:
        Exit code: 0 after a signal, 2 when the node could not start.
    """
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    os.environ.update(room_for_images(os.environ))
    try:
        rclpy.init(
            args=list(args) if args is not None else None,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        _spin(make_node, make_executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except KGNProError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        _ignore_signals()
        rclpy.try_shutdown()
    return 0


def _spin(make_node: Callable[[], Node], make_executor: Callable[[], Executor]) -> None:
    node = make_node()
    with _told_to_end(node.get_logger()) as end:
        executor = make_executor()
        try:
            executor.add_node(node)
            while not end.done():
                with may_be_lost(node.get_logger()):
                    executor.spin_until_future_complete(end)
        finally:
            if hasattr(node, "close"):
                node.close()
            executor.shutdown(timeout_sec=2.0)
            node.destroy_node()


@contextmanager
def _told_to_end(logger: RcutilsLogger) -> Iterator[Future]:
    """A future that is done after a signal; from here on signals break nothing off any more.

    The main thread waits in ROS, where Python runs no handlers: what Python's own handler writes
    into a pipe wakes another thread, which ends the wait.
    """
    end: Future = Future()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _ignore_signals()

    def watch() -> None:
        # The number of the signal, or nothing at the end of the block.
        number = os.read(reader, 1)
        if number:
            logger.info(f"told to end by {signal.Signals(number[0]).name}")
        end.set_result(None)

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield end
    finally:
        signal.set_wakeup_fd(previous)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _ignore_signals() -> None:
    """Without SIG_IGN: an ignored signal would not be written into the pipe."""
    for number in SIGNALS:
        signal.signal(number, _nothing)


def _nothing(number: int, frame: object) -> None:
    return


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
