# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Contact sheets of the best and the worst frames, chosen by their numbers.

Usage: python benchmarks/gallery.py --synthetic NAME DATA PREDICTIONS [--synthetic ...]
       [--real FRAMES PREDICTIONS] --out FOLDER [--section FILE]

DATA is a test set and PREDICTIONS what ``kgnpro evaluate --predictions`` wrote for it; FRAMES is a
folder of real frames and PREDICTIONS what ``kgnpro detect --frames`` wrote. Writes
``gallery_NAME.jpg``, ``gallery_real.jpg``, and all numbers as ``gallery.json`` into FOLDER, and
Markdown that shows them to FILE.

Best and worst are by the share of objects found, then by the mean of grasp success and coverage, at
2 cm / 20 deg, one view per scene. Real grasps are judged by ``test/support/grasp_validity.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from kgnpro_ros.config import EvaluationConfig
from kgnpro_ros.data.dataset import Sample
from kgnpro_ros.data.labels import GraspLabels
from kgnpro_ros.data.shapes import CLASSES
from kgnpro_ros.evaluation.command import open_test_split
from kgnpro_ros.evaluation.metrics import count_matches, pose_distances
from kgnpro_ros.evaluation.report import write_report
from kgnpro_ros.geometry import load_gripper
from kgnpro_ros.predictions import find_frames, read_frame, read_predictions
from kgnpro_ros.types import GraspBatch, RGBDImage
from kgnpro_ros.viz import fork_points

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test"))
from support.grasp_validity import observe, summarise

DISTANCE, ANGLE = 0.02, 20.0
COUNT, COLUMNS = 3, 3
TILE, CAPTION, GAP = (432, 324), 54, 8
DRAWN, MAX_BYTES = 40, 300_000
GOOD, BAD, MISSED, INK, PAPER = (30, 190, 70), (225, 40, 40), (255, 0, 200), (20, 20, 20), "white"


@dataclass(frozen=True)
class Picture:
    """One frame with judged grasps.

    Attributes:
        title: First line of the caption.
        text: Second line.
        image: The frame.
        grasps: In the camera frame, best first.
        good: Which of them match (or are valid), shape (N,).
        focus: Pixels that must be in view, shape (H, W).
        outlines: Masks of missed objects.
    """

    title: str
    text: str
    image: RGBDImage
    grasps: GraspBatch
    good: NDArray[np.bool_]
    focus: NDArray[np.bool_]
    outlines: list[NDArray[np.bool_]] = field(default_factory=list)


def judge_image(sample: Sample, labels: GraspLabels, grasps: GraspBatch) -> dict[str, Any]:
    """Numbers of one synthetic image."""
    poses = sample.T_world_camera @ grasps.poses
    counts = count_matches(poses, labels, np.array([(DISTANCE, ANGLE)]))
    present = np.unique(labels.free.object_index)
    found = counts.succeeded[:, 0] > 0
    matching, truths = int(counts.succeeded.sum()), int(counts.truths.sum())
    covered = int(counts.covered.sum())
    return {
        "scene": sample.scene_id,
        "view": sample.view,
        "grasps": len(grasps),
        "matching": matching,
        "objects": len(present),
        "found": int(found.sum()),
        "missed": [int(k) for k in present[~found]],
        "missed_classes": [CLASSES[c] for c in counts.classes[~found]],
        "success": matching / max(1, len(grasps)),
        "coverage": covered / max(1, truths),
    }


def rank(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The best images, best first, and the worst, worst first, each of another scene."""
    order = sorted(
        (row for row in rows if row["objects"]),
        key=lambda row: (row["found"] / row["objects"], row["success"] + row["coverage"]),
    )
    return _scenes_once(order[::-1], set()), _scenes_once(order, set())


def _scenes_once(rows: list[dict[str, Any]], seen: set[str]) -> list[dict[str, Any]]:
    chosen = []
    for row in rows:
        if row["scene"] not in seen and len(chosen) < COUNT:
            seen.add(row["scene"])
            chosen.append(row)
    return chosen


def synthetic(data: Path, predictions: Path) -> tuple[dict[str, Any], list[Picture]]:
    """Numbers of the chosen images of a test set, and their pictures: best, then worst."""
    dataset, config = open_test_split(data), EvaluationConfig()

    def grasps_of(sample: Sample) -> GraspBatch:
        path = predictions / f"{sample.scene_id}_{sample.view}.json"
        return read_predictions(path).grasps.select(slice(0, config.max_grasps))

    rows = []
    for index in range(len(dataset)):
        labels = dataset.grasp_labels(index, config.rotation_samples, config.translation_samples)
        sample = dataset.load(index)
        rows.append({"index": index, **judge_image(sample, labels, grasps_of(sample))})
    best, worst = rank(rows)
    pictures = []
    for row in [*best, *worst]:
        sample = dataset.load(row["index"])
        labels = dataset.grasp_labels(
            row["index"], config.rotation_samples, config.translation_samples
        )
        pictures.append(synthetic_picture(sample, labels, grasps_of(sample), row))
    numbers = {"images": len(rows), "best": best, "worst": worst}
    return numbers, pictures


def synthetic_picture(
    sample: Sample, labels: GraspLabels, grasps: GraspBatch, row: dict[str, Any]
) -> Picture:
    """Grasps that match in green, the others in red, missed objects outlined."""
    truth = labels.free.T_world_grasp
    distance, cosine = pose_distances(sample.T_world_camera @ grasps.poses, truth)
    match = (distance < DISTANCE) & (cosine > np.cos(np.radians(ANGLE)))
    lost = ", ".join(row["missed_classes"])
    title = f"scene {int(row['scene'])}, view {row['view']}: {row['found']} of {row['objects']}"
    return Picture(
        title=f"{title} found" + (f", missed {lost}" if lost else ""),
        text=f"{row['matching']} of {row['grasps']} grasps match; "
        f"{100 * row['coverage']:.0f} % of the truth covered",
        image=sample.image,
        grasps=grasps,
        good=match.any(axis=1),
        focus=sample.instances > 0,
        outlines=[sample.instances == k + 1 for k in row["missed"]],
    )


def real(frames: Path, predictions: Path) -> tuple[dict[str, Any], list[Picture]]:
    """Numbers and pictures of real frames, the one with most valid grasps first."""
    gripper, rows, pictures = load_gripper("franka_hand"), {}, []
    for folder in find_frames(frames):
        image = read_frame(folder)
        grasps = read_predictions(predictions / f"{folder.name}.json").grasps
        scene = observe(image.depth, image.camera)
        summary = summarise(scene, grasps.poses, grasps.widths, gripper)
        good = np.array([verdict.valid for verdict in summary.verdicts], dtype=bool)
        row = {
            "grasps": len(grasps),
            "best_valid": summary.best_valid,
            "first_ten_valid": summary.first_ten,
            "valid": int(good.sum()),
            "objects": summary.objects,
            "objects_with_valid_grasp": len(summary.covered),
            "on_bare_table": summary.on_bare_table,
        }
        rows[folder.name] = row
        text = (
            f"{row['first_ten_valid']} of first {min(10, len(grasps))} valid, {row['valid']} of "
            f"{len(grasps)} in all; {len(summary.covered)} of {summary.objects} objects"
        )
        best = "valid" if summary.best_valid else "not valid"
        title = f"{folder.name.replace('_', ' ')}: best grasp {best}"
        focus = _above_table(scene, image)
        pictures.append(Picture(title, text, image, grasps, good, focus))
    order = sorted(zip(rows, pictures, strict=True), key=lambda p: -_share(rows[p[0]]))
    return {"frames": rows}, [picture for _, picture in order]


def _share(row: dict[str, Any]) -> float:
    return float(row["valid"] / max(1, row["grasps"]))


def _above_table(scene: Any, image: RGBDImage) -> NDArray[np.bool_]:
    """Pixels of the observed objects."""
    focus = np.zeros(image.depth.shape, dtype=bool)
    pixels = image.camera.project(scene.points[scene.label > 0]).round().astype(int)
    height, width = focus.shape
    focus[pixels[:, 1].clip(0, height - 1), pixels[:, 0].clip(0, width - 1)] = True
    return focus


def window(focus: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Left, top and width [px] of the part to show, with the tile's proportions."""
    height, width = focus.shape
    rows, columns = np.nonzero(focus) if focus.any() else np.nonzero(~focus)
    middle = ((columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2)
    aspect = TILE[0] / TILE[1]
    extent = max(np.ptp(columns) * 1.25, np.ptp(rows) * 1.25 * aspect) + 60
    extent = min(float(extent), width, height * aspect)
    left = float(np.clip(middle[0] - extent / 2, 0, width - extent))
    top = float(np.clip(middle[1] - extent / aspect / 2, 0, height - extent / aspect))
    return left, top, extent


def render(picture: Picture) -> NDArray[np.uint8]:
    """The tile of a picture, RGB."""
    left, top, extent = window(picture.focus)
    zoom = TILE[0] / extent
    shift = np.array([[zoom, 0, -left * zoom], [0, zoom, -top * zoom]])
    tile = cv2.warpAffine(picture.image.color, shift, TILE, flags=cv2.INTER_LINEAR)
    for mask in picture.outlines:
        large = cv2.warpAffine(mask.astype(np.uint8), shift, TILE, flags=cv2.INTER_NEAREST)
        contours = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(tile, contours, -1, MISSED, 2, cv2.LINE_AA)
    shown = picture.grasps.select(slice(0, DRAWN))
    points = picture.image.camera.project(fork_points(shown.poses, shown.widths))
    lines = (points - (left, top)) * zoom
    for k in reversed(range(len(shown))):
        draw_fork(tile, lines[k], GOOD if picture.good[k] else BAD, 3 if k == 0 else 1)
    return tile


def draw_fork(
    tile: NDArray[np.uint8], points: NDArray[np.float64], color: Sequence[int], thickness: int
) -> None:
    if not np.isfinite(points).all():
        return
    fixed = np.rint(np.clip(points, -4000, 8000) * 16).astype(np.int32)
    strips = [fixed[:4].reshape(-1, 1, 2), fixed[4:].reshape(-1, 1, 2)]
    if thickness > 1:
        cv2.polylines(tile, strips, False, INK, thickness + 2, cv2.LINE_AA, 4)
    cv2.polylines(tile, strips, False, color, thickness, cv2.LINE_AA, 4)


def write_sheet(path: Path, pictures: list[Picture], columns: int) -> None:
    """Lay tiles out row by row; the file stays below ``MAX_BYTES``."""
    rows = -(-len(pictures) // columns)
    width, height = TILE[0] + GAP, TILE[1] + CAPTION + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for k, picture in enumerate(pictures):
        x, y = GAP + k % columns * width, GAP + k // columns * height
        sheet.paste(Image.fromarray(render(picture)), (x, y))
        for line, text in enumerate((picture.title, picture.text)):
            draw.text((x + 2, y + TILE[1] + 4 + 22 * line), text, INK, font)
    path.parent.mkdir(parents=True, exist_ok=True)
    for quality in range(90, 30, -5):
        sheet.save(path, "JPEG", quality=quality, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            return


def section(numbers: dict[str, Any], folder: str) -> str:
    """Markdown that shows the sheets."""
    lines = ["## Gallery", "", "Chosen by the numbers, not by hand (`benchmarks/gallery.py`): "
             f"most and fewest objects found at {100 * DISTANCE:g} cm / {ANGLE:g}°, then by the "
             "mean of grasp success and coverage, one view per scene. Upper row best, lower row "
             "worst. Green grasps match the truth, red ones do not, missed objects are outlined; "
             f"the first {DRAWN} grasps are drawn, the best one thick.", ""]  # fmt: skip
    for name in (key for key in numbers if key != "real"):
        lines += [f"![Best and worst images of {name}]({folder}/gallery_{name}.jpg)", ""]
    if "real" in numbers:
        lines += ["Real frames; green grasps are valid, red ones are not (the checker above):", "",
                  f"![Real frames]({folder}/gallery_real.jpg)", ""]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--synthetic", nargs=3, action="append", default=[])
    parser.add_argument("--real", nargs=2, type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--section", type=Path)
    options = parser.parse_args()
    numbers: dict[str, Any] = {}
    for name, data, predictions in options.synthetic:
        numbers[name], pictures = synthetic(Path(data), Path(predictions))
        write_sheet(options.out / f"gallery_{name}.jpg", pictures, COLUMNS)
    if options.real is not None:
        numbers["real"], pictures = real(*options.real)
        write_sheet(options.out / "gallery_real.jpg", pictures, 2)
    write_report(options.out / "gallery.json", numbers)
    if options.section is not None:
        options.section.write_text(section(numbers, "images"))
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
