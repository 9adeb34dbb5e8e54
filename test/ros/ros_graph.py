# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of a test graph: a camera that can misbehave, a quick detector, and a caller."""

from __future__ import annotations

import threading
import time

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.geometry import Camera, load_gripper
from kgnpro_ros.ros.conversions import camera_to_info, image_to_message
from kgnpro_ros.srv import DetectGrasps
from kgnpro_ros.types import GraspBatch, RGBDImage

CAMERA = Camera(120.0, 120.0, 79.5, 59.5, 160, 120)
FRAME = "camera_color_optical_frame"
DEPTH_MM = 600
PIXELS = np.array([[40, 30], [80, 60], [120, 90]])
SCORES = np.array([0.9, 0.7, 0.5])

#: Long enough for a machine that does many other things at once [s].
PATIENCE = 60.0


class QuickDetector:
    """Answers at once: a grasp at each of three pixels that the mask selects.

    Their positions come from the image's own depth and camera, so that a wrong conversion shows.
    """

    def __init__(self, config: DetectorConfig, delay: float = 0.0) -> None:
        self.config = config
        self.gripper = load_gripper(config.gripper)
        self.model_sha256 = "0" * 64
        self.device = "cpu"
        self.last_timings = {"network": 0.1}
        self.delay = delay
        self.images: list[RGBDImage] = []

    def detect(self, image, *, max_grasps=None, min_score=None, T_workspace_camera=None):
        time.sleep(self.delay)
        self.images = [*self.images[-4:], image]
        u, v = PIXELS.T
        depth = image.depth[v, u].astype(np.float64)
        chosen = np.isfinite(depth) & (self.config.decode.score_threshold < SCORES)
        rejected = {"empty": int((~chosen).sum())}
        if image.mask is not None:
            rejected["outside_mask"] = int((chosen & ~image.mask[v, u]).sum())
            chosen &= image.mask[v, u]
        n = int(chosen.sum())
        poses = np.tile(np.eye(4), (n, 1, 1))
        # Approach (x) along the optical axis, closing (z) along the image columns.
        poses[:, :3, :3] = np.array([[0.0, 0, 1], [0, -1, 0], [1, 0, 0]])
        poses[:, :3, 3] = image.camera.backproject(PIXELS[chosen], depth[chosen])
        covariance = np.tile(np.diag([1.0, 2, 3, 4, 5, 6]) * 1e-6, (n, 1, 1))
        keypoints = np.repeat(PIXELS[chosen][:, None].astype(float), 4, axis=1)
        batch = GraspBatch(
            poses, "camera", np.full(n, 0.05), SCORES[chosen], SCORES[chosen], np.full(n, 0.5),
            covariance, keypoints, np.zeros(n, np.int64), rejected,
        )  # fmt: skip
        return batch.select(slice(0, max_grasps))


class TestCamera(Node):
    """Publishes frames that a test can spoil: ``spoil`` changes the three messages in place."""

    __test__ = False

    def __init__(self, name: str, reliable: bool = True, rate: float = 10.0) -> None:
        super().__init__(name)
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=5, reliability=policy)
        self.color = self.create_publisher(Image, f"{name}/color/image_raw", qos)
        self.depth = self.create_publisher(Image, f"{name}/depth/image_raw", qos)
        self.info = self.create_publisher(CameraInfo, f"{name}/color/camera_info", qos)
        self.spoil = None
        self.silent: set[str] = set()
        self.clock_offset = 0.0
        self._timer = self.create_timer(1.0 / rate, self._publish)

    def _publish(self) -> None:
        now = self.get_clock().now() + Duration(seconds=self.clock_offset)
        messages = good_frame(now.to_msg())
        spoil = self.spoil
        if spoil is not None:
            spoil(*messages)
        for name, message in zip(("color", "depth", "info"), messages, strict=True):
            if name not in self.silent:
                getattr(self, name).publish(message)


def good_frame(stamp) -> tuple[Image, Image, CameraInfo]:
    """Colour with a gradient, a flat depth image, and the camera of both."""

    def header():
        # One for each message: a test may spoil one of them.
        return Header(stamp=Time(sec=stamp.sec, nanosec=stamp.nanosec), frame_id=FRAME)

    color = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    color[..., 0] = np.arange(CAMERA.width)
    depth = np.full((CAMERA.height, CAMERA.width), DEPTH_MM, np.uint16)
    return (
        image_to_message(color, "rgb8", header()),
        image_to_message(depth, "16UC1", header()),
        camera_to_info(CAMERA, header()),
    )


class Caller(Node):
    """Calls services and waits for answers from the thread of the test."""

    def __init__(self, name: str, service: str = "detect_grasps") -> None:
        super().__init__(name)
        self.group = ReentrantCallbackGroup()
        self.client = self.create_client(DetectGrasps, service, callback_group=self.group)

    def detect(
        self, wait: float = PATIENCE, timeout: float = 0.0, **fields
    ) -> DetectGrasps.Response:
        """One call; ``timeout`` goes into the request, ``wait`` is the caller's patience [s]."""
        request = DetectGrasps.Request(**fields)
        request.timeout = Duration(seconds=timeout).to_msg()
        return self.call(self.client, request, wait)

    def call(self, client, request, wait: float = PATIENCE):
        assert client.wait_for_service(wait), f"no service {client.srv_name}"
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        assert done.wait(wait), f"{client.srv_name} did not answer within {wait} s"
        return future.result()

    def detect_until(self, accept, wait: float = PATIENCE, **fields):
        """Call again until the answer is accepted; the last answer when patience ends."""
        deadline = time.monotonic() + wait
        while True:
            response = self.detect(timeout=2.0, **fields)
            if accept(response) or time.monotonic() > deadline:
                return response
            time.sleep(0.05)


def wait_until(condition, wait: float = PATIENCE) -> bool:
    """Poll until a condition holds."""
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
