# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""check_frames against a camera that sees a hand, and transforms that are right or wrong."""

from importlib import resources

import cv2
import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_graph import wait_until
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from support.hand_images import camera_view, hand_depth
from tf2_ros import StaticTransformBroadcaster

from kgnpro_ros.exceptions import ConfigError, FrameError, KGNProError
from kgnpro_ros.geometry import Camera, load_gripper
from kgnpro_ros.ros.camera_publisher import depth_to_millimetres
from kgnpro_ros.ros.check_frames import main, parse, run
from kgnpro_ros.ros.conversions import camera_to_info, image_to_message, transform_from_matrix

CAMERA = Camera(300.0, 301.0, 121.0, 88.0, 240, 180)
GRIPPER = load_gripper("franka_hand")
OPENING = 0.06
FRAME = "wrist_optical_frame"
NUMBER = iter(range(1000))


class HandCamera(Node):
    """Sees a hand; says where it is by TF, after ``offset`` was added [m]."""

    def __init__(self, name, offset=(0, 0, 0), view=None, tf=True, frame=FRAME):
        super().__init__(name, use_global_arguments=False)
        pose = camera_view() if view is None else view
        self.frame, self.stamp_offset = frame, 0
        depth = hand_depth(CAMERA, GRIPPER, pose, OPENING)
        self._depth = depth_to_millimetres(depth)
        self._color = np.full((*depth.shape, 3), 90, np.uint8)
        self._outputs = [
            self.create_publisher(kind, f"{name}/{topic}", 5)
            for kind, topic in ((Image, "color"), (CameraInfo, "info"), (Image, "depth"))
        ]
        self._timer = self.create_timer(0.1, self._publish)
        if tf:
            self._broadcaster = StaticTransformBroadcaster(self)
            message = TransformStamped(child_frame_id=f"{name}_tool")
            message.header.frame_id = frame
            tool = GRIPPER.tool_poses(pose[None])[0]
            tool[:3, 3] += offset
            message.transform = transform_from_matrix(tool)
            self._broadcaster.sendTransform(message)

    def _publish(self):
        stamp = self.get_clock().now().to_msg()
        header = Header(stamp=stamp, frame_id=self.frame)
        header.stamp.sec += self.stamp_offset
        messages = (
            image_to_message(self._color, "rgb8", header),
            camera_to_info(CAMERA, header),
            image_to_message(self._depth, "16UC1", header),
        )
        for publisher, message in zip(self._outputs, messages, strict=True):
            publisher.publish(message)


@pytest.fixture
def check(local, tmp_path, capsys):
    """Runs the command against a camera; gives exit code and output."""

    def call(*words, **options):
        name = f"hand_camera_{next(NUMBER)}"
        frame = f"{options.pop('frame', name + '_optical_frame')}"
        stamp_offset = options.pop("stamp_offset", 0)
        camera = local(HandCamera(name, frame=frame, **options))
        camera.stamp_offset = stamp_offset
        gripper = tmp_path / "gripper.yaml"
        preset = resources.files("kgnpro_ros.geometry.grippers") / "franka_hand.yaml"
        # A tool link of its own: static transforms of other tests may still be around.
        gripper.write_text(preset.read_text().replace("panda_hand\n", f"{name}_tool\n"))
        code = run(parse([
            "--gripper", str(gripper), "--opening", str(OPENING),
            "--out", str(tmp_path / "picture.png"), "--timeout", "20", "--tf-timeout", "5.0",
            "--color-topic", f"{name}/color", "--info-topic", f"{name}/info",
            "--depth-topic", f"{name}/depth", *words,
        ]))  # fmt: skip
        return code, capsys.readouterr().out

    return call


def test_right_transforms_agree(check, tmp_path):
    code, out = check()
    assert code == 0, out
    assert "everything agrees" in out
    assert "DISAGREES" not in out
    assert "left finger: 100 % in the image" in out
    picture = cv2.imread(str(tmp_path / "picture.png"))
    assert picture.shape == (180, 240, 3)
    # Edges are drawn where the hand is.
    depth = hand_depth(CAMERA, GRIPPER, camera_view(), OPENING)
    drawn = (picture != 90).any(axis=2)
    assert drawn[depth < 0.7].mean() > 3 * drawn[depth >= 0.7].mean() > 0


@pytest.mark.parametrize(
    ("offset", "words"),
    [((0.03, 0, 0), "px to the right"), ((0, 0, 0.04), "no shift in the image explains it")],
)
def test_a_wrong_transform_disagrees_with_numbers(check, offset, words):
    code, out = check(offset=offset)
    assert code == 1, out
    assert "DISAGREES" in out
    assert words in out
    if offset[0]:
        # TF has the hand 30 mm too far to the right.
        shift = float(out.split("that is ")[1].split(" mm")[0])
        assert shift == pytest.approx(-30, abs=6)


def test_a_depth_offset_is_named(check):
    code, out = check(offset=(0, 0, -0.02))
    assert code == 1, out
    assert any(f"by +{mm} mm" in out for mm in range(16, 25))


def test_a_hand_outside_the_image(check):
    code, out = check(offset=(0.9, 0, 0))
    assert code == 1
    assert "outside the image of 240x180" in out


def test_the_opening_matters(check):
    code, _ = check("--opening", "0.0")
    assert code == 1


def test_a_missing_transform_is_an_error(check):
    with pytest.raises(FrameError, match=r"_tool.*hand-eye"):
        check("--tf-timeout", "0.3", tf=False)


def test_frames_and_stamps_that_are_odd(check):
    code, out = check(frame="camera_of_the_wrist", stamp_offset=-20)
    assert code == 1
    assert "'camera_of_the_wrist'; expected an optical frame" in out
    assert "20.0" in out or "20.1" in out
    assert "use_sim_time" in out


def test_silence_is_explained(ros):
    options = ["--timeout", "0.5", "--color-topic", "/nowhere/color"]
    with pytest.raises(KGNProError, match=r"no colour image on /nowhere/color"):
        run(parse(options))


def test_an_opening_that_the_gripper_has_not(ros):
    with pytest.raises(ConfigError, match=r"expected 0 to 0\.08"):
        run(parse(["--opening", "0.2"]))


def test_the_picture_can_be_seen_in_rviz(check, local):
    received = []
    node = local(Node("picture_viewer", use_global_arguments=False))
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(Image, "/check_frames/picture", received.append, latched)
    # Before the command ends, so that the picture finds its way.
    check()
    assert wait_until(lambda: bool(received), 20)
    assert (received[0].width, received[0].encoding) == (240, "rgb8")


def test_bad_words_on_the_command_line(ros, monkeypatch):
    with pytest.raises(SystemExit):
        parse(["--nothing"])
    monkeypatch.setattr(rclpy, "init", lambda args: None)
    monkeypatch.setattr(rclpy, "try_shutdown", lambda: None)
    assert main(["--opening", "7", "--ros-args", "-p", "use_sim_time:=false"]) == 2
