# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of bad input, through a live node: a clear answer, and good frames work afterwards."""

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseArray
from rclpy.parameter import Parameter
from ros_graph import Caller, QuickDetector, TestCamera, good_frame, wait_until
from safetensors.numpy import save_file
from sensor_msgs.msg import Image
from std_msgs.msg import String
from test_ros_detector_node import listening, make_detector

from kgnpro_ros.config import NodeConfig
from kgnpro_ros.ros.conversions import image_to_message
from kgnpro_ros.ros.detector_node import WATCH_PERIOD, GraspDetectorNode
from kgnpro_ros.ros.processing import pipeline_detector


@pytest.fixture(scope="module")
def camera(spin):
    return spin(TestCamera("bad"))


@pytest.fixture(scope="module")
def detector(spin, camera):
    return spin(make_detector("bad", "bad", stall_timeout=0.4, max_age=10.0, log_period=0.2))


@pytest.fixture(scope="module")
def caller(spin, detector):
    return spin(Caller("bad_caller", "/bad/detect_grasps"))


@pytest.fixture(autouse=True)
def repaired(camera):
    yield
    camera.spoil, camera.silent, camera.clock_offset = None, set(), 0.0


def replace_image(message: Image, array, encoding: str) -> None:
    other = image_to_message(array, encoding, message.header)
    for name in ("height", "width", "encoding", "step", "data", "is_bigendian"):
        setattr(message, name, getattr(other, name))


def depth_of(value, dtype=np.uint16, encoding="16UC1", shape=(120, 160)):
    return lambda color, depth, info: replace_image(depth, np.full(shape, value, dtype), encoding)


def set_on(index, **fields):
    """Sets fields of one message; ``header__frame_id`` is a field of its header."""

    def spoil(*messages):
        for name, value in fields.items():
            inner, _, last = name.rpartition("__")
            target = getattr(messages[index], inner) if inner else messages[index]
            setattr(target, last, value)

    return spoil


def zero_k(color, depth, info):
    info.k = [0.0] * 9


def fisheye(color, depth, info):
    info.distortion_model, info.d = "equidistant", [0.1, 0.0, 0.0, 0.0]


def short_data(color, depth, info):
    color.data = color.data[:1000]


BAD = {
    "color encoding": (set_on(0, encoding="yuv422"), ("colour image has", "'yuv422'", "rgb8")),
    "depth encoding": (set_on(1, encoding="rgb8"), ("depth image has encoding 'rgb8'", "16UC1")),
    "sizes differ": (
        depth_of(600, shape=(60, 80)), ("depth image is 80x60 and the colour image 160x120",)
    ),
    "frames differ": (
        set_on(1, header__frame_id="camera_depth_optical_frame"),
        ("'camera_depth_optical_frame'", "align_depth.enable"),
    ),
    "no frame": (
        lambda *messages: [setattr(m.header, "frame_id", "") for m in messages],
        ("colour image has an empty frame_id",),
    ),
    "zero depth": (depth_of(0), ("holds no measurement",)),
    "nan depth": (depth_of(np.nan, np.float32, "32FC1"), ("holds no measurement",)),
    "infinite depth": (depth_of(np.inf, np.float32, "32FC1"), ("holds no measurement",)),
    "zero fx": (zero_k, ("fx = 0", "not calibrated")),
    "fisheye": (fisheye, ("'equidistant' is not supported", "plumb_bob")),
    "info of another stream": (set_on(2, width=640, height=480), ("640x480", "160x120")),
    "info of another frame": (set_on(2, header__frame_id="ir"), ("'ir'", "colour stream")),
    "empty image": (set_on(0, width=0, height=0), ("colour image is empty",)),
    "short data": (short_data, ("holds 1000 bytes",)),
    "short rows": (set_on(1, step=10), ("rows of 10 bytes",)),
}  # fmt: skip


@pytest.mark.reliability("fault: unusable frames")
@pytest.mark.parametrize("case", BAD)
def test_bad_frames_are_answered_with_the_reason_and_good_ones_work_again(camera, caller, case):
    camera.spoil, words = BAD[case]
    response = caller.detect_until(lambda r: words[0] in r.message, wait_for_new_frame=True)
    assert not response.success
    for word in words:
        assert word in response.message
    camera.spoil = None
    response = caller.detect_until(lambda r: r.success, wait_for_new_frame=True)
    assert response.success, response.message
    assert len(response.candidates) == 3


@pytest.mark.parametrize("order", ["little", "big"])
def test_padded_rows_and_byte_order_are_read_right(camera, caller, detector, order):
    # A depth of its own for each case, so that no earlier image is taken for this one.
    millimetres = {"little": 700, "big": 800}[order]

    def spoil(color, depth, info):
        values = np.full((120, 160), millimetres, ">u2" if order == "big" else "<u2")
        for message, array in ((color, np.frombuffer(color.data, np.uint8)), (depth, values)):
            rows = np.frombuffer(array.tobytes(), np.uint8).reshape(120, -1)
            message.data = np.pad(rows, ((0, 0), (0, 5)), constant_values=99).tobytes()
            message.step = rows.shape[1] + 5
        depth.is_bigendian = int(order == "big")

    camera.spoil = spoil
    detector_seen = detector.worker.detector

    def arrived():
        return abs(float(detector_seen.images[-1].depth[60, 80]) - millimetres / 1000) < 1e-6

    with listening(caller, PoseArray, "/bad/grasp_detector/grasps"):
        assert wait_until(lambda: detector_seen.images and arrived())
    image = detector_seen.images[-1]
    np.testing.assert_allclose(image.depth, millimetres / 1000, rtol=1e-6)
    np.testing.assert_array_equal(image.color[5, :, 0], np.arange(160))
    assert caller.detect(wait_for_new_frame=True).success


@pytest.mark.reliability("fault: clock")
def test_frame_from_the_past_and_clock_that_jumps_back(camera, caller):
    camera.clock_offset = -30.0
    words = "s older than this node's clock"
    response = caller.detect_until(lambda r: words in r.message, wait_for_new_frame=True)
    assert words in response.message
    assert "use_sim_time" in response.message
    camera.clock_offset = 0.0
    assert caller.detect_until(lambda r: r.success, wait_for_new_frame=True).success


@pytest.mark.reliability("fault: clock")
@pytest.mark.parametrize("index", [0, 1], ids=["color", "depth"])
def test_stamps_before_1970_do_not_end_the_node(camera, caller, detector, index):
    """The wire carries negative seconds, which rclpy refuses to make a time of."""
    camera.spoil = set_on(index, header__stamp=Time(sec=-(2**31), nanosec=2**32 - 1))
    words = "image on /bad/"
    response = caller.detect_until(lambda r: "before 1970" in r.message, wait_for_new_frame=True)
    assert not response.success
    assert words in response.message
    assert "-2147483648 s" in response.message
    assert "before 1970" in detector.problems.last
    camera.spoil = None
    response = caller.detect_until(lambda r: r.success, wait_for_new_frame=True)
    assert response.success, response.message


@pytest.mark.reliability("fault: clock")
def test_frame_from_the_future(camera, caller):
    camera.clock_offset = 30.0
    words = "s ahead of this node's clock"
    response = caller.detect_until(lambda r: words in r.message, wait_for_new_frame=True)
    assert words in response.message
    camera.clock_offset = 0.0
    # Back from the future is a jump back: pairing must start anew, not starve.
    assert caller.detect_until(lambda r: r.success, wait_for_new_frame=True).success


@pytest.mark.reliability("fault: clock")
def test_recording_that_starts_again_keeps_delivering(local):
    """Stamps jump back by 20 s again and again; every pass must give frames."""
    camera = local(TestCamera("loop"))
    node = local(make_detector("loop", "loop", max_age=0.0, continuous=False))
    assert wait_until(lambda: node.source is not None and node.source.frames > 3)
    for k in range(1, 4):
        camera.clock_offset = -20.0 * k
        count = node.source.frames
        assert wait_until(lambda count=count: node.source.frames > count + 3), f"pass {k}"
    assert "jumped back" in node.problems.last


@pytest.mark.reliability("fault: camera stops or lacks a stream")
@pytest.mark.parametrize(
    ("silent", "words"),
    [
        ({"color"}, "no colour image on /bad/color/image_raw"),
        ({"depth"}, "no depth image on /bad/depth/image_raw"),
        ({"color", "depth", "info"}, "bad is there but sends nothing"),
    ],
)
def test_a_camera_that_stops(camera, caller, detector, silent, words):
    camera.silent = silent
    response = caller.detect_until(lambda r: words in r.message, wait_for_new_frame=True)
    assert not response.success
    assert words in response.message
    assert wait_until(lambda: words in detector.problems.last)
    camera.silent = set()
    assert caller.detect_until(lambda r: r.success).success


@pytest.mark.reliability("diagnostics: what is waited for")
def test_missing_camera_info_and_missing_topics_are_named_within_3_seconds(local):
    camera = local(TestCamera("half"))
    camera.silent = {"info"}
    node = local(make_detector("half", "half"))
    lonely = local(make_detector("nobody", "lonely"))
    assert NodeConfig().stall_timeout + WATCH_PERIOD < 3.0
    assert wait_until(lambda: node.problems.last and lonely.problems.last)
    assert "no camera_info on /half/color/camera_info" in node.problems.last
    for name in ("color/image_raw", "depth/image_raw", "color/camera_info"):
        assert f"/nobody/{name}" in lonely.problems.last
    assert "nobody publishes it" in lonely.problems.last
    assert "sensor_msgs/msg/Image" in lonely.problems.last
    # In one line: type, quality of service, encodings, frame.
    assert "\n" not in lonely.problems.last
    words = "reliable, encodings 16UC1, mono16, 32FC1, in the frame of the colour image"
    assert words in lonely.problems.last


@pytest.mark.reliability("diagnostics: what is waited for")
def test_wrong_type_on_a_topic_is_named(local):
    # Another context is another DDS participant, as in another process.
    context = rclpy.Context()
    context.init()
    other = rclpy.create_node("other", context=context)
    try:
        other.create_publisher(String, "/typed/color/image_raw", 1)
        local(make_detector("typed", "typed"))
        caller = local(Caller("type_caller", "/typed/detect_grasps"))
        words = "node other publishes std_msgs/msg/String there; expected sensor_msgs/msg/Image"
        assert words in caller.detect_until(lambda r: words in r.message).message
    finally:
        other.destroy_node()
        context.try_shutdown()


@pytest.mark.reliability("fault: stamps apart")
def test_streams_that_do_not_pair_are_explained(local):
    camera = local(TestCamera("apart"))
    node = local(make_detector("apart", "apart", stall_timeout=0.5))

    def spoil(color, depth, info):
        depth.header.stamp.sec -= 3

    camera.spoil = spoil
    assert wait_until(lambda: "do not pair" in node.problems.last), node.problems.last
    assert "expected less than sync_slop" in node.problems.last


@pytest.mark.reliability("fault: model or defect")
def test_unexpected_errors_do_not_end_the_node(local, camera):
    class Failing(QuickDetector):
        broken = True

        def detect(self, image, **options):
            if type(self).broken:
                raise RuntimeError("boom")
            return super().detect(image, **options)

    node = local(make_detector("bad", "failing", Failing))
    client = local(Caller("failing_caller", "/failing/detect_grasps"))
    assert "unexpected RuntimeError: boom" in client.detect().message
    with listening(client, PoseArray, "/failing/grasp_detector/grasps"):
        assert wait_until(lambda: "boom" in node.problems.last), node.problems.last
    Failing.broken = False
    assert client.detect_until(lambda r: r.success).success


def model_node(model, name):
    node = GraspDetectorNode(
        detector_factory=pipeline_detector, namespace=name, use_global_arguments=False,
        parameter_overrides=[Parameter("model", value=str(model))],
    )  # fmt: skip
    node.autostart()
    return node


def truncated(path):
    save_file({"a": np.zeros(100, np.float32)}, path)
    path.write_bytes(path.read_bytes()[:200])


def foreign(path):
    save_file({"a": np.zeros(100, np.float32)}, path)


def garbage(path):
    path.write_bytes(b"\x80\x02}q\x00not a safetensors file" * 10)


@pytest.mark.reliability("fault: model or defect")
@pytest.mark.parametrize("make", [None, truncated, foreign, garbage])
def test_a_bad_model_leaves_the_node_up_and_unconfigured(local, tmp_path, make):
    name = "model_" + ("missing" if make is None else make.__name__)
    path = tmp_path / f"{name}.safetensors"
    if make is not None:
        make(path)
    node = local(model_node(path, name))
    assert node.worker is None
    client = local(Caller(f"{name}_caller", f"/{name}/detect_grasps"))
    response = client.detect()
    assert not response.success
    assert "could not configure" in response.message
    assert str(path) in response.message
    # What is right afterwards works: another model file, and configure again.
    assert node.set_parameters([Parameter("model", value="none")])[0].successful


@pytest.mark.reliability("fault: parameters")
def test_a_parameter_out_of_range_at_start_is_answered_and_can_be_set_right(local, camera):
    node = local(make_detector("bad", "ranged", **{"decode.top_k": 0}))
    client = local(Caller("ranged_caller", "/ranged/detect_grasps"))
    message = client.detect().message
    assert "decode.top_k" in message
    assert "from 1 to 10000" in message
    assert node.set_parameters([Parameter("decode.top_k", value=10)])[0].successful
    node.autostart()
    assert client.detect_until(lambda r: r.success).success


@pytest.mark.reliability("fault: camera stops or lacks a stream")
def test_camera_info_sent_only_once_is_enough(local):
    camera = local(TestCamera("once"))
    camera.silent = {"info"}
    node = local(make_detector("once", "once"))
    assert wait_until(lambda: camera.info.get_subscription_count() == 1)
    camera.info.publish(good_frame(camera.get_clock().now().to_msg())[2])
    assert wait_until(lambda: node.source.frames > 10)
    assert node.source.waiting_for(30.0) == ""
