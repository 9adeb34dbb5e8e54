# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""One goal of the action ``pick``: see, transform, pick, go home; every step is reported."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from rclpy.impl.rcutils_logger import RcutilsLogger
from std_msgs.msg import Header

from kgnpro_ros.action import Pick
from kgnpro_ros.config import ExecutorConfig
from kgnpro_ros.exceptions import FrameError, KGNProError
from kgnpro_ros.execution.arm import Arm, ArmError, Obstacles
from kgnpro_ros.execution.cancellation import Cancellation
from kgnpro_ros.execution.observed import box_points
from kgnpro_ros.execution.pick import PickSequence
from kgnpro_ros.execution.report import PickReport, Place, Scene
from kgnpro_ros.msg import StageReport as StageMessage
from kgnpro_ros.ros.pick_messages import feedback_message, result_message
from kgnpro_ros.ros.pick_scene import (
    DetectionError,
    GoalCancelledError,
    SceneSource,
    TransformMissingError,
)

#: Joints that are this close to their home are there [rad].
AT_HOME = 0.01
#: Words for what fails before the pick sequence runs; the sequence has its own.
CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (GoalCancelledError, "cancelled"),
    (DetectionError, "no_detection"),
    (TransformMissingError, "no_transform"),
    (FrameError, "wrong_frame"),
    (KGNProError, "unusable_input"),
)


@dataclass(frozen=True)
class Robot:
    """What a goal acts with.

    Attributes:
        arm: Plans and moves.
        sequence: Picks with it.
        scenes: Grasps and obstacles.
        config: Of the executor.
    """

    arm: Arm
    sequence: PickSequence
    scenes: SceneSource
    config: ExecutorConfig


class PickGoal:
    """Runs one goal; blocks, so it belongs in a thread of its own.

    Args:
        robot: Acts.
        goal: What is wanted.
        cancellation: Ends the goal from another thread.
        publish: Gets the feedback.
        clock: Time of the node [s].
    """

    def __init__(
        self,
        robot: Robot,
        goal: Pick.Goal,
        cancellation: Cancellation,
        publish: Callable[[Pick.Feedback], None],
        clock: Callable[[], float],
    ) -> None:
        self._robot = robot
        self._goal = goal
        self._cancellation = cancellation
        self._publish = publish
        self._clock = clock
        self._stages: list[StageMessage] = []

    def run(self, logger: RcutilsLogger) -> Pick.Result:
        """Do it; whatever goes wrong is in the result, and the arm stands."""
        try:
            return self._run()
        except KGNProError as error:
            message = f"{self._stages[-1].stage}: {error}" if self._stages else str(error)
        except Exception as error:
            # A defect of ours must not leave the caller without an answer, nor the arm moving.
            self._robot.arm.stop()
            logger.error(f"pick failed unexpectedly:\n{traceback.format_exc()}")
            message = f"internal_error: {type(error).__name__}: {error}"
        return Pick.Result(message=message, picked_candidate=-1, stages=self._stages)

    def _run(self) -> Pick.Result:
        scene, place = self._see()
        config, goal = self._robot.config, self._goal
        report = self._robot.sequence.run(
            scene,
            place=place,
            dry_run=goal.dry_run or config.dry_run,
            max_attempts=goal.max_attempts or None,
            feedback=lambda feedback: self._publish(feedback_message(feedback)),
            cancellation=self._cancellation,
        )
        result = result_message(report, self._stages)
        self._go_home(report, result)
        return result

    def _see(self) -> tuple[Scene, Place | None]:
        """The scene in the base frame of the arm, and the place.

        Raises:
            KGNProError: The last stage says where.
        """
        robot, goal, scenes = self._robot, self._goal, self._robot.scenes
        base = robot.arm.base_frame
        target = goal.target_frame or robot.config.target_frame
        with self._stage("detect") as report:
            if goal.use_candidate:
                grasps, stamp = scenes.given(goal)
                report.message = f"given, in {grasps.frame}"
            else:
                if target:
                    # Said here, it names the frame; the detector would only have no result.
                    scenes.transform(
                        base, Header(frame_id=target), what="target_frame", latest=True
                    )
                grasps, stamp = scenes.detect(target, self._cancellation)
                report.message = f"{len(grasps)} grasps in {grasps.frame}"
        with self._stage("transform") as report:
            header = Header(stamp=stamp, frame_id=grasps.frame)
            grasps = grasps.transform(scenes.transform(base, header, what="the grasps"), base)
            place = scenes.place(goal, base) if goal.use_place_pose else None
            report.message = f"to {base}"
        with self._stage("observe") as report:
            if robot.config.obstacles:
                obstacles = scenes.obstacles(base, stamp, self._cancellation)
            else:
                fixed = robot.config.table == "fixed"
                height = robot.config.table_height if fixed else None
                obstacles = Obstacles(box_points(robot.config.boxes or ()), height)
            table = obstacles.table_height
            text = "no table" if table is None else f"table at {table:+.3f} m"
            report.message = f"{len(obstacles.points)} points, {text}"
        return Scene(grasps, obstacles, scenes.age(stamp)), place

    @contextmanager
    def _stage(self, name: str, candidate: int = -1, attempt: int = 0) -> Iterator[StageMessage]:
        report = StageMessage(candidate=candidate, stage=name, ok=True)
        self._publish(Pick.Feedback(stage=name, candidate_index=candidate, attempt=attempt))
        begin = self._clock()
        try:
            if self._cancellation.requested:
                raise GoalCancelledError("cancelled")
            yield report
            if self._cancellation.requested:
                raise GoalCancelledError("cancelled")
        except Exception as error:
            report.ok, report.message = False, f"{_cause(error)}: {error}"
            raise
        finally:
            report.seconds = self._clock() - begin
            self._stages.append(report)

    def _go_home(self, report: PickReport, result: Pick.Result) -> None:
        """Out of the camera's view, after a pick that moved the arm and emptied the hand."""
        home, arm = self._robot.config.home, self._robot.arm
        if home is None or not report.attempts or not report.safe or report.holding:
            return
        if self._cancellation.requested:
            return
        self._stages = list(result.stages)
        try:
            with self._stage("home", report.picked, report.attempts):
                arm.resume()
                with self._cancellation.stopping(arm.stop):
                    if np.abs(arm.joints() - home).max() > AT_HOME:
                        arm.execute(arm.plan_joints(np.array(home)))
        except KGNProError as error:
            result.message += f"; but the arm did not get home: {error}"
        result.stages = self._stages


def _cause(error: Exception) -> str:
    if isinstance(error, ArmError):
        return error.failure.value
    return next((word for kind, word in CAUSES if isinstance(error, kind)), "internal_error")
