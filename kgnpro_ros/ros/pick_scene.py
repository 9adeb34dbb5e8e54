# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What a pick acts on: grasps from the detector or the goal, and obstacles from the depth camera.

Everything ends up in the base frame of the arm, by the transform at the stamp of its image.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from builtin_interfaces.msg import Time as TimeMsg
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from kgnpro_ros.action import Pick
from kgnpro_ros.config import ExecutorConfig, NodeConfig
from kgnpro_ros.exceptions import FrameError, KGNProError
from kgnpro_ros.execution.arm import Obstacles
from kgnpro_ros.execution.cancellation import Cancellation
from kgnpro_ros.execution.observed import observed_obstacles
from kgnpro_ros.execution.report import Place
from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.ros.conversions import InputOptions, matrix_from_pose, rgbd_from_messages
from kgnpro_ros.ros.frame_source import Frame, FrameSource
from kgnpro_ros.ros.inputs import input_qos, publisher_problem, type_name
from kgnpro_ros.ros.pick_messages import check_gripper, check_pose, grasps_from_candidates
from kgnpro_ros.ros.problems import ProblemLog
from kgnpro_ros.ros.transforms import TransformSource
from kgnpro_ros.srv import DetectGrasps
from kgnpro_ros.types import FloatArray, GraspBatch

#: Between two looks for an answer, a frame or a cancellation [s].
POLL = 0.05
#: What obstacles are seen with.
CAMERA_TOPICS = (
    ("colour images", "color/image_raw", Image),
    ("depth images", "depth/image_raw", Image),
    ("camera_info", "color/camera_info", CameraInfo),
)
#: The answer of the detector may come this much later than it was given time [s].
ANSWER_MARGIN = 2.0


class DetectionError(KGNProError):
    """There is no detection to act on, or no image of the obstacles."""


class GoalCancelledError(KGNProError):
    """The goal was cancelled before the pick sequence began."""


class TransformMissingError(FrameError):
    """TF does not connect a frame with the arm's base at the time of an image."""


class SceneSource:
    """Gets what the pick sequence needs; its methods block, and end soon after a cancellation.

    Args:
        node: Owns subscriptions and the client.
        config: Of the executor.
        gripper: What grasps have to be for.
        problems: Where the camera's time jumps are reported.
    """

    def __init__(
        self, node: Node, config: ExecutorConfig, gripper: Gripper, problems: ProblemLog
    ) -> None:
        self._node = node
        self._config = config
        self._gripper = gripper
        self._problems = problems
        self._transforms = TransformSource(node)
        self._client = node.create_client(
            DetectGrasps, "detect_grasps", callback_group=ReentrantCallbackGroup()
        )

    def missing(self) -> list[str]:
        """What is not there yet, with types."""
        missing = []
        if not self._client.service_is_ready():
            name = self._node.resolve_service_name("detect_grasps")
            missing.append(f"service {name} ({type_name(DetectGrasps)}): no server")
        return missing + (self._missing_camera() if self._config.obstacles else [])

    def _missing_camera(self) -> list[str]:
        """Topics that nobody publishes in a way that could be received."""
        asked, missing = self._config.reliability, []
        reliable = ReliabilityPolicy.RELIABLE if asked == "reliable" else (
            ReliabilityPolicy.BEST_EFFORT)  # fmt: skip
        for name, relative, kind in CAMERA_TOPICS:
            topic = self._node.resolve_topic_name(relative)
            problem = publisher_problem(self._node, topic, kind, input_qos(reliable))
            if problem:
                what = f"{type_name(kind)}, reliability {asked}"
                missing.append(f"{name} on {topic} ({what}): {problem}")
        return missing

    def age(self, stamp: TimeMsg) -> float:
        """Time since a stamp by the clock of the node [s]."""
        clock = self._node.get_clock()
        elapsed = clock.now() - Time.from_msg(stamp, clock_type=clock.clock_type)
        return float(elapsed.nanoseconds) * 1e-9

    def transform(
        self, target: str, header: Header, *, what: str, latest: bool = False
    ) -> FloatArray:
        """``T_target_frame`` of a header, at its stamp.

        Raises:
            TransformMissingError: If there is none; says what it was for.
        """
        if target == header.frame_id:
            return np.eye(4)
        try:
            return self._transforms.lookup(
                target, header.frame_id, header.stamp, self._config.tf_timeout, latest
            )
        except FrameError as error:
            raise TransformMissingError(f"{what}: {error}") from error

    def detect(self, target_frame: str, cancellation: Cancellation) -> tuple[GraspBatch, TimeMsg]:
        """Grasps in a frame that was taken after this call, and its stamp.

        Args:
            target_frame: Frame asked of the detector; empty is the detector's own choice.
            cancellation: Ends the wait.

        Raises:
            DetectionError: If the detector is not there, does not answer, or has no result.
            FrameError: If the grasps are for another gripper, or cannot be used.
            GoalCancelledError: If the goal was cancelled.
        """
        config = self._config
        self._wait(
            self._client.service_is_ready, config.connect_timeout, cancellation,
            lambda: f"no service {self._client.srv_name} within {config.connect_timeout:.1f} s: "
            "is grasp_detector started?",
        )  # fmt: skip
        request = DetectGrasps.Request(
            target_frame=target_frame, wait_for_new_frame=True, min_score=config.detect_min_score
        )
        request.timeout = Duration(seconds=config.detect_timeout).to_msg()
        done = threading.Event()
        future = self._client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        limit = config.detect_timeout + ANSWER_MARGIN
        self._wait(
            done.is_set, limit, cancellation,
            lambda: f"{self._client.srv_name} did not answer within {limit:.1f} s",
        )  # fmt: skip
        response = future.result()
        if not response.success:
            raise DetectionError(f"{self._client.srv_name}: {response.message}")
        check_gripper(response.candidates, self._gripper)
        _check_stamp(response.header.stamp, f"the answer of {self._client.srv_name}")
        frame = response.header.frame_id
        grasps = grasps_from_candidates(frame, response.candidates, response.rejected)
        if len(grasps) == 0:
            raise DetectionError(f"{self._client.srv_name}: {response.message}")
        return grasps, response.header.stamp

    def given(self, goal: Pick.Goal) -> tuple[GraspBatch, TimeMsg]:
        """The grasp of a goal; a zero stamp stands for now, as in TF.

        Raises:
            FrameError: If it cannot be used.
        """
        check_gripper([goal.candidate], self._gripper)
        grasps = grasps_from_candidates(goal.header.frame_id, [goal.candidate])
        if not 0.0 < grasps.widths[0] <= self._gripper.max_width + 1e-6:
            raise FrameError(
                f"candidate.width is {grasps.widths[0]:.4f} m; expected more than 0 and at most "
                f"the {self._gripper.max_width} m of {self._gripper.name}"
            )
        stamp = goal.header.stamp
        _check_stamp(stamp, "the goal")
        zero = stamp.sec == 0 and stamp.nanosec == 0
        return grasps, self._node.get_clock().now().to_msg() if zero else stamp

    def place(self, goal: Pick.Goal, base_frame: str) -> Place:
        """Where the goal wants the object, in the base frame.

        Raises:
            FrameError: If the pose is none, or there is no transform.
        """
        pose = goal.place_pose
        if not pose.header.frame_id:
            raise FrameError("place_pose has an empty frame_id; expected the frame of the pose")
        check_pose(pose.pose, "place_pose")
        matrix = self.transform(base_frame, pose.header, what="place_pose", latest=True)
        return Place(matrix @ matrix_from_pose(pose.pose), base_frame)

    def obstacles(
        self, base_frame: str, not_before: TimeMsg, cancellation: Cancellation
    ) -> Obstacles:
        """What the camera sees above the table, in the base frame.

        Args:
            base_frame: Of the arm.
            not_before: Frames with an earlier stamp will not do.
            cancellation: Ends the wait.

        Raises:
            DetectionError: If no usable frame comes in time.
            KGNProError: If the frame cannot be read or has no transform.
        """
        frame = self._frame(not_before, cancellation)
        options = InputOptions(
            self._config.depth_unit, self._config.depth_is_registered, self._config.rectified
        )
        image = rgbd_from_messages(frame.color, frame.depth, frame.info, options)
        matrix = self.transform(base_frame, frame.color.header, what="the depth image")
        return observed_obstacles(image, matrix, self._config)

    def _frame(self, not_before: TimeMsg, cancellation: Cancellation) -> Frame:
        """A frame; the subscription lasts no longer than the wait for it."""
        earliest = Time.from_msg(not_before).nanoseconds
        settings = NodeConfig(reliability=self._config.reliability)
        source = FrameSource(self._node, settings, self._problems, lambda: None)

        def fresh() -> bool:
            source.adapt()
            frame = source.newest()
            return (
                frame is not None
                and Time.from_msg(frame.color.header.stamp).nanoseconds >= earliest
            )

        try:
            self._wait(
                fresh, self._config.observe_timeout, cancellation,
                lambda: f"no depth image for the obstacles within "
                f"{self._config.observe_timeout:.1f} s: {source.waiting_for(0.0) or 'too old'}",
            )  # fmt: skip
            frame = source.newest()
            assert frame is not None
            return frame
        finally:
            source.close()

    def _wait(
        self,
        condition: Callable[[], bool],
        timeout: float,
        cancellation: Cancellation,
        failure: Callable[[], str],
    ) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if cancellation.wait(POLL):
                raise GoalCancelledError("cancelled")
            if time.monotonic() > deadline:
                raise DetectionError(failure())


def _check_stamp(stamp: TimeMsg, name: str) -> None:
    """Refuse stamps that rclpy cannot hold.

    Raises:
        FrameError: If it is negative.
    """
    if stamp.sec < 0:
        raise FrameError(f"{name} is stamped {stamp.sec} s; expected now, or zero")
