# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""An arm without physics that holds its callers to the rules of the protocol."""

from __future__ import annotations

import threading

import numpy as np

from kgnpro_ros.execution.arm import ArmError, ArmFailure, GripperState, Motion, Obstacles
from kgnpro_ros.execution.report import Scene
from kgnpro_ros.geometry.gripper import load_gripper
from kgnpro_ros.types import GraspBatch

BASE = "panda_link0"
GRIPPER = load_gripper("franka_hand")

#: Rotation of a grasp that comes straight down, closing along y.
DOWN = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])


def grasp_at(x, y, z):
    pose = np.eye(4)
    pose[:3, :3] = DOWN
    pose[:3, 3] = (x, y, z)
    return pose


def batch(poses, scores=None, widths=0.05, frame=BASE):
    n = len(poses)
    scores = np.linspace(0.9, 0.5, n) if scores is None else np.asarray(scores, float)
    return GraspBatch(
        np.array(poses, float).reshape(n, 4, 4), frame, np.full(n, widths), scores, scores,
        np.zeros(n), np.zeros((n, 6, 6)), np.zeros((n, 4, 2)), np.zeros(n, dtype=np.int64),
    )  # fmt: skip


def blob(pose, seed=0, size=0.02, count=200):
    """Observed points around the origin of a grasp."""
    rng = np.random.default_rng(seed)
    return pose[:3, 3] + rng.uniform(-size, size, (count, 3)) * (1.0, 1.0, 0.5)


def scene_of(poses, age=0.0, table=0.0, **changes):
    points = np.concatenate([blob(pose, i) for i, pose in enumerate(poses)])
    return Scene(batch(poses, **changes), Obstacles(points, table), age)


class FakeArm:
    """Moves at once; its joints are the position of the tool.

    Args:
        objects: Position of each object's grasp [m] -> its width [m].
        faults: Name of a call with its number (``"execute 2"``) or without (each call) -> failure.
        slippery: Objects leave the jaws when the arm moves with them.
        sag: The arm measures itself this much [m] too low while it holds something.
    """

    base_frame = BASE

    def __init__(self, objects=(), faults=None, slippery=False, sag=0.0):
        self.objects = [np.asarray(o, float) for o in objects]
        self.faults = dict(faults or {})
        self.slippery, self.sag = slippery, sag
        self.q = np.array([0.3, 0.0, 0.5])
        self.held = None
        self.attached = None
        self.obstacles = None
        self.stopped = False
        self.log, self.moves, self.planned = [], [], []
        self.counts = {}
        self.unreachable = lambda poses: np.zeros(len(poses), dtype=bool)
        self.blocking = threading.Event()
        self.released = threading.Event()

    # ---- helpers

    def _call(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1
        self.log.append(name)
        fault = self.faults.get(f"{name} {self.counts[name]}", self.faults.get(name))
        if isinstance(fault, Exception):
            raise fault
        if fault is not None:
            raise ArmError(fault, f"scripted {fault.value}")

    def _may_move(self):
        if self.stopped:
            raise ArmError(ArmFailure.STOPPED, "stopped")

    def _plan(self, name, pose, start):
        begin = self.q if start is None else start
        assert any(np.array_equal(begin, q) for q in [self.q, *(m.end for m in self.planned)]), (
            "a plan starts where the arm is, or where another plan ended"
        )
        self._call(name)
        assert self.obstacles is not None, "obstacles are set before anything is planned"
        motion = Motion(np.array(pose[:3, 3]), 1.0, handle=(np.array(begin), name))
        self.planned.append(motion)
        return motion

    # ---- the protocol

    def joints(self):
        return self.q

    def tool_pose(self):
        pose = np.eye(4)
        pose[:3, 3] = self.q
        if len(self.moves) and self.moves[-1][0] == "plan_straight" and self.held is not None:
            pose[2, 3] -= self.sag
        return pose

    def set_obstacles(self, obstacles):
        self._call("set_obstacles")
        self.obstacles = obstacles

    def reachable(self, poses):
        self._call("reachable")
        return ~self.unreachable(poses)

    def plan_free(self, pose, start=None):
        return self._plan("plan_free", pose, start)

    def plan_joints(self, goal, start=None):
        raise AssertionError("a pick plans to poses")

    def plan_straight(self, pose, start=None, *, contact=False):
        assert contact, "straight motions of a pick are near the object"
        return self._plan("plan_straight", pose, start)

    def execute(self, motion):
        self._may_move()
        begin, name = motion.handle
        assert any(motion is one for one in self.planned), "only what was planned is executed"
        np.testing.assert_allclose(begin, self.q, err_msg="a motion begins where the arm is")
        try:
            self._call("execute")
        except ArmError as error:
            if error.failure is ArmFailure.ABORTED:  # half the way is done
                self._move((begin + motion.end) / 2, name)
            raise
        self._move(motion.end, name)

    def _move(self, end, name):
        shift = end - self.q
        self.q = end
        self.moves.append((name, end.copy()))
        if self.held is not None:
            if self.slippery:
                self.held = None
            else:
                self.objects[self.held] = self.objects[self.held] + shift

    def move_gripper(self, width):
        self._may_move()
        opens = width > GRIPPER.min_width
        self._call("open" if opens else "close")
        if opens:
            self.moves.append(("open", width))
            self.held = None
            return GripperState(width, False, True)
        self.moves.append(("close", width))
        tip = self.q + DOWN[:, 0] * GRIPPER.T_tool_grasp[2, 3]
        near = [i for i, o in enumerate(self.objects) if np.linalg.norm(o - tip) < 0.012]
        self.held = near[0] if near else None
        if self.held is None:
            return GripperState(width, False, True)
        return GripperState(0.03, True, False)

    def attach(self, points):
        self._call("attach")
        assert self.held is not None
        self.attached = points

    def detach(self):
        self._call("detach")
        self.attached = None

    def stop(self):
        self.log.append("stop")
        self.stopped = True
        self.released.set()

    def resume(self):
        self._call("resume")
        self.stopped = False
