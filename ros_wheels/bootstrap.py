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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

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


class Step(NamedTuple):
    """One step, which is done again when its key changes."""

    name: str
    key: str
    action: Callable[[], None]


def set_up(layout: Layout) -> None:
    """Does every step whose inputs changed since it was last done."""
    start = time.monotonic()
    python = system.find_python(os.environ)
    with_wheels = not system.has_ros_installation(python, os.environ)
    stamps = Stamps(layout.build / "setup.json")
    if not layout.python.exists():
        stamps.forget()
    if not layout.install.exists():
        stamps.forget("stand_ins", "package")
    steps = plan(layout, python, with_wheels)
    todo = [step for step in steps if not stamps.is_current(step.name, step.key)]
    if not todo:
        return
    system.ensure_system_packages(python, layout, os.environ)
    for step in todo:
        step.action()
        stamps.record(step.name, step.key)
    say(f"ready after {time.monotonic() - start:.0f} s; the shell for it: source ros_wheels/env.sh")


def plan(layout: Layout, python: Path, with_wheels: bool) -> list[Step]:
    """Returns the steps in order; the key of each holds the keys of what it builds on."""
    environment = workspace.build_environment(layout, with_wheels, os.environ)
    common = (layout, environment)
    venv = fingerprint([str(layout.venv), str(python), str(with_wheels)])
    # Lock files repeat the pins; installing from them is the user's choice.
    requirements = sorted(layout.requirements.glob("*.txt"))
    requirements = [path for path in requirements if not path.name.startswith("locked-")]
    torch_index = os.environ.get("KGNPRO_TORCH_INDEX", "")
    ros = fingerprint([venv], [layout.requirements / "ros.txt"])
    stand_ins = fingerprint([ros, workspace.stand_ins_fingerprint(layout)])
    package = fingerprint([ros, workspace.package_fingerprint(layout)])
    return [
        Step("venv", venv, partial(wheels.create_environment, python, *common, not with_wheels)),
        Step(
            "wheels",
            fingerprint([venv, torch_index], requirements),
            partial(wheels.install_wheels, *common, with_wheels),
        ),
        Step(
            "command",
            fingerprint([venv], [layout.root / "setup.py"]),
            partial(wheels.install_command, *common),
        ),
        Step("workspace", ros, partial(workspace.clean, layout)),
        Step("stand_ins", stand_ins, partial(workspace.build_stand_ins, *common)),
        Step("package", package, partial(workspace.build_package, *common)),
    ]


if __name__ == "__main__":
    sys.exit(main())
