# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""MoveIt's parameters, as the launch file hands them to the executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.files import parse_json, parse_yaml, read_yaml

REQUIRED = ("robot_description", "robot_description_semantic", "planning_pipelines")


def load_parameters(text: str) -> dict[str, Any]:
    """Parameters of MoveIt.

    Args:
        text: JSON or YAML, or the name of a YAML file.

    Returns:
        What ``MoveItConfigs.to_dict`` gives.

    Raises:
        ConfigError: If there are none, or something that MoveIt needs is not among them.
    """
    text = text.strip()
    if not text:
        raise ConfigError(
            "the parameter moveit.parameters is empty; expected MoveIt's parameters or the name of "
            "a YAML file with them: grasp.launch.py arm:=moveit fills it in"
        )
    # JSON by its own reader: YAML takes its 1e-05 for a text.
    if text.startswith("{"):
        data = parse_json(text, "moveit.parameters", ConfigError)
    elif "\n" not in text and text.endswith((".yaml", ".yml")):
        data = read_yaml(Path(text), ConfigError)
    else:
        data = parse_yaml(text, "moveit.parameters", ConfigError)
    missing = [name for name in REQUIRED if not isinstance(data, dict) or name not in data]
    if missing:
        raise ConfigError(
            f"moveit.parameters lack {', '.join(missing)}; expected what MoveItConfigs.to_dict() "
            "gives, with moveit_cpp"
        )
    return dict(data)
