# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The detector node over real DDS, with a quick detector in place of the network."""

import time
from contextlib import contextmanager

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray, TransformStamped
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy
from rclpy.time import Time
from ros_graph import (
    CAMERA,
    DEPTH_MM,
    FRAME,
    PIXELS,
    SCORES,
    Caller,
    QuickDetector,
    TestCamera,
    wait_until,
)
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from tf2_ros import StaticTransformBroadcaster
from visualization_msgs.msg import MarkerArray

from kgnpro_ros.msg import GraspCandidateArray
from kgnpro_ros.ros.conversions import image_to_message
from kgnpro_ros.ros.detector_node import GraspDetectorNode

INPUTS = ("color/image_raw", "depth/image_raw", "color/camera_info")


def make_detector(camera: str, namespace: str, factory=QuickDetector, **parameters):
    remap = [part for name in INPUTS for part in ("-r", f"{name}:=/{camera}/{name}")]
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = GraspDetectorNode(
        detector_factory=factory, cli_args=["--ros-args", *remap], namespace=namespace,
        use_global_arguments=False, parameter_overrides=overrides,
    )  # fmt: skip
    node.autostart()
    return node


@pytest.fixture(scope="module")
def camera(spin):
    return spin(TestCamera("cam"))


@pytest.fixture(scope="module")
def detector(spin, camera):
    return spin(make_detector("cam", "one"))


@pytest.fixture(scope="module")
def caller(spin, detector):
    return spin(Caller("caller", "/one/detect_grasps"))


@contextmanager
def listening(node, message_type, topic):
    """What arrives on a topic while the block runs."""
    received = []
    # Without event handlers, as in kgnpro_ros.ros.inputs: destroying them ends the executor.
    subscription = node.create_subscription(
        message_type, topic, received.append, 5,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
    )  # fmt: skip
    try:
        yield received
    finally:
        node.destroy_subscription(subscription)


def collect(node, message_type, topic, count=1):
    with listening(node, message_type, topic) as received:
        assert wait_until(lambda: len(received) >= count), f"nothing on {topic}"
    return received


def test_service_returns_ranked_grasps_of_the_newest_frame(caller):
    before = caller.detect().header.stamp
    response = caller.detect(wait_for_new_frame=True)
    assert response.success, response.message
    assert response.header.frame_id == FRAME
    assert Time.from_msg(response.header.stamp) > Time.from_msg(before)
    np.testing.assert_allclose([c.score for c in response.candidates], SCORES, atol=1e-6)
    expected = CAMERA.backproject(PIXELS, np.full(3, DEPTH_MM / 1000))
    positions = [c.pose.position for c in response.candidates]
    np.testing.assert_allclose([[p.x, p.y, p.z] for p in positions], expected, atol=1e-6)
    assert response.gripper == "franka_hand"
    assert response.inference_ms >= 0


def test_limits_of_a_request(caller):
    assert len(caller.detect(max_grasps=1).candidates) == 1
    good = caller.detect(min_score=0.6)
    assert [round(c.score, 3) for c in good.candidates] == [0.9, 0.7]
    assert ("low_score", 1) in [(r.reason, r.count) for r in good.rejected]
    roi = RegionOfInterest(x_offset=70, y_offset=50, width=20, height=20)
    inside = caller.detect(roi=roi)
    assert [round(c.score, 3) for c in inside.candidates] == [0.7]
    assert ("outside_mask", 2) in [(r.reason, r.count) for r in inside.rejected]
    assert "outside_mask 2" in inside.message


def test_mask_of_a_request(caller):
    ids = np.zeros((CAMERA.height, CAMERA.width), np.uint16)
    ids[PIXELS[0, 1], PIXELS[0, 0]], ids[PIXELS[2, 1], PIXELS[2, 0]] = 300, 7
    mask = image_to_message(ids, "16UC1", Header())
    both = caller.detect(mask=mask)
    assert [c.instance_id for c in both.candidates] == [300, 7]
    one = caller.detect(mask=mask, instance_id=7)
    assert [c.instance_id for c in one.candidates] == [7]


@pytest.mark.reliability("diagnostics: zero grasps with counts")
def test_nothing_found_is_a_success_with_a_reason(caller):
    roi = RegionOfInterest(x_offset=0, y_offset=0, width=5, height=5)
    response = caller.detect(roi=roi)
    assert response.success
    assert len(response.candidates) == 0
    assert "no grasp was found" in response.message
    assert "outside_mask 3" in response.message


@pytest.mark.reliability("fault: service requests")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"roi": RegionOfInterest(x_offset=100, width=100, height=5)}, "not inside the image"),
        ({"min_score": 1.5}, "min_score is 1.5; expected 0"),
        ({"instance_id": -1}, "instance_id is -1"),
        ({"mask": Image(width=2, height=2, encoding="rgb8")}, "mask has encoding 'rgb8'"),
        (
            {"target_frame": "nowhere"},
            "no transform from 'camera_color_optical_frame' to 'nowhere'",
        ),
    ],
)
def test_requests_that_make_no_sense_are_answered(caller, fields, words):
    response = caller.detect(timeout=2.0, **fields)
    assert not response.success
    assert words in response.message
    assert len(response.candidates) == 0


def test_topics_follow_the_contract(detector, caller):
    poses = collect(caller, PoseArray, "/one/grasp_detector/grasps")[0]
    candidates = collect(caller, GraspCandidateArray, "/one/grasp_detector/candidates")[0]
    assert poses.header.frame_id == candidates.header.frame_id == FRAME
    assert len(poses.poses) == len(candidates.candidates) == 3
    assert poses.poses[0] == candidates.candidates[0].pose
    markers = collect(caller, MarkerArray, "/one/grasp_detector/markers")[0]
    assert len(markers.markers) == 4
    for topic in ("grasps", "candidates", "markers", "debug_image"):
        (info,) = caller.get_publishers_info_by_topic(f"/one/grasp_detector/{topic}")
        assert info.qos_profile.durability == QoSDurabilityPolicy.VOLATILE


def test_debug_image_is_drawn_only_for_listeners(caller, monkeypatch):
    from kgnpro_ros.ros import publishers

    drawn = []
    real = publishers.draw_grasps
    monkeypatch.setattr(publishers, "draw_grasps", lambda *a: drawn.append(1) or real(*a))
    caller.detect(wait_for_new_frame=True)
    assert drawn == []
    (picture, *_) = collect(caller, Image, "/one/grasp_detector/debug_image")
    assert drawn
    assert (picture.width, picture.height, picture.encoding) == (
        CAMERA.width,
        CAMERA.height,
        "rgb8",
    )
    assert picture.header.frame_id == FRAME


@contextmanager
def static_transforms(node):
    """A broadcaster that is gone afterwards: a later test may give the frame another parent."""
    broadcaster = StaticTransformBroadcaster(node)
    try:
        yield broadcaster
    finally:
        node.destroy_publisher(broadcaster.pub_tf)


def test_target_frame_is_looked_up_at_the_stamp(local, caller):
    transform = TransformStamped()
    transform.header.frame_id, transform.child_frame_id = "base", FRAME
    transform.transform.translation.z = 1.0
    # Half a turn about x: the camera looks straight down.
    transform.transform.rotation.x, transform.transform.rotation.w = 1.0, 0.0
    with static_transforms(caller) as broadcaster:
        broadcaster.sendTransform(transform)
        response = caller.detect_until(lambda r: r.success, target_frame="base")
    assert response.success, response.message
    assert response.header.frame_id == "base"
    p = response.candidates[1].pose.position
    x, y, z = CAMERA.backproject(PIXELS[1], np.array(DEPTH_MM / 1000))
    np.testing.assert_allclose([p.x, p.y, p.z], [x, -y, 1.0 - z], atol=1e-6)


def test_set_enabled_stops_and_starts_continuous_detection(detector, caller):
    client = caller.create_client(
        SetBool, "/one/grasp_detector/set_enabled", callback_group=caller.group
    )
    with listening(caller, PoseArray, "/one/grasp_detector/grasps") as received:
        assert wait_until(lambda: received)
        assert caller.call(client, SetBool.Request(data=False)).success
        assert wait_until(lambda: not detector.node_config.continuous)
        assert detector.activity.startswith("continuous is false")
        time.sleep(0.2)
        count = detector.worker.detections
        time.sleep(0.3)
        assert detector.worker.detections == count
        assert caller.detect(wait_for_new_frame=True).success
        assert caller.call(client, SetBool.Request(data=True)).success
        assert wait_until(lambda: detector.worker.detections > count + 2)


@pytest.mark.reliability("fault: parameters")
def test_parameters_change_the_next_detection_and_bad_ones_are_refused(caller):
    client = caller.create_client(
        SetParameters, "/one/grasp_detector/set_parameters", callback_group=caller.group
    )

    def set_one(name, value):
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return caller.call(client, request).results[0]

    refused = set_one("decode.top_k", 0)
    assert not refused.successful
    assert "Min: 1, Max: 10000" in refused.reason
    fixed = set_one("model", "other")
    assert not fixed.successful
    assert "clean up the node first" in fixed.reason
    assert set_one("decode.score_threshold", 0.6).successful
    assert len(caller.detect(wait_for_new_frame=True).candidates) == 2
    assert set_one("decode.score_threshold", 0.3).successful
    assert len(caller.detect(wait_for_new_frame=True).candidates) == 3


def find(arrays, name):
    return [s for a in arrays for s in a.status if s.name.endswith(name)]


@pytest.mark.parametrize(
    ("message_type", "topic"),
    [(PoseArray, "grasps"), (GraspCandidateArray, "candidates"), (MarkerArray, "markers"),
     (Image, "debug_image")],
)  # fmt: skip
def test_without_listeners_the_network_runs_on_calls_only(local, camera, message_type, topic):
    """Whatever is listened to, the first listener gets the next frame, and after it all is idle."""
    name = f"unheard_{topic}"
    node = local(make_detector("cam", name))
    client = local(Caller(f"{name}_caller", f"/{name}/detect_grasps"))
    topic, images = f"/{name}/grasp_detector/{topic}", node.worker.detector.images
    assert wait_until(lambda: node.source.frames > 5)
    assert (images, node.worker.detections) == ([], 0)
    response = client.detect()
    assert (response.success, len(response.candidates)) == (True, 3), response.message
    assert node.worker.detections == 1
    with listening(client, message_type, topic) as received:
        assert wait_until(lambda: len(received) > 2)
    assert wait_until(lambda: node.activity.startswith("nobody listens"))
    # What was queued when the listener went may still run.
    time.sleep(0.2)
    count, frames = node.worker.detections, node.source.frames
    assert wait_until(lambda: node.source.frames > frames + 5)
    assert node.worker.detections == count
    assert client.detect(wait_for_new_frame=True).success


def test_diagnostics_say_that_nobody_listens(local, camera):
    # The gripper tells its diagnostics from those of other nodes.
    node = local(make_detector("cam", "told", gripper="robotiq_2f85"))
    client = local(Caller("told_caller", "/told/detect_grasps"))
    with listening(client, DiagnosticArray, "/diagnostics") as received:

        def said():
            mine = [s for s in find(received, "detection")
                    if any(v.value == "robotiq_2f85" for v in s.values)]  # fmt: skip
            return mine[-1].message if mine else ""

        assert wait_until(lambda: said().startswith("nobody listens"))
        with listening(client, MarkerArray, "/told/grasp_detector/markers"):
            assert wait_until(lambda: said() == "detecting")
        assert wait_until(lambda: said().startswith("nobody listens"))
    assert not node.problems.unresolved


def test_bad_frames_are_named_before_somebody_listens(local):
    """The network does not run, but what it would be given is looked at now and then."""
    camera = local(TestCamera("early"))
    node = local(make_detector("early", "early"))
    camera.spoil = lambda color, depth, info: setattr(depth.header, "frame_id", "other")
    words = "expected depth registered to colour"
    assert wait_until(lambda: words in node.problems.last), node.problems.last
    camera.spoil = None
    assert wait_until(lambda: not node.problems.unresolved)
    assert node.worker.detections == 0


def test_diagnostics(caller):
    arrays = collect(caller, DiagnosticArray, "/diagnostics", count=3)
    detection = find(arrays, "detection")[-1]
    values = {item.key: item.value for item in detection.values}
    assert values["gripper"] == "franka_hand"
    assert values["device"] == "cpu"
    assert values["model sha256"] == "0" * 64
    assert float(values["latency mean [ms]"]) >= 0
    camera = find(arrays, "camera")[-1]
    rates = {item.key: item.value for item in camera.values}
    assert rates["color topic"] == "/cam/color/image_raw"
    assert 0 < float(rates["depth rate [Hz]"]) < 20


def test_a_call_that_cannot_end_in_time_is_answered_in_time(local, camera):
    slow = local(make_detector("cam", "slow", lambda c: QuickDetector(c, delay=2.0)))
    client = local(Caller("slow_caller", "/slow/detect_grasps"))
    assert wait_until(lambda: slow.source is not None and slow.source.newest() is not None)
    start = time.monotonic()
    response = client.detect(timeout=0.4)
    assert time.monotonic() - start < 2.0
    assert not response.success
    assert "no result within the timeout of 0.40 s" in response.message
    patient = client.detect(timeout=30.0)
    assert patient.success, patient.message


def test_many_callers_all_get_an_answer(local, camera):
    local(make_detector("nobody", "busy"))
    client = local(Caller("busy_caller", "/busy/detect_grasps"))
    assert client.client.wait_for_service(5.0)
    futures = []
    for _ in range(7):
        message = client.client.srv_type.Request()
        message.timeout.sec = 4
        futures.append(client.client.call_async(message))
    assert wait_until(lambda: all(f.done() for f in futures))
    messages = [f.result().message for f in futures]
    assert sum("busy" in m for m in messages) == 3
    assert sum("no new frame" in m for m in messages) == 4


@pytest.mark.reliability("fault: quality of service")
@pytest.mark.parametrize("asked", ["auto", "best_effort"])
@pytest.mark.parametrize("reliable", [True, False], ids=["reliable", "best_effort"])
def test_both_kinds_of_publishers_are_received(local, reliable, asked):
    name = f"qos_{'reliable' if reliable else 'best_effort'}_{asked}"
    local(TestCamera(name, reliable=reliable))
    local(make_detector(name, name, reliability=asked))
    client = local(Caller(f"{name}_caller", f"/{name}/detect_grasps"))
    assert client.detect_until(lambda r: r.success).success


@pytest.mark.reliability("fault: quality of service")
def test_incompatible_quality_of_service_is_explained(local):
    local(TestCamera("quiet", reliable=False))
    local(make_detector("quiet", "strict", reliability="reliable"))
    client = local(Caller("strict_caller", "/strict/detect_grasps"))
    words = "node quiet has incompatible quality of service"
    response = client.detect_until(lambda r: words in r.message)
    assert not response.success
    assert words in response.message
    assert "reliability: auto or best_effort" in response.message


@pytest.mark.reliability("fault: lifecycle")
def test_lifecycle(local, camera):
    node = local(make_detector("cam", "life", autostart=False))
    client = local(Caller("life_caller", "/life/detect_grasps"))
    assert "not configured" in client.detect().message
    change = client.create_client(
        ChangeState, "/life/grasp_detector/change_state", callback_group=client.group
    )
    state = client.create_client(
        GetState, "/life/grasp_detector/get_state", callback_group=client.group
    )

    def go(label):
        request = ChangeState.Request()
        request.transition.label = label
        assert client.call(change, request).success
        return client.call(state, GetState.Request()).current_state.label

    assert go("configure") == "inactive"
    assert "inactive" in client.detect().message
    assert go("activate") == "active"
    assert client.detect().success
    assert go("deactivate") == "inactive"
    assert node.source is None
    assert go("activate") == "active"
    assert client.detect().success
    assert go("deactivate") == "inactive"
    assert go("cleanup") == "unconfigured"
    assert node.worker is None
    assert "not configured" in client.detect().message


def test_mask_topic_limits_continuous_detection(local, camera):
    node = local(make_detector("cam", "masked", use_mask=True))
    publisher = camera.create_publisher(Image, "/masked/mask", 5)
    ids = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    ids[PIXELS[1, 1], PIXELS[1, 0]] = 5
    client = local(Caller("masked_caller", "/masked/detect_grasps"))

    def publish(color, depth, info):
        publisher.publish(image_to_message(ids, "mono8", color.header))

    camera.spoil = publish
    try:
        response = client.detect_until(lambda r: r.success)
        assert [c.instance_id for c in response.candidates] == [5], response.message
        assert wait_until(lambda: node.worker.last_count == 1)
    finally:
        camera.spoil = None


def test_rate_limit_and_target_frame_of_the_node(local, camera, caller):
    transform = TransformStamped(child_frame_id=FRAME)
    transform.header.frame_id, transform.transform.rotation.w = "table", 1.0
    transform.transform.translation.x = 5.0
    with static_transforms(caller) as broadcaster:
        broadcaster.sendTransform(transform)
        node = local(make_detector("cam", "limited", max_rate=2.0, target_frame="table"))
        poses = collect(caller, PoseArray, "/limited/grasp_detector/grasps", count=3)
    assert poses[-1].header.frame_id == "table"
    expected = CAMERA.backproject(PIXELS[0], np.array(DEPTH_MM / 1000))[0] + 5.0
    assert poses[-1].poses[0].position.x == pytest.approx(expected)
    stamps = [Time.from_msg(p.header.stamp).nanoseconds * 1e-9 for p in poses]
    # The camera sends 10 frames a second: without the limit the gaps would be 0.1 s.
    assert np.median(np.diff(stamps)) > 0.3
    assert node.worker.detections < node.source.frames
