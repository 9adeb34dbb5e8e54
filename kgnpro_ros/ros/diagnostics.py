# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the detector reports on /diagnostics."""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_updater import DiagnosticStatusWrapper, Updater
from rclpy.lifecycle import LifecycleNode

from kgnpro_ros.config import NodeConfig
from kgnpro_ros.ros.frame_source import FrameSource
from kgnpro_ros.ros.problems import ProblemLog
from kgnpro_ros.ros.worker import DetectionWorker

PERIOD = 1.0


class DetectorDiagnostics:
    """Publishes two statuses: the camera and the detection.

    Args:
        node: A detector node: ``source``, ``worker``, ``problems``, ``node_config``, ``activity``,
            ``not_ready``.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._updater = Updater(node, PERIOD)
        self._updater.setHardwareID("none")
        self._updater.add("camera", self._camera)
        self._updater.add("detection", self._detection)
        self._frames = 0

    def set_hardware(self, name: str) -> None:
        """Name the camera frame that the grasps come from."""
        self._updater.setHardwareID(name)

    def _camera(self, status: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        source: FrameSource | None = self._node.source
        config: NodeConfig = self._node.node_config
        if source is None:
            status.summary(DiagnosticStatus.STALE, self._node.not_ready)
            return status
        waiting = source.waiting_for(config.stall_timeout)
        status.summary(
            DiagnosticStatus.WARN if waiting else DiagnosticStatus.OK, waiting or "frames arrive"
        )
        for key, item in source.inputs.items():
            status.add(f"{key} topic", item.topic)
            status.add(f"{key} rate [Hz]", f"{item.rate:.1f}")
        status.add("paired frames per second", f"{(source.frames - self._frames) / PERIOD:.1f}")
        status.add("paired frames", str(source.frames))
        self._frames = source.frames
        return status

    def _detection(self, status: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        worker: DetectionWorker | None = self._node.worker
        problems: ProblemLog = self._node.problems
        if worker is None:
            status.summary(DiagnosticStatus.ERROR, self._node.not_ready)
            return status
        healthy = not problems.unresolved
        status.summary(
            DiagnosticStatus.OK if healthy else DiagnosticStatus.WARN,
            self._node.activity if healthy else problems.last,
        )
        latencies = np.array(worker.latencies) if worker.latencies else np.full(1, np.nan)
        status.add("latency mean [ms]", f"{latencies.mean():.1f}")
        status.add("latency 95 % [ms]", f"{np.percentile(latencies, 95):.1f}")
        for stage, milliseconds in dict(worker.detector.last_timings).items():
            status.add(f"{stage} [ms]", f"{milliseconds:.1f}")
        status.add("detections", str(worker.detections))
        status.add("grasps in the last frame", str(worker.last_count))
        status.add("last error", problems.last or "none")
        status.add("device", str(worker.detector.device))
        status.add("model sha256", worker.detector.model_sha256)
        status.add("gripper", worker.detector.gripper.name)
        return status
