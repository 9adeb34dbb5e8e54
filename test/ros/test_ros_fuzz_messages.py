# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Every message field that the nodes read, with any value that the wire can carry."""

import math

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import TransformStamped
from hypothesis import strategies as st
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_graph import CAMERA, FRAME, QuickDetector, good_frame
from sensor_msgs.msg import Image, RegionOfInterest
from std_srvs.srv import SetBool
from test_ros_detector_node import make_detector

from kgnpro_ros.config import NETWORK_PRESETS, DetectorConfig, NodeConfig, ReplayConfig, SimConfig
from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import save_model
from kgnpro_ros.ros.conversions import (
    COLOR_ENCODINGS,
    DEPTH_ENCODINGS,
    ENCODINGS,
    image_to_message,
)
from kgnpro_ros.ros.frame_source import Frame
from kgnpro_ros.ros.grasp_messages import GraspMessages
from kgnpro_ros.ros.params import Parameters, parameter_fields
from kgnpro_ros.ros.processing import Query, pipeline_detector, process
from kgnpro_ros.ros.transforms import TransformSource
from kgnpro_ros.srv import DetectGrasps
from kgnpro_ros.types import GraspBatch

UINT32 = st.sampled_from([0, 1, 2, 159, 160, 161, 480, 2**31, 2**32 - 1]) | st.integers(0, 200)
INT32 = st.sampled_from([-(2**31), -1, 0, 1, 2**31 - 1]) | st.integers(-3, 300)
UINT8 = st.sampled_from([0, 1, 2, 255])
FLOAT = st.floats() | st.sampled_from([0.0, -1.0, 1e-320, 1e-30, 1e30, 1e308, math.nan, math.inf])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
ENCODING = st.sampled_from([*ENCODINGS, "yuv422", "bayer_rggb8", "32FC3", "64FC1", ""]) | TEXT
FRAMES = st.sampled_from([FRAME, "", "/", "//", "world", "a" * 300]) | TEXT
BYTES = st.binary(max_size=64) | st.sampled_from([160 * 120, 160 * 360, 160 * 240]).map(
    lambda size: b"\x7f" * size
)


def one_of(**fields):
    """A field and a value for it."""
    return st.one_of([st.tuples(st.just(name), values) for name, values in fields.items()])


IMAGE = one_of(
    height=UINT32, width=UINT32, step=UINT32, encoding=ENCODING, is_bigendian=UINT8, data=BYTES,
    header__frame_id=FRAMES, header__stamp=st.builds(
        Time, sec=INT32, nanosec=st.sampled_from([0, 10**9, 2**32 - 1])
    ),
)  # fmt: skip
INFO = one_of(
    height=UINT32, width=UINT32, distortion_model=TEXT | st.sampled_from(["plumb_bob", "fisheye"]),
    d=st.lists(FLOAT, max_size=15), k=st.lists(FLOAT, min_size=9, max_size=9),
    p=st.lists(FLOAT, min_size=12, max_size=12), binning_x=UINT32, binning_y=UINT32,
    header__frame_id=FRAMES, roi__x_offset=UINT32, roi__y_offset=UINT32, roi__width=UINT32,
    roi__height=UINT32, k_one=st.tuples(st.integers(0, 8), FLOAT),
)  # fmt: skip


def set_field(message, name, value):
    if name == "k_one":
        message.k[value[0]] = value[1]
        return
    inner, _, last = name.rpartition("__")
    setattr(getattr(message, inner) if inner else message, last, value)


class AnySize(QuickDetector):
    """No grasps, in images of any size."""

    def detect(self, image, **options):
        assert image.color.shape[:2] == image.depth.shape
        return GraspBatch.empty("camera")


@pytest.fixture(scope="module")
def transforms(ros):
    node = Node("fuzz_transforms", use_global_arguments=False)
    yield TransformSource(node)
    node.destroy_node()


OPTIONS = st.builds(
    NodeConfig, depth_is_registered=st.booleans(), rectified=st.booleans(),
    depth_unit=st.sampled_from([1e-6, 0.001, 1.0]), tf_timeout=st.just(0.0),
)  # fmt: skip


def changed_frame(edits):
    messages = good_frame(Time(sec=10))
    for index, (name, value) in edits:
        set_field(messages[index], name, value)
    return Frame(1, *messages, None, 0.0)


EDITS = st.lists(
    st.tuples(st.integers(0, 1), IMAGE) | st.tuples(st.just(2), INFO), min_size=1, max_size=4
)


@pytest.mark.reliability("fuzz: images and camera info")
def test_images_and_camera_info(fuzz, transforms):
    detector = AnySize(DetectorConfig())

    def check(case):
        edits, options = case
        found = process(changed_frame(edits), Query(), detector, options, transforms)
        assert np.isfinite(found.image.camera.matrix).all()

    fuzz(st.tuples(EDITS, OPTIONS), check, quick=120, many=5000)


@st.composite
def whole_images(draw):
    """Colour and depth that fit each other, of odd sizes and with extreme values."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    color, depth = draw(st.sampled_from(COLOR_ENCODINGS)), draw(st.sampled_from(DEPTH_ENCODINGS))
    channels = ENCODINGS[color][1]
    shape = (height, width, channels) if channels > 1 else (height, width)
    pixels = np.full(shape, draw(st.integers(0, 255)), np.uint8)
    if depth == "32FC1":
        value = draw(st.sampled_from([0.6, 1e-38, 1e30, math.inf, math.nan, -1.0, 0.0, 3e38]))
        distance = np.full((height, width), value, np.float32)
        distance[0, 0] = draw(st.sampled_from([0.6, 1e-38, 1e38]))
    else:
        distance = np.full((height, width), draw(st.integers(0, 65535)), np.uint16)
    focal = draw(st.sampled_from([1e-300, 1e-3, 1.0, 60.0, 616.0, 1e6, 1e300]))
    return pixels, color, distance, depth, focal


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), path, {})
    return pipeline_detector(DetectorConfig(model=str(path)))


@pytest.mark.reliability("fuzz: whole images through the network")
def test_whole_images_through_the_network(fuzz, transforms, tiny):
    """Whatever the camera shows, the real pipeline returns finite grasps or says why not."""

    def check(case):
        pixels, color, distance, depth, focal = case
        frame = changed_frame([])
        header = frame.color.header
        height, width = distance.shape
        info = frame.info
        info.width, info.height = width, height
        info.k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
        images = image_to_message(pixels, color, header), image_to_message(distance, depth, header)
        found = process(
            Frame(1, *images, info, None, 0.0), Query(min_score=0.01), tiny, NodeConfig(),
            transforms,
        )  # fmt: skip
        message = GraspMessages().candidates(found.grasps, found.gripper, header.stamp)
        for candidate in message.candidates:
            p = candidate.pose.position
            assert all(map(math.isfinite, (p.x, p.y, p.z, candidate.width, candidate.score)))

    fuzz(whole_images(), check, quick=15, many=500)


@pytest.fixture(scope="module")
def detector(ros):
    node = make_detector("fuzzed", "fuzzed", AnySize, continuous=False)
    source = node.source
    messages = good_frame(node.get_clock().now().to_msg())
    source._info = messages[2]
    source._on_pair(messages[0], messages[1])
    node.set_parameters([Parameter("max_age", value=0.0)])
    yield node
    node.close()
    node.destroy_node()


@st.composite
def masks(draw):
    """No mask, one that fits, or one that cannot be right."""
    kind = draw(st.sampled_from(["none", "good", "other", "broken"]))
    if kind == "none":
        return Image()
    shape = (CAMERA.height, CAMERA.width) if kind == "good" else (5, 7)
    encoding = draw(st.sampled_from(["mono8", "8UC1", "16UC1", "mono16"]))
    dtype = np.uint16 if "16" in encoding else np.uint8
    values = np.full(shape, draw(st.integers(0, 255)), dtype)
    message = image_to_message(values, encoding, changed_frame([]).color.header)
    if kind == "broken":
        set_field(message, *draw(IMAGE))
    return message


REQUEST = one_of(
    max_grasps=st.sampled_from([0, 1, 5, 2**31, 2**32 - 1]),
    min_score=st.sampled_from([0.0, 0.5, 1.0, -1.0, 1.5, math.nan, math.inf, 1e-30]),
    roi=st.builds(
        RegionOfInterest, x_offset=UINT32, y_offset=UINT32, width=UINT32, height=UINT32,
        do_rectify=st.booleans(),
    ),
    mask=masks(), instance_id=INT32, target_frame=FRAMES,
    timeout=st.builds(Duration, sec=st.sampled_from([-(2**31), -1, 0, 1]),
                      nanosec=st.sampled_from([0, 10**7, 10**9, 2**32 - 1])),
)  # fmt: skip


@pytest.mark.reliability("fuzz: service requests")
def test_service_requests(fuzz, detector):
    """Always an answer; one that does not say yes says why."""

    def check(fields):
        request = DetectGrasps.Request()
        for name, value in fields:
            set_field(request, name, value)
        response = detector._service._handle(request, DetectGrasps.Response())
        assert not response.message.startswith("unexpected"), response.message
        assert "busy" not in response.message
        if not response.success:
            raise KGNProError(response.message)

    fuzz(st.lists(REQUEST, max_size=3), check, quick=100, many=3000)
    assert detector._on_set_enabled(SetBool.Request(data=False), SetBool.Response()).success


TRANSFORMS = st.builds(
    dict, parent=FRAMES, child=FRAMES, numbers=st.lists(FLOAT, min_size=7, max_size=7),
    sec=INT32, static=st.booleans(), unit=st.booleans(), ask=FRAMES,
)  # fmt: skip


@pytest.mark.reliability("fuzz: transforms")
def test_transforms(fuzz, transforms):
    def check(case):
        message = TransformStamped(child_frame_id=case["child"])
        message.header.frame_id, message.header.stamp.sec = case["parent"], case["sec"]
        t, q = message.transform.translation, message.transform.rotation
        t.x, t.y, t.z, q.x, q.y, q.z, q.w = case["numbers"]
        if case["unit"]:
            q.x, q.y, q.z, q.w = 0.0, 0.0, 0.0, 1.0
        buffer = transforms._buffer
        (buffer.set_transform_static if case["static"] else buffer.set_transform)(message, "fuzz")
        stamp = Time(sec=max(0, case["sec"]))
        matrix = transforms.lookup(case["ask"], case["child"], stamp, 0.0)
        assert np.isfinite(matrix).all()

    fuzz(TRANSFORMS, check, quick=80, many=3000)


VALUES = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.integers(-2, 5), FLOAT, TEXT,
    st.lists(FLOAT, max_size=7), st.lists(st.integers(-3, 3), max_size=3),
    st.lists(TEXT, max_size=2),
    st.lists(st.binary(min_size=1, max_size=1), max_size=2), st.none(),
)  # fmt: skip


@pytest.fixture(scope="module")
def parameters(ros):
    node = Node("fuzz_parameters", use_global_arguments=False)
    configs = (DetectorConfig(), NodeConfig())
    yield node, Parameters(node, *configs), configs
    node.destroy_node()


@pytest.mark.reliability("fuzz: parameters")
def test_parameters(fuzz, parameters):
    """A change is taken or refused with a reason, and the settings are valid either way."""
    node, settings, configs = parameters
    names = [leaf.name for config in configs for leaf in parameter_fields(config)]

    def check(changes):
        wanted = [Parameter(name, value=value) for name, value in changes.items()]
        result = node.set_parameters_atomically(wanted)
        for config in configs:
            settings.get(type(config))
        if not result.successful:
            raise KGNProError(result.reason)

    cases = st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=3)
    fuzz(cases, check, quick=80, many=4000)


@pytest.mark.reliability("fuzz: parameters at start")
@pytest.mark.parametrize("config", [ReplayConfig(), SimConfig()], ids=["replay", "sim"])
def test_parameters_at_start(fuzz, ros, config):
    names = [leaf.name for leaf in parameter_fields(config)]

    def check(changes):
        overrides = [Parameter(name, value=value) for name, value in changes.items()]
        node = Node("fuzz_start", parameter_overrides=overrides, use_global_arguments=False)
        try:
            Parameters(node, config).get(type(config))
        finally:
            node.destroy_node()

    cases = st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=2)
    fuzz(cases, check, quick=10, many=300)
