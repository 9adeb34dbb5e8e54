# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The one thread that runs the network: continuous detection and service requests in turn."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from rclpy.clock import Clock

from kgnpro_ros.config import DetectorConfig, NodeConfig
from kgnpro_ros.exceptions import ConfigError, KGNProError
from kgnpro_ros.ros.frame_source import Frame, FrameSource
from kgnpro_ros.ros.problems import ProblemLog
from kgnpro_ros.ros.processing import (
    Detection,
    Detector,
    DetectorFactory,
    Query,
    check_age,
    prepare,
    process,
)
from kgnpro_ros.ros.transforms import TransformSource

LATENCY_WINDOW = 100
#: How often a frame that nobody wants is looked at [s].
CHECK_PERIOD = 2.0


class DetectionWorker:
    """Runs detections one after the other, always on the newest frame.

    At most one continuous detection is queued, and it lets service requests pass it, once: a
    request waits for the detection that runs, and for requests that came earlier.

    Args:
        factory: Makes the detector.
        config: Of the detector.
        transforms: Source of transforms into the target frame.
        clock: Of the node.
        problems: Where errors of continuous detection are reported.
        publish: Gets each detection, in the thread of the worker.

    Raises:
        KGNProError: If the detector cannot be made.
    """

    def __init__(
        self,
        factory: DetectorFactory,
        config: DetectorConfig,
        transforms: TransformSource,
        clock: Clock,
        problems: ProblemLog,
        publish: Callable[[Detection], None],
    ) -> None:
        self._factory = factory
        self._config = config
        self._transforms = transforms
        self._clock = clock
        self._problems = problems
        self._publish = publish
        self._lock = threading.Lock()
        self._scheduled = False
        self._requests = 0
        self._next_start, self._next_check = 0.0, 0.0
        self.latencies: deque[float] = deque(maxlen=LATENCY_WINDOW)
        self.detections = 0
        self.last_count = 0
        self.detector: Detector = factory(config)
        self._built_for = config
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="detection")

    def reconfigure(self, config: DetectorConfig) -> None:
        """Use other settings from the next detection on."""
        self._config = config

    def submit(
        self, source: FrameSource, frame: Frame, query: Query, node_config: NodeConfig
    ) -> Future[Detection]:
        """Queue a service request for a frame, or the newer one that is there when its turn comes.

        Behind a slow detection the frame would grow old, and be refused for it.

        Raises:
            ConfigError: If the worker was closed.
        """

        def detect() -> Detection:
            newest = source.newest()
            newer = newest is not None and newest.number > frame.number
            return self._detect(newest if newer else frame, query, node_config)

        try:
            future = self._pool.submit(detect)
        except RuntimeError as error:  # the pool was shut down while the call came in
            raise ConfigError("the node was just cleaned up; expected it active") from error
        with self._lock:
            self._requests += 1
        future.add_done_callback(self._request_done)
        return future

    def _request_done(self, future: Future[Detection]) -> None:
        with self._lock:
            self._requests -= 1

    def offer(self, source: FrameSource, node_config: NodeConfig, heard: bool = True) -> None:
        """Queue a detection in the newest frame unless one is queued or it is too early.

        Args:
            source: Of the frame.
            node_config: Current settings of the node.
            heard: Whether somebody wants the grasps. If not, the network does not run: a frame is
                read now and then, so that what is wrong with the camera is said before.
        """
        now = time.monotonic()
        with self._lock:
            if self._scheduled or now < (self._next_start if heard else self._next_check):
                return
            self._scheduled = True
            self._next_check = now + CHECK_PERIOD
            if heard and node_config.max_rate > 0:
                self._next_start = now + 1.0 / node_config.max_rate
        try:
            self._pool.submit(self._work, source, node_config, heard)
        except RuntimeError:  # the pool was shut down while a frame came in
            return

    def close(self) -> None:
        """Drop what is queued; a detection that runs is finished."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(
        self, source: FrameSource, node_config: NodeConfig, heard: bool, deferred: bool = False
    ) -> None:
        with self._lock:
            if self._requests and not deferred:
                # Somebody waits for them. Once, or callers without end would stop the topics.
                self._pool.submit(self._work, source, node_config, heard, True)
                return
            self._scheduled = False
        frame = source.newest()
        if frame is None:
            return
        try:
            if heard:
                self._detect(frame, Query(), node_config)
            else:
                check_age(frame, self._clock, node_config.max_age)
                prepare(frame, Query(), node_config, self._transforms)
        except KGNProError as error:
            self._problems.report(str(error))
        except Exception:
            # A defect of ours must not end the node: it would look like an empty scene.
            self._problems.report(f"detection failed unexpectedly:\n{traceback.format_exc()}")
        else:
            what = "grasps are being published" if heard else "nobody listens to the grasps"
            self._problems.resolved(f"frames are usable again; {what}")

    def _detect(self, frame: Frame, query: Query, node_config: NodeConfig) -> Detection:
        check_age(frame, self._clock, node_config.max_age)
        if self._built_for != self._config:
            config = self._config
            # The real detector keeps its network; others are made anew.
            change = getattr(self.detector, "with_config", self._factory)
            self.detector = change(config)
            self._built_for = config
        detection = process(frame, query, self.detector, node_config, self._transforms)
        self.latencies.append(detection.milliseconds)
        self.detections += 1
        self.last_count = len(detection.grasps)
        self._publish(detection)
        return detection
