# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Writes requirements/locked-3.X.txt: every pinned package with the hashes of its files.

    python ros_wheels/lock.py [3.10 3.11 3.12] [--platforms x86_64 aarch64] [--jobs 8]

Asks pip which file it would install for each Python version and platform, and takes the hash that
the package index gives; nothing is installed. torch is left out: where it comes from depends on the
machine (see setup_steps/wheels.py). A package without a file for a platform is named, and has no
hash for it.

    pip install --require-hashes --no-deps -r ros_wheels/requirements/locked-3.11.txt
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).resolve().parent / "requirements"
FILES = ("constraints.txt", "ros.txt")
PYTHONS = ("3.10", "3.11", "3.12")
PLATFORMS = ("x86_64", "aarch64")
#: Tags that glibc 2.35 (Ubuntu 22.04) takes, newest first.
GLIBC = (35, 34, 31, 28, 27, 26, 24, 17)
CHUNK = 12
HEADER = """\
# Every pinned package with hashes of its files, for Python {python}; made by ros_wheels/lock.py.
# torch is not here: install it first, from the index that fits the machine.
"""


def pins(python: str) -> list[Requirement]:
    """The exact versions for one Python version, without markers, sorted by name."""
    found = {}
    for file in FILES:
        for line in (FOLDER / file).read_text().splitlines():
            text = line.partition("#")[0].strip()
            if not text:
                continue
            requirement = Requirement(text)
            marker, requirement.marker = requirement.marker, None
            if marker is None or marker.evaluate({"python_version": python}):
                found[canonicalize_name(requirement.name)] = requirement
    return [found[name] for name in sorted(found) if name != "torch"]


def tags(platform: str) -> list[str]:
    """Platform tags for pip."""
    return [f"manylinux_2_{minor}_{platform}" for minor in GLIBC] + [
        f"manylinux2014_{platform}", f"linux_{platform}",
    ]  # fmt: skip


def ask(
    requirements: list[Requirement], python: str, platform: str, kind: str = "--only-binary"
) -> dict[str, str]:
    """Hash of the file that pip would take, by package; halves a list that has a problem."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
            "--quiet", "--report", report, "--target", folder, "--python-version", python,
            *(part for tag in tags(platform) for part in ("--platform", tag)),
            kind, ":all:", *map(str, requirements),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return {
                canonicalize_name(item["metadata"]["name"]): item["download_info"]["archive_info"][
                    "hashes"
                ]["sha256"]
                for item in json.loads(report.read_text())["install"]
            }
    if len(requirements) == 1:
        if kind == "--only-binary":
            # Some have no wheel; then it is the archive of the sources.
            return ask(requirements, python, platform, "--no-binary")
        reason = done.stderr.strip().splitlines()[-1:]
        print(f"{python} {platform}: nothing for {requirements[0]}: {reason}", file=sys.stderr)
        return {}
    middle = len(requirements) // 2
    halves = requirements[:middle], requirements[middle:]
    return {name: value for half in halves for name, value in ask(half, python, platform).items()}


def lock(python: str, platforms: list[str], jobs: int) -> list[str]:
    """Writes the file of one Python version; returns the packages without any hash."""
    wanted = pins(python)
    chunks = [wanted[i : i + CHUNK] for i in range(0, len(wanted), CHUNK)]
    work = [(chunk, python, platform) for platform in platforms for chunk in chunks]
    hashes: dict[str, set[str]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for answer in pool.map(lambda item: ask(*item), work):
            for name, value in answer.items():
                hashes.setdefault(name, set()).add(value)
    lines = [HEADER.format(python=python).rstrip()]
    missing = []
    for requirement in wanted:
        values = sorted(hashes.get(canonicalize_name(requirement.name), ()))
        if not values:
            missing.append(str(requirement))
            continue
        lines.append(" \\\n".join([str(requirement), *(f"    --hash=sha256:{v}" for v in values)]))
    (FOLDER / f"locked-{python}.txt").write_text("\n".join(lines) + "\n")
    return missing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pythons", nargs="*", default=PYTHONS)
    parser.add_argument("--platforms", nargs="+", default=PLATFORMS)
    parser.add_argument("--jobs", type=int, default=8)
    options = parser.parse_args()
    missing = {}
    for python in options.pythons:
        missing[python] = lock(python, options.platforms, options.jobs)
        print(f"locked-{python}.txt: {len(missing[python])} without a hash: {missing[python]}")
    return 1 if any(missing.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
