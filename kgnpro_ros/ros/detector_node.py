# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``grasp_detector``: RGB-D images in, ranked grasps out.

Lifecycle: *configure* reads the parameters and loads the model, *activate* subscribes,
*deactivate* unsubscribes, *cleanup* drops the model. With ``autostart`` it activates by itself.
"""

# ruff: noqa: E402
from __future__ import annotations

from kgnpro_ros.ros.memory import GIVE_BACK_PERIOD, give_back, keep_one_heap
from kgnpro_ros.threads import keep_blas_to_one_thread

# Now: what the lines below load starts threads, which would keep heaps of their own.
keep_one_heap()
keep_blas_to_one_thread()

import time
import traceback
from collections.abc import Callable, Sequence

from rclpy.clock import Clock, ClockType
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from kgnpro_ros.config import DetectorConfig, NodeConfig
from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.ros.clock_watch import missing_clock
from kgnpro_ros.ros.detect_service import MAX_WAITING, DetectService
from kgnpro_ros.ros.diagnostics import DetectorDiagnostics
from kgnpro_ros.ros.frame_source import FrameSource
from kgnpro_ros.ros.params import Parameters
from kgnpro_ros.ros.problems import ProblemLog
from kgnpro_ros.ros.processing import DetectorFactory, pipeline_detector
from kgnpro_ros.ros.publishers import GraspPublishers
from kgnpro_ros.ros.spinning import run_node
from kgnpro_ros.ros.transforms import TransformSource
from kgnpro_ros.ros.worker import DetectionWorker

NODE_NAME = "grasp_detector"
#: Threads: one for each waiting service call, and for inputs, TF, timers and parameters.
THREADS = MAX_WAITING + 4
WATCH_PERIOD = 0.5

#: Read once: at configure, and at activate.
FIXED_WHEN_CONFIGURED = ("model", "device", "gripper", "autostart", "log_period")
FIXED_WHEN_ACTIVE = ("sync_slop", "sync_queue", "reliability", "use_mask", "time_jump")


class GraspDetectorNode(LifecycleNode):
    """The detector node.

    Args:
        detector_factory: Makes the detector; the pipeline's by default.
        options: For the rclpy node, such as ``parameter_overrides``.

    Attributes:
        source: The camera, while active.
        worker: Runs the detector, once configured.
        problems: What went wrong.
        node_config: Current settings of the node.
        not_ready: Why the node cannot detect, while it cannot.
    """

    def __init__(
        self, detector_factory: DetectorFactory = pipeline_detector, **options: object
    ) -> None:
        super().__init__(NODE_NAME, **options)
        self.source: FrameSource | None = None
        self.worker: DetectionWorker | None = None
        self.node_config = NodeConfig()
        self.not_ready = "the node is not configured; expected the lifecycle state active"
        self.problems = ProblemLog(self.get_logger(), self.node_config.log_period)
        self._said = ""
        self._factory = detector_factory
        self._outputs = GraspPublishers(self)
        self._settings = Parameters(
            self, DetectorConfig(), NodeConfig(), may_change=self._may_change
        )
        self.add_post_set_parameters_callback(self._apply)
        self._transforms = TransformSource(self)
        self._diagnostics = DetectorDiagnostics(self)
        self._service = DetectService(self, self)
        self._set_enabled = self.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        # Steady: with use_sim_time nothing else would say that /clock is what is missing.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._watch = self.create_timer(WATCH_PERIOD, self._on_watch, clock=steady)
        self._give_back = self.create_timer(GIVE_BACK_PERIOD, give_back, clock=steady)

    def autostart(self) -> None:
        """Configure and activate, if the parameter says so; what fails is logged."""
        if not self.get_parameter("autostart").value:
            self.get_logger().info("autostart is false: waiting to be configured and activated")
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and load the model."""
        return self._transition("configure", self._configure, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the camera."""
        return self._transition("activate", self._activate, super().on_activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe from the camera."""
        return self._transition("deactivate", self._deactivate, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the model."""
        return self._transition("cleanup", self._cleanup, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop everything."""
        return self._transition("shutdown", self.close, super().on_shutdown, state)

    def _transition(
        self,
        name: str,
        action: Callable[[], None],
        publishers: Callable[[LifecycleState], TransitionCallbackReturn],
        state: LifecycleState,
    ) -> TransitionCallbackReturn:
        """Run one transition; rclpy would swallow an exception without a word."""
        try:
            action()
        except KGNProError as error:
            reason = str(error)
        except Exception:
            reason = f"unexpected error:\n{traceback.format_exc()}"
        else:
            return publishers(state)
        self.not_ready = f"the node could not {name}: {reason}"
        self.problems.report(
            f"{self.not_ready}; then: ros2 lifecycle set {self.get_fully_qualified_name()} {name}"
        )
        return TransitionCallbackReturn.FAILURE

    def _configure(self) -> None:
        self.node_config = self._settings.get(NodeConfig)
        config = self._settings.get(DetectorConfig)
        self.problems = ProblemLog(self.get_logger(), self.node_config.log_period)
        start = time.perf_counter()
        self.worker = DetectionWorker(
            self._factory, config, self._transforms, self.get_clock(), self.problems,
            self._outputs.publish,
        )  # fmt: skip
        detector = self.worker.detector
        self.not_ready = "the node is inactive; expected the lifecycle state active"
        runtime = getattr(detector, "runtime", None)
        if runtime is not None:
            self.get_logger().info(f"runtime {config.runtime}: {runtime.name}, {runtime.note}")
        self.get_logger().info(
            f"model {config.model} (sha256 {detector.model_sha256[:12]}) on {detector.device} for "
            f"gripper {detector.gripper.name}, loaded in {time.perf_counter() - start:.1f} s"
        )

    def _activate(self) -> None:
        self.node_config = self._settings.get(NodeConfig)
        self.source = FrameSource(self, self.node_config, self.problems, self._on_frame)
        topics = ", ".join(item.topic for item in self.source.inputs.values())
        self.get_logger().info(f"waiting for frames on {topics}")

    def _deactivate(self) -> None:
        source, self.source = self.source, None
        self.not_ready = "the node is inactive; expected the lifecycle state active"
        if source is not None:
            source.close()

    def _cleanup(self) -> None:
        worker, self.worker = self.worker, None
        self.not_ready = "the node is not configured; expected the lifecycle state active"
        if worker is not None:
            worker.close()

    def close(self) -> None:
        """Stop all work; who waits for an answer gets one."""
        self._deactivate()
        self._cleanup()
        self.not_ready = "the node is shutting down"

    def _on_frame(self) -> None:
        source, worker = self.source, self.worker
        if self.node_config.continuous and source is not None and worker is not None:
            worker.offer(source, self.node_config, heard=self._outputs.listeners > 0)

    @property
    def activity(self) -> str:
        """What is done with the frames, for people."""
        if not self.node_config.continuous:
            return "continuous is false: detecting on calls of detect_grasps only"
        if self._outputs.listeners == 0:
            return "nobody listens: the network runs on calls of detect_grasps only"
        return "detecting"

    def _on_watch(self) -> None:
        source = self.source
        if source is None:
            return
        source.adapt()
        activity = self.activity
        if source.frames and activity != self._said:
            self._said = activity
            self.get_logger().info(activity)
        waiting = source.waiting_for(self.node_config.stall_timeout)
        without_time = missing_clock(self)
        if without_time:
            waiting = "; ".join(filter(None, (f"waiting for {without_time}", waiting)))
        if waiting:
            self.problems.report(waiting, error=False)

    def _on_set_enabled(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        parameter = Parameter("continuous", value=bool(request.data))
        result = self.set_parameters([parameter])[0]
        response.success = result.successful
        mode = "on" if request.data else "off; detect_grasps still answers"
        response.message = result.reason or f"continuous detection is {mode}"
        return response

    def _may_change(self, name: str) -> str | None:
        if name in FIXED_WHEN_CONFIGURED and self.worker is not None:
            return "fixed while configured; deactivate and clean up the node first"
        if name in FIXED_WHEN_ACTIVE and self.source is not None:
            return "fixed while active; deactivate the node first"
        return None

    def _apply(self, parameters: list[Parameter]) -> None:
        if self._settings.errors:
            return
        self.node_config = self._settings.get(NodeConfig)
        if self.worker is not None:
            self.worker.reconfigure(self._settings.get(DetectorConfig))


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of ``ros2 run kgnpro_ros grasp_detector``."""

    def make_node() -> GraspDetectorNode:
        node = GraspDetectorNode()
        node.autostart()
        return node

    return run_node(make_node, lambda: MultiThreadedExecutor(THREADS), args)


if __name__ == "__main__":
    raise SystemExit(main())
