# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The lock files: every pinned package with hashes, and the program that writes them."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "ros_wheels" / "requirements"
LOCKED = sorted(FOLDER.glob("locked-*.txt"))


@pytest.fixture(scope="module")
def lock():
    spec = importlib.util.spec_from_file_location("lock", ROOT / "ros_wheels" / "lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entries(path):
    """{name: (version, hashes)} of a lock file."""
    found = {}
    for block in re.split(r"\n(?=\S)", path.read_text()):
        if block.startswith("#") or not block.strip():
            continue
        first, *rest = block.replace("\\", "").split()
        requirement = Requirement(first)
        (specifier,) = requirement.specifier
        hashes = [part.removeprefix("--hash=sha256:") for part in rest]
        found[canonicalize_name(requirement.name)] = (specifier.version, hashes)
    return found


@pytest.mark.parametrize("path", LOCKED, ids=lambda p: p.name)
def test_lock_files_hold_the_pinned_versions_with_hashes(lock, path):
    python = path.stem.removeprefix("locked-")
    pinned = {canonicalize_name(r.name): str(r.specifier)[2:] for r in lock.pins(python)}
    held = entries(path)
    assert {name: version for name, (version, _) in held.items()} == pinned
    for name, (_, hashes) in held.items():
        assert hashes, name
        assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in hashes), name


def test_pins_are_exact_and_without_torch(lock):
    for python in lock.PYTHONS:
        requirements = lock.pins(python)
        assert all(len(r.specifier) == 1 and "==" in str(r.specifier) for r in requirements)
        assert "torch" not in {r.name for r in requirements}
    older = {r.name for r in lock.pins("3.10")}
    assert "tomli" in older - {r.name for r in lock.pins("3.12")}


def test_a_lock_file_is_written_from_what_pip_answers(lock, monkeypatch, tmp_path, capsys):
    """A package that pip does not find is named and left out; the others keep their hashes."""
    (tmp_path / "constraints.txt").write_text("Good_One==1.0\nbad==2.0\ntorch==2.0\n")
    (tmp_path / "ros.txt").write_text("# ROS\nros-x==3.0\n")
    monkeypatch.setattr(lock, "FOLDER", tmp_path)

    def pip(command, **options):
        asked = [text for text in command if isinstance(text, str) and "==" in text]
        if any(text.startswith("bad") for text in asked):
            return subprocess.CompletedProcess(command, 1, "", "ERROR: no bad")
        items = [
            {"metadata": {"name": text.split("==")[0]},
             "download_info": {"archive_info": {"hashes": {"sha256": f"{len(text):064x}"}}}}
            for text in asked
        ]  # fmt: skip
        report = command[command.index("--report") + 1]
        report.write_text(json.dumps({"install": items}))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(lock.subprocess, "run", pip)
    assert lock.lock("3.11", ["x86_64"], jobs=1) == ["bad==2.0"]
    assert "nothing for bad==2.0" in capsys.readouterr().err
    held = entries(tmp_path / "locked-3.11.txt")
    assert held == {"good-one": ("1.0", [f"{13:064x}"]), "ros-x": ("3.0", [f"{10:064x}"])}


def test_hashes_are_checked_by_pip(tmp_path):
    """A file that is not the locked one is refused, offline, with a package made here."""
    import zipfile

    wheel = tmp_path / "locked_example-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        info = "locked_example-1.0.dist-info"
        archive.writestr("locked_example.py", "")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: locked-example\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
                                          "Tag: py3-none-any\n")  # fmt: skip
        archive.writestr(f"{info}/RECORD", "")
    (tmp_path / "locked.txt").write_text(f"locked-example==1.0 --hash=sha256:{'0' * 64}\n")
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--find-links", tmp_path,
        "--require-hashes", "--no-deps", "-r", tmp_path / "locked.txt",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DO NOT MATCH" in done.stderr
