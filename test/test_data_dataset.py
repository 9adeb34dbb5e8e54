# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Readers of both formats: what they return, and what they say about damaged data."""

import json

import cv2
import numpy as np
import pytest

from kgnpro_ros.data import storage
from kgnpro_ros.data.dataset import SceneDataset
from kgnpro_ros.data.generate import write_scene
from kgnpro_ros.data.kgn_format import KGNDataset, open_dataset
from kgnpro_ros.data.render import Frame
from kgnpro_ros.data.scene import Scene, SceneObject, kgn_camera_poses
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.geometry import Camera
from kgnpro_ros.geometry.se3 import make_transform

CAMERA = Camera(60.0, 61.0, 31.5, 23.5, 64, 48)


def example_scene(index, views=2):
    objects = (
        SceneObject(Shape("sphere", (0.03,)), make_transform(np.eye(3), (0, 0, 0.03))),
        SceneObject(Shape("cylinder", (0.04, 0.08)), make_transform(np.eye(3), (0.2, 0, 0.04))),
    )
    poses = kgn_camera_poses(np.random.default_rng(index), views)
    return Scene(f"{index:05d}", objects, CAMERA, poses)


def example_images(index, views=2):
    rng = np.random.default_rng(index)
    frames, masks = [], []
    for _ in range(views):
        depth = rng.uniform(0.4, 1.2, (48, 64)).astype(np.float32)
        depth[:3] = np.nan
        color = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        frames.append(Frame(color, depth, np.zeros((48, 64), np.int32)))
        masks.append(rng.integers(0, 3, (48, 64), dtype=np.uint8))
    return frames, masks


@pytest.fixture
def dataset(tmp_path):
    for index in range(2):
        folder = storage.scene_folder(tmp_path, index)
        write_scene(folder, example_scene(index), *example_images(index))
    manifest = {"format": storage.FORMAT, "version": storage.VERSION, "seed": 0, "views": 2,
                "scenes": 2}  # fmt: skip
    storage.write_json(tmp_path / "manifest.json", manifest)
    return tmp_path


def test_what_was_written_is_read(dataset):
    data = open_dataset(dataset)
    assert isinstance(data, SceneDataset)
    assert len(data) == 4
    assert [data.scene_of(k) for k in range(4)] == [0, 0, 1, 1]
    sample = data.load(3)
    frames, masks = example_images(1)
    assert (sample.scene_id, sample.view) == ("00001", 1)
    assert np.array_equal(sample.image.color, frames[1].color)
    assert np.array_equal(sample.instances, masks[1])
    assert np.array_equal(np.isnan(sample.image.depth), np.isnan(frames[1].depth))
    assert np.nanmax(np.abs(sample.image.depth - frames[1].depth)) < 0.6 * storage.DEPTH_SCALE
    assert np.allclose(sample.T_world_camera, example_scene(1).T_world_camera[1])
    assert sample.image.camera == CAMERA
    assert [item.shape for item in sample.objects] == [o.shape for o in example_scene(1).objects]
    with pytest.raises(IndexError):
        data.load(4)


@pytest.mark.parametrize("sampling", [(72, 20, True), (30, 10, False), (5, 2, False)])
def test_labels_are_the_same_stored_or_computed(dataset, sampling):
    rotations, translations, distinct = sampling
    labels = SceneDataset(dataset).grasp_labels(0, rotations, translations, distinct=distinct)
    (dataset / "scenes/00000/collisions.npz").unlink()
    np.savez(dataset / "scenes/00000/collisions.npz")
    fresh = SceneDataset(dataset).grasp_labels(0, rotations, translations, distinct=distinct)
    assert np.array_equal(labels.colliding, fresh.colliding)
    assert np.array_equal(labels.T_world_grasp, fresh.T_world_grasp)
    assert set(labels.class_index) == {1, 3}
    assert 0 < len(labels.free.widths) < len(labels.widths)


def write_text(text):
    return lambda path: path.write_text(text)


def edit_json(**changes):
    def change(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("manifest.json", lambda p: p.unlink(), "no manifest.json"),
        ("manifest.json", write_text("{"), "damaged"),
        ("manifest.json", write_text("[1]"), "describes"),
        ("manifest.json", edit_json(version=99), r"99.*reads"),
        ("manifest.json", edit_json(format="other"), "other"),
        ("manifest.json", edit_json(scenes="many"), "lacks scenes"),
        ("manifest.json", edit_json(scenes=3), "2 of 3 scenes"),
        ("scenes/00000/scene.json", lambda p: p.unlink(), "missing or damaged"),
        ("scenes/00000/scene.json", truncate, "missing or damaged"),
        ("scenes/00000/scene.json", edit_json(objects=[{"class": "teapot"}]), "no scene"),
        ("scenes/00000/scene.json", edit_json(camera={"fx": 1}), "camera lacks"),
        ("scenes/00000/scene.json", edit_json(T_world_camera=[[1]]), "no scene"),
        ("scenes/00000/scene.json", edit_json(T_world_camera=[np.eye(4).tolist()]), "1 views"),
        ("scenes/00000/color_0.png", lambda p: p.unlink(), "color_0.png is missing"),
        ("scenes/00000/depth_0.png", write_text("no image"), "depth_0.png is missing or damaged"),
        ("scenes/00000/depth_0.png", lambda p: cv2.imwrite(str(p), np.zeros((48, 64), np.uint8)),
         "uint8; expected uint16"),
        ("scenes/00000/depth_0.png", lambda p: cv2.imwrite(str(p), np.zeros((48, 64), np.uint16)),
         "no measurement"),
        ("scenes/00000/depth_0.png", lambda p: cv2.imwrite(str(p), np.ones((9, 9), np.uint16)),
         "depth image is"),
        ("scenes/00000/collisions.npz", lambda p: p.unlink(), "missing or damaged"),
        ("scenes/00000/collisions.npz", truncate, "missing or damaged"),
        ("scenes/00000/collisions.npz", lambda p: np.savez(p, r30_t10_doubled=np.ones(3, bool)),
         "3 flags for"),
    ],
)  # fmt: skip
def test_damage_is_named(dataset, file, damage, message):
    damage(dataset / file)
    with pytest.raises(DatasetError, match=message):
        read_all(SceneDataset, dataset)


def read_all(reader, folder):
    data = reader(folder)
    for index in range(len(data)):
        data.load(index)
        data.grasp_labels(index, 30, 10)


def test_no_dataset_at_all(tmp_path):
    with pytest.raises(DatasetError, match="neither a manifest"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no folder"):
        open_dataset(tmp_path / "nowhere")


@pytest.fixture
def kgn_folder(tmp_path):
    """Two scenes in KGN's layout, written by hand."""
    root = tmp_path / "kgn"
    for number in (0, 3):
        folder, scene = root / str(number), example_scene(number)
        for name in ("color_images", "depth_raw", "seg_labels"):
            (folder / name).mkdir(parents=True)
        for view, frame in enumerate(example_images(number)[0]):
            cv2.imwrite(str(folder / f"color_images/color_image_{view}.png"), frame.color)
            np.save(folder / f"depth_raw/depth_raw_{view}.npy", np.nan_to_num(frame.depth))
            mask = np.zeros((48, 64), np.uint8)
            mask[10:30, 10:30] = 2
            mask[0, 0] = 9
            cv2.imwrite(str(folder / f"seg_labels/segmask_label_{view}.jpg"), mask)
        info = {
            "intrinsic": [[60.0, 0, 32.0], [0, 61.0, 24.0], [0, 0, 1]],
            "camera_poses": scene.T_world_camera.tolist(),
            "obj_types": ["sphere", "cylinder"],
            "obj_dims": [0.03, [0.04, 0.08]],
            "obj_poses": [item.T_world_object.tolist() for item in scene.objects],
        }
        (folder / "scene_info.json").write_text(json.dumps(info))
    (root / "train.txt").write_text("0\n")
    (root / "test.txt").write_text("3\n")
    return root


def test_kgn_folder_gives_the_same_scene_as_our_format(kgn_folder, dataset):
    data = open_dataset(kgn_folder)
    assert isinstance(data, KGNDataset)
    sample, ours = data.load(1), SceneDataset(dataset).load(1)
    assert sample.image.camera == CAMERA  # 32 from the corner of the pixel is 31.5 from its centre
    assert np.allclose(sample.T_world_camera, ours.T_world_camera)
    assert np.nanmax(np.abs(sample.image.depth - ours.image.depth)) < 1e-4
    assert np.array_equal(sample.image.color[..., ::-1], ours.image.color)
    assert sample.instances.max() <= 2
    assert (sample.instances[15:25, 15:25] == 2).all()
    theirs, labels = (d.grasp_labels(1, 30, 10) for d in (data, SceneDataset(dataset)))
    assert np.allclose(theirs.T_world_grasp, labels.T_world_grasp)
    assert np.array_equal(theirs.colliding, labels.colliding)


def test_kgn_splits_are_by_scene(kgn_folder):
    assert KGNDataset(kgn_folder).scene_numbers == (0, 3)
    assert KGNDataset(kgn_folder, "train").scene_numbers == (0,)
    test = KGNDataset(kgn_folder, "test")
    assert [test.scene_of(k) for k in range(len(test))] == [3, 3]


def test_kgn_depth_may_come_from_the_16_bit_image(kgn_folder):
    raw = kgn_folder / "0/depth_raw/depth_raw_0.npy"
    depth = np.load(raw)
    (kgn_folder / "0/depth_img").mkdir()
    stored = np.repeat((depth / 1e-4).round().astype(np.uint16)[..., None], 3, axis=2)
    cv2.imwrite(str(kgn_folder / "0/depth_img/depth_image_0.png"), stored)
    raw.unlink()
    assert np.nanmax(np.abs(KGNDataset(kgn_folder).load(0).image.depth - depth)[3:]) < 1e-4


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("0/scene_info.json", truncate, "no scene of KGN's format"),
        ("0/scene_info.json", edit_json(obj_types=["sphere"]), "differ in length"),
        ("0/scene_info.json", edit_json(obj_types=["sphere", "torus"]), "torus"),
        ("0/scene_info.json", edit_json(intrinsic=[1, 2]), r"expected \(3, 3\)"),
        ("3/scene_info.json", edit_json(camera_poses=[np.eye(4).tolist()]), "1 views"),
        ("0/depth_raw/depth_raw_0.npy", truncate, "damaged"),
        ("0/depth_raw/depth_raw_0.npy", lambda p: p.unlink(), "depth_image_0.png is missing"),
        ("0/color_images/color_image_0.png", lambda p: p.unlink(), "color_image_0.png is missing"),
        ("0/seg_labels/segmask_label_0.jpg", lambda p: p.unlink(), "segmask_label_0.jpg"),
    ],
)
def test_damage_of_a_kgn_folder_is_named(kgn_folder, file, damage, message):
    damage(kgn_folder / file)
    with pytest.raises(DatasetError, match=message):
        read_all(KGNDataset, kgn_folder)


def test_kgn_split_that_is_not_there(kgn_folder):
    (kgn_folder / "test.txt").unlink()
    with pytest.raises(DatasetError, match=r"test.txt"):
        KGNDataset(kgn_folder, "test")
