# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""MoveIt's planning scene: what is in the world and in the hand, and what may touch what.

Nothing here plans or executes, and no scene is used after its ``with``: MoveIt would lock up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from shape_msgs.msg import SolidPrimitive

from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.execution.arm import ArmError, ArmFailure
from kgnpro_ros.execution.boxes import Boxes
from kgnpro_ros.ros.conversions import poses_to_messages
from kgnpro_ros.types import FloatArray, check_transform


class MoveItScene:
    """The scene that MoveIt plans in.

    Args:
        monitor: MoveIt's planning scene monitor.
        messages: The module ``moveit_msgs.msg``.
        group: Group of the arm.
        tool_link: Link that held objects are fixed to.
        hand_links: Links that may touch a held object.

    Attributes:
        planning_frame: Frame of all poses unless a name says otherwise.
    """

    def __init__(
        self, monitor: Any, messages: Any, group: str, tool_link: str, hand_links: Sequence[str]
    ) -> None:
        self._monitor = monitor
        self._messages = messages
        self._group = group
        self._tool = tool_link
        self._touching = sorted({*hand_links, tool_link})
        with monitor.read_only() as scene:
            self.planning_frame = str(scene.planning_frame)

    def frame_pose(self, frame: str) -> FloatArray:
        """``T_planning_frame`` of a link or a known frame, shape (4, 4)."""
        with self._monitor.read_only() as scene:
            known = scene.knows_frame_transform(frame)
            matrix = np.array(scene.get_frame_transform(frame)) if known else np.eye(4)
        if not known:
            raise ConfigError(
                f"MoveIt knows no frame {frame!r}; expected a link of the robot, or a frame that "
                "TF connects with the planning frame"
            )
        return check_transform(matrix, f"MoveIt's transform of {frame!r}")

    def colliding(self, state: Any) -> bool:
        """Whether the arm or what it carries touches anything in a state."""
        with self._monitor.read_only() as scene:
            return bool(scene.is_state_colliding(state, self._group, False))

    def path_problem(self, trajectory: Any) -> str | None:
        """What is wrong along a path now, or None: collisions with the world and with itself."""
        with self._monitor.read_only() as scene:
            # The list is required: the documented default raises TypeError.
            if scene.is_path_valid(trajectory, self._group, False, []):
                return None
            states = way_points(trajectory)
            for index, state in enumerate(states):
                if scene.is_state_colliding(state, self._group, False):
                    return f"it collides at way point {index + 1} of {len(states)}"
        return "MoveIt calls it invalid without a collision at any way point"

    def put_object(self, name: str, T_planning_object: FloatArray, boxes: Boxes) -> None:
        """Add an object made of boxes to the world, or replace it."""
        self._apply(self._object(name, self.planning_frame, T_planning_object, boxes))

    def remove_object(self, name: str) -> None:
        """Take an object out of the world; it must be there."""
        message = self._messages.CollisionObject(id=name)
        message.header.frame_id = self.planning_frame
        message.operation = self._messages.CollisionObject.REMOVE
        self._apply(message)

    def _object(self, name: str, frame: str, pose: FloatArray, boxes: Boxes) -> Any:
        message = self._messages.CollisionObject(id=name)
        message.header.frame_id = frame
        message.pose = poses_to_messages(pose[None])[0]
        shift = np.tile(np.eye(4), (len(boxes), 1, 1))
        shift[:, :3, 3] = boxes.centers
        message.primitive_poses = poses_to_messages(shift)
        message.primitives = [
            SolidPrimitive(type=SolidPrimitive.BOX, dimensions=size)
            for size in boxes.sizes.tolist()
        ]
        message.operation = self._messages.CollisionObject.ADD
        return message

    def _apply(self, message: Any) -> None:
        _require(self._monitor.process_collision_object(message), message.id)

    def attach(self, name: str, boxes: Boxes) -> None:
        """Fix boxes to the tool link, given in its frame; the hand's links may touch them."""
        message = self._messages.AttachedCollisionObject(
            link_name=self._tool, touch_links=self._touching
        )
        message.object = self._object(name, self._tool, np.eye(4), boxes)
        _require(self._monitor.process_attached_collision_object(message), name)

    def detach(self, name: str) -> None:
        """Remove an attached object, from the world too: detaching puts it back there."""
        message = self._messages.AttachedCollisionObject(link_name=self._tool)
        message.object.id = name
        message.object.operation = self._messages.CollisionObject.REMOVE
        _require(self._monitor.process_attached_collision_object(message), name)
        self.remove_object(name)

    def allow(self, pairs: Sequence[tuple[str, str]], allowed: bool = True) -> None:
        """Let pairs of objects and links touch, or make the check what it was by default."""
        with self._monitor.read_write() as scene:
            matrix = scene.allowed_collision_matrix
            for first, second in pairs:
                if allowed:
                    matrix.set_entry(first, second, True)
                else:
                    matrix.remove_entry(first, second)
            # Without this only the parent of the monitored scene would change.
            scene.allowed_collision_matrix = matrix

    @contextlib.contextmanager
    def allowing(self, pairs: Sequence[tuple[str, str]]) -> Iterator[None]:
        """Let pairs touch for a while."""
        if not pairs:
            yield
            return
        self.allow(pairs)
        try:
            yield
        finally:
            self.allow(pairs, allowed=False)

    def close(self) -> None:
        """Let go of the monitor; the scene is not used any more."""
        self._monitor = None


def way_points(trajectory: Any) -> list[Any]:
    """Copies of the states of a trajectory; its iterator gives pairs in some versions."""
    states = [trajectory[index] for index in range(len(trajectory))]
    for state in states:
        state.update()
    return states


def _require(accepted: bool, name: str) -> None:
    if not accepted:
        raise ArmError(
            ArmFailure.CONNECTION, f"MoveIt's planning scene refused the object {name!r}"
        )
