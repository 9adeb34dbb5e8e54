# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Camera, grasp detector, an arm that picks, and RViz.

ros2 launch kgnpro_ros grasp.launch.py                       RealSense, detector, RViz
ros2 launch kgnpro_ros grasp.launch.py camera:=sim           without hardware
ros2 launch kgnpro_ros grasp.launch.py camera:=sim arm:=mplib execute:=true
ros2 launch kgnpro_ros grasp.launch.py --show-args           everything that can be set
"""

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.ros.demo import HOME
from kgnpro_ros.ros.moveit_parameters import PANDA, build_parameters
from kgnpro_ros.ros.transport import room_for_images

SHARE = Path(get_package_share_directory("kgnpro_ros"))
CAMERA = "/camera/camera"
#: Where RViz looks from when no target_frame is given.
FIXED_FRAMES = {"sim": "world", "replay": "world"}
OPTICAL_FRAME = "camera_color_optical_frame"

#: Name, default, description, choices.
ARGUMENTS = (
    ("camera", "realsense", "Where images come from.", ("realsense", "replay", "sim", "none")),
    ("arm", "none", "What plans and executes grasps.", ("moveit", "mplib", "none")),
    ("execute", "false", "Let the arm move; without it picks are planned.", ("true", "false")),
    ("moveit_config", PANDA, "With arm:=moveit: MoveIt configuration package of the robot.", ()),
    ("use_rviz", "true", "Start RViz.", ("true", "false")),
    ("model", "", "Model name or .safetensors file; empty is what params_file says.", ()),
    ("params_file", str(SHARE / "config" / "detector.yaml"), "Parameters of grasp_detector.", ()),
    (
        "executor_params_file",
        str(SHARE / "config" / "executor.yaml"),
        "Parameters of grasp_executor.",
        (),
    ),
    ("target_frame", "", "TF frame of the grasps; empty is what params_file says.", ()),
    ("color_topic", f"{CAMERA}/color/image_raw", "Colour images.", ()),
    ("camera_info_topic", f"{CAMERA}/color/camera_info", "Intrinsics of the colour images.", ()),
    (
        "depth_topic",
        f"{CAMERA}/aligned_depth_to_color/image_raw",
        "Depth images registered to the colour images.",
        (),
    ),
    ("mask_topic", "mask", "Instance masks; read when the parameter use_mask is true.", ()),
    ("frames", "", "With camera:=replay: folder of frames.", ()),
    ("seed", "0", "With camera:=sim: seed of the scene.", ()),
    ("rviz_config", str(SHARE / "config" / "rviz" / "grasp.rviz"), "RViz configuration.", ()),
    ("use_sim_time", "false", "Take the time from /clock.", ("true", "false")),
    ("log_level", "info", "Log level of our nodes.", ("debug", "info", "warn", "error", "fatal")),
)


def generate_launch_description():
    """Declare the arguments; the rest depends on their values."""
    declared = []
    for name, default, description, choices in ARGUMENTS:
        options = {"choices": list(choices)} if choices else {}
        declared.append(
            DeclareLaunchArgument(name, default_value=default, description=description, **options)
        )
    return LaunchDescription([*declared, OpaqueFunction(function=launch_setup)])


def launch_setup(context: LaunchContext):
    """The nodes for the given arguments."""
    value = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    check(value)
    return [
        *camera_actions(value),
        detector_node(value),
        *executor_actions(value),
        *rviz_actions(value),
    ]


def check(value: dict):
    """Refuse what does not go together.

    Raises:
        RuntimeError: Says what would be right.
    """
    if value["execute"] == "true" and value["arm"] == "none":
        raise RuntimeError("execute:=true needs an arm, and arm:=none was given")
    if value["camera"] == "replay" and not value["frames"]:
        raise RuntimeError("camera:=replay needs frames:=FOLDER with the frames to show")
    if value["camera"] != "replay" and value["frames"]:
        raise RuntimeError("frames:=FOLDER is for camera:=replay only")
    if not value["seed"].isdigit():
        raise RuntimeError(f"seed:={value['seed']} is no whole number from 0")


def our_node(value: dict, executable: str, files: tuple = (), parameters=None, **options):
    """A node of this package: parameter files first, then the values that were given."""
    given = {**(parameters or {}), "use_sim_time": value["use_sim_time"] == "true"}
    return Node(
        package="kgnpro_ros",
        executable=executable,
        name=executable,
        output="screen",
        emulate_tty=True,
        parameters=[*files, given],
        arguments=["--ros-args", "--log-level", value["log_level"]],
        **options,
    )


def text(value: str):
    """A string parameter; without this launch would take "7" for a number."""
    return ParameterValue(value, value_type=str)


def camera_actions(value: dict):
    """What publishes the images."""
    if value["camera"] == "sim":
        parameters = {"seed": int(value["seed"]), "arm": value["arm"] != "none"}
        if value["use_sim_time"] == "true":
            parameters["clock"] = "sim"
        return [our_node(value, "grasp_sim", parameters=parameters)]
    if value["camera"] == "replay":
        return [our_node(value, "rgbd_replay", parameters={"frames": text(value["frames"])})]
    return [realsense()] if value["camera"] == "realsense" else []


def realsense():
    """The RealSense driver with depth registered to colour."""
    try:
        share = Path(get_package_share_directory("realsense2_camera"))
    except PackageNotFoundError as error:
        raise RuntimeError(
            "camera:=realsense needs the package realsense2_camera: apt install "
            "ros-$ROS_DISTRO-realsense2-camera, or use camera:=sim, replay or none"
        ) from error
    source = PythonLaunchDescriptionSource(str(share / "launch" / "rs_launch.py"))
    arguments = {
        "align_depth.enable": "true",
        "enable_sync": "true",
        "rgb_camera.color_profile": "640x480x30",
        "depth_module.depth_profile": "640x480x30",
    }
    room = [SetEnvironmentVariable(*item) for item in room_for_images(os.environ).items()]
    # Scoped and not forwarded: the driver complains about launch arguments that are not its own.
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return GroupAction([*room, include], scoped=True, forwarding=False)


def detector_node(value: dict):
    """The detector, with the arguments that were given on top of the parameter file."""
    given = {name: text(value[name]) for name in ("model", "target_frame") if value[name]}
    return our_node(
        value,
        "grasp_detector",
        files=(value["params_file"],),
        parameters=given,
        remappings=[*camera_remappings(value), ("mask", value["mask_topic"])],
    )


def camera_remappings(value: dict):
    """The camera's topics for a node that looks at it."""
    return [
        ("color/image_raw", value["color_topic"]),
        ("color/camera_info", value["camera_info_topic"]),
        ("depth/image_raw", value["depth_topic"]),
    ]


def executor_actions(value: dict):
    """What picks, in a process of its own: MoveIt must not share one with the joint states."""
    if value["arm"] == "none":
        return []
    given = {"arm": value["arm"], "dry_run": value["execute"] != "true"}
    if value["camera"] == "sim":
        given["home"] = list(HOME)  # out of the view of its camera
    if value["arm"] == "moveit":
        try:
            parameters = build_parameters(value["moveit_config"], SHARE / "config" / "moveit")
        except ConfigError as error:
            raise RuntimeError(str(error)) from error
        given["moveit.parameters"] = text(parameters)
    return [
        our_node(
            value,
            "grasp_executor",
            files=(value["executor_params_file"],),
            parameters=given,
            remappings=camera_remappings(value),
        )
    ]


def rviz_actions(value: dict):
    """RViz, if wanted."""
    if value["use_rviz"] == "false":
        return []
    frame = value["target_frame"] or FIXED_FRAMES.get(value["camera"], OPTICAL_FRAME)
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz2",
            output="log",
            arguments=["-d", value["rviz_config"], "-f", frame],
            parameters=[{"use_sim_time": value["use_sim_time"] == "true"}],
        )
    ]
