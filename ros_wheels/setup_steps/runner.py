# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Running long commands: everything into a log file, one line of progress on the screen."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .layout import SetupError

_TAIL_LINES = 25
_WIDTH = 76
_INTERVAL_TERMINAL = 1.0  # [s] between two looks at the progress
_INTERVAL_LOG = 20.0
# Lines of pip and colcon that tell a waiting person something.
_TELLING = re.compile(
    r"^\s*(Collecting|Downloading|Processing|Building|Installing|Starting|Finished)"
)
_NOT_TELLING = re.compile(r"\.metadata|Requirement already")


def say(text: str) -> None:
    """Prints one line about the set-up."""
    print(f"setup: {text}", flush=True)


class Progress:
    """Shows the latest telling line and the elapsed time while a command runs."""

    def __init__(self) -> None:
        self.latest = "working"
        self._start = time.monotonic()
        self._stop = threading.Event()
        self._terminal = sys.stdout.isatty()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._terminal:
            print("\r" + " " * (_WIDTH + 2) + "\r", end="", flush=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def feed(self, line: str) -> None:
        if _TELLING.match(line) and not _NOT_TELLING.search(line):
            self.latest = " ".join(line.split())

    def _show(self) -> None:
        interval = _INTERVAL_TERMINAL if self._terminal else _INTERVAL_LOG
        while not self._stop.wait(interval):
            text = f"  {self.seconds:4.0f} s  {self.latest}"[:_WIDTH]
            if self._terminal:
                print("\r" + text.ljust(_WIDTH), end="", flush=True)
            else:
                print(text, flush=True)


def run(
    command: Sequence[str | Path], log: Path, what: str, environment: Mapping[str, str]
) -> None:
    """Runs a command; when it fails, shows the end of its output and where the rest is."""
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [str(part) for part in command]
    with log.open("a", encoding="utf-8", buffering=1) as file, Progress() as progress:
        file.write(f"\n$ {' '.join(arguments)}\n")
        process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=dict(environment),
        )
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            file.write(line)
            lines.append(line.rstrip())
            progress.feed(line)
        code = process.wait()
    if code != 0:
        tail = "\n".join(f"  | {line}" for line in lines[-_TAIL_LINES:])
        raise SetupError(f"{what} failed (exit code {code}):\n{tail}\n  all of it: {log}")
    say(f"  done in {progress.seconds:.0f} s")
