# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that are gone when their parent is; this module imports no ROS."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kgnpro_ros.exceptions import KGNProError

#: A process that was asked to end gets this time before it is killed [s].
STOP_SECONDS = 5.0
LOG_TAIL = 15


class DemoError(KGNProError):
    """A process of the demo ended too early or took too long."""


@dataclass(frozen=True)
class Child:
    """A process of the demo.

    Attributes:
        name: For people.
        process: The process, leader of its own group.
        log: Where its output goes; None is the terminal.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None

    def tail(self) -> str:
        """The last lines of its log."""
        if self.log is None:
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])


StartFunction = Callable[[str, Sequence[str], Mapping[str, str], "Path | None"], Child]


@contextmanager
def children() -> Iterator[StartFunction]:
    """Start processes that are gone when the block is left, however it is left."""
    started: list[Child] = []

    def start(
        name: str, command: Sequence[str], environment: Mapping[str, str], log: Path | None
    ) -> Child:
        output = None if log is None else log.open("wb")
        try:
            process = subprocess.Popen(
                command, env=dict(environment), stdout=output, stderr=output,
                start_new_session=True, preexec_fn=partial(_die_with_parent, os.getpid()),
            )  # fmt: skip
        finally:
            if output is not None:
                output.close()
        started.append(Child(name, process, log))
        return started[-1]

    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield start
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            _stop(started, number)
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _die_with_parent(parent: int) -> None:
    """Linux: end the child when its parent is killed without a chance to clean up."""
    pr_set_pdeathsig = 1
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
        # A parent that was killed before the line above sends nothing any more.
        if os.getppid() != parent:
            os._exit(1)


def _stop(started: Sequence[Child], number: signal.Signals) -> None:
    running = [child.process for child in started if child.process.poll() is None]
    for process in running:
        os.killpg(process.pid, number)
    deadline = time.monotonic() + STOP_SECONDS
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue


def wait(caller: Child, others: Sequence[Child], timeout: float) -> None:
    """Wait for the client; give up when another process ends first or time runs out.

    Raises:
        DemoError: Says which process failed, with the end of its log.
    """
    deadline = time.monotonic() + timeout
    while caller.process.poll() is None:
        for child in others:
            if child.process.poll() is not None:
                raise DemoError(f"{child.name} ended too early:\n{child.tail()}")
        if time.monotonic() > deadline:
            raise DemoError(f"not done within {timeout:.0f} s; see the logs")
        time.sleep(0.1)
    if caller.process.returncode != 0:
        logs = "\n".join(f"--- {child.log}:\n{child.tail()}" for child in others)
        raise DemoError(f"{caller.name} ended with code {caller.process.returncode}\n{logs}")
