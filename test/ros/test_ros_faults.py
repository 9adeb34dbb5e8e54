# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Faults over real DDS; what is expected in each case is written down in docs/reliability.md."""

import gc
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from geometry_msgs.msg import PoseArray, TransformStamped
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_graph import FRAME, PATIENCE, Caller, QuickDetector, TestCamera, wait_until
from test_ros_detector_node import listening, make_detector
from tf2_msgs.msg import TFMessage

from kgnpro_ros.config import NETWORK_PRESETS, DetectorConfig, NodeConfig
from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.execution.arm import ArmError, ArmFailure
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import save_model
from kgnpro_ros.ros.detector_node import GraspDetectorNode
from kgnpro_ros.ros.processing import Query, pipeline_detector
from kgnpro_ros.ros.worker import DetectionWorker

GONE = "its publisher is gone"


def caller_of(local, name):
    return local(Caller(f"{name}_caller", f"/{name}/detect_grasps"))


@pytest.mark.reliability("fault: camera stops or lacks a stream")
def test_a_camera_that_is_gone_and_comes_back(local, spin):
    """Its publishers end and others take their place, three times: frames flow again each time."""
    node = local(make_detector("reborn", "reborn", stall_timeout=0.4, log_period=0.2))
    client = caller_of(local, "reborn")
    for life in range(3):
        camera = spin(TestCamera("reborn"))
        assert client.detect_until(lambda r: r.success, wait_for_new_frame=True).success
        spin.drop(camera)
        for publisher in (camera.color, camera.depth, camera.info):
            camera.destroy_publisher(publisher)
        camera._timer.cancel()
        assert wait_until(lambda: GONE in node.problems.last), (life, node.problems.last)
        response = client.detect(timeout=1.0, wait_for_new_frame=True)
        assert GONE in response.message


@pytest.mark.slow
@pytest.mark.reliability("fault: camera stops or lacks a stream")
def test_a_camera_at_a_fifth_of_a_hertz(local):
    """Each frame is used once; who asks for a new frame gets the next one, or is told when."""
    local(TestCamera("slowly", rate=0.2))
    node = local(make_detector("slowly", "slowly", max_age=6.0))
    client = caller_of(local, "slowly")
    response = client.detect(timeout=15.0, wait_for_new_frame=True)
    assert response.success, response.message
    assert client.detect(timeout=1.0).success  # the newest one is still young enough
    response = client.detect(timeout=1.0, wait_for_new_frame=True)
    assert "no new frame within" in response.message
    assert client.detect(timeout=15.0, wait_for_new_frame=True).success
    assert node.worker.detections <= node.source.frames + 3


@pytest.mark.reliability("fault: stamps apart")
def test_stamps_a_tenth_of_a_second_apart(local):
    """Not paired at the default slop, with the reason; paired where sync_slop says so."""
    camera = local(TestCamera("tenth", rate=3.0))

    def spoil(color, depth, info):
        stamp = depth.header.stamp
        total = stamp.sec * 10**9 + stamp.nanosec - 10**8
        stamp.sec, stamp.nanosec = divmod(total, 10**9)

    camera.spoil = spoil
    strict = local(make_detector("tenth", "strict_slop", stall_timeout=1.5))
    loose = local(make_detector("tenth", "loose_slop", sync_slop=0.15))
    assert wait_until(lambda: "do not pair" in strict.problems.last), strict.problems.last
    assert "0.100 s apart" in strict.problems.last or "sync_slop" in strict.problems.last
    assert strict.source.frames == 0
    assert wait_until(lambda: loose.source.frames > 2)


def transform(parent, stamp):
    message = TransformStamped(child_frame_id=FRAME)
    message.header.frame_id, message.header.stamp = parent, stamp
    message.transform.rotation.w = 1.0
    return TFMessage(transforms=[message])


@pytest.mark.reliability("fault: TF late or wrong")
def test_transforms_that_come_later_than_the_images(local):
    """A hand-eye transform that lags 0.2 s behind the images is waited for, up to tf_timeout."""
    camera = local(TestCamera("lagging"))
    publisher = camera.create_publisher(TFMessage, "/tf", 50)
    late = []

    def spoil(color, depth, info):
        late.append((time.monotonic(), color.header.stamp))
        while late and time.monotonic() - late[0][0] > 0.2:
            publisher.publish(transform("late_base", late.pop(0)[1]))

    camera.spoil = spoil
    node = local(make_detector("lagging", "lagging", target_frame="late_base", tf_timeout=5.0))
    client = caller_of(local, "lagging")
    response = client.detect_until(lambda r: r.success, wait_for_new_frame=True)
    assert response.success, response.message
    assert response.header.frame_id == "late_base"
    with listening(client, PoseArray, "/lagging/grasp_detector/grasps"):
        assert wait_until(lambda: node.worker.detections > 3)


@pytest.mark.reliability("fault: TF late or wrong")
def test_a_target_frame_that_nobody_knows(local):
    """Named in the log and in the answer; right again as soon as it exists, without a restart."""
    camera = local(TestCamera("lost"))
    node = local(make_detector("lost", "lost", target_frame="lost_base", tf_timeout=0.1,
                               log_period=0.2))  # fmt: skip
    client = caller_of(local, "lost")
    words = f"no transform from '{FRAME}' to 'lost_base'"
    assert wait_until(lambda: words in node.problems.last), node.problems.last
    assert words in client.detect(timeout=2.0).message
    publisher = camera.create_publisher(TFMessage, "/tf", 50)
    camera.spoil = lambda color, *_: publisher.publish(transform("lost_base", color.header.stamp))
    response = client.detect_until(lambda r: r.success, wait_for_new_frame=True)
    assert response.success, response.message
    assert wait_until(lambda: not node.problems.unresolved)


@pytest.mark.reliability("diagnostics: what is waited for")
def test_the_executor_says_at_its_first_look_what_it_waits_for(ros):
    """Half a second after its start, in one line: servers, and the topic that is silent."""
    from kgnpro_ros.ros.executor_node import WATCH_PERIOD, GraspExecutorNode

    assert WATCH_PERIOD < 3.0

    def no_arm(*_):
        raise ArmError(ArmFailure.CONNECTION, "no robot answers")

    node = GraspExecutorNode(
        no_arm, use_global_arguments=False,
        namespace="lonely_arm", parameter_overrides=[Parameter("arm", value="mplib")],
    )  # fmt: skip
    try:
        node._connection.close()
        node._on_watch()
        said = node._problems.last
    finally:
        node.close()
        node.destroy_node()
    assert said.startswith("waiting for "), said
    assert "\n" not in said
    image = "(sensor_msgs/msg/Image, reliability auto): nobody publishes it"
    for words in (
        "service /lonely_arm/detect_grasps (kgnpro_ros/srv/DetectGrasps): no server",
        f"colour images on /lonely_arm/color/image_raw {image}",
        f"depth images on /lonely_arm/depth/image_raw {image}",
        "camera_info on /lonely_arm/color/camera_info (sensor_msgs/msg/CameraInfo",
        "panda_arm_controller/follow_joint_trajectory (control_msgs/action/FollowJointTrajectory)",
        "panda_hand_controller/gripper_cmd (control_msgs/action/GripperCommand): no server",
        "joint_states (sensor_msgs/msg/JointState, reliable): nobody publishes it",
    ):
        assert words in said


@pytest.mark.reliability("fault: parameters")
def test_parameters_that_change_all_the_time(local):
    """Fifty changes, good and bad, while frames are processed: no frame fails, none is stuck."""
    local(TestCamera("storm"))
    node = local(make_detector("storm", "storm"))
    client = caller_of(local, "storm")
    change = client.create_client(
        SetParameters, "/storm/grasp_detector/set_parameters", callback_group=client.group
    )
    assert client.detect_until(lambda r: r.success).success
    values = [
        ("decode.score_threshold", 0.1, True), ("filters.max_grasps", 1, True),
        ("decode.top_k", 0, False), ("target_frame", "", True), ("max_rate", 500.0, True),
        ("sync_slop", 0.1, False), ("model", "other", False), ("filters.max_grasps", 100, True),
        ("decode.score_threshold", 0.25, True), ("max_rate", 0.0, True),
    ]  # fmt: skip
    for name, value, good in values * 5:
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        result = client.call(change, request).results[0]
        assert result.successful == good, (name, value, result.reason)
        assert good or len(result.reason) > 10
    response = client.detect(wait_for_new_frame=True)
    assert response.success, response.message
    assert len(response.candidates) == 3
    assert not node.problems.unresolved, node.problems.last


def resident():
    """Memory of this process [MB]."""
    gc.collect()
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )  # fmt: skip
    return int(line.split()[1]) / 1024


@pytest.mark.reliability("fault: lifecycle")
@pytest.mark.parametrize("cycles", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_deactivate_and_activate_again_and_again(local, cycles):
    """Every cycle ends with the same subscriptions, and the last one still detects."""
    name = f"cycle{cycles}"
    local(TestCamera(name))
    node = local(make_detector(name, name))
    client = caller_of(local, name)
    change = client.create_client(
        ChangeState, f"/{name}/grasp_detector/change_state", callback_group=client.group
    )

    def go(label):
        request = ChangeState.Request()
        request.transition.label = label
        assert client.call(change, request).success, label

    assert client.detect_until(lambda r: r.success).success
    subscriptions = len(list(node.subscriptions))
    timers, halfway = len(list(node.timers)), 0.0
    for cycle in range(cycles):
        go("deactivate")
        go("activate")
        if cycle == cycles // 2:
            halfway = resident()
    assert wait_until(lambda: len(list(node.subscriptions)) == subscriptions)
    assert len(list(node.timers)) == timers
    # Subscriptions that are kept would cost their queues each time, more than a megabyte.
    assert resident() - halfway < 10.0 + 0.15 * cycles
    response = client.detect_until(lambda r: r.success, wait_for_new_frame=True)
    assert response.success, response.message


@pytest.mark.reliability("fault: model or defect")
def test_a_model_that_is_swapped_while_the_node_runs(local, tmp_path):
    """The file may change or go: the loaded weights stay. Another model needs clean up first."""
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), path, {})
    local(TestCamera("swap"))
    node = GraspDetectorNode(
        detector_factory=pipeline_detector, namespace="swap", use_global_arguments=False,
        cli_args=["--ros-args", *(
            part for name in ("color/image_raw", "depth/image_raw", "color/camera_info")
            for part in ("-r", f"{name}:=/swap/{name}")
        )],
        parameter_overrides=[
            Parameter("model", value=str(paths[0])), Parameter("continuous", value=False),
            Parameter("max_age", value=0.0),
        ],
    )  # fmt: skip
    node.autostart()
    local(node)
    client = caller_of(local, "swap")

    def works():
        response = client.detect(timeout=PATIENCE)
        return response.success, response.message

    assert works()[0], works()
    first = node.worker.detector.model_sha256
    paths[0].write_bytes(b"half a file")
    assert works()[0], works()
    paths[0].unlink()
    assert works()[0], works()
    swap = Parameter("model", value=str(paths[1]))
    assert "clean up the node first" in node.set_parameters([swap])[0].reason
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert node.set_parameters([swap])[0].successful
    node.autostart()
    assert works()[0], works()
    assert node.worker.detector.model_sha256 != first


@pytest.mark.reliability("fault: load")
def test_thirty_two_callers_at_once(local, record_property):
    """Each is answered in time, or told that too many wait; the camera is not held up."""
    camera = local(TestCamera("crowd", rate=20.0))

    class Slow(QuickDetector):
        def __init__(self, config):
            super().__init__(config, delay=0.05)

    node = local(make_detector("crowd", "crowd", Slow))
    clients = [local(Caller(f"crowd_{k}", "/crowd/detect_grasps")) for k in range(4)]
    assert clients[0].detect_until(lambda r: r.success).success
    frames, began = node.source.frames, time.monotonic()
    answered, asked = [], 0
    while asked < 96:
        futures = []
        for k in range(32):
            client = clients[k % 4].client
            request = client.srv_type.Request(wait_for_new_frame=bool(k % 2))
            request.timeout.sec = 20
            futures.append(client.call_async(request))
        asked += 32
        assert wait_until(lambda futures=futures: all(f.done() for f in futures), 25.0)
        answered += [f.result() for f in futures]
    elapsed = time.monotonic() - began
    assert len(answered) == 96
    for name, value in (
        ("answered", sum(r.success for r in answered)), ("seconds", elapsed),
        ("frames per second", (node.source.frames - frames) / elapsed),
    ):  # fmt: skip
        record_property(name, value)
    told = [r.message for r in answered if not r.success]
    assert all(m.startswith("busy: 4 calls are waiting already") for m in told), set(told)
    assert sum(r.success for r in answered) >= 3
    # At most two thirds of the camera's frames may be missed, on whatever busy machine.
    assert node.source.frames - frames > elapsed * 20.0 / 3, camera.get_name()
    assert not node.problems.unresolved


@pytest.mark.reliability("fault: load")
def test_requests_pass_the_continuous_detection_that_waits(ros):
    """Once: of callers without end the topics get their share too."""
    worker = DetectionWorker(QuickDetector, DetectorConfig(), None, None, None, None)
    began, go_on, order = threading.Semaphore(0), threading.Semaphore(0), []
    source = SimpleNamespace(newest=lambda: SimpleNamespace(number=1))

    def detect(frame, query, config):
        order.append(query.max_grasps or "continuous")
        began.release()
        assert go_on.acquire(timeout=PATIENCE)

    def ask(number):
        return worker.submit(source, source.newest(), Query(max_grasps=number), NodeConfig())

    worker._detect = detect
    worker._problems = SimpleNamespace(resolved=str, report=pytest.fail)
    worker.offer(source, NodeConfig())
    assert began.acquire(timeout=PATIENCE)
    worker.offer(source, NodeConfig())
    asked = [ask(1), ask(2)]
    go_on.release()
    assert began.acquire(timeout=PATIENCE)
    asked.append(ask(3))
    cancelled = ask(4)
    assert cancelled.cancel()
    for _ in range(4):
        go_on.release()
    for future in asked:
        future.result(PATIENCE)
    assert order == ["continuous", 1, 2, "continuous", 3]
    assert worker._requests == 0
    worker.close()
    with pytest.raises(ConfigError, match="expected it active"):
        ask(5)


@pytest.mark.slow
@pytest.mark.reliability("fault: load")
def test_a_request_behind_a_slow_detection_uses_a_fresh_frame(local):
    """Its own frame grows older than max_age in the queue; that is no reason to refuse."""
    local(TestCamera("queued"))
    local(make_detector("queued", "queued", lambda c: QuickDetector(c, delay=3.0), max_age=2.0))
    client = caller_of(local, "queued")
    for _ in range(3):
        response = client.detect(timeout=30.0)
        assert response.success, response.message
