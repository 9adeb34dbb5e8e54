# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A recording that is played in a loop with its clock: time, images and transforms jump back."""

import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_graph import FRAME, Caller, TestCamera, good_frame, wait_until
from rosgraph_msgs.msg import Clock
from test_ros_detector_node import make_detector
from tf2_msgs.msg import TFMessage

#: Where the recording begins [s], and how many frames it has, a tenth of a second apart.
BEGIN, FRAMES = 1000, 40


def transform(parent, child, stamp):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, stamp
    message.transform.rotation.w = 1.0
    return TFMessage(transforms=[message])


class Recording(TestCamera):
    """What ``ros2 bag play --loop --clock`` sends: the static transform comes only once."""

    def __init__(self):
        super().__init__("recording")
        self._frame, self.passes = 0, 0
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._clock_out = self.create_publisher(Clock, "/clock", 10)
        self._tf = self.create_publisher(TFMessage, "/tf", 50)
        self._tf_static = self.create_publisher(TFMessage, "/tf_static", latched)
        self._tf_static.publish(transform("recorded_arm", FRAME, Time(sec=BEGIN)))

    def _publish(self):
        stamp = Time(sec=BEGIN + self._frame // 10, nanosec=self._frame % 10 * 10**8)
        self._clock_out.publish(Clock(clock=stamp))
        self._tf.publish(transform("recorded_base", "recorded_arm", stamp))
        messages = good_frame(stamp)
        for publisher, message in zip((self.color, self.depth, self.info), messages, strict=True):
            publisher.publish(message)
        self._frame = (self._frame + 1) % FRAMES
        self.passes += self._frame == 0


@pytest.mark.reliability("fault: clock")
def test_a_recording_that_loops_with_its_clock(local):
    """Every pass gives grasps in the frame of the arm, without a restart of anything."""
    recording = local(Recording())
    node = local(
        make_detector(
            "recording", "recording", use_sim_time=True, target_frame="recorded_base",
            tf_timeout=2.0,
        )
    )  # fmt: skip
    client = local(Caller("recording_caller", "/recording/detect_grasps"))
    assert client.detect_until(lambda r: r.success, wait_for_new_frame=True).success
    for _ in range(2):
        before = recording.passes
        assert wait_until(lambda before=before: recording.passes > before)
        response = client.detect_until(lambda r: r.success, wait_for_new_frame=True)
        assert response.success, response.message
        assert response.header.frame_id == "recorded_base"
        assert BEGIN <= response.header.stamp.sec < BEGIN + FRAMES // 10
    assert wait_until(lambda: "jumped back" in node.problems.last)
