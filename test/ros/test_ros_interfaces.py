# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The interface types: documented, and usable from another process."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rclpy
from control_msgs.action import FollowJointTrajectory, GripperCommand
from rclpy.serialization import deserialize_message, serialize_message
from tf2_msgs.msg import TFMessage

from kgnpro_ros.action import Pick
from kgnpro_ros.msg import GraspCandidate, GraspCandidateArray, RejectionCount
from kgnpro_ros.srv import DetectGrasps

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for folder in ("msg", "srv", "action") for path in (ROOT / folder).glob("*.*"))


def example():
    candidate = GraspCandidate(id="0", width=0.0625, score=0.875, status=GraspCandidate.STATUS_OK)
    candidate.covariance[35] = 2.5
    candidate.keypoints[7] = 239.5
    result = GraspCandidateArray(candidates=[candidate], gripper="franka_hand")
    result.rejected.append(RejectionCount(reason="collision", count=3))
    result.header.frame_id = "camera_color_optical_frame"
    return result


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_field_has_a_comment(path):
    lines = [line.strip() for line in path.read_text().splitlines()]
    assert lines[0].startswith("#"), "the file says first what it is for"
    for above, line in itertools.pairwise(lines):
        if line and not line.startswith(("#", "---")):
            assert above.startswith("#"), f"{path.name}: '{line}' has no comment above"


def test_candidates_survive_serialisation():
    original = example()
    copy = deserialize_message(serialize_message(original), GraspCandidateArray)
    assert copy == original
    assert copy.candidates[0].status == "ok"
    assert len(copy.candidates[0].covariance) == 36


def test_request_defaults_mean_the_parameters_of_the_node():
    request = DetectGrasps.Request()
    assert (request.max_grasps, request.min_score, request.instance_id) == (0, 0.0, 0)
    assert (request.mask.width, request.target_frame) == (0, "")
    assert not request.wait_for_new_frame


def test_pick_reports_stages_of_each_candidate():
    result = Pick.Result()
    fields = result.get_fields_and_field_types()
    assert fields["stages"] == "sequence<kgnpro_ros/StageReport>"
    assert {"success", "message", "picked_candidate", "lifted_height"} <= set(fields)
    assert set(Pick.Feedback.get_fields_and_field_types()) == {
        "stage",
        "candidate_index",
        "attempt",
    }


def test_controller_and_transform_types_have_the_upstream_fields():
    goal = FollowJointTrajectory.Goal.get_fields_and_field_types()
    assert {"trajectory", "path_tolerance", "goal_tolerance", "goal_time_tolerance"} <= set(goal)
    assert FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED == -4
    gripper = GripperCommand.Result.get_fields_and_field_types()
    assert list(gripper) == ["position", "effort", "stalled", "reached_goal"]
    assert TFMessage.get_fields_and_field_types() == {
        "transforms": "sequence<geometry_msgs/TransformStamped>"
    }


def test_service_answers_another_process(spin):
    node = spin(rclpy.create_node("interface_server"))

    def answer(request, response):
        array = example()
        response.success = request.max_grasps == 5
        response.message = request.target_frame
        response.header, response.candidates = array.header, array.candidates
        response.rejected = array.rejected
        return response

    node.create_service(DetectGrasps, "detect_grasps_test", answer)
    client = """
import rclpy
from kgnpro_ros.srv import DetectGrasps
rclpy.init()
node = rclpy.create_node("interface_client")
client = node.create_client(DetectGrasps, "detect_grasps_test")
assert client.wait_for_service(20.0)
future = client.call_async(DetectGrasps.Request(max_grasps=5, target_frame="map"))
rclpy.spin_until_future_complete(node, future, timeout_sec=20.0)
answer = future.result()
print(answer.success, answer.message, answer.candidates[0].covariance[35], answer.rejected[0].count)
"""
    command = [sys.executable, "-c", client]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 0, process.stderr
    assert re.search(r"True map 2\.5 3", process.stdout), process.stdout
