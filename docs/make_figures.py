# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Draw the figures of the documentation: ``python docs/make_figures.py`` writes docs/images/.

Every length comes from the code: the gripper file and the canonical keypoints.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from kgnpro_ros.geometry import Gripper, canonical_keypoints, load_gripper

IMAGES = Path(__file__).resolve().parent / "images"
AXIS_COLORS = {"x": "#d62728", "y": "#2ca02c", "z": "#1f77b4"}
METAL, OBJECT, INK = "#c9ccd1", "#f2c879", "#222222"
OPENING = 0.06
NAMES = ("0 left tip", "1 right tip", "2 back left", "3 back right")


def boxes(gripper: Gripper) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lower and upper corners of the fingers and the palm in the grasp frame [m]."""
    lower, upper = gripper.finger_boxes(np.array([OPENING]))
    palm = (np.array(gripper.palm.lower), np.array(gripper.palm.upper))
    return [(lower[0, 0], upper[0, 0]), (lower[0, 1], upper[0, 1]), palm]


def draw_plane(axes: Axes, gripper: Gripper) -> None:
    """The x-z plane: x down, z to the left, y out of the page; millimetres."""
    axes.add_patch(Rectangle((-22, -18), 44, 40, color=OBJECT, zorder=1))
    axes.text(-11, 14, "object", ha="center", va="center", color=INK)
    for lower, upper in boxes(gripper):
        size = 1e3 * (upper - lower)
        axes.add_patch(
            Rectangle(
                (1e3 * lower[2], 1e3 * lower[0]), size[2], size[0], fc=METAL, ec=INK, zorder=2
            )
        )
    axes.text(0, -75, "palm", ha="center", va="center", color=INK)
    points = 1e3 * canonical_keypoints()
    axes.plot(points[:, 2], points[:, 0], "o", ms=8, mfc="white", mec=INK, mew=1.6, zorder=5)
    for name, (x, _, z) in zip(NAMES, points, strict=True):
        side = 1 if z > 0 else -1
        axes.annotate(
            name, (z, x), (z + side * 7, x), ha="right" if side > 0 else "left", va="center",
            fontsize=9, color=INK, zorder=6,
        )  # fmt: skip
    arrow = {"arrowstyle": "-|>", "lw": 2.4, "mutation_scale": 16}
    for name, tip, label in (
        ("x", (0, 42), "x  approach"),
        ("z", (42, 0), "z  closing"),
    ):
        color = AXIS_COLORS[name]
        axes.annotate("", tip, (0, 0), arrowprops={**arrow, "color": color}, zorder=7)
        place = (tip[0] - 4, tip[1] + 2) if name == "x" else (tip[0] + 4, tip[1] + 9)
        axes.text(*place, label, color=color, weight="bold", ha="left", zorder=7)
    axes.plot(0, 0, "o", ms=11, mfc="white", mec=AXIS_COLORS["y"], mew=2, zorder=8)
    axes.plot(0, 0, ".", ms=5, color=AXIS_COLORS["y"], zorder=9)
    axes.text(-5, -5, "y", color=AXIS_COLORS["y"], weight="bold", zorder=9)
    draw_dimension(axes, (50, -50), 56, "100 mm, canonical")
    draw_dimension(axes, (1e3 * OPENING / 2, -1e3 * OPENING / 2), -22, "width", inside=True)
    axes.set(xlim=(112, -112), ylim=(66, -112), aspect="equal")
    axes.set_title("Finger plane: y points out of the page", fontsize=10)
    axes.axis("off")


def draw_dimension(
    axes: Axes, ends: tuple[float, float], height: float, text: str, inside: bool = False
) -> None:
    """A dimension line between two values of z at a value of x [mm]."""
    axes.annotate(
        "", (ends[0], height), (ends[1], height),
        arrowprops={"arrowstyle": "<|-|>", "color": INK, "lw": 1}, zorder=4,
    )  # fmt: skip
    shift = -4 if inside else 6
    axes.text(0, height + shift, text, ha="center", va="center", fontsize=9, color=INK, zorder=4)


def draw_space(axes: Axes3D, gripper: Gripper) -> None:
    """The gripper in space, with its frame; millimetres."""
    for lower, upper in boxes(gripper):
        axes.add_collection3d(
            Poly3DCollection(faces(1e3 * lower, 1e3 * upper), fc=METAL, ec=INK, lw=0.6, alpha=0.85)
        )
    for name, direction in zip("xyz", np.eye(3), strict=True):
        tip = 45 * direction
        axes.quiver(0, 0, 0, *to_plot(tip), color=AXIS_COLORS[name], lw=2.6,
                    arrow_length_ratio=0.2)  # fmt: skip
        axes.text(*to_plot(1.25 * tip), name, color=AXIS_COLORS[name], weight="bold", fontsize=12)
    points = np.array([to_plot(1e3 * point) for point in canonical_keypoints()])
    axes.scatter(*points.T, s=36, c="white", edgecolors=INK, linewidths=1.4, depthshade=False)
    axes.set(xlim=(-105, 105), ylim=(-105, 105), zlim=(-80, 130))
    axes.set_box_aspect((1, 1, 1), zoom=1.3)
    axes.view_init(elev=18, azim=-62)
    axes.set_title("Origin between the fingertips; circles are the keypoints", fontsize=10)
    axes.set_axis_off()


def to_plot(point: np.ndarray) -> tuple[float, float, float]:
    """Grasp coordinates to plot coordinates: approach points down, closing to the left."""
    x, y, z = point
    return -z, -y, -x


def faces(lower: np.ndarray, upper: np.ndarray) -> list[np.ndarray]:
    """The six faces of a box, in plot coordinates."""
    corners = np.stack([lower, upper])
    result = []
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        for side in range(2):
            face = np.empty((4, 3))
            face[:, axis] = corners[side, axis]
            for row, (a, b) in enumerate(((0, 0), (0, 1), (1, 1), (1, 0))):
                face[row, others[0]], face[row, others[1]] = (
                    corners[a, others[0]],
                    corners[b, others[1]],
                )
            result.append(np.array([to_plot(corner) for corner in face]))
    return result


def main() -> None:
    """Write docs/images/grasp_frame.png."""
    gripper = load_gripper("franka_hand")
    figure = plt.figure(figsize=(10, 4.6))
    draw_plane(figure.add_axes((0.0, 0.0, 0.55, 0.93)), gripper)
    space = figure.add_axes((0.55, 0.0, 0.45, 0.93), projection="3d")
    assert isinstance(space, Axes3D)
    draw_space(space, gripper)
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / "grasp_frame.png", dpi=110)


if __name__ == "__main__":
    main()
