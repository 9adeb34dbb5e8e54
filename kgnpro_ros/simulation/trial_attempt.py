# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""One attempt of a trial: look, detect, pick, and let the physics say what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import TrialConfig
from kgnpro_ros.data.mujoco_model import object_name
from kgnpro_ros.exceptions import ImageError
from kgnpro_ros.execution.mplib_arm import MplibArm
from kgnpro_ros.execution.observed import observed_obstacles
from kgnpro_ros.execution.pick import PickSequence
from kgnpro_ros.execution.report import Feedback, PickReport, Scene, Stage, StageReport
from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.simulation.contacts import LEFT_FINGER, RIGHT_FINGER
from kgnpro_ros.simulation.sim_controllers import SimControllers
from kgnpro_ros.simulation.trial_pictures import AttemptPictures
from kgnpro_ros.simulation.trial_results import NOT_LIFTED, AttemptRecord
from kgnpro_ros.simulation.world import PickWorld
from kgnpro_ros.types import GraspBatch, RGBDImage

FloatArray = NDArray[np.float64]

#: Stages that move nothing.
_PLANNING = frozenset({
    Stage.CHECK, Stage.PLAN_PREGRASP, Stage.PLAN_APPROACH, Stage.PLAN_LIFT, Stage.PLAN_PLACE,
})  # fmt: skip


@dataclass(frozen=True)
class Rig:
    """What an attempt works with.

    Attributes:
        config: Settings of the experiment.
        world: The physics.
        controllers, arm, gripper: Of the robot in it.
        detect: Finds grasps in the camera frame.
    """

    config: TrialConfig
    world: PickWorld
    controllers: SimControllers
    arm: MplibArm
    gripper: Gripper
    detect: Callable[[RGBDImage], GraspBatch]


class Attempt:
    """One attempt.

    Args:
        rig: The robot and its world.
        classes: Class of each object.
        failed: Grasps that failed on this scene before, ``T_world_grasp``, shape (F, 4, 4).
        pictures: Takes pictures on the way, or None.

    Attributes:
        lifted: Indices of the objects that are in the air, after :meth:`run`.
    """

    def __init__(
        self,
        rig: Rig,
        classes: Sequence[str],
        failed: FloatArray,
        pictures: AttemptPictures | None,
    ) -> None:
        self._rig, self._classes, self._failed, self._pictures = rig, classes, failed, pictures
        self._watch = Stopwatch()
        self._touched: list[int] = []
        self.lifted: list[int] = []

    def run(self) -> AttemptRecord:
        """Look, detect, pick one object, check."""
        rig = self._rig
        started, heights = rig.world.time, rig.world.lifted_heights()
        image = rig.world.render()
        self._watch.lap("look")
        grasps = rig.detect(image).transform(rig.world.T_base_camera, rig.arm.base_frame)
        self._watch.lap("detect")
        fresh = self._not_failed(grasps)
        if self._pictures is not None:
            self._pictures.look(image, grasps)
        try:
            obstacles = observed_obstacles(image, rig.world.T_base_camera, rig.config.executor)
        except ImageError as error:
            return AttemptRecord(False, Stage.CHECK.value, "no_table", str(error))
        report = self._sequence().run(Scene(fresh, obstacles), feedback=self._on_stage)
        self._watch.lap(self._watch.current)
        record = self._record(report, fresh, heights)
        rejected = Counter(grasps.rejected) + Counter(report.rejected)
        return replace(
            record, grasps=len(grasps), rejected=dict(rejected), unplanned=_unplanned(report),
            simulated=rig.world.time - started, seconds=self._watch.seconds,
        )  # fmt: skip

    def _sequence(self) -> PickSequence:
        rig = self._rig
        # The detection ages in simulated time: results do not hang on the load of the machine.
        return PickSequence(
            rig.arm, rig.gripper, rig.config.executor.pick,
            clock=lambda: rig.world.time, wait=rig.controllers.wait,
        )  # fmt: skip

    def _not_failed(self, grasps: GraspBatch) -> GraspBatch:
        """The grasps that are unlike those that failed here before."""
        if len(self._failed) == 0 or len(grasps) == 0:
            return grasps
        config = self._rig.config
        world = self._rig.world.T_world_base @ grasps.poses
        near = same_grasp(
            world, self._failed, config.same_grasp_distance, config.same_grasp_angle
        ).any(axis=1)
        rejected = {**grasps.rejected, "failed_before": int(near.sum())} if near.any() else {}
        fresh = grasps.select(~near)
        return replace(fresh, rejected=rejected or fresh.rejected)

    def _on_stage(self, feedback: Feedback) -> None:
        self._watch.lap(self._watch.current)
        self._watch.current = "plan" if feedback.stage in _PLANNING else "simulate"
        if feedback.stage in (Stage.ATTACH, Stage.RELEASE):
            self._touched = self._touched or self._between_fingers()
        if self._pictures is not None:
            self._pictures.stage(feedback.stage)

    def _between_fingers(self) -> list[int]:
        """Objects that a finger touches."""
        world = self._rig.world
        fingers = {LEFT_FINGER, RIGHT_FINGER}
        touched = {
            name
            for contact in world.contacts()
            for name in (contact.first, contact.second)
            if fingers & {contact.first, contact.second}
        }
        return [index for index in world.present() if object_name(index) in touched]

    def _record(self, report: PickReport, grasps: GraspBatch, heights: FloatArray) -> AttemptRecord:
        tried = [stage.candidate for stage in report.stages if stage.stage is Stage.OPEN]
        if not tried:
            failure = report.failure
            assert failure is not None
            return AttemptRecord(False, failure.stage.value, failure.cause, failure.message)
        world = self._rig.world
        rise = world.lifted_heights() - heights
        held = [k for k in world.held() if rise[k] >= self._rig.config.min_rise]
        if report.success:
            self.lifted = held
        pose = world.T_world_base @ grasps.poses[tried[-1]]
        record = AttemptRecord(
            success=report.success and bool(held), moved=True, target=self._nearest(pose),
            score=float(grasps.score[tried[-1]]), width=float(grasps.widths[tried[-1]]),
            T_world_grasp=pose.tolist(),
            rise=float(max((rise[k] for k in world.held()), default=0.0)),
        )  # fmt: skip
        if record.success:
            return replace(record, target=self._classes[held[0]])
        failed = _failed_motion(report)
        if failed is not None:
            return replace(
                record, stage=failed.stage.value, cause=failed.cause, message=failed.message
            )
        text = f"the executor holds something, but nothing rose {self._rig.config.min_rise:g} m"
        return replace(record, stage=Stage.HOLD.value, cause=NOT_LIFTED, message=text)

    def _nearest(self, T_world_grasp: FloatArray) -> str:
        """Class of what the fingers touched, else of the nearest centre."""
        if self._touched:
            return self._classes[self._touched[0]]
        world = self._rig.world
        present = world.present()
        centers = world.object_poses()[present, :3, 3]
        nearest = np.linalg.norm(centers - T_world_grasp[:3, 3], axis=1).argmin()
        return self._classes[present[int(nearest)]]


class Stopwatch:
    """Adds up seconds of the machine by what they went into; ``current`` is the open entry."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.current = "plan"
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last call to an entry."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def same_grasp(
    poses: FloatArray, others: FloatArray, distance: float, angle: float
) -> NDArray[np.bool_]:
    """Which grasps are alike: origins and rotations close, the 180 degree twin counts as the same.

    Args:
        poses: Shape (N, 4, 4).
        others: In the same frame, shape (M, 4, 4).
        distance: Origins are closer than this [m].
        angle: And rotations than this [deg].

    Returns:
        Shape (N, M).
    """
    apart = np.linalg.norm(poses[:, None, :3, 3] - others[None, :, :3, 3], axis=-1)
    dots = np.einsum("iab,jab->ijb", poses[:, :3, :3], others[:, :3, :3])
    cosine = (dots[..., 0] + np.abs(dots[..., 1] + dots[..., 2]) - 1.0) / 2.0
    alike: NDArray[np.bool_] = (apart < distance) & (cosine > np.cos(np.radians(angle)))
    return alike


def _failed_motion(report: PickReport) -> StageReport | None:
    """The stage that the last attempt failed in; what went wrong on the way back comes later."""
    last_open = max(k for k, stage in enumerate(report.stages) if stage.stage is Stage.OPEN)
    return next((stage for stage in report.stages[last_open:] if not stage.ok), None)


def _unplanned(report: PickReport) -> dict[str, int]:
    counts = Counter(
        f"{stage.stage.value}: {stage.cause}"
        for stage in report.stages
        if not stage.ok and stage.stage in _PLANNING and stage.stage is not Stage.CHECK
    )
    return dict(counts)
