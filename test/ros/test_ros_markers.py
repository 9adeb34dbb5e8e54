# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ros_graph import CAMERA, QuickDetector
from visualization_msgs.msg import Marker

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.ros.markers import grasps_to_markers, score_colors
from kgnpro_ros.types import GraspBatch, RGBDImage


@pytest.fixture(scope="module")
def detection():
    detector = QuickDetector(DetectorConfig())
    size = (CAMERA.height, CAMERA.width)
    image = RGBDImage(np.zeros((*size, 3), np.uint8), np.full(size, 0.6, np.float32), CAMERA)
    return detector.detect(image), detector.gripper


def test_markers_follow_the_rules_of_rviz(detection):
    grasps, gripper = detection
    markers = grasps_to_markers(grasps, gripper, Time(sec=3)).markers
    assert markers[0].action == Marker.DELETEALL
    assert len({(m.ns, m.id) for m in markers[1:]}) == len(markers) - 1
    for marker in markers:
        q = marker.pose.orientation
        assert q.x**2 + q.y**2 + q.z**2 + q.w**2 == pytest.approx(1.0)
        assert marker.header.stamp.sec == 3
    lines = markers[1]
    assert lines.type == Marker.LINE_LIST
    assert len(lines.points) == len(lines.colors) == 8 * len(grasps)
    assert all(marker.color.a > 0 for marker in markers[2:])


def test_fingertips_are_drawn_at_the_jaw_opening(detection):
    grasps, gripper = detection
    points = grasps_to_markers(grasps, gripper, Time()).markers[2].points
    tips = np.array([[points[i].x, points[i].y, points[i].z] for i in (0, 2)])
    pose, width = grasps.poses[0], grasps.widths[0]
    np.testing.assert_allclose(tips.mean(0), pose[:3, 3], atol=1e-9)
    np.testing.assert_allclose(tips[0] - tips[1], width * pose[:3, 2], atol=1e-9)
    palm = np.array([points[1].x, points[1].y, points[1].z])
    np.testing.assert_allclose(tips[0] - palm, gripper.finger_length * pose[:3, 0], atol=1e-9)


def test_colors_run_from_red_to_green():
    colors = score_colors(np.array([0.2, 0.5, 0.8]))
    np.testing.assert_allclose(colors[:, :2], [[1, 0], [1, 1], [0, 1]])
    np.testing.assert_allclose(score_colors(np.array([0.4]))[0, :2], [0, 1])


def test_without_grasps_only_the_old_ones_are_deleted(detection):
    markers = grasps_to_markers(GraspBatch.empty("camera"), detection[1], Time()).markers
    assert [marker.action for marker in markers] == [Marker.DELETEALL]
