# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The walls of the house: who may import whom, sizes, headers, one place for each thing."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kgnpro_ros
from kgnpro_ros import cli, config

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kgnpro_ros"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: Height of each room; imports go to lower rooms or stay in their own.
HEIGHT = {
    "exceptions": -1, "version": -1, "files": 0, "progress": 0, "threads": 0,
    "types": 1, "config": 1,
    "geometry": 2,
    "pnp": 3, "network": 3, "data": 3, "execution": 3, "predictions": 3, "viz": 3,
    "pipeline": 4,
    "training": 5, "evaluation": 5, "simulation": 5, "detect_files": 5,
    "ablation": 6, "reproduce": 6, "ros": 6, "msg": 6, "srv": 6, "action": 6,
    "cli": 7,
}  # fmt: skip

ROS = re.compile(
    r"rclpy|rcl_interfaces|rcutils|rosidl_\w+|ament_\w+|launch\w*|moveit\w*|builtin_interfaces|"
    r"\w+_msgs|std_srvs|tf2_\w+|cv_bridge|message_filters|diagnostic_\w+|unique_identifier_msgs"
)

MODULE_LINES, MEDIAN_LINES, FUNCTION_LINES = 400, 150, 40


def room_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def type_checking_lines(tree):
    """Lines of blocks that only type checkers see."""
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            lines |= set(range(node.lineno, node.end_lineno + 1))
    return lines


def imports(path):
    """Full names of everything a module imports, at its top or inside functions."""
    tree = ast.parse(path.read_text())
    skipped = type_checking_lines(tree)
    for node in ast.walk(tree):
        if getattr(node, "lineno", 0) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_belongs_to_a_room():
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms <= set(HEIGHT)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    room = room_of(path)
    if room == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "kgnpro_ros" or parts[1] == room:
            continue
        assert parts[1] in HEIGHT, f"{path.name} imports {name}"
        allowed = HEIGHT[parts[1]] < HEIGHT[room] or (room == "ros" and HEIGHT[parts[1]] == 6)
        assert allowed, f"{room} imports {name}, which is not below it"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_ros_room_knows_ros(path):
    if room_of(path) == "ros":
        return
    names = [name for name in imports(path) if ROS.fullmatch(name.split(".")[0])]
    generated = [n for n in imports(path) if re.match(r"kgnpro_ros\.(msg|srv|action)\b", n)]
    assert not names + generated


def test_the_rule_about_ros_can_fail(tmp_path):
    ros_node = PACKAGE / "ros" / "detector_node.py"
    assert any(ROS.fullmatch(name.split(".")[0]) for name in imports(ros_node))
    assert not ROS.fullmatch("rosette")


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        first = name.split(".")[0]
        if first in ("rclpy", "tf2_ros", "cv_bridge", "message_filters") or first.endswith("_msgs"):
            raise ImportError("no ROS here: " + name)
sys.meta_path.insert(0, Block())
import kgnpro_ros.pipeline, kgnpro_ros.cli, kgnpro_ros.detect_files
import kgnpro_ros.data.dataset, kgnpro_ros.evaluation.metrics
for name in kgnpro_ros.__all__:
    getattr(kgnpro_ros, name)
print("mujoco" in sys.modules, "lightning" in sys.modules)
"""


def python(code):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    ).stdout.split()


def test_the_core_runs_without_ros():
    """And detection needs neither the renderer nor the training framework."""
    assert python(BLOCKED) == ["False", "False"]


def test_the_package_itself_is_light():
    assert python("import kgnpro_ros, sys; print('torch' in sys.modules)") == ["False"]


def test_public_names_resolve():
    assert 10 <= len(kgnpro_ros.__all__) <= 20
    assert kgnpro_ros.__all__ == sorted(kgnpro_ros.__all__)
    for name in kgnpro_ros.__all__:
        value = getattr(kgnpro_ros, name)
        assert name == "__version__" or value.__doc__
    assert set(kgnpro_ros.__all__) <= set(dir(kgnpro_ros))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kgnpro_ros.nothing  # noqa: B018


def test_modules_are_small():
    lines = {path: sum(1 for line in path.read_text().splitlines() if line) for path in MODULES}
    long = {str(p): n for p, n in lines.items() if n > MODULE_LINES}
    assert not long
    assert sorted(lines.values())[len(lines) // 2] <= MEDIAN_LINES


def code_lines(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    text = first.end_lineno - first.lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - text


def test_functions_are_small():
    long = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = code_lines(node)
                if size > FUNCTION_LINES:
                    long[f"{path.relative_to(PACKAGE)}:{node.name}"] = size
    assert not long


def repository_files(*suffixes):
    """Files under version control; every file where git is absent (a source archive)."""
    try:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [p for p in ROOT.rglob("*") if not any(d.startswith(".") for d in p.parts)]
    return [path for path in paths if path.suffix in suffixes and path.is_file()]


def test_every_python_file_has_the_licence_header():
    header = "# Copyright 2026 The kgnpro_ros Authors\n# SPDX-License-Identifier: Apache-2.0\n"
    without = []
    for path in repository_files(".py"):
        text = path.read_text()
        if text.startswith("#!"):
            text = text.partition("\n")[2]
        if not text.startswith(header):
            without.append(str(path.relative_to(ROOT)))
    assert not without


def test_settings_have_one_home():
    """Every configuration class lives in config/; others only take them as arguments."""
    elsewhere = []
    for path in MODULES:
        if path.parent == PACKAGE / "config":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Config", "Settings")):
                elsewhere.append(f"{path.name}:{node.name}")
    assert not elsewhere


def test_the_command_line_repeats_the_defaults_of_the_settings():
    """Options of generate are shown with their defaults, which must be those of SceneConfig."""
    scene = config.SceneConfig()
    names, defaults = cli.generate.__code__.co_varnames, cli.generate.__defaults__
    count = cli.generate.__code__.co_argcount
    shown = dict(zip(names[count - len(defaults) : count], defaults, strict=True))
    for name in ("mode", "look", "views", "depth_noise"):
        assert shown[name] == getattr(scene, name), name


def test_the_changelog_knows_this_version():
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == kgnpro_ros.__version__
