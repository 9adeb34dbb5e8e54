# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The arm among table and observed points: collision checks and search of free paths (mplib)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
from mplib.pymp import ArticulatedModel, PlanningWorld, Pose, set_global_seed
from mplib.pymp.collision_detection import fcl
from mplib.pymp.planning.ompl import OMPLPlanner
from numpy.typing import NDArray

from kgnpro_ros.execution.robot_model import RobotModel, Shape
from kgnpro_ros.geometry.se3 import invert, transform_points

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Names of the objects in the world.
TABLE, CLOUD, HELD = "table", "observed points", "held object"

#: Edge of the box that stands for the table, and its thickness [m].
TABLE_EDGE, TABLE_DEPTH = 4.0, 1.0

#: Longest step [rad] of one joint between two states that are checked on a path.
CHECK_STEP = 0.025

#: Longest step [rad] of the tree that is grown through free space.
TREE_STEP = 0.6


class CollisionWorld:
    """Collision checks of one arm.

    Args:
        model: Links, shapes, and pairs that need no check.
        opening: Jaw opening [m] that the fingers are checked at, at first.
        point_spacing: Edge [m] of the cubes that stand for observed points.
    """

    def __init__(self, model: RobotModel, opening: float, point_spacing: float) -> None:
        self._model = model
        self._spacing = point_spacing
        self._robot = ArticulatedModel.create_from_urdf_string(
            model.urdf, model.srdf, _links(model), name=model.name,
            link_names=list(model.shapes), joint_names=[*model.joint_names, *model.fingers],
        )  # fmt: skip
        self._robot.set_base_pose(Pose())  # undefined otherwise
        self._robot.set_move_group(model.tool)
        self.set_opening(opening)
        self._world = PlanningWorld([self._robot])
        self._allowed = self._world.get_allowed_collision_matrix()
        self._planner = OMPLPlanner(world=self._world)

    def set_opening(self, opening: float) -> None:
        """Check the fingers at a jaw opening [m]."""
        model = self._model
        fingers = [opening / 2] * len(model.fingers)
        self._robot.set_qpos(np.array([*(model.lower + model.upper) / 2, *fingers]), True)

    def on_robot(self, points: FloatArray, joints: FloatArray, margin: float) -> BoolArray:
        """Which points (N, 3) are inside the arm at joint positions, or closer than margin [m]."""
        self._world.set_qpos_all(joints)
        inside = np.zeros(len(points), dtype=bool)
        for link in self._robot.get_fcl_model().get_collision_objects():
            local = transform_points(invert(link.pose.to_transformation_matrix()), points)
            for shape in self._model.shapes[link.name]:
                low, high = shape.vertices.min(axis=0) - margin, shape.vertices.max(axis=0) + margin
                near = np.flatnonzero(((local >= low) & (local <= high)).all(axis=1))
                beyond = local[near] @ shape.planes[:, :3].T + shape.planes[:, 3]
                inside[near] |= (beyond <= margin).all(axis=1)
        return inside

    def set_points(self, points: FloatArray) -> None:
        """Replace the observed points [m], shape (N, 3), in the base frame."""
        self._world.remove_object(CLOUD)
        if len(points):
            self._world.add_point_cloud(CLOUD, np.ascontiguousarray(points), self._spacing)

    def set_table(self, height: float | None) -> None:
        """Put the top of the table to a height [m] of the base frame; None takes it away."""
        self._world.remove_object(TABLE)
        if height is None:
            return
        box = fcl.Box(TABLE_EDGE, TABLE_EDGE, TABLE_DEPTH)
        pose = Pose(p=np.array([0.0, 0.0, height - TABLE_DEPTH / 2]))
        self._world.add_object(TABLE, fcl.CollisionObject(box, pose))
        self._allow(self._model.foot_links, TABLE, True)

    def hold(self, shape: Shape, T_base_tool: FloatArray) -> None:
        """Fix a shape, given in the frame of the tool, to the tool.

        Args:
            shape: Convex shape.
            T_base_tool: Where the tool is now, shape (4, 4).
        """
        self.release()
        body = fcl.CollisionObject(fcl.Convex(shape.vertices, shape.faces), Pose(T_base_tool))
        self._world.add_object(HELD, body)
        link = list(self._model.shapes).index(self._model.tool)
        self._world.attach_object(
            HELD, self._model.name, link, Pose(), list(self._model.hand_links)
        )

    def release(self) -> None:
        """Take the held shape out of the world."""
        self._world.remove_object(HELD)

    @contextmanager
    def contact(self, allowed: bool) -> Iterator[None]:
        """While inside: the fingers may touch points, what is held may touch points and table."""
        if not allowed:
            yield
            return
        pairs = [((link,), CLOUD) for link in self._model.finger_links]
        pairs += [((HELD,), CLOUD), ((HELD,), TABLE)]
        for names, other in pairs:
            self._allow(names, other, True)
        try:
            yield
        finally:
            for names, other in pairs:
                self._allow(names, other, False)

    def _allow(self, names: tuple[str, ...], other: str, allowed: bool) -> None:
        for name in names:
            if allowed:
                self._allowed.set_entry(name, other, True)
            else:
                self._allowed.remove_entry(name, other)

    def touching(self, joints: FloatArray) -> str | None:
        """What touches what at joint positions [rad], shape (J,); None when nothing does."""
        self._world.set_qpos_all(joints)
        if not self._world.is_state_colliding():
            return None
        found = self._world.check_collision()
        pairs = dict.fromkeys(f"{one.link_name1} touches {one.link_name2}" for one in found)
        return ", ".join(list(pairs)[:3])

    def touching_on(self, path: FloatArray) -> str | None:
        """What touches what on straight joint motions between states (N, J); None: nothing."""
        for joints in dense(path, CHECK_STEP):
            self._world.set_qpos_all(joints)
            if self._world.is_state_colliding():
                return self.touching(joints)
        return None

    def search(
        self, start: FloatArray, goals: list[FloatArray], seconds: float, seed: int
    ) -> FloatArray | None:
        """Search a path between states that are free (RRT-Connect).

        Args:
            start: Joint positions [rad], shape (J,).
            goals: Joint positions to reach any of.
            seconds: Time limit.
            seed: Seed; the same call gives the same path.

        Returns:
            States (N, J) whose straight connections are free, as far as the planner checks; None
            when none was found in time.
        """
        set_global_seed(seed + 1)  # 0 is refused
        # Its own simplification looks at too few states between two nodes.
        status, path = self._planner.plan(  # type: ignore[var-annotated]
            start, goals, time=seconds, range=TREE_STEP, simplify=False
        )
        return np.asarray(path, dtype=np.float64) if status == "Exact solution" else None


def dense(path: FloatArray, step: float) -> FloatArray:
    """States (M, J) on the straight connections of states (N, J), no joint step above ``step``."""
    parts = [path[:1]]
    for before, after in pairwise(path):
        count = max(1, int(np.ceil(np.abs(after - before).max() / step)))
        share = np.arange(1, count + 1)[:, None] / count
        parts.append(before + share * (after - before))
    return np.concatenate(parts)


def _links(model: RobotModel) -> list[fcl.FCLObject]:
    here = Pose()
    links = []
    for name, shapes in model.shapes.items():
        bodies = [fcl.CollisionObject(fcl.Convex(s.vertices, s.faces), here) for s in shapes]
        if bodies:
            links.append(fcl.FCLObject(name, here, bodies, [here] * len(bodies)))
    return links
