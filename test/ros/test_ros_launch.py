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

import pytest
import yaml

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
    } <= declared.keys()  # fmt: skip
    assert declared["camera"].default_value == "realsense"
    assert declared["execute"].default_value == "false"
    assert all(argument.description for argument in declared.values())
    assert isinstance(description.entities[-1], OpaqueFunction)


def test_files_that_the_defaults_name_exist(launch_file):
    defaults = {name: default for name, default, *_ in launch_file.ARGUMENTS}
    for name in ("params_file", "rviz_config"):
        relative = Path(defaults[name]).relative_to(launch_file.SHARE)
        assert (ROOT / relative).is_file()


def test_simulated_camera(launch_file):
    nodes = by_executable(setup(launch_file, camera="sim", seed="5"))
    assert nodes.keys() == {"grasp_sim", "grasp_detector", "rviz2"}
    assert nodes["grasp_sim"].parameters == [{"seed": 5, "use_sim_time": False}]
    assert nodes["rviz2"].arguments[-2:] == ["-f", "world"]


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
    (group,) = [a for a in setup(launch_file) if isinstance(a, GroupAction)]
    assert (group.scoped, group.forwarding) == (True, False)
    (include,) = group.actions
    assert include.source == Path("/share/realsense2_camera/launch/rs_launch.py")
    assert include.arguments["align_depth.enable"] == "true"
    assert all(isinstance(value, str) for value in include.arguments.values())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"arm": "moveit"}, "grasp_executor"),
        ({"execute": "true", "camera": "none"}, "needs an arm"),
        ({"camera": "replay"}, "frames:=FOLDER"),
        ({"camera": "sim", "frames": "x"}, "camera:=replay only"),
        ({"camera": "sim", "seed": "many"}, "whole number"),
    ],
)
def test_what_does_not_go_together_is_refused(launch_file, given, words):
    with pytest.raises(RuntimeError, match=words):
        setup(launch_file, **given)


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
