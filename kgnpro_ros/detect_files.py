# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Detection on image files, for the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from kgnpro_ros.config import DetectorConfig, load_config
from kgnpro_ros.files import whole_file
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.predictions import write_predictions
from kgnpro_ros.types import RGBDImage
from kgnpro_ros.viz import draw_grasps


def load_detector(model: str | None, config: Path | None, *, plain: bool = False) -> GraspDetector:
    """A detector from the command line's options.

    Args:
        model: Overrides the configuration's model.
        config: YAML over the defaults.
        plain: Without the filters that the benchmark's metric does not know: width, collision,
            workspace, approach. Scores are then those of the network and PnP alone.
    """
    settings = DetectorConfig() if config is None else load_config(DetectorConfig, config)
    if model is not None:
        settings = replace(settings, model=model)
    if plain:
        settings = replace(settings, filters=settings.filters.without_gripper())
    return GraspDetector(settings)


def detect_to_files(
    detector: GraspDetector, image: RGBDImage, out: Path, name: str, max_grasps: int | None
) -> str:
    """Detect grasps and write ``out/name.json`` and ``out/name.png``; returns one line about it."""
    image = image.undistorted()
    grasps = detector.detect(image, max_grasps=max_grasps)
    picture = draw_grasps(image.color, image.camera, grasps)
    encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()
    with whole_file(out / f"{name}.png") as partial:
        partial.write_bytes(encoded)
        write_predictions(out / f"{name}.json", grasps, image.camera)
    best = f", best score {grasps.score[0]:.3f}" if len(grasps) else ""
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(grasps.rejected.items()))
    return (
        f"{name}: {len(grasps)} grasps{best}, {detector.last_timings['total']:.0f} ms"
        f" (rejected: {dropped or 'none'}) -> {out / name}.png"
    )
