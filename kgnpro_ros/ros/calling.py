# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the clients share: calls of services, and a node that is spun beside the main thread."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import rclpy
from rclpy.client import Client
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node
from std_srvs.srv import Trigger

from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.files import parse_json

#: A call looks this often whether the process was told to end [s].
POLL = 0.2

N = TypeVar("N", bound=Node)


class ClientError(KGNProError):
    """The graph did not deliver what a client asked for."""


def call_service(client: Client, request: Any, start: float, answer: float) -> Any:
    """Call a service from a thread that does not spin the node.

    Args:
        client: Of the service.
        request: Message.
        start: The service may take this long to appear [s].
        answer: And this long to answer [s].

    Raises:
        ClientError: If there is no service or no answer, or the process is told to end.
    """
    if not client.wait_for_service(start):
        raise ClientError(f"no service {client.srv_name} within {start:.0f} s")
    done = threading.Event()
    future = client.call_async(request)
    future.add_done_callback(lambda _: done.set())
    deadline = time.monotonic() + answer
    # In short steps: after a signal nobody would set the event any more.
    while not done.wait(POLL) and client.context.ok():
        if time.monotonic() > deadline:
            raise ClientError(f"{client.srv_name} did not answer within {answer:.0f} s")
    if not done.is_set():
        raise ClientError("told to end")
    return future.result()


def read_answer(response: Trigger.Response, name: str) -> Any:
    """The value of an answer whose message is JSON.

    Raises:
        ClientError: If the answer is a failure, or no JSON.
    """
    if not response.success:
        raise ClientError(f"{name}: {response.message}")
    return parse_json(response.message, f"the answer of {name}", ClientError)


def run_client(
    make_node: Callable[[], N],
    make_executor: Callable[[], Executor],
    argv: list[str],
    act: Callable[[N], int],
) -> int:
    """Spin a node in a thread while the main thread acts with it.

    Args:
        make_node: Makes the node.
        make_executor: Makes what spins it.
        argv: Command line for ROS, program included.
        act: Does the work; its value is the exit code.

    Returns:
        Exit code: that of ``act``, 1 when something did not come, 130 when interrupted.
    """
    rclpy.init(args=argv)
    node, executor = make_node(), make_executor()
    executor.add_node(node)
    thread = threading.Thread(target=spin, args=(executor,), daemon=True)
    thread.start()
    try:
        return act(node)
    except KGNProError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    finally:
        executor.shutdown(timeout_sec=1.0)
        thread.join(timeout=2.0)
        node.destroy_node()
        rclpy.try_shutdown()


def spin(executor: Executor) -> None:
    """Spin beside the main thread, until ROS goes down."""
    with suppress(ExternalShutdownException):
        executor.spin()
