# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the documents promise: files, commands, options, defaults."""

import re
import shlex
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import typer
import yaml

from kgnpro_ros import cli
from kgnpro_ros.config import DetectorConfig, NodeConfig
from kgnpro_ros.geometry.gripper import gripper_from_dict

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {path: path.read_text() for path in DOCUMENTS}


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT[path], re.M | re.S)


def commands():
    """Every line of the shell blocks, continued lines joined, comments dropped."""
    for path in DOCUMENTS:
        for block in blocks(path, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|;", line):
                    words = shlex.split(part, comments=True)
                    if words:
                        yield pytest.param(words, id=f"{path.name}: {' '.join(words)[:60]}")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)]+)\)", TEXT[path]):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        assert file.exists(), f"{path.name} links to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
            anchors = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
            assert anchor in anchors, f"{path.name} links to {target}"


def test_the_readme_shows_first_what_matters():
    lines = TEXT[ROOT / "README.md"].splitlines()
    assert any(line.startswith("![") for line in lines[:10])
    assert any(line.startswith("make demo") for line in lines[:25])
    assert any(line.startswith("make test") for line in lines[:25])


@pytest.mark.parametrize("words", [c for c in commands() if c.values[0][0] == "kgnpro"])
def test_documented_kgnpro_commands_are_understood(words):
    """Parsed as written, with nothing left over; the command itself is not run."""
    if words[1:] == ["--help"]:
        return
    command = typer.main.get_command(cli.app).commands[words[1]]
    assert command.make_context(words[1], words[2:]).args == []


def test_an_undocumented_option_is_not_understood():
    with pytest.raises(cli.UsageError):
        typer.main.get_command(cli.app).commands["detect"].make_context("detect", ["--nothing"])


@pytest.mark.parametrize("words", [c for c in commands() if c.values[0][0] == "make"])
def test_documented_make_targets_exist(words):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    variables = re.findall(r"^([A-Z_]+) \?=", (ROOT / "Makefile").read_text(), re.M)
    for word in words[1:]:
        assert word.partition("=")[0] in (variables if "=" in word else targets), word


@pytest.mark.parametrize("words", [c for c in commands() if c.values[0][0] == "python"])
def test_documented_scripts_have_the_options(words):
    source = (ROOT / words[1]).read_text()
    assert all(f'"{word}"' in source for word in words if word.startswith("--"))


def test_documented_launch_arguments_exist():
    launch = (ROOT / "launch" / "grasp.launch.py").read_text()
    known = set(re.findall(r'^    \(\s*"(\w+)",', launch, re.M))
    table = TEXT[ROOT / "README.md"].split("| launch argument |")[1].split("\n\n")[0]
    named = set(
        re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:]))
    )
    given = {word.partition(":=")[0] for c in commands() if c.values[0][:2] == ["ros2", "launch"]
             for word in c.values[0][4:] if ":=" in word}  # fmt: skip
    assert named
    assert named | given <= known


def flat(config, prefix=""):
    """Settings by their parameter name."""
    result = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            result |= flat(value, f"{prefix}{item.name}.")
        else:
            result[prefix + item.name] = value
    return result


def test_documented_parameters_have_the_documented_defaults():
    settings = flat(DetectorConfig()) | flat(NodeConfig())
    table = TEXT[ROOT / "README.md"].split("| parameter | default |")[1].split("\n\n")[0]
    rows = [row.split("|") for row in table.splitlines()[2:]]
    assert len(rows) > 8
    for row in rows:
        name, shown = row[1].strip(" `"), row[2].strip(" `")
        value = settings[name]
        assert shown == (str(value).lower() if isinstance(value, bool) else str(value)), name


def test_documented_topics_and_services_exist():
    """Names in the first column of the interface tables appear in the ROS room."""
    source = "\n".join(p.read_text() for p in (ROOT / "kgnpro_ros" / "ros").glob("*.py"))
    section = TEXT[ROOT / "README.md"].split("## Interface of")[1].split("\nA [candidate]")[0]
    names = [row.split("|")[1].strip(" `") for row in section.splitlines() if row.startswith("| `")]
    assert len(names) == 11
    for name in names:
        if name != "/diagnostics":
            assert f'"{name.removeprefix("~/")}"' in source or f'"{name}"' in source, name


def test_the_example_gripper_file_is_valid():
    path = ROOT / "docs" / "conventions.md"
    (example,) = blocks(path, "yaml")
    assert gripper_from_dict(yaml.safe_load(example), "example").name == "my_gripper"


def test_the_example_in_python_uses_public_names():
    (example,) = blocks(ROOT / "README.md", "python")
    first = example.splitlines()[0]
    exec(first)
    compile(example, "README.md", "exec")


def test_documented_statuses_are_those_of_the_code():
    from kgnpro_ros.types import GraspStatus

    known = {status.name.lower() for status in GraspStatus}
    part = TEXT[ROOT / "docs" / "conventions.md"].split("such as\n")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", part)) <= known


def test_documented_training_files_exist():
    table = TEXT[ROOT / "docs" / "training.md"].split("| file | network |")[1].split("\n\n")[0]
    names = set(re.findall(r"`(\w+\.yaml)`", table))
    assert names == {path.name for path in (ROOT / "config" / "train").glob("*.yaml")}
