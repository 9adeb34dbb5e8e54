# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A picture of an attempt: what the camera saw and what was tried, and how it went."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.render import Light
from kgnpro_ros.data.scene import look_at
from kgnpro_ros.execution.report import Stage
from kgnpro_ros.geometry import Camera
from kgnpro_ros.geometry.se3 import invert
from kgnpro_ros.simulation.trial_results import AttemptRecord
from kgnpro_ros.simulation.world import PickWorld
from kgnpro_ros.types import GraspBatch, RGBDImage
from kgnpro_ros.viz import draw_grasps

FloatArray = NDArray[np.float64]
Picture = NDArray[np.uint8]

#: Looks on from the side of the arm that the camera is not on.
_ONLOOKER = Camera(700.0, 700.0, 319.5, 239.5, 640, 480)
_POSITION, _TARGET = np.array([0.45, 0.45, 0.35]), np.array([0.0, 0.0, 0.05])

#: Stages at whose start the onlooker takes a picture, and what it then shows.
_MOMENTS = {
    Stage.CLOSE: "before closing", Stage.LIFT: "closed", Stage.HOLD: "lifted",
    Stage.RELEASE: "before releasing", Stage.PUT_BACK: "before putting back",
}  # fmt: skip


class AttemptPictures:
    """Collects the panels of one attempt.

    Args:
        world: Rendered from.
    """

    def __init__(self, world: PickWorld) -> None:
        self._world = world
        self._T_base_camera = world.T_base_camera
        self._seen: tuple[RGBDImage, GraspBatch] | None = None
        self._panels: list[tuple[str, Picture]] = []

    def look(self, image: RGBDImage, grasps: GraspBatch) -> None:
        """Keep what was detected; grasps in the base frame of the arm."""
        self._seen = image, grasps

    def stage(self, stage: Stage) -> None:
        """Take a picture if this is a moment for one."""
        if stage in _MOMENTS:
            self._take(_MOMENTS[stage])

    def save(self, path: Path, record: AttemptRecord) -> None:
        """Write all panels in two columns, with the failure in words."""
        self._take(f"{record.stage}: {record.cause}")
        panels = [self._overlay(record), *self._panels]
        tiles = [_titled(picture, title) for title, picture in panels]
        if len(tiles) % 2:
            tiles.append(np.zeros_like(tiles[0]))
        rows = [np.hstack(tiles[k : k + 2]) for k in range(0, len(tiles), 2)]
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])

    def _take(self, title: str) -> None:
        pose = look_at(_POSITION, _TARGET)
        lamp = Light(pose[:3, 3], pose[:3, 2], (0.7, 0.7, 0.7), ambient=(0.25, 0.25, 0.25))
        frame = self._world.render_frame(_ONLOOKER, pose, [lamp])
        self._panels.append((title, frame.color))

    def _overlay(self, record: AttemptRecord) -> tuple[str, Picture]:
        """All grasps, the tried one thick."""
        if self._seen is None:
            return "nothing seen", np.zeros((480, 640, 3), np.uint8)
        image, grasps = self._seen
        shown = grasps.transform(invert(self._T_base_camera), "camera")
        if record.T_world_grasp:
            T_base_grasp = invert(self._world.T_world_base) @ np.array(record.T_world_grasp)
            away = np.linalg.norm(grasps.poses - T_base_grasp, axis=(1, 2))
            score = shown.score - 10.0 * (away > 1e-9)
            shown = replace(shown, score=score).sorted()
        title = f"{len(grasps)} grasps, {record.target or 'none tried'} {record.score:.2f}"
        return title, draw_grasps(image.color, image.camera, shown)


def _titled(picture: Picture, title: str) -> Picture:
    canvas = picture.copy()
    for color, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(
            canvas, title, (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, color, thickness, cv2.LINE_AA
        )
    return canvas
