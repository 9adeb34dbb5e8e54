# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A default value is written down once, in ``kgnpro_ros/config/``."""

import ast
from dataclasses import fields, is_dataclass
from pathlib import Path

import kgnpro_ros
from kgnpro_ros import config

PACKAGE = Path(kgnpro_ros.__file__).parent
SETTINGS = {
    field.name for value in vars(config).values()
    if isinstance(value, type) and is_dataclass(value) for field in fields(value)
}  # fmt: skip
#: Where a float is what the algorithm is, and a setting for something else has the same name.
OTHERWISE = {"data/sensor.py: baseline"}


def defaults(tree):
    """(name, default) of every argument and class attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            places = [*node.args.posonlyargs, *node.args.args]
            pairs = zip(places[len(places) - len(node.args.defaults) :], node.args.defaults,
                        strict=True)  # fmt: skip
            for argument, default in [
                *pairs, *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            ]:  # fmt: skip
                yield argument.arg, default
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.value


def second_homes(text):
    """Numbers, not whole, that are the default of something with the name of a setting."""
    return [
        name for name, default in defaults(ast.parse(text))
        if name in SETTINGS and isinstance(default, ast.Constant)
        and isinstance(default.value, float) and default.value not in (0.0, 1.0)
    ]  # fmt: skip


def test_no_setting_has_a_second_default():
    found = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "config"
        for name in second_homes(path.read_text())
    }  # fmt: skip
    assert found == OTHERWISE


def test_the_rule_about_defaults_can_fail():
    assert "score_threshold" in SETTINGS
    assert second_homes("def f(*, score_threshold: float = 0.25): pass")
    assert second_homes("class A:\n    tf_timeout: float = 0.5")
    assert not second_homes("def f(score_threshold: float = SHARED): pass")
