# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Generates a data set with several processes; resumable, never half-written.

Scene k of a seed is the same whatever the number of processes and whatever was generated before.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import SceneConfig
from kgnpro_ros.data import storage
from kgnpro_ros.data.compose import make_scene
from kgnpro_ros.data.labels import grasp_labels
from kgnpro_ros.data.render import Frame, make_gl_context
from kgnpro_ros.data.scene import Scene
from kgnpro_ros.exceptions import DatasetError

#: Run-length filtering: faster and, for noisy images, smaller than the default strategy.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
_contexts: list[Any] = []


def write_scene(
    folder: Path, scene: Scene, frames: list[Frame], masks: list[NDArray[np.uint8]]
) -> int:
    """Write one scene folder; it appears complete or not at all.

    Returns:
        Number of collision-free grasps at the evaluation sampling.
    """
    flags = {}
    for sampling in storage.STORED_SAMPLINGS:
        rotations, translations, distinct = sampling
        labels = grasp_labels(scene.objects, rotations, translations, distinct=distinct)
        flags[storage.sampling_key(*sampling)] = labels.colliding
    with storage.whole_folder(folder) as partial:
        for view, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
            raw = np.nan_to_num(frame.depth / storage.DEPTH_SCALE, nan=0.0).round()
            raw[raw > 65535] = 0
            _write_png(partial / f"color_{view}.png", frame.color[..., ::-1])
            _write_png(partial / f"depth_{view}.png", raw.astype(np.uint16))
            _write_png(partial / f"mask_{view}.png", mask)
        np.savez_compressed(partial / "collisions.npz", **flags)
        storage.write_json(partial / "scene.json", scene.to_dict())
    return int((~labels.colliding).sum())


def _write_png(path: Path, image: NDArray[Any]) -> None:
    if not cv2.imwrite(str(path), np.ascontiguousarray(image), _PNG):
        raise DatasetError(f"could not write {path}; is the disk full?")


def _exit_with_parent() -> None:
    """End this worker when the generating process is gone, even killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _start_worker() -> None:
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.environ["LP_NUM_THREADS"] = "1"  # Mesa's software renderer: one thread per process
    cv2.setNumThreads(1)
    _contexts.append(make_gl_context())


def _work(config: SceneConfig, seed: int, index: int, root: str) -> tuple[int, int, int]:
    scene, frames, masks = make_scene(config, seed, index, _contexts[0])
    free = write_scene(storage.scene_folder(Path(root), index), scene, frames, masks)
    return index, len(scene.objects), free


def generate(
    out: Path,
    config: SceneConfig,
    scenes: int,
    seed: int,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Generate a data set; scenes that exist already are kept.

    Args:
        out: Folder of the data set.
        config: What to make.
        scenes: How many scenes; a data set that has more already keeps them.
        seed: Seed of all of them.
        workers: Processes; all cores if None.
        progress: Called with (scenes done, scenes in all).

    Returns:
        The manifest.

    Raises:
        DatasetError: If the folder holds a data set made with other settings.
    """
    manifest = _open_manifest(out, config, scenes, seed)
    scenes = manifest["scenes"]
    todo = [k for k in range(scenes) if not storage.scene_folder(out, k).is_dir()]
    for path in (out / "scenes").glob(".*"):
        if storage.is_left_over(path):
            shutil.rmtree(path, ignore_errors=True)
    done = scenes - len(todo)
    if progress:
        progress(done, scenes)
    if todo:
        count = min(workers or os.cpu_count() or 1, len(todo))
        with ProcessPoolExecutor(count, get_context("spawn"), _start_worker) as pool:
            futures = [pool.submit(_work, config, seed, k, str(out)) for k in todo]
            try:
                for future in as_completed(futures):
                    future.result()
                    done += 1
                    if progress:
                        progress(done, scenes)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    manifest |= {"complete": True, "counts": count_contents(out, scenes)}
    storage.write_json(out / "manifest.json", manifest)
    return manifest


def _open_manifest(out: Path, config: SceneConfig, scenes: int, seed: int) -> dict[str, Any]:
    """Create the manifest, or check that the present one has the same settings."""
    path = out / "manifest.json"
    wanted = {
        "format": storage.FORMAT, "version": storage.VERSION, "seed": seed, **asdict(config)
    }  # fmt: skip
    if path.exists():
        try:
            present = json.loads(path.read_text())
            differing = [key for key in wanted if present.get(key) != wanted[key]]
        except (json.JSONDecodeError, AttributeError) as error:
            raise DatasetError(f"{path} is no manifest of a data set: {error}") from error
        if differing:
            raise DatasetError(
                f"{out} holds a data set with other settings: "
                + ", ".join(f"{k} is {present.get(k)!r}, not {wanted[k]!r}" for k in differing)
            )
        scenes = max(scenes, int(present.get("scenes", 0)))
    elif out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out} is not empty and holds no data set; choose another folder")
    (out / "scenes").mkdir(parents=True, exist_ok=True)
    manifest = {**wanted, "scenes": scenes, "complete": False}
    storage.write_json(path, manifest)
    return manifest


def count_contents(out: Path, scenes: int) -> dict[str, int]:
    """Objects and collision-free grasps (evaluation sampling) of a data set, by counting."""
    objects = grasps = 0
    key = storage.sampling_key(*storage.STORED_SAMPLINGS[-1])
    for index in range(scenes):
        folder = storage.scene_folder(out, index)
        objects += len(json.loads((folder / "scene.json").read_text())["objects"])
        with np.load(folder / "collisions.npz") as flags:
            grasps += int((~flags[key]).sum())
    return {"objects": objects, "free_grasps": grasps}
