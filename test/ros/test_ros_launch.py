# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The launch file, with the real launch packages where there are any, else with a contract fake.

The fake has the documented signatures and nothing else: an argument that the real classes do not
take is a TypeError.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest
import yaml

from kgnpro_ros.config import ExecutorConfig
from kgnpro_ros.ros.moveit_parameters import PIPELINES, load_parameters

ROOT = Path(__file__).parents[2]
LAUNCH_FILE = ROOT / "launch" / "grasp.launch.py"
RVIZ_FILE = ROOT / "config" / "rviz" / "grasp.rviz"


class Recorded:
    """Base of the fakes: keeps what it was given."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


class DeclareLaunchArgument(Recorded):
    def __init__(self, name, *, default_value=None, description=None, choices=None):
        assert choices is None or default_value in choices
        super().__init__(
            name=name, default_value=default_value, description=description, choices=choices
        )


class GroupAction(Recorded):
    def __init__(self, actions, *, scoped=True, forwarding=True, launch_configurations=None):
        super().__init__(actions=actions, scoped=scoped, forwarding=forwarding)


class IncludeLaunchDescription(Recorded):
    def __init__(self, launch_description_source, *, launch_arguments=None):
        super().__init__(source=launch_description_source, arguments=dict(launch_arguments))


class OpaqueFunction(Recorded):
    def __init__(self, *, function, args=None, kwargs=None):
        super().__init__(function=function)


class SetEnvironmentVariable(Recorded):
    def __init__(self, name, value):
        super().__init__(name=name, value=value)


class LaunchConfiguration:
    def __init__(self, variable_name, *, default=None):
        self.name = variable_name

    def perform(self, context):
        return context.launch_configurations[self.name]


class Node(Recorded):
    def __init__(
        self, *, executable, package=None, name=None, namespace=None, parameters=None,
        remappings=None, arguments=None, output="log", emulate_tty=False, respawn=False,
        condition=None,
    ):  # fmt: skip
        assert all(isinstance(item, str) for item in arguments or ())
        super().__init__(
            executable=executable, package=package, name=name, parameters=parameters,
            remappings=remappings, arguments=arguments,
        )  # fmt: skip


class ParameterValue(Recorded):
    def __init__(self, value, *, value_type=None):
        super().__init__(value=value, value_type=value_type)


def fake_modules():
    modules = {
        "launch": {
            "LaunchContext": SimpleNamespace,
            "LaunchDescription": lambda entities: SimpleNamespace(entities=entities),
        },
        "launch.actions": {
            "DeclareLaunchArgument": DeclareLaunchArgument,
            "GroupAction": GroupAction,
            "IncludeLaunchDescription": IncludeLaunchDescription,
            "OpaqueFunction": OpaqueFunction,
            "SetEnvironmentVariable": SetEnvironmentVariable,
        },
        "launch.launch_description_sources": {
            "PythonLaunchDescriptionSource": lambda path: Path(path)
        },
        "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
        "launch_ros": {},
        "launch_ros.actions": {"Node": Node},
        "launch_ros.parameter_descriptions": {"ParameterValue": ParameterValue},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        yield name, module


def load():
    spec = importlib.util.spec_from_file_location("grasp_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launch_file(monkeypatch):
    """The launch file as a module on the fakes."""
    for name, module in fake_modules():
        monkeypatch.setitem(sys.modules, name, module)
    return load()


def setup(module, **given):
    values = {name: default for name, default, *_ in module.ARGUMENTS}
    assert given.keys() <= values.keys()
    return module.launch_setup(SimpleNamespace(launch_configurations={**values, **given}))


def by_executable(actions):
    return {action.executable: action for action in actions if isinstance(action, Node)}


def test_the_arguments_are_the_documented_ones(launch_file):
    description = launch_file.generate_launch_description()
    declared = {a.name: a for a in description.entities if isinstance(a, DeclareLaunchArgument)}
    assert {
        "camera", "arm", "execute", "use_rviz", "model", "params_file", "color_topic",
        "depth_topic", "camera_info_topic", "frames", "target_frame", "rviz_config",
        "executor_params_file", "moveit_config",
    } <= declared.keys()  # fmt: skip
    assert declared["camera"].default_value == "realsense"
    assert declared["execute"].default_value == "false"
    assert all(argument.description for argument in declared.values())
    assert isinstance(description.entities[-1], OpaqueFunction)


def test_files_that_the_defaults_name_exist(launch_file):
    defaults = {name: default for name, default, *_ in launch_file.ARGUMENTS}
    for name in ("params_file", "executor_params_file", "rviz_config"):
        relative = Path(defaults[name]).relative_to(launch_file.SHARE)
        assert (ROOT / relative).is_file()


def test_simulated_camera(launch_file):
    nodes = by_executable(setup(launch_file, camera="sim", seed="5"))
    assert nodes.keys() == {"grasp_sim", "grasp_detector", "rviz2"}
    assert nodes["grasp_sim"].parameters == [{"seed": 5, "arm": False, "use_sim_time": False}]
    assert nodes["rviz2"].arguments[-2:] == ["-f", "world"]


def test_the_simulated_time_is_the_simulations(launch_file):
    nodes = by_executable(setup(launch_file, camera="sim", arm="mplib", use_sim_time="true"))
    parameters = nodes["grasp_sim"].parameters[0]
    assert (parameters["clock"], parameters["use_sim_time"]) == ("sim", True)
    # Its camera is fixed: the arm must not stay in the view.
    assert len(nodes["grasp_executor"].parameters[1]["home"]) == 7
    assert (
        "home"
        not in by_executable(setup(launch_file, camera="none", arm="mplib"))[
            "grasp_executor"
        ].parameters[1]
    )


def test_detector_gets_files_remappings_and_overrides(launch_file):
    nodes = by_executable(
        setup(launch_file, camera="none", use_rviz="false", model="7", depth_topic="/d")
    )
    assert nodes.keys() == {"grasp_detector"}
    detector = nodes["grasp_detector"]
    assert detector.name == "grasp_detector"
    assert detector.parameters[0].endswith("config/detector.yaml")
    model = detector.parameters[1]["model"]
    assert (model.value, model.value_type) == ("7", str)
    assert "target_frame" not in detector.parameters[1]
    assert dict(detector.remappings) == {
        "color/image_raw": "/camera/camera/color/image_raw",
        "color/camera_info": "/camera/camera/color/camera_info",
        "depth/image_raw": "/d",
        "mask": "mask",
    }


def test_replay(launch_file):
    nodes = by_executable(setup(launch_file, camera="replay", frames="/data/frames"))
    assert nodes["rgbd_replay"].parameters[0]["frames"].value == "/data/frames"


def test_realsense_is_included_with_registered_depth(launch_file, monkeypatch):
    monkeypatch.setattr(launch_file, "get_package_share_directory", lambda name: f"/share/{name}")
    monkeypatch.setattr(launch_file, "room_for_images", lambda _: {"PROFILES": "file"})
    (group,) = [a for a in setup(launch_file) if isinstance(a, GroupAction)]
    assert (group.scoped, group.forwarding) == (True, False)
    room, include = group.actions
    assert (room.name, room.value) == ("PROFILES", "file")
    assert include.source == Path("/share/realsense2_camera/launch/rs_launch.py")
    assert include.arguments["align_depth.enable"] == "true"
    assert all(isinstance(value, str) for value in include.arguments.values())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"execute": "true", "camera": "none"}, "needs an arm"),
        ({"camera": "replay"}, "frames:=FOLDER"),
        ({"camera": "sim", "frames": "x"}, "camera:=replay only"),
        ({"camera": "sim", "seed": "many"}, "whole number"),
    ],
)
def test_what_does_not_go_together_is_refused(launch_file, given, words):
    with pytest.raises(RuntimeError, match=words):
        setup(launch_file, **given)


def test_an_arm_of_our_own_planner(launch_file):
    nodes = by_executable(setup(launch_file, camera="sim", arm="mplib"))
    assert nodes["grasp_sim"].parameters[0]["arm"] is True
    executor = nodes["grasp_executor"]
    file, given = executor.parameters
    assert file.endswith("config/executor.yaml")
    assert (given["arm"], given["dry_run"]) == ("mplib", True)
    assert "moveit.parameters" not in given
    assert dict(executor.remappings)["depth/image_raw"].endswith("aligned_depth_to_color/image_raw")
    nodes = by_executable(setup(launch_file, camera="sim", arm="mplib", execute="true"))
    assert nodes["grasp_executor"].parameters[1]["dry_run"] is False


class MoveItConfigsBuilder:
    """The documented builder; files are read from the folder, relative to the package."""

    made: ClassVar[list] = []

    def __init__(self, robot_name, robot_description="robot_description", package_name=None):
        self.robot_name, self.package_name, self.calls = robot_name, package_name, {}
        type(self).made.append(self)

    def _keep(self, name, **arguments):
        for key, value in arguments.items():
            assert value is None or isinstance(value, str | list), f"{key} is no plain value"
        self.calls[name] = arguments
        return self

    def robot_description(self, file_path=None, mappings=None):
        return self._keep("robot_description", file_path=file_path)

    def trajectory_execution(self, file_path=None, moveit_manage_controllers=True):
        return self._keep("trajectory_execution", file_path=file_path)

    def planning_pipelines(self, default_planning_pipeline=None, pipelines=None, load_all=True):
        assert default_planning_pipeline in pipelines
        return self._keep("planning_pipelines", pipelines=pipelines)

    def pilz_cartesian_limits(self, file_path=None):
        return self._keep("pilz_cartesian_limits", file_path=file_path)

    def moveit_cpp(self, file_path=None):
        return self._keep("moveit_cpp", file_path=file_path)

    def to_moveit_configs(self):
        return self

    def to_dict(self):
        # As documented: the list of pipelines gives way to what moveit_cpp has under its name.
        result = {
            "robot_description": "<robot/>", "robot_description_semantic": "<robot/>",
            "planning_pipelines": self.calls["planning_pipelines"]["pipelines"],
            "ompl": {"planner_configs": {"RRTConnectkConfigDefault": {"range": 0.0}}},
            "pilz_industrial_motion_planner": {"planning_plugins": ["stock"]},
        }  # fmt: skip
        for name in ("trajectory_execution", "moveit_cpp"):
            path = self.calls.get(name, {}).get("file_path")
            result |= yaml.safe_load(Path(path).read_text()) if path else {}
        return result


@pytest.fixture
def moveit(launch_file, monkeypatch, tmp_path):
    """MoveIt's launch tools with one configuration package, and our own folder of files."""
    from ament_index_python import packages

    module = ModuleType("moveit_configs_utils")
    module.MoveItConfigsBuilder = MoveItConfigsBuilder
    MoveItConfigsBuilder.made = []
    monkeypatch.setitem(sys.modules, "moveit_configs_utils", module)

    def share(name):
        if "none" in name:
            raise packages.PackageNotFoundError(name)
        return str(tmp_path)

    monkeypatch.setattr(packages, "get_package_share_directory", share)
    monkeypatch.setattr(launch_file, "SHARE", ROOT)
    return MoveItConfigsBuilder.made


def moveit_parameters(nodes):
    value = nodes["grasp_executor"].parameters[1]["moveit.parameters"]
    assert value.value_type is str
    return load_parameters(value.value)


def test_moveit_gets_the_panda(launch_file, moveit):
    nodes = by_executable(setup(launch_file, camera="sim", arm="moveit", execute="true"))
    (builder,) = moveit
    assert builder.robot_name == "panda"
    assert builder.package_name == "moveit_resources_panda_moveit_config"
    assert builder.calls["robot_description"] == {"file_path": "config/panda.urdf.xacro"}
    given = moveit_parameters(nodes)
    controllers = given["moveit_simple_controller_manager"]
    config = ExecutorConfig()
    actions = {f"{n}/{controllers[n]['action_ns']}" for n in controllers["controller_names"]}
    # The executor's own clients, the simulation and MoveIt speak of the same actions and joints.
    assert actions == {config.controllers.arm_action, config.controllers.gripper_action}
    assert tuple(controllers["panda_arm_controller"]["joints"]) == config.controllers.joints
    assert given["planning_pipelines"]["pipeline_names"] == list(PIPELINES)
    for name in (config.moveit.free_set, config.moveit.straight_set):
        request = given[name]["plan_request_params"]
        assert request["planning_pipeline"] in PIPELINES
        assert request["max_velocity_scaling_factor"] == config.motion.speed
    for pipeline in PIPELINES:
        adapters = given[pipeline]["response_adapters"]
        assert "default_planning_response_adapters/ValidateSolution" in adapters
    # What the robot's package knows stays.
    assert "RRTConnectkConfigDefault" in given["ompl"]["planner_configs"]
    limits = yaml.safe_load(Path(builder.calls["pilz_cartesian_limits"]["file_path"]).read_text())
    assert limits["cartesian_limits"]["max_trans_dec"] < 0


def test_moveit_gets_another_robot_with_its_own_files(launch_file, moveit, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "pilz_cartesian_limits.yaml").write_text("cartesian_limits: {}")
    nodes = by_executable(
        setup(launch_file, camera="none", arm="moveit", moveit_config="ur_moveit_config")
    )
    (builder,) = moveit
    assert (builder.robot_name, builder.package_name) == ("ur", "ur_moveit_config")
    assert not builder.calls.keys() & {
        "robot_description", "trajectory_execution", "pilz_cartesian_limits"
    }  # fmt: skip
    assert "moveit_simple_controller_manager" not in moveit_parameters(nodes)


def test_a_missing_moveit_configuration_is_explained(launch_file, moveit):
    with pytest.raises(RuntimeError, match=r"'none_moveit_config'.*apt install.*arm:=mplib"):
        setup(launch_file, arm="moveit", camera="none", moveit_config="none_moveit_config")


@pytest.mark.skipif(
    importlib.util.find_spec("moveit_configs_utils") is not None, reason="MoveIt is here"
)
def test_missing_moveit_is_explained(launch_file):
    with pytest.raises(RuntimeError, match=r"needs MoveIt.*ros-\$ROS_DISTRO-moveit-py"):
        setup(launch_file, arm="moveit", camera="none")


def test_a_missing_camera_driver_is_explained(launch_file, monkeypatch):
    def missing(name):
        raise launch_file.PackageNotFoundError(name)

    monkeypatch.setattr(launch_file, "get_package_share_directory", missing)
    with pytest.raises(RuntimeError, match=r"realsense2_camera.*camera:=sim"):
        setup(launch_file)


@pytest.mark.skipif(importlib.util.find_spec("launch_ros") is None, reason="no launch_ros here")
def test_with_the_real_launch_packages():
    from launch import LaunchContext

    module = load()
    context = LaunchContext()
    for action in module.generate_launch_description().entities[:-1]:
        action.execute(context)
    context.launch_configurations["camera"] = "sim"
    assert len(module.launch_setup(context)) == 3


def test_rviz_shows_what_the_detector_publishes():
    config = yaml.safe_load(RVIZ_FILE.read_text())
    displays = config["Visualization Manager"]["Displays"]
    topics = {d["Topic"]["Value"]: d for d in displays if "Topic" in d}
    markers = topics["/grasp_detector/markers"]
    assert markers["Class"] == "rviz_default_plugins/MarkerArray"
    poses = topics["/grasp_detector/grasps"]
    # The default arrow is 0.3 m long: longer than the gripper.
    assert (poses["Shape"], poses["Axes Length"]) == ("Axes", 0.05)
    assert topics["/camera/camera/color/image_raw"]["Topic"]["Reliability Policy"] == "Best Effort"
    assert "/grasp_detector/debug_image" in topics
