# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``grasp_executor``: the action ``pick``, from a detection to an object in the air.

One goal at a time; a second one is rejected while the first runs. A cancelled goal stops the arm
where it is. Speed limits and times are parameters; ``dry_run`` plans and moves nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node

from kgnpro_ros.action import Pick
from kgnpro_ros.config import ExecutorConfig
from kgnpro_ros.execution.cancellation import Cancellation
from kgnpro_ros.execution.pick import PickSequence
from kgnpro_ros.geometry.gripper import load_gripper
from kgnpro_ros.ros.arms import ArmConnection, ArmFactory, leave, make_arm
from kgnpro_ros.ros.clock_watch import missing_clock
from kgnpro_ros.ros.delivery import may_be_lost
from kgnpro_ros.ros.params import Parameters, fixed_at_start
from kgnpro_ros.ros.pick_goal import PickGoal, Robot
from kgnpro_ros.ros.pick_scene import SceneSource
from kgnpro_ros.ros.problems import ProblemLog
from kgnpro_ros.ros.spinning import run_node

NODE_NAME = "grasp_executor"
#: Threads: the goal, its feedback and answers, TF, joint states, the camera, cancelling.
THREADS = 8
#: What was there may be silent for this long before it is missed [s].
WATCH_PERIOD, STALL_TIME = 0.5, 3.0
#: A cancelled goal is marked as such by the client library a moment after we hear of it [s].
CANCEL_GRACE = 2.0
#: Before ROS goes down a stop gets this time to reach the controllers [s].
STOP_GRACE = 0.3


class GraspExecutorNode(Node):
    """Serves ``pick``.

    Args:
        arm_factory: Makes the arm; the configured one by default.
        options: For the rclpy node, such as ``parameter_overrides``.

    Raises:
        KGNProError: If the parameters are not valid or the arm cannot be made.
    """

    def __init__(self, arm_factory: ArmFactory = make_arm, **options: object) -> None:
        super().__init__(NODE_NAME, **options)
        settings = Parameters(self, ExecutorConfig(), may_change=fixed_at_start)
        self._config = config = settings.get(ExecutorConfig)
        self._problems = ProblemLog(self.get_logger(), config.log_period)
        self._gripper = load_gripper(config.gripper)
        self._scenes = SceneSource(self, config, self._gripper, self._problems)
        self._connection = ArmConnection(self, config, self._gripper, arm_factory)
        self._robot: Robot | None = None
        self._lock = threading.Lock()
        self._active: Cancellation | None = None
        self._ready, self._complete_at = False, 0.0
        self._server = ActionServer(
            self, Pick, "pick", self._execute, callback_group=ReentrantCallbackGroup(),
            goal_callback=self._on_goal, cancel_callback=self._on_cancel,
        )  # fmt: skip
        # Steady: with use_sim_time nothing else would say that /clock is what is missing.
        self._watch = self.create_timer(
            WATCH_PERIOD, self._on_watch, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        mode = "dry run: nothing will move" if config.dry_run else (
            f"speed {config.motion.speed:g} of the limits")  # fmt: skip
        self.get_logger().info(f"arm {config.arm} with gripper {self._gripper.name}, {mode}")

    def close(self) -> None:
        """Stop the arm, if a goal runs."""
        self._connection.close()
        with self._lock:
            active = self._active
        if active is not None:
            active.request()
            time.sleep(STOP_GRACE)
        self._connection.end()

    def missing(self) -> list[str]:
        """What a pick would wait for."""
        without_time = missing_clock(self)
        missing = [without_time] if without_time else []
        return [*missing, *self._scenes.missing(), *self._connection.missing()]

    def _seconds(self) -> float:
        return float(self.get_clock().now().nanoseconds) * 1e-9

    def _on_watch(self) -> None:
        missing, now = self.missing(), time.monotonic()
        if not missing:
            self._complete_at = now
        if missing and now - self._complete_at > STALL_TIME:
            self._ready = False
            self._problems.report(f"waiting for {'; '.join(missing)}", error=False)
        elif not missing and not self._ready:
            self._ready = True
            action, base = self.resolve_service_name("pick"), self._get_robot().arm.base_frame
            self.get_logger().info(f"ready: send goals to {action}; plans are made in {base}")

    def _get_robot(self) -> Robot:
        """What goals act with; made at the first need, and only once there is an arm."""
        arm = self._connection.arm
        assert arm is not None
        with self._lock:
            if self._robot is None:
                sequence = PickSequence(arm, self._gripper, self._config.pick, clock=self._seconds)
                self._robot = Robot(arm, sequence, self._scenes, self._config)
            return self._robot

    def _on_goal(self, goal: Pick.Goal) -> GoalResponse:
        with self._lock:
            if self._connection.arm is None:
                reason = f"still waiting for {'; '.join(self._connection.missing())}"
            elif self._active is not None:
                reason = "another one is running; one goal at a time, so cancel it or wait"
            else:
                self._active = Cancellation()
                return GoalResponse.ACCEPT
        self.get_logger().warning(f"rejected a goal: {reason}")
        return GoalResponse.REJECT

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        with self._lock:
            active = self._active
        if active is not None:
            active.request()
        return CancelResponse.ACCEPT

    def _execute(self, handle: ServerGoalHandle) -> Pick.Result:
        with self._lock:
            cancellation = self._active
        assert cancellation is not None
        try:
            goal = PickGoal(
                self._get_robot(),
                handle.request,
                cancellation,
                lambda message: self._tell(handle, message),
                self._seconds,
            )
            result = goal.run(self.get_logger())
        finally:
            with self._lock:
                self._active = None
        self._finish(handle, result, cancellation)
        return result

    def _tell(self, handle: ServerGoalHandle, feedback: Pick.Feedback) -> None:
        # A motion does not stop because nobody could be told of it.
        with may_be_lost(self.get_logger()):
            handle.publish_feedback(feedback)

    def _finish(
        self, handle: ServerGoalHandle, result: Pick.Result, cancellation: Cancellation
    ) -> None:
        if result.success:
            handle.succeed()
            self.get_logger().info(f"picked: {result.message}")
            return
        self.get_logger().warning(f"not picked: {result.message}")
        if cancellation.requested and self._marked_cancelled(handle):
            handle.canceled()
        else:
            handle.abort()

    def _marked_cancelled(self, handle: ServerGoalHandle) -> bool:
        """The request comes to us first; only then the goal changes its state."""
        deadline = time.monotonic() + CANCEL_GRACE
        while not handle.is_cancel_requested and time.monotonic() < deadline:
            time.sleep(0.01)
        return bool(handle.is_cancel_requested)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of ``ros2 run kgnpro_ros grasp_executor``."""
    code = run_node(GraspExecutorNode, lambda: MultiThreadedExecutor(THREADS), args)
    return leave(code)


if __name__ == "__main__":
    raise SystemExit(main())
