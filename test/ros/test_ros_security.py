# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The security policy grants what the nodes of the running graph use, and nothing else."""

import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.action import (
    get_action_client_names_and_types_by_node,
    get_action_server_names_and_types_by_node,
)
from rclpy.parameter import Parameter
from ros_frames import write_frame
from ros_graph import PATIENCE, QuickDetector, wait_until

from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.execution.cancellation import Cancellation
from kgnpro_ros.ros.detector_node import GraspDetectorNode
from kgnpro_ros.ros.executor_node import GraspExecutorNode
from kgnpro_ros.ros.pick_scene import GoalCancelledError
from kgnpro_ros.ros.replay_node import ReplayNode

POLICY = Path(__file__).resolve().parents[2] / "config" / "sros2_policy.xml"
NODES = ("grasp_detector", "grasp_executor", "grasp_sim", "rgbd_replay")

#: Attribute of each permission, with the element that groups it and the one that names it.
KINDS = {
    "publish": ("topics", "topic"), "subscribe": ("topics", "topic"),
    "reply": ("services", "service"), "request": ("services", "service"),
    "execute": ("actions", "action"), "call": ("actions", "action"),
}  # fmt: skip

#: Granted, and used only with certain parameters.
OPTIONAL = {
    ("grasp_detector", "subscribe", "/clock"), ("rgbd_replay", "subscribe", "/clock"),
    ("grasp_sim", "subscribe", "/clock"), ("grasp_executor", "subscribe", "/clock"),
    ("grasp_sim", "publish", "/clock"), ("grasp_sim", "publish", "/grasp_sim/overview"),
}  # fmt: skip


def granted(node):
    """{permission: names} of one node."""
    root = ElementTree.parse(POLICY).getroot()
    (profile,) = root.findall(f"./enclaves/enclave[@path='/{node}']/profiles/profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", node)
    return {
        kind: {e.text for e in profile.findall(f"./{group}[@{kind}='ALLOW']/{item}")}
        for kind, (group, item) in KINDS.items()
    }


def test_the_policy_has_the_structure_that_sros2_reads():
    root = ElementTree.parse(POLICY).getroot()
    assert (root.tag, root.get("version")) == ("policy", "0.2.0")
    enclaves = root.findall("./enclaves/enclave")
    assert sorted(e.get("path") for e in enclaves) == sorted(f"/{node}" for node in NODES)
    for profile in root.findall("./enclaves/enclave/profiles/profile"):
        for group in profile:
            ((kind, verdict),) = group.attrib.items()
            assert (group.tag, verdict) == (KINDS[kind][0], "ALLOW")
            assert [e.tag for e in group] == [KINDS[kind][1]] * len(group)
            for element in group:
                assert element.text.startswith("/"), "no name that depends on a namespace"
                assert "*" not in element.text, "no wildcard"


def used_with_types(observer, node):
    """{permission: {name: types}} of a node in the graph; empty before it is discovered."""
    if (node, "/") not in observer.get_node_names_and_namespaces():
        return {kind: {} for kind in KINDS}

    def names(pairs):
        return {name: types for name, types in pairs if "/_action/" not in name}

    return {
        "publish": names(observer.get_publisher_names_and_types_by_node(node, "/")),
        "subscribe": names(observer.get_subscriber_names_and_types_by_node(node, "/")),
        "reply": names(observer.get_service_names_and_types_by_node(node, "/")),
        "request": names(observer.get_client_names_and_types_by_node(node, "/")),
        "execute": names(get_action_server_names_and_types_by_node(observer, node, "/")),
        "call": names(get_action_client_names_and_types_by_node(observer, node, "/")),
    }


def used(observer, node):
    """{permission: names} of a node in the running graph."""
    return {kind: set(found) for kind, found in used_with_types(observer, node).items()}


REALSENSE = [
    part for name, topic in (
        ("color/image_raw", "color/image_raw"), ("color/camera_info", "color/camera_info"),
        ("depth/image_raw", "aligned_depth_to_color/image_raw"),
    ) for part in ("-r", f"{name}:=/camera/camera/{topic}")
]  # fmt: skip


def make_detector(folder):
    node = GraspDetectorNode(
        detector_factory=QuickDetector, use_global_arguments=False,
        cli_args=["--ros-args", *REALSENSE, "-p", "use_mask:=true"],
    )  # fmt: skip
    node.autostart()
    return node


def make_replay(folder):
    frames = Parameter("frames", value=str(write_frame(folder / "frames" / "a").parent))
    return ReplayNode(parameter_overrides=[frames], use_global_arguments=False)


def make_executor(folder):
    def never(*arguments):
        raise ConfigError("no arm in this test")

    node = GraspExecutorNode(
        arm_factory=never, use_global_arguments=False, cli_args=["--ros-args", *REALSENSE],
        parameter_overrides=[Parameter("observe_timeout", value=600.0)],
    )  # fmt: skip
    look_for_obstacles(node)
    return node


def look_for_obstacles(node):
    """As a goal does, which then reads the camera; until the node is closed."""
    cancellation, close = Cancellation(), node.close

    def look():
        with pytest.raises(GoalCancelledError):
            node._scenes._frame(Time(), cancellation)

    looking = threading.Thread(target=look)
    looking.start()

    def stop():
        cancellation.request()
        looking.join()
        close()

    node.close = stop


def make_sim(folder):
    from kgnpro_ros.ros.sim_node import SimNode

    overview = Parameter("overview_rate", value=0.5)
    return SimNode(parameter_overrides=[overview], use_global_arguments=False)


MAKERS = [
    pytest.param("grasp_detector", make_detector), pytest.param("rgbd_replay", make_replay),
    pytest.param("grasp_executor", make_executor),
    pytest.param("grasp_sim", make_sim, marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.reliability("security: policy")
@pytest.mark.parametrize(("name", "make"), MAKERS)
def test_the_policy_grants_what_the_running_node_uses(local, tmp_path, name, make):
    # Another context is another DDS participant, which sees the node as anybody would.
    context = rclpy.Context()
    context.init()
    observer = rclpy.create_node("observer", context=context)
    try:
        local(make(tmp_path))
        allowed = granted(name)

        def settled():
            found = used(observer, name)
            return all(
                {n for n in allowed[kind] if (name, kind, n) not in OPTIONAL} <= found[kind]
                for kind in KINDS
            )

        complete = wait_until(settled, PATIENCE)
        found = used(observer, name)
        for kind in KINDS:
            needed = {n for n in allowed[kind] if (name, kind, n) not in OPTIONAL}
            assert found[kind] - allowed[kind] == set(), f"{kind}: used and not granted"
            assert needed - found[kind] == set(), f"{kind}: granted and not used"
        assert complete
    finally:
        observer.destroy_node()
        context.try_shutdown()
