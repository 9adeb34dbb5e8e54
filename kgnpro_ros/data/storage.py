# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of a data set on disk, shared by writer and reader.

::

    manifest.json                     format, version, seed, mode, look, views, counts
    scenes/00000/color_{view}.png     RGB, 8 bit
    scenes/00000/depth_{view}.png     z-depth, 16 bit, 1e-4 m, 0 = nothing measured
    scenes/00000/mask_{view}.png      instance ids, 8 bit: 0 background, k + 1 = object k
    scenes/00000/scene.json           camera, camera poses, objects
    scenes/00000/collisions.npz       collision flags of the grasps at two sampling densities

A scene folder appears under its name only when it is complete.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.files import read_image, read_json, whole_file

FORMAT, VERSION = "kgnpro_scenes", 1
#: What the name of a folder that is being written has behind its own.
PARTIAL = ".partial-"
#: Metres per unit of the depth images.
DEPTH_SCALE = 1e-4

#: (rotation samples, translation samples, distinct) whose collision flags are stored: dense ones
#: for training, and the evaluation protocol's.
STORED_SAMPLINGS = ((72, 20, True), (30, 10, False))


def sampling_key(rotation_samples: int, translation_samples: int, distinct: bool) -> str:
    """Name of an array in ``collisions.npz``."""
    return f"r{rotation_samples}_t{translation_samples}_{'distinct' if distinct else 'doubled'}"


def scene_folder(root: Path, index: int) -> Path:
    """Folder of a scene."""
    return root / "scenes" / f"{index:05d}"


def inside(path: Path, root: Path) -> Path:
    """The path, after checking that no link leads out of the data set.

    Raises:
        DatasetError: If it does: a data set from elsewhere must not name files of this machine.
    """
    real = path.resolve()
    if not real.is_relative_to(root.resolve()):
        raise DatasetError(f"{path} is a link to {real}, outside the data set {root}")
    return path


def read_json_of(root: Path, path: Path) -> Any:
    """Content of a JSON file of the data set in ``root``.

    Raises:
        DatasetError: If it is missing, damaged, or a link out of the data set.
    """
    try:
        return read_json(inside(path, root), DatasetError)
    except DatasetError as error:
        raise DatasetError(f"{path} is missing or damaged: {error}") from error


def read_image_of(root: Path, path: Path, flags: int) -> NDArray[Any]:
    """Pixels of an image of the data set in ``root``; raises as :func:`read_json_of`."""
    try:
        return read_image(inside(path, root), flags, DatasetError)
    except DatasetError as error:
        raise DatasetError(f"{path} is missing or damaged: {error}") from error


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file that is never seen half-written."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(data, indent=1) + "\n")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder in the same place that takes the name of ``folder`` when the block ends.

    An error in the block leaves ``folder`` as it was. What was there before is replaced, and so is
    what a killed writer left.
    """
    for left_over in folder.parent.glob(f".{glob.escape(folder.name)}{PARTIAL}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}{PARTIAL}{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_left_over(path: Path) -> bool:
    """Whether a killed :func:`whole_folder` left this."""
    return path.name.startswith(".") and PARTIAL in path.name
