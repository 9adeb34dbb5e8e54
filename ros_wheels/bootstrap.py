# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Makes this checkout ready to run: the virtual environment, the wheels, the ROS packages.

Called by the Makefile. Each step is skipped when nothing that it depends on has changed.
Variables: PYTHON (the interpreter to use), KGNPRO_TORCH_INDEX (the package index to take torch
from; "default" takes what pip takes, with CUDA where that is its choice).
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

from setup_steps import system, wheels, workspace
from setup_steps.layout import Layout, SetupError, Stamps, fingerprint
from setup_steps.runner import say


def main() -> int:
    """Runs the set-up; returns the exit code."""
    layout = Layout(Path(__file__).resolve().parent.parent)
    layout.build.mkdir(exist_ok=True)
    with (layout.build / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this checkout to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            set_up(layout)
        except SetupError as error:
            print(f"setup: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nsetup: interrupted; the next call goes on from here", file=sys.stderr)
            return 130
    return 0


def set_up(layout: Layout) -> None:
    """Does every step whose inputs changed since it was last done."""
    start = time.monotonic()
    stamps = Stamps(layout.build / "setup.json")
    python = system.find_python(os.environ)
    with_wheels = not system.has_ros_installation(python, os.environ)
    environment = workspace.build_environment(layout, with_wheels, os.environ)

    venv_key = fingerprint([str(layout.venv), str(python), str(with_wheels)])
    requirements = sorted(layout.requirements.glob("*.txt"))
    wheels_key = fingerprint([venv_key, os.environ.get("KGNPRO_TORCH_INDEX", "")], requirements)
    command_key = fingerprint([venv_key], [layout.root / "setup.py"])
    ros_key = fingerprint([venv_key], [layout.requirements / "ros.txt"])
    build_key = fingerprint([ros_key, workspace.sources_fingerprint(layout)])
    has_venv = layout.python.exists() and stamps.is_current("venv", venv_key)
    has_wheels = has_venv and stamps.is_current("wheels", wheels_key)
    has_command = has_venv and stamps.is_current("command", command_key)
    has_ros = has_venv and layout.install.exists() and stamps.is_current("ros", ros_key)
    has_build = has_ros and stamps.is_current("build", build_key)
    if has_wheels and has_command and has_build:
        return

    system.ensure_system_packages(python, layout, os.environ)
    if not has_venv:
        wheels.create_environment(python, layout, not with_wheels, environment)
        stamps.record("venv", venv_key)
    if not has_wheels:
        wheels.install_wheels(layout, with_wheels, environment)
        if with_wheels:
            say(f"repaired header paths in {wheels.repair_paths(layout)} CMake files of the wheels")
        stamps.record("wheels", wheels_key)
    if not has_command:
        wheels.install_command(layout, environment)
        stamps.record("command", command_key)
    if not has_build:
        workspace.build(layout, not has_ros, environment)
        stamps.record("ros", ros_key)
        stamps.record("build", build_key)
    say(f"ready after {time.monotonic() - start:.0f} s; the shell for it: source ros_wheels/env.sh")


if __name__ == "__main__":
    sys.exit(main())
