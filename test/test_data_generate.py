# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Generation: reproducible with any number of processes, resumable after a kill, never half."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from kgnpro_ros.config import SceneConfig
from kgnpro_ros.data import storage
from kgnpro_ros.data.compose import make_scene
from kgnpro_ros.data.dataset import SceneDataset
from kgnpro_ros.data.generate import generate
from kgnpro_ros.data.render import make_gl_context
from kgnpro_ros.exceptions import DatasetError

CONFIG = SceneConfig(mode="multi", look="kgn", views=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three scenes of one view, made by two processes."""
    root = tmp_path_factory.mktemp("data") / "set"
    generate(root, CONFIG, scenes=3, seed=11, workers=2)
    return root


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".npz"}


def test_scene_does_not_depend_on_the_number_of_processes(dataset, tmp_path):
    generate(tmp_path / "one", CONFIG, scenes=2, seed=11, workers=1)
    for index in range(2):
        first = storage.scene_folder(dataset, index)
        assert contents(first) == contents(storage.scene_folder(tmp_path / "one", index))


def test_manifest_counts_what_is_there(dataset):
    data = SceneDataset(dataset)
    assert data.manifest["complete"]
    assert data.manifest["seed"] == 11
    scenes = [data.scene(k) for k in range(3)]
    counts = data.manifest["counts"]
    assert counts["objects"] == sum(len(scene.objects) for scene in scenes)
    free = sum(len(data.grasp_labels(k, 30, 10).free.widths) for k in range(3))
    assert counts["free_grasps"] == free > 100


def test_images_fit_the_scene(dataset):
    data = SceneDataset(dataset)
    sample = data.load(1)
    assert set(np.unique(sample.instances)) <= set(range(len(sample.objects) + 1))
    v, u = np.nonzero(sample.instances)
    points = sample.image.camera.backproject(
        np.stack([u, v], -1).astype(float), sample.image.depth[v, u].astype(float)
    )
    height = points @ sample.T_world_camera[2, :3] + sample.T_world_camera[2, 3]
    assert height.min() > -2e-3  # nothing of an object is below the table
    ground = sample.instances == 0
    cloud = sample.image.camera.point_cloud(sample.image.depth)[ground]
    height = cloud @ sample.T_world_camera[2, :3] + sample.T_world_camera[2, 3]
    assert np.nanmax(np.abs(height)) < 5e-4  # the rest is the table


def test_resumes_what_was_interrupted(dataset, tmp_path):
    import shutil

    root = tmp_path / "set"
    shutil.copytree(dataset, root)
    whole = contents(storage.scene_folder(root, 1))
    shutil.rmtree(storage.scene_folder(root, 1))
    left_over = root / "scenes" / ".00001.partial-999"
    left_over.mkdir()
    (left_over / "color_0.png").write_bytes(b"half")
    kept = storage.scene_folder(root, 0).stat().st_mtime_ns
    with pytest.raises(DatasetError, match="2 of 3 scenes"):
        SceneDataset(root)
    assert len(SceneDataset(root, allow_incomplete=True)) == 2
    generate(root, CONFIG, scenes=3, seed=11, workers=1)
    assert contents(storage.scene_folder(root, 1)) == whole
    assert storage.scene_folder(root, 0).stat().st_mtime_ns == kept
    assert not left_over.exists()
    assert SceneDataset(root).manifest["complete"]


@pytest.mark.slow
def test_survives_a_kill(tmp_path):
    root = tmp_path / "set"
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            from pathlib import Path
            from kgnpro_ros.config import SceneConfig
            from kgnpro_ros.data.generate import generate
            if __name__ == "__main__":
                config = SceneConfig(mode="multi", views=1)
                generate(Path({str(root)!r}), config, 40, 11, workers=2)
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen([sys.executable, str(script)], env=environment)
    deadline = time.monotonic() + 120
    while not list(root.glob("scenes/0*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)
    done = len(list(root.glob("scenes/0*")))
    time.sleep(2)
    assert len(list(root.glob("scenes/0*"))) == done < 40  # the workers are gone too
    for index in range(len(SceneDataset(root, allow_incomplete=True))):
        SceneDataset(root, allow_incomplete=True).load(index)
    assert not SceneDataset(root, allow_incomplete=True).manifest["complete"]


def test_asking_for_fewer_scenes_keeps_the_others(dataset):
    before = SceneDataset(dataset).manifest
    assert generate(dataset, CONFIG, scenes=1, seed=11) == before
    assert len(SceneDataset(dataset)) == 3


def test_other_settings_are_refused(dataset):
    with pytest.raises(DatasetError, match=r"seed is 11, not 12"):
        generate(dataset, CONFIG, scenes=3, seed=12)
    with pytest.raises(DatasetError, match=r"mode is 'multi', not 'single'"):
        generate(dataset, SceneConfig(mode="single", views=1), scenes=3, seed=11)


def test_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DatasetError, match="not empty"):
        generate(tmp_path, CONFIG, scenes=1, seed=0)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_random_look_is_reproducible_and_varied(mode):
    gl = make_gl_context()
    config = SceneConfig(mode=mode, look="random", views=1, depth_noise=True)
    scene, frames, masks = make_scene(config, 3, 4, gl)
    again, frames_again, _ = make_scene(config, 3, 4, gl)
    assert scene.to_dict() == again.to_dict()
    assert np.array_equal(frames[0].color, frames_again[0].color)
    assert np.array_equal(frames[0].depth, frames_again[0].depth, equal_nan=True)
    other, other_frames, _ = make_scene(config, 3, 5, gl)
    assert scene.camera != other.camera
    assert not np.array_equal(frames[0].color, other_frames[0].color)
    graspable = sum(item.graspable for item in scene.objects)
    assert 1 <= graspable <= (1 if mode == "single" else 8)
    assert np.isnan(frames[0].depth).any()
    assert masks[0].max() <= len(scene.objects)


def test_obstacles_have_no_grasps_but_are_in_the_way():
    from kgnpro_ros.data.labels import grasp_labels
    from kgnpro_ros.data.scene import SceneObject
    from kgnpro_ros.data.shapes import Shape
    from kgnpro_ros.geometry.se3 import make_transform

    ball = SceneObject(Shape("sphere", (0.03,)), make_transform(np.eye(3), (0, 0, 0.03)))
    wall = SceneObject(
        Shape("cuboid", (0.3, 0.02, 0.3)), make_transform(np.eye(3), (0, 0.06, 0.15)), False
    )
    alone, beside = grasp_labels([ball], 30, 10), grasp_labels([ball, wall], 30, 10)
    assert set(beside.object_index) == {0}
    assert np.array_equal(alone.T_world_grasp, beside.T_world_grasp)
    assert 0 < len(beside.free.widths) < len(alone.free.widths)


def test_classes_limit_what_is_drawn():
    gl = make_gl_context()
    config = SceneConfig(mode="multi", views=1, classes="cuboid, stick")
    kinds = [item.shape.kind for item in make_scene(config, 1, 0, gl)[0].objects]
    assert sorted(kinds) == ["cuboid", "stick"]
    with pytest.raises(DatasetError, match=r"brick.*cuboid"):
        make_scene(SceneConfig(classes="brick"), 1, 0, gl)
