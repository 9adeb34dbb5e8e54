# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo tells of its picks: a line for each attempt, and a film of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from kgnpro_ros.action import Pick
from kgnpro_ros.msg import GraspCandidateArray, StageReport
from kgnpro_ros.ros.conversions import matrix_from_pose

#: Stages that move: a candidate without one of them was only planned.
MOVING = ("open", "move_pregrasp", "approach", "close", "lift", "hold")
#: Frames of the film at most, and how long each is shown [ms].
MAX_FRAMES, FRAME_MS = 240, 120
#: A frame that differs from the one before by less than this is left out (mean of 0 to 255).
STILL = 0.25
COLORS = 96


@dataclass(frozen=True)
class Attempt:
    """One candidate that was tried with motion.

    Attributes:
        name: Object nearest to the grasp.
        score: Of the grasp.
        stage: The last stage that went well.
        lifted: Height of the object at the end of the lift [m].
        seconds: From the first plan on.
        success: The object was picked.
        failure: Stage and reason where it was not.
    """

    name: str
    score: float
    stage: str
    lifted: float
    seconds: float
    success: bool
    failure: str = ""


def attempts_of(
    result: Pick.Result,
    candidates: GraspCandidateArray | None,
    before: Sequence[dict[str, Any]],
    lifted: Mapping[int, float],
) -> list[Attempt]:
    """The attempts of one goal.

    Args:
        result: Of the goal.
        candidates: Detection that it acted on, in the world frame; None where it was missed.
        before: What the simulation knew of its objects before the goal.
        lifted: Height of the objects at the end of the last lift [m], by index.
    """
    attempts = []
    for index in dict.fromkeys(stage.candidate for stage in result.stages if stage.stage in MOVING):
        stages = [stage for stage in result.stages if stage.candidate == index]
        good = [stage.stage for stage in stages if stage.ok]
        picked = result.picked_candidate == index
        known = candidates is not None and 0 <= index < len(candidates.candidates)
        grasp = candidates.candidates[index] if candidates is not None and known else None
        item = None if grasp is None else _nearest(grasp.pose, before)
        attempts.append(Attempt(
            name="?" if item is None else item["kind"],
            score=0.0 if grasp is None else float(grasp.score),
            stage=good[-1] if good else stages[0].stage,
            lifted=0.0 if item is None else max(0.0, lifted.get(item["index"], 0.0)),
            seconds=sum(stage.seconds for stage in stages),
            success=picked and result.success,
            failure="" if picked and result.success else _failure(stages),
        ))  # fmt: skip
    return attempts


def _failure(stages: Sequence[StageReport]) -> str:
    failed = [stage for stage in stages if not stage.ok]
    return f"{failed[0].stage}: {failed[0].message}" if failed else ""


def _nearest(pose: Any, objects: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    origin = matrix_from_pose(pose)[:3, 3]
    left = [item for item in objects if not item["in_box"]]
    return min(
        left, key=lambda item: float(np.linalg.norm(origin - item["position"])), default=None
    )


def attempt_line(number: int, attempt: Attempt) -> str:
    """One attempt in one line."""
    mark = "[green]picked[/green]" if attempt.success else "[red]failed[/red]"
    line = (
        f"{number:3d}  {attempt.name:12} score {attempt.score:.2f}  {mark}  reached "
        f"{attempt.stage:10} lifted {100 * attempt.lifted:5.1f} cm  {attempt.seconds:5.1f} s"
    )
    return f"{line}  {attempt.failure}" if attempt.failure else line


class Film:
    """Collects pictures; what stands still is left out."""

    def __init__(self) -> None:
        self._frames: list[NDArray[np.uint8]] = []

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Add an RGB picture, unless it looks like the last one."""
        if self._frames:
            change = np.abs(picture.astype(np.int16) - self._frames[-1]).mean()
            if change < STILL:
                return
        self._frames.append(picture.copy())

    def save(self, path: Path) -> Path | None:
        """Write an animated GIF; None when there is nothing to show."""
        frames = self._frames
        if not frames:
            return None
        chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES)).round())
        pictures = [
            Picture.fromarray(frames[int(k)]).quantize(COLORS, Picture.Quantize.MEDIANCUT)
            for k in chosen
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures[0].save(
            path, save_all=True, append_images=pictures[1:], duration=FRAME_MS, loop=0,
            optimize=False,
        )  # fmt: skip
        return path
