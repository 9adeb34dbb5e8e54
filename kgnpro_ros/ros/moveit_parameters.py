# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""MoveIt's parameters: built for the launch file, read by the executor."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.files import parse_json, parse_yaml, read_yaml

PIPELINES = ("ompl", "pilz_industrial_motion_planner")
PANDA = "moveit_resources_panda_moveit_config"
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


def has_fixed_base(parameters: dict[str, Any]) -> bool:
    """Whether the SRDF fixes the robot to a world of its own, or has no virtual joint at all."""
    try:
        root = ET.fromstring(parameters["robot_description_semantic"])
    except ET.ParseError as error:
        raise ConfigError(f"robot_description_semantic is no SRDF: {error}") from error
    return all(joint.get("type") == "fixed" for joint in root.iter("virtual_joint"))


def build_parameters(package: str, folder: Path) -> str:
    """MoveIt's parameters for a robot, as the parameter ``moveit.parameters``.

    Args:
        package: MoveIt configuration package of the robot, from the setup assistant.
        folder: Our ``config/moveit``: named sets, pipelines, and what the Panda lacks.

    Returns:
        JSON.

    Raises:
        ConfigError: If MoveIt or the package is not installed, or the package is not complete.
    """
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
        from moveit_configs_utils import MoveItConfigsBuilder
    except ImportError as error:
        raise ConfigError(
            f"arm:=moveit needs MoveIt ({error}): apt install ros-$ROS_DISTRO-moveit "
            "ros-$ROS_DISTRO-moveit-py, or use arm:=mplib"
        ) from error
    try:
        share = Path(get_package_share_directory(package))
    except PackageNotFoundError as error:
        apt = package.replace("_", "-")
        raise ConfigError(
            f"there is no MoveIt configuration package {package!r}: apt install "
            f"ros-$ROS_DISTRO-{apt}, or moveit_config:=PACKAGE of your robot, or arm:=mplib"
        ) from error
    name = package.removeprefix("moveit_resources_").removesuffix("_moveit_config")
    builder = MoveItConfigsBuilder(name, package_name=package)
    if package == PANDA:
        builder.robot_description(file_path="config/panda.urdf.xacro")
        builder.trajectory_execution(file_path=str(folder / "panda_controllers.yaml"))
    builder.planning_pipelines(default_planning_pipeline="ompl", pipelines=list(PIPELINES))
    if not (share / "config" / "pilz_cartesian_limits.yaml").is_file():
        builder.pilz_cartesian_limits(file_path=str(folder / "pilz_cartesian_limits.yaml"))
    builder.moveit_cpp(file_path=str(folder / "moveit_cpp.yaml"))
    try:
        parameters = builder.to_moveit_configs().to_dict()
        for pipeline, settings in read_yaml(
            folder / "planning_pipelines.yaml", ConfigError
        ).items():
            parameters[pipeline] = {**parameters.get(pipeline, {}), **settings}
        return json.dumps(parameters)
    except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"the MoveIt configuration {package!r} is not usable: {error}") from error
