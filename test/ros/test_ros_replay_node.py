# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from rclpy.parameter import Parameter
from rclpy.time import Time
from ros_frames import CAMERA, SIZE, write_frame
from ros_graph import Caller, wait_until
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from tf2_ros import Buffer, TransformListener

from kgnpro_ros.exceptions import ConfigError, ImageError
from kgnpro_ros.ros.camera_publisher import camera_link_pose, depth_to_millimetres
from kgnpro_ros.ros.conversions import color_from_image, decode_image, matrix_from_transform
from kgnpro_ros.ros.replay_node import ReplayNode

PREFIX = "/camera/camera"
COLOR, DEPTH = f"{PREFIX}/color/image_raw", f"{PREFIX}/aligned_depth_to_color/image_raw"
INFO = f"{PREFIX}/color/camera_info"


def make_node(folder, **parameters):
    values = {"frames": str(folder), "rate": 30.0, "frame_period": 0.0, "loop": False}
    overrides = [Parameter(name, value=value) for name, value in {**values, **parameters}.items()]
    return ReplayNode(parameter_overrides=overrides, use_global_arguments=False)


@pytest.fixture(scope="module")
def replay(spin, tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    write_frame(root / "a", 700)
    write_frame(root / "b", 900)
    write_frame(root / "c_broken", depth_size=(60, 80))
    (root / "d_no_frame").mkdir()
    return spin(make_node(root, camera_pose=[0.1, 0.2, 0.3, 0.0, 0.5, 0.0]))


@pytest.fixture(scope="module")
def listener(spin, replay):
    node = Caller("listener")
    node.received = {COLOR: [], DEPTH: [], INFO: []}
    for topic, kind in ((COLOR, Image), (DEPTH, Image), (INFO, CameraInfo)):
        node.create_subscription(kind, topic, node.received[topic].append, 10)
    return spin(node)


def newest(listener, topic):
    count = len(listener.received[topic])
    assert wait_until(lambda: len(listener.received[topic]) > count + 1)
    return listener.received[topic][-1]


def trigger(listener, name):
    client = listener.create_client(Trigger, f"/rgbd_replay/{name}", callback_group=listener.group)
    return listener.call(client, Trigger.Request())


def test_messages_look_like_a_realsense(listener):
    color, depth, info = (newest(listener, topic) for topic in (COLOR, DEPTH, INFO))
    assert (color.encoding, depth.encoding) == ("rgb8", "16UC1")
    for message in (color, depth, info):
        assert message.header.frame_id == "camera_color_optical_frame"
        assert (message.height, message.width) == SIZE
    np.testing.assert_array_equal(color_from_image(color)[7, :, 0], np.arange(SIZE[1]))
    pixels = decode_image(depth, ("16UC1",), "depth")
    assert set(np.unique(pixels)) == {0, 700}
    assert (info.k[0], info.k[4], info.k[2], info.k[5]) == tuple(
        CAMERA[key] for key in ("fx", "fy", "cx", "cy")
    )


def test_colour_depth_and_info_share_rising_stamps(listener):
    newest(listener, INFO)
    stamps = {
        topic: [Time.from_msg(m.header.stamp).nanoseconds for m in messages]
        for topic, messages in listener.received.items()
    }
    for values in stamps.values():
        assert values == sorted(set(values))
    assert set(stamps[COLOR]) & set(stamps[DEPTH]) & set(stamps[INFO])
    age = listener.get_clock().now().nanoseconds - stamps[COLOR][-1]
    assert abs(age) < 2e9


def test_frames_advance_on_request_and_broken_ones_are_skipped(listener):
    assert trigger(listener, "current").message == "a"
    answer = trigger(listener, "next")
    assert (answer.success, answer.message) == (True, "b")
    assert wait_until(
        lambda: decode_image(newest(listener, DEPTH), ("16UC1",), "depth").max() == 900
    )
    answer = trigger(listener, "next")
    assert (answer.success, answer.message) == (False, "b")


def test_static_transforms(spin, replay, listener):
    buffer = Buffer()
    TransformListener(buffer, listener)
    target, source = "world", "camera_color_optical_frame"
    assert wait_until(lambda: buffer.can_transform(target, source, Time()))
    matrix = matrix_from_transform(buffer.lookup_transform(target, source, Time()).transform)
    np.testing.assert_allclose(matrix[:3, 3], [0.1, 0.2, 0.3], atol=1e-9)
    # Pitched by 0.5 rad: the optical axis points forward and down.
    np.testing.assert_allclose(matrix[:3, 2], [np.cos(0.5), 0, -np.sin(0.5)], atol=1e-9)
    # x of the image points to the right of the body, which is -y.
    np.testing.assert_allclose(matrix[:3, 0], [0, -1, 0], atol=1e-9)


def test_frames_change_by_themselves_and_start_again(spin, tmp_path):
    for name, depth in (("a", 500), ("b", 600)):
        write_frame(tmp_path / name, depth)
    node = make_node(tmp_path, frame_period=0.05, loop=True)
    seen = []

    def show():
        node._publish()
        seen.append(node._frames[node._index].name)
        return "".join(seen).replace("aa", "a").count("ba") == 2

    try:
        assert wait_until(show)
        assert seen[0] == "a"
    finally:
        node.destroy_node()


def test_unusable_parameters_are_explained(ros, tmp_path):
    with pytest.raises(ConfigError, match="parameter frames is empty"):
        make_node("")
    with pytest.raises(ImageError, match=r"color.png, depth.png, camera.json"):
        make_node(tmp_path)
    write_frame(tmp_path / "broken", depth_size=(6, 8))
    with pytest.raises(ImageError, match=r"no frame in .* can be read"):
        make_node(tmp_path)
    with pytest.raises(ConfigError, match="rate"):
        make_node(tmp_path, rate=0.0)


def test_parameters_are_fixed_while_the_node_runs(replay):
    result = replay.set_parameters([Parameter("rate", value=3.0)])[0]
    assert not result.successful
    assert "start it again" in result.reason


def test_depth_to_millimetres():
    depth = np.array([[0.5004, np.nan, np.inf, 65.535, 65.6, -1.0, 0.0]], np.float32)
    np.testing.assert_array_equal(depth_to_millimetres(depth), [[500, 0, 0, 65535, 0, 0, 0]])


def test_camera_link_pose_is_fixed_axis_roll_pitch_yaw():
    matrix = camera_link_pose((1.0, 2.0, 3.0, 0.0, 0.0, np.pi / 2))
    np.testing.assert_allclose(matrix[:3, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(matrix[:3, 3], [1, 2, 3])
