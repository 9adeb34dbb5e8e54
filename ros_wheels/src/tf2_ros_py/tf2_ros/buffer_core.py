# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The tree of frames and the queries on it."""

from __future__ import annotations

import threading
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from .exceptions import (
    ConnectivityException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from .frame_cache import DynamicFrame, StaticFrame
from .rigid import Rigid, norm, normalized

_DEFAULT_CACHE_TIME = Duration(seconds=10)
_QUATERNION_TOLERANCE = 1e-2  # as upstream: further from unit length is refused


class BufferCore:
    """Stores transforms and answers queries; safe to use from several threads."""

    def __init__(self, cache_time: Duration | None = None) -> None:
        self._cache_time = (cache_time or _DEFAULT_CACHE_TIME).nanoseconds
        self._frames: dict[str, StaticFrame | DynamicFrame] = {}
        self._names: set[str] = set()
        self._authorities: dict[str, str] = {}
        self._lock = threading.RLock()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Adds the pose of ``child_frame_id`` in ``header.frame_id`` at the stamp."""
        self._set(transform, authority, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Adds a pose that holds at all times."""
        self._set(transform, authority, static=True)

    def lookup_transform_core(
        self, target_frame: str, source_frame: str, time: Any
    ) -> TransformStamped:
        """Returns the transform that maps points from source into target at ``time``."""
        with self._lock:
            stamp = self._resolve_time(target_frame, source_frame, nanoseconds(time))
            pose = self._pose(target_frame, source_frame, stamp)
        return _to_message(target_frame, source_frame, stamp, pose)

    def lookup_transform_full_core(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
    ) -> TransformStamped:
        """Returns source at ``source_time`` in target at ``target_time``, through a fixed frame."""
        with self._lock:
            target_stamp = self._resolve_time(target_frame, fixed_frame, nanoseconds(target_time))
            source_stamp = self._resolve_time(fixed_frame, source_frame, nanoseconds(source_time))
            pose_target_fixed = self._pose(target_frame, fixed_frame, target_stamp)
            pose_fixed_source = self._pose(fixed_frame, source_frame, source_stamp)
        pose = pose_target_fixed.compose(pose_fixed_source)
        return _to_message(target_frame, source_frame, target_stamp, pose)

    def can_transform_core(
        self, target_frame: str, source_frame: str, time: Any
    ) -> tuple[bool, str]:
        """Returns whether the lookup would succeed, and why not."""
        try:
            self.lookup_transform_core(target_frame, source_frame, time)
        except TransformException as error:
            return False, str(error)
        return True, ""

    def can_transform_full_core(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
    ) -> tuple[bool, str]:
        """Returns whether the full lookup would succeed, and why not."""
        try:
            self.lookup_transform_full_core(
                target_frame, target_time, source_frame, source_time, fixed_frame
            )
        except TransformException as error:
            return False, str(error)
        return True, ""

    def get_latest_common_time(self, target_frame: str, source_frame: str) -> Time:
        """Returns the latest time at which the whole chain is known; 0 if all of it is static."""
        with self._lock:
            return Time(nanoseconds=self._resolve_time(target_frame, source_frame, 0))

    def clear(self) -> None:
        """Forgets the moving frames; static transforms stay, nobody would send them again."""
        with self._lock:
            for frame in self._frames.values():
                if isinstance(frame, DynamicFrame):
                    frame.clear()

    def all_frames_as_yaml(self) -> str:
        """Returns every frame with its parent, who sent it, and its latest time."""
        lines = []
        with self._lock:
            for name, frame in sorted(self._frames.items()):
                latest = None if isinstance(frame, StaticFrame) else frame.latest()
                lines += [
                    f"{name}:",
                    f"  parent: '{frame.parent(latest or 0)}'",
                    f"  broadcaster: '{self._authorities[name]}'",
                    f"  most_recent_transform: {(latest or 0) / 1e9:.6f}",
                ]
        return "\n".join(lines) + "\n" if lines else "{}"

    def _set(self, transform: TransformStamped, authority: str, static: bool) -> None:
        parent = transform.header.frame_id.lstrip("/")
        child = transform.child_frame_id.lstrip("/")
        pose, problem = _read(transform, parent, child)
        with self._lock:
            if problem is None:
                problem = self._store(transform, parent, child, pose, static)
                self._authorities[child] = authority
        if problem is not None:
            get_logger("tf2_buffer").error(
                f"ignoring the transform of '{child}' in '{parent}' from '{authority}': {problem}",
                throttle_duration_sec=1.0,
            )

    def _store(
        self, transform: TransformStamped, parent: str, child: str, pose: Rigid, static: bool
    ) -> str | None:
        stamp = nanoseconds(transform.header.stamp)
        if stamp < 0 and not static:
            return "its stamp is negative"
        self._names.update((parent, child))
        if static:
            self._frames[child] = StaticFrame(parent, pose)
            return None
        frame = self._frames.get(child)
        if not isinstance(frame, DynamicFrame):
            frame = self._frames[child] = DynamicFrame(self._cache_time)
        return frame.insert(stamp, parent, pose)

    def _resolve_time(self, target: str, source: str, stamp: int) -> int:
        """Returns ``stamp``, or for 0 the latest time that every moving frame of the path has."""
        self._check_names(target, source)
        if stamp != 0:
            return stamp
        latest_known = 2**63 - 1
        up, down = self._path(target, source, latest_known)
        times = [
            frame.latest()
            for frame in (self._frames[name] for name in up + down)
            if isinstance(frame, DynamicFrame)
        ]
        return min((time for time in times if time is not None), default=0)

    def _pose(self, target: str, source: str, stamp: int) -> Rigid:
        self._check_names(target, source)
        query = f"from frame [{source}] to frame [{target}]"
        up, down = self._path(target, source, stamp)
        return (
            self._to_ancestor(down, stamp, query)
            .inverse()
            .compose(self._to_ancestor(up, stamp, query))
        )

    def _to_ancestor(self, names: list[str], stamp: int, query: str) -> Rigid:
        pose = Rigid()
        for name in names:
            pose = self._frames[name].pose(stamp, query).compose(pose)
        return pose

    def _path(self, target: str, source: str, stamp: int) -> tuple[list[str], list[str]]:
        """Returns the frames below the common ancestor, from source and from target upwards."""
        up, down = self._ancestors(source, stamp), self._ancestors(target, stamp)
        if up[-1] != down[-1]:
            raise ConnectivityException(
                f"Could not find a connection between '{target}' and '{source}' because they are "
                "not part of the same tree. Tf has two or more unconnected trees."
            )
        while up and down and up[-1] == down[-1]:
            up.pop()
            down.pop()
        return up, down

    def _ancestors(self, name: str, stamp: int) -> list[str]:
        """Returns the frame itself, its parent, and so on to the root."""
        chain = [name]
        while (frame := self._frames.get(chain[-1])) is not None:
            parent = frame.parent(stamp)
            if parent is None:
                break
            if parent in chain:
                raise LookupException(f"The tf tree is invalid: it has a loop at '{parent}'")
            chain.append(parent)
        return chain

    def _check_names(self, target: str, source: str) -> None:
        for role, name in (("target_frame", target), ("source_frame", source)):
            if not name:
                raise InvalidArgumentException(f"Invalid argument {role}: the frame id is empty")
            if name.startswith("/"):
                raise InvalidArgumentException(
                    f"Invalid argument {role}: '{name}' starts with '/', frame ids have none"
                )
            if name not in self._names:
                raise LookupException(f"Frame '{name}', passed as {role}, does not exist.")


def nanoseconds(time: Any) -> int:
    """Returns the nanoseconds of an rclpy Time or of a builtin_interfaces Time."""
    if hasattr(time, "nanoseconds"):
        return int(time.nanoseconds)
    return int(time.sec) * 10**9 + int(time.nanosec)


def _read(transform: TransformStamped, parent: str, child: str) -> tuple[Rigid, str | None]:
    t, q = transform.transform.translation, transform.transform.rotation
    translation, rotation = (t.x, t.y, t.z), (q.x, q.y, q.z, q.w)
    if not parent or not child:
        return Rigid(), "a frame id is empty"
    if parent == child:
        return Rigid(), "a frame cannot be its own parent"
    if any(value - value != 0.0 for value in translation + rotation):
        return Rigid(), "it holds NaN or infinite values"
    if abs(norm(rotation) - 1.0) > _QUATERNION_TOLERANCE:
        return Rigid(), f"the quaternion has length {norm(rotation):.4f}, it must be 1"
    return Rigid(translation, normalized(rotation)), None


def _to_message(target: str, source: str, stamp: int, pose: Rigid) -> TransformStamped:
    message = TransformStamped()
    message.header.stamp = Time(nanoseconds=stamp).to_msg()
    message.header.frame_id = target
    message.child_frame_id = source
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = pose.translation
    q.x, q.y, q.z, q.w = pose.rotation
    return message
