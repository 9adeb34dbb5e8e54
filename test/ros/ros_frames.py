# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Frame folders for the tests, written by OpenCV."""

import json
from pathlib import Path

import cv2
import numpy as np

SIZE = (120, 160)
CAMERA = {"fx": 150.0, "fy": 151.0, "cx": 80.5, "cy": 59.0, "width": 160, "height": 120}


def write_frame(folder: Path, millimetres: int = 700, depth_size=SIZE) -> Path:
    """A folder with a gradient and a flat depth image that has a hole."""
    folder.mkdir(parents=True)
    color = np.zeros((*SIZE, 3), np.uint8)
    color[..., 2] = np.arange(SIZE[1])  # red, since OpenCV writes BGR
    depth = np.full(depth_size, millimetres, np.uint16)
    depth[:10, :10] = 0
    cv2.imwrite(str(folder / "color.png"), color)
    cv2.imwrite(str(folder / "depth.png"), depth)
    (folder / "camera.json").write_text(json.dumps({**CAMERA, "depth_scale": 0.001}))
    return folder
