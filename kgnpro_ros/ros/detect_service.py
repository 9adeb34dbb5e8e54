# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The service ``detect_grasps``: always an answer, in time, with the reason."""

from __future__ import annotations

import threading
import time
import traceback
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Protocol

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy

from kgnpro_ros.config import NodeConfig
from kgnpro_ros.exceptions import ConfigError, ImageError, KGNProError
from kgnpro_ros.ros.frame_source import Frame, FrameSource
from kgnpro_ros.ros.grasp_messages import GraspMessages, grasps_header
from kgnpro_ros.ros.processing import Detection, Query
from kgnpro_ros.ros.worker import DetectionWorker
from kgnpro_ros.srv import DetectGrasps

#: Calls that may wait at once; each holds a thread of the executor.
MAX_WAITING = 4
#: Kept for the way back to the caller: this share of the timeout, at most this many seconds.
ANSWER_SHARE, ANSWER_SECONDS = 0.1, 0.1
#: The default keeps 10 requests: of more that come at once, some would never be answered.
SERVICE_QOS = QoSProfile(depth=256, reliability=ReliabilityPolicy.RELIABLE)


class ServiceHost(Protocol):
    """What the service needs of the node."""

    source: FrameSource | None
    worker: DetectionWorker | None
    node_config: NodeConfig
    not_ready: str


class DetectService:
    """Serves ``detect_grasps`` in every state of the node.

    Args:
        node: Owns the service.
        host: The same node, seen as what it offers.
    """

    def __init__(self, node: LifecycleNode, host: ServiceHost) -> None:
        self._host = host
        self._logger = node.get_logger()
        self._slots = threading.Semaphore(MAX_WAITING)
        self._service = node.create_service(
            DetectGrasps, "detect_grasps", self._handle, qos_profile=SERVICE_QOS,
            callback_group=ReentrantCallbackGroup(),
        )  # fmt: skip

    def _handle(
        self, request: DetectGrasps.Request, response: DetectGrasps.Response
    ) -> DetectGrasps.Response:
        if not self._slots.acquire(blocking=False):
            response.message = f"busy: {MAX_WAITING} calls are waiting already; try again"
            return response
        try:
            _fill(response, self._detect(request))
        except KGNProError as error:
            response.message = str(error)
        except Exception as error:
            # Whoever called waits for an answer, also when the fault is ours.
            self._logger.error(f"detect_grasps failed unexpectedly:\n{traceback.format_exc()}")
            response.message = f"unexpected {type(error).__name__}: {error}"
        finally:
            self._slots.release()
        return response

    def _detect(self, request: DetectGrasps.Request) -> Detection:
        start = time.monotonic()
        source, worker, config = self._host.source, self._host.worker, self._host.node_config
        if source is None or worker is None:
            raise ConfigError(self._host.not_ready)
        timeout = _seconds(request.timeout.sec, request.timeout.nanosec) or config.service_timeout
        deadline = start + timeout - min(ANSWER_SHARE * timeout, ANSWER_SECONDS)
        frame = _choose_frame(request, source, config, deadline)
        remaining = max(0.0, deadline - time.monotonic())
        query = _query(request, min(remaining, config.tf_timeout))
        future = worker.submit(source, frame, query, config)
        try:
            return future.result(remaining)
        except (FutureTimeoutError, CancelledError) as error:
            # From Python 3.11 on a TimeoutError of the work itself looks the same.
            if future.done() and not future.cancelled():
                raise
            future.cancel()
            last = f"the last one took {worker.latencies[-1]:.0f} ms" if worker.latencies else (
                "no detection has ended so far")  # fmt: skip
            raise ImageError(
                f"no result within the timeout of {timeout:.2f} s; {last}: expected a longer "
                "timeout, or a faster device or model"
            ) from error


def _seconds(sec: int, nanosec: int) -> float:
    seconds = sec + nanosec * 1e-9
    if seconds < 0:
        raise ConfigError(f"timeout is {seconds:.3f} s; expected 0 (the node's own) or more")
    return seconds


def _query(request: DetectGrasps.Request, tf_timeout: float) -> Query:
    if not 0.0 <= request.min_score <= 1.0:
        raise ConfigError(f"min_score is {request.min_score}; expected 0 (the node's own) to 1")
    if request.instance_id < 0:
        raise ConfigError(f"instance_id is {request.instance_id}; expected 0 (any) or more")
    return Query(
        max_grasps=request.max_grasps or None,
        min_score=request.min_score or None,
        roi=request.roi,
        mask=request.mask if request.mask.width or request.mask.height else None,
        instance_id=request.instance_id,
        target_frame=request.target_frame or None,
        tf_timeout=tf_timeout,
    )


def _choose_frame(
    request: DetectGrasps.Request, source: FrameSource, config: NodeConfig, deadline: float
) -> Frame:
    """The newest frame, or the next one where that is wanted or the newest is stale."""
    newest = source.newest()
    age = float("inf") if newest is None else time.monotonic() - newest.received
    stale = config.max_age > 0 and age > config.max_age
    if newest is not None and not request.wait_for_new_frame and not stale:
        return newest
    began = time.monotonic()
    frame = source.wait_newer(source.frames if newest is None else newest.number, deadline)
    if frame is not None:
        return frame
    waited = time.monotonic() - began
    reason = source.waiting_for(min(waited, config.stall_timeout))
    if not reason:
        came = "none came so far" if newest is None else f"the last came {age + waited:.1f} s ago"
        reason = f"{came}; expected a camera that sends faster, or a longer timeout"
    raise ImageError(f"no new frame within {waited:.1f} s: {reason}")


def _fill(response: DetectGrasps.Response, detection: Detection) -> None:
    stamp = detection.header.stamp
    array = GraspMessages().candidates(
        detection.grasps, detection.gripper, stamp, detection.instances
    )
    response.success = True
    response.header = grasps_header(detection.grasps, stamp)
    response.candidates = array.candidates
    response.gripper = array.gripper
    response.rejected = array.rejected
    response.inference_ms = detection.milliseconds
    counts = ", ".join(f"{item.reason} {item.count}" for item in array.rejected)
    number = len(array.candidates)
    found = f"{number} grasp{'s' * (number > 1)}" if number else "no grasp was found"
    response.message = f"{found}; rejected candidates: {counts}" if counts else found
