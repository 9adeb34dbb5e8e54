# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The pick sequence: from ranked grasps to an object in the air, over any :class:`Arm`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from kgnpro_ros.config import PickConfig
from kgnpro_ros.exceptions import PlanningError
from kgnpro_ros.execution.arm import Arm, ArmError, ArmFailure
from kgnpro_ros.execution.cancellation import Cancellation
from kgnpro_ros.execution.candidates import Candidates, select_candidates
from kgnpro_ros.execution.journal import Journal, StageError
from kgnpro_ros.execution.pick_motion import PickMotion
from kgnpro_ros.execution.pick_plan import PickPlan, PickPlanner
from kgnpro_ros.execution.report import Cause, Feedback, PickReport, Place, Scene, Stage
from kgnpro_ros.geometry.gripper import Gripper

logger = logging.getLogger(__name__)

#: After these the arm stands still and may go on: nothing is wrong with it.
HARMLESS = frozenset(
    {Cause.STALE_DETECTION, Cause.WRONG_FRAME, Cause.NO_CANDIDATE, ArmFailure.UNREACHABLE}
)

#: A wait that came from outside is cut into pieces of this length [s] to notice a cancellation.
WAIT_STEP = 0.05


class PickSequence:
    """Picks one object per call of :meth:`run`.

    For each candidate, best first: plan pre-grasp, straight approach and straight lift (and the
    place) before anything moves; open, move, approach, close, check that something is held, lift,
    wait, check again; after a failure open, go back along the approach, and take the next one.

    Args:
        arm: Plans and moves.
        gripper: The gripper that the arm carries.
        config: Distances, times and limits; the defaults when None.
        clock: Time [s] that stages and the age of the detection are measured with.
        wait: Lets a time [s] pass, for an arm whose time is not that of the wall.
    """

    def __init__(
        self,
        arm: Arm,
        gripper: Gripper,
        config: PickConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        self._arm = arm
        self._gripper = gripper
        self._config = config or PickConfig()
        self._clock = clock
        self._wait = wait
        self._busy = threading.Lock()

    def run(
        self,
        scene: Scene,
        *,
        place: Place | None = None,
        dry_run: bool = False,
        max_attempts: int | None = None,
        feedback: Callable[[Feedback], None] | None = None,
        cancellation: Cancellation | None = None,
    ) -> PickReport:
        """Pick one object, and put it down when ``place`` is given.

        Faults of the arm, the gripper and the scene are outcomes in the report. The arm is resumed
        at the start; after a cancellation, a lost connection or a failed retreat it is stopped.

        Args:
            scene: The detection.
            place: Where to put the object down; None keeps it in the hand.
            dry_run: Plan the best candidate that can be planned, move nothing.
            max_attempts: Most candidates tried with motion; the setting when None.
            feedback: Called at the start of each stage, from this thread.
            cancellation: Ends the pick from another thread.

        Raises:
            PlanningError: If a pick is running already.
        """
        if not self._busy.acquire(blocking=False):
            raise PlanningError("a pick is running; one goal at a time")
        try:
            cancellation = cancellation or Cancellation()
            goal = _Goal(
                scene, place, dry_run, max_attempts or self._config.max_attempts, cancellation
            )
            journal = Journal(self._clock, feedback, cancellation)
            return _Run(self._arm, self._gripper, self._config, goal, journal, self._clock,
                        self._wait_or_cancel(cancellation)).report()  # fmt: skip
        finally:
            self._busy.release()

    def _wait_or_cancel(self, cancellation: Cancellation) -> Callable[[float], None]:
        outside = self._wait

        def wait(seconds: float) -> None:
            if outside is None:
                cancellation.wait(seconds)
                return
            while seconds > 0 and not cancellation.requested:
                outside(min(seconds, WAIT_STEP))
                seconds -= WAIT_STEP

        return wait


@dataclass(frozen=True)
class _Goal:
    scene: Scene
    place: Place | None
    dry_run: bool
    max_attempts: int
    cancellation: Cancellation


class _Run:
    """State of one call of :meth:`PickSequence.run`."""

    def __init__(
        self,
        arm: Arm,
        gripper: Gripper,
        config: PickConfig,
        goal: _Goal,
        journal: Journal,
        clock: Callable[[], float],
        wait: Callable[[float], None],
    ) -> None:
        self._arm, self._gripper, self._config = arm, gripper, config
        self._goal, self._journal, self._clock = goal, journal, clock
        self._planner = PickPlanner(arm, gripper, config, journal)
        self._motion = PickMotion(arm, self._planner, gripper.min_width, config, journal, wait)
        self._start = clock()
        self._attempts = 0
        self._outcome = PickReport(False, "")

    def report(self) -> PickReport:
        """Run, and collect what there is to say."""
        try:
            with self._goal.cancellation.stopping(self._arm.stop):
                self._pick()
        except StageError as error:
            self._fail(error)
        return replace(
            self._outcome,
            stages=tuple(self._journal.stages),
            attempts=self._attempts,
            holding=self._motion.holding,
        )

    def _pick(self) -> None:
        found = self._check()
        self._outcome = replace(self._outcome, rejected=found.rejected)
        failures = 0
        for candidate in found.candidates:
            self._journal.begin(candidate.index, self._attempts + 1)
            try:
                plan = self._planner.plan(candidate, self._goal.scene, self._goal.place)
            except StageError as error:
                failures += 1
                if error.fatal or failures == self._config.max_plan_failures:
                    raise
                continue
            if self._goal.dry_run:
                text = f"candidate {candidate.index} can be picked; nothing moved"
                self._outcome = replace(self._outcome, success=True, message=text)
                return
            self._attempts += 1
            if self._try(plan):
                self._finish(plan, candidate.index)
                return
            if self._attempts == self._goal.max_attempts:
                break
        last = next(stage for stage in reversed(self._journal.stages) if not stage.ok)
        text = f"{self._attempts} attempts, {failures} candidates without a plan; the last"
        text += f" failed in {last.stage.value}: {last.message}"
        self._outcome = replace(self._outcome, message=text)

    def _check(self) -> Candidates:
        scene, place = self._goal.scene, self._goal.place
        with self._journal.stage(Stage.CHECK) as note:
            self._arm.resume()
            self._check_age()
            self._check_frames(scene.grasps.frame, None if place is None else place.frame)
            self._arm.detach()
            if place is not None and not self._planner.place_reachable(place):
                x, y, z = place.T_base_grasp[:3, 3]
                text = f"the place at ({x:.3f}, {y:.3f}, {z:.3f}) m cannot be reached"
                raise StageError(ArmFailure.UNREACHABLE, text)
            found = select_candidates(
                scene.grasps, self._arm, self._gripper, self._config.candidates,
                scene.obstacles.table_height, scene.obstacles.points,
            )  # fmt: skip
            dropped = ", ".join(f"{n} {reason}" for reason, n in found.rejected.items()) or "none"
            if not found.candidates:
                text = f"none of {len(scene.grasps)} grasps can be attempted (rejected: {dropped})"
                raise StageError(Cause.NO_CANDIDATE, text)
            note(f"{len(found.candidates)} candidates, rejected: {dropped}")
        return found

    def _check_frames(self, grasps: str, place: str | None) -> None:
        base = self._arm.base_frame
        for what, frame in (("the grasps", grasps), ("the place pose", place)):
            if frame not in (base, None):
                text = f"the frame of {what} is {frame!r}; expected the arm's base, {base!r}"
                raise StageError(Cause.WRONG_FRAME, text)

    def _check_age(self) -> None:
        age = self._goal.scene.age + self._clock() - self._start
        first = self._attempts <= 1
        limit = self._config.max_grasp_age if first else self._config.max_retry_age
        if age > limit:
            text = f"the detection is {age:.1f} s old; at most {limit:g} s are allowed"
            raise StageError(Cause.STALE_DETECTION, text)

    def _try(self, plan: PickPlan) -> bool:
        """Pick; after a failure bring the hand away and return False."""
        try:
            self._motion.pick(plan, self._check_age)
        except StageError as error:
            if error.fatal:
                raise
            self._motion.recover(plan, error.stage, self._goal.scene)
            return False
        return True

    def _finish(self, plan: PickPlan, index: int) -> None:
        height = self._motion.lifted
        text = f"candidate {index} lifted {height:.2f} m"
        self._outcome = replace(self._outcome, message=text, picked=index, lifted_height=height)
        if self._goal.place is not None:
            self._motion.place(plan, self._goal.place)
            text += " and placed"
        self._outcome = replace(self._outcome, success=True, message=text)

    def _fail(self, error: StageError) -> None:
        """Stop the arm where it is, and say why."""
        stage = error.stage.value if error.stage else "start"
        text = f"{stage}: {error}"
        safe = error.stage not in (Stage.PUT_BACK, Stage.RELEASE, Stage.RETREAT, Stage.LEAVE)
        if not safe:
            text = f"THE HAND COULD NOT BE BROUGHT AWAY and stands where it is ({text})"
            logger.error("pick: %s", text)
        if self._outcome.picked >= 0:
            text = f"{self._outcome.message}, but not placed; {text}"
        try:
            if error.cause not in HARMLESS:
                self._arm.stop()
        except ArmError as problem:
            text += f"; and it could not be told to stop: {problem}"
            logger.error("pick: %s", text)
        self._outcome = replace(self._outcome, message=text, safe=safe)
