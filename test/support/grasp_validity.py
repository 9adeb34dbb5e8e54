# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Judge predicted grasps on a real frame by its depth image alone.

A checker that shares no code with the filters of the package: it says of each grasp whether enough
of an object lies between the fingertips and whether fingers and palm are clear of the observed
points and of the table. Run it on a frame folder and a prediction file::

    python test/support/grasp_validity.py FRAME_FOLDER PREDICTION.json [--gripper NAME]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.geometry import Camera, Gripper, load_gripper
from kgnpro_ros.predictions import read_frame, read_predictions

#: Points that a valid grasp has between its fingertips, and how far behind them [m].
POINTS_BETWEEN = 20
DEPTH_BETWEEN = 0.005
#: Stray points (sensor noise) that fingers and palm may hold before they count as touching.
STRAY_POINTS = 10
#: How far [m] the hand may reach below the fitted table plane: the accuracy of that plane.
TABLE_TOLERANCE = 0.002
#: Least height [m] of a point above the table to belong to an object; at least 3 plane residuals.
OBJECT_HEIGHT = 0.006
#: Edge of the voxels [m] whose connected components are the objects, and their least size.
VOXEL = 0.008
OBJECT_POINTS = 400
#: A grasp is on the bare table when no object point is closer to its jaws than this [m].
BARE_TABLE_RADIUS = 0.03


@dataclass(frozen=True)
class Scene:
    """Observed points of a frame and what they belong to.

    Attributes:
        points: Camera frame [m], shape (N, 3).
        label: Object of each point, from 1; 0 on the table and below, -1 on small fragments.
        normal, offset: Table, ``normal . p + offset`` is the height [m].
    """

    points: np.ndarray
    label: np.ndarray
    normal: np.ndarray
    offset: float

    @property
    def objects(self) -> int:
        """Number of separate objects."""
        return int(self.label.max(initial=0))


@dataclass(frozen=True)
class Verdict:
    """What the checker found for one grasp."""

    between: int
    hits: int
    table_gap: float
    object: int
    bare_table: bool

    @property
    def valid(self) -> bool:
        """Object between the fingertips, hand clear of points and table."""
        return (
            self.between >= POINTS_BETWEEN
            and self.hits <= STRAY_POINTS
            and self.table_gap >= -TABLE_TOLERANCE
        )


def fit_plane(points: np.ndarray, seed: int = 0) -> tuple[np.ndarray, float, float]:
    """Dominant plane: best of many triples, then Tukey-weighted least squares; (n, d, rms)."""
    rng = np.random.default_rng(seed)
    sample = points[rng.permutation(len(points))[:4000]]
    best, best_count = (np.array([0.0, 0.0, -1.0]), 1.0), -1
    for _ in range(600):
        a, b, c = sample[rng.choice(len(sample), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-9:
            continue
        normal /= length
        offset = -normal @ a
        count = int((np.abs(sample @ normal + offset) < 0.005).sum())
        if count > best_count:
            best, best_count = (normal, offset), count
    normal, offset = best
    for _ in range(15):
        residual = points @ normal + offset
        weight = np.clip(1 - (residual / 0.01) ** 2, 0, None) ** 2
        mean = weight @ points / weight.sum()
        centred = points - mean
        normal = np.linalg.eigh((centred * weight[:, None]).T @ centred)[1][:, 0]
        offset = -normal @ mean
    if offset < 0:
        normal, offset = -normal, -offset
    residual = points @ normal + offset
    return normal, float(offset), float(residual[np.abs(residual) < 0.01].std())


def observe(depth: np.ndarray, camera: Camera) -> Scene:
    """Points, table and objects of a depth image [m] with NaN where nothing was measured."""
    rows, columns = np.nonzero(np.isfinite(depth))
    z = depth[rows, columns].astype(float)
    points = np.stack(
        [(columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z, z], axis=1
    )
    # Pixels whose surface would be seen under less than 6 degrees are mixed pixels at an edge.
    gradient = np.hypot(*np.gradient(depth.astype(float)))[rows, columns]
    solid = np.nan_to_num(gradient, nan=np.inf) < z / camera.fx / np.tan(np.radians(6.0))
    normal, offset, rms = fit_plane(points)
    height = points @ normal + offset
    above = solid & (height > max(OBJECT_HEIGHT, 3 * rms))
    label = np.zeros(len(points), dtype=int)
    if above.any():
        label[above] = _clusters(points[above])
    usable = solid | ~(height > OBJECT_HEIGHT)
    return Scene(points[usable], label[usable], normal, offset)


def _clusters(points: np.ndarray) -> np.ndarray:
    """Connected components of occupied voxels, numbered from 1 by size; -1 for small ones."""
    cell = np.floor((points - points.min(axis=0)) / VOXEL).astype(int)
    grid = np.zeros(cell.max(axis=0) + 1, dtype=bool)
    grid[tuple(cell.T)] = True
    component = ndimage.label(grid, np.ones((3, 3, 3)))[0][tuple(cell.T)]
    size = np.bincount(component)
    order = np.argsort(-size)
    number = np.full(len(size), -1)
    large = order[size[order] >= OBJECT_POINTS]
    number[large] = np.arange(1, len(large) + 1)
    return number[component]


def judge(scene: Scene, pose: np.ndarray, width: float, gripper: Gripper) -> Verdict:
    """Judge one grasp: ``T_camera_grasp`` (4, 4) and jaw opening [m]."""
    local = (scene.points - pose[:3, 3]) @ pose[:3, :3]
    x, y, z = local.T
    above = scene.label != 0
    in_breadth = np.abs(y) <= gripper.finger_breadth / 2
    along_finger = (x >= -gripper.finger_length) & (x <= 0)
    between = above & in_breadth & (np.abs(z) < width / 2)
    between &= (x >= -gripper.finger_length) & (x <= -DEPTH_BETWEEN)
    outer = width / 2 + gripper.finger_thickness
    finger = in_breadth & along_finger & (np.abs(z) >= width / 2) & (np.abs(z) <= outer)
    lower, upper = np.asarray(gripper.palm.lower), np.asarray(gripper.palm.upper)
    palm = np.all((local >= lower) & (local <= upper), axis=1)
    corners = [
        (-a, b, c)
        for a in (0, gripper.finger_length)
        for b in (-gripper.finger_breadth / 2, gripper.finger_breadth / 2)
        for c in (-outer, outer)
    ]
    corners += [tuple(np.where(np.array(k) > 0, upper, lower)) for k in np.ndindex(2, 2, 2)]
    height = (np.array(corners) @ pose[:3, :3].T + pose[:3, 3]) @ scene.normal + scene.offset
    owner = scene.label[between & (scene.label > 0)]
    jaw = np.array([gripper.finger_length, gripper.finger_breadth, width]) / 2
    outside = np.abs(local[above] + (gripper.finger_length / 2, 0, 0)) - jaw
    near = np.linalg.norm(np.maximum(outside, 0), axis=1).min(initial=np.inf)
    return Verdict(
        between=int(between.sum()),
        hits=int((above & (finger | palm)).sum()),
        table_gap=float(height.min()),
        object=int(np.bincount(owner).argmax()) if len(owner) else 0,
        bare_table=bool(near > BARE_TABLE_RADIUS),
    )


@dataclass(frozen=True)
class Summary:
    """Verdicts of a ranked list: best first."""

    verdicts: list[Verdict]
    objects: int

    @property
    def best_valid(self) -> bool:
        """Whether the best-ranked grasp is valid."""
        return bool(self.verdicts) and self.verdicts[0].valid

    @property
    def first_ten(self) -> int:
        """Valid grasps among the first ten."""
        return sum(verdict.valid for verdict in self.verdicts[:10])

    @property
    def share(self) -> float:
        """Share of valid grasps; 0 when there is none."""
        return sum(v.valid for v in self.verdicts) / max(1, len(self.verdicts))

    @property
    def covered(self) -> set[int]:
        """Objects with a valid grasp among the first fifty."""
        return {v.object for v in self.verdicts[:50] if v.valid and v.object > 0}

    @property
    def on_bare_table(self) -> int:
        """Grasps that have no object near them."""
        return sum(verdict.bare_table for verdict in self.verdicts)

    def __str__(self) -> str:
        """The figures in one line."""
        best = "no grasp" if not self.verdicts else "valid" if self.best_valid else "INVALID"
        return (
            f"best {best}; first ten {self.first_ten}/{min(10, len(self.verdicts))} valid; all "
            f"{self.share:.2f} of {len(self.verdicts)}; objects covered by the first fifty "
            f"{len(self.covered)}/{self.objects}; on the bare table {self.on_bare_table}"
        )


def summarise(scene: Scene, poses: np.ndarray, widths: np.ndarray, gripper: Gripper) -> Summary:
    """Judge a ranked list of grasps."""
    pairs = zip(poses, widths, strict=True)
    return Summary([judge(scene, pose, width, gripper) for pose, width in pairs], scene.objects)


def main(arguments: list[str] | None = None) -> int:
    """Print one line per grasp and the figures; 0 when the best grasp is valid, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frame", type=Path, help="folder with color.png, depth.png, camera.json")
    parser.add_argument("predictions", type=Path, help="prediction JSON")
    parser.add_argument("--gripper", default="franka_hand", help="preset or gripper file")
    parser.add_argument("--quiet", action="store_true", help="only the figures")
    options = parser.parse_args(arguments)
    try:
        image = read_frame(options.frame)
        grasps = read_predictions(options.predictions).grasps
        gripper = load_gripper(options.gripper)
    except KGNProError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    scene = observe(image.depth, image.camera)
    result = summarise(scene, grasps.poses, grasps.widths, gripper)
    for rank, verdict in enumerate([] if options.quiet else result.verdicts, start=1):
        print(
            f"{rank:3d} {'valid  ' if verdict.valid else 'invalid'} between {verdict.between:4d} "
            f"hits {verdict.hits:4d} table gap {verdict.table_gap * 1e3:6.1f} mm "
            f"object {verdict.object}"
        )
    print(f"{options.frame.name}: {result}")
    return 0 if result.best_valid else 1


if __name__ == "__main__":
    sys.exit(main())
