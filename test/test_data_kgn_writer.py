# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What is written in KGN's format is what the reader of that format gives back."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from kgnpro_ros.data import storage
from kgnpro_ros.data.dataset import SceneDataset
from kgnpro_ros.data.generate import write_scene
from kgnpro_ros.data.grasp_families import object_grasps
from kgnpro_ros.data.kgn_format import KGNDataset, open_dataset
from kgnpro_ros.data.kgn_writer import scene_info, write_kgn
from kgnpro_ros.data.render import Frame
from kgnpro_ros.data.scene import Scene, SceneObject, kgn_camera_poses
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.geometry import Camera
from kgnpro_ros.geometry.se3 import make_transform

CAMERA = Camera(60.0, 61.0, 30.25, 22.75, 64, 48)
SHAPES = (
    Shape("cuboid", (0.05, 0.06, 0.07)),
    Shape("sphere", (0.03,)),
    Shape("semi_sphere", (0.05,)),
    Shape("cylinder", (0.04, 0.08)),
    Shape("ring", (0.03, 0.02)),
    Shape("stick", (0.008, 0.08)),
)
VIEWS, SCENES = 2, 5


def example_scene(index, shapes=None):
    """One object of each class in scene 1, a single one in the others, which is quicker."""
    shapes = shapes or (SHAPES if index == 1 else SHAPES[1:2])
    objects = tuple(
        SceneObject(shape, make_transform(np.eye(3), (0.09 * k - 0.2, 0.01 * index, 0.04)))
        for k, shape in enumerate(shapes)
    )
    poses = kgn_camera_poses(np.random.default_rng(index), VIEWS)
    return Scene(f"{index:05d}", objects, CAMERA, poses)


def write_ours(root, scenes=SCENES):
    for index in range(scenes):
        rng = np.random.default_rng(index)
        frames, masks = [], []
        for _ in range(VIEWS):
            depth = rng.uniform(0.4, 1.2, (48, 64)).astype(np.float32)
            depth[:3] = np.nan
            color = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            mask = np.zeros((48, 64), np.uint8)
            for k in range(len(example_scene(index).objects)):
                mask[8 * k + 1 : 8 * k + 7, 5 * index : 5 * index + 30] = k + 1
            frames.append(Frame(color, depth, np.zeros((48, 64), np.int32)))
            masks.append(mask)
        write_scene(storage.scene_folder(root, index), example_scene(index), frames, masks)
    manifest = {"format": storage.FORMAT, "version": storage.VERSION, "seed": 0, "views": VIEWS,
                "scenes": scenes}  # fmt: skip
    storage.write_json(root / "manifest.json", manifest)
    return SceneDataset(root)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return write_ours(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def written(ours, tmp_path_factory):
    root = tmp_path_factory.mktemp("kgn")
    write_kgn(ours, root)
    return root


@pytest.fixture
def theirs(written, tmp_path):
    return shutil.copytree(written, tmp_path / "kgn")


def check_masks(one, two):
    """Equal wherever a JPEG block holds one id; off by one at a few pixels of other blocks.

    The last id plus one is no object, and the reader takes it for background.
    """
    blocks = one.reshape(6, 8, 8, 8).swapaxes(1, 2)
    plain = np.ptp(blocks, axis=(2, 3)) == 0
    same = (one == two).reshape(6, 8, 8, 8).swapaxes(1, 2)
    assert 0 < plain.sum() < plain.size
    assert same[plain].all()
    assert same.mean() > 0.9
    wrong = (one != two) & ~((one == one.max()) & (two == 0))
    assert np.abs(one.astype(int) - two)[wrong].max(initial=0) <= 1


def test_reading_gives_back_what_was_written(ours, theirs):
    copy = open_dataset(theirs)
    assert isinstance(copy, KGNDataset)
    assert (len(copy), copy.views) == (len(ours), ours.views)
    for index in range(len(ours)):
        a, b = ours.load(index), copy.load(index)
        assert np.array_equal(a.image.color, b.image.color)
        assert np.array_equal(a.image.depth, b.image.depth, equal_nan=True)
        assert a.image.camera == b.image.camera
        check_masks(a.instances, b.instances)
        assert np.array_equal(a.T_world_camera, b.T_world_camera)
        assert [o.shape for o in a.objects] == [o.shape for o in b.objects]
        assert int(a.scene_id) == int(b.scene_id)
        assert (a.view, copy.scene_of(index)) == (b.view, ours.scene_of(index))
        for one, two in zip(a.objects, b.objects, strict=True):
            assert np.array_equal(one.T_world_object, two.T_world_object)


def test_ground_truth_is_the_same(ours, theirs):
    copy = KGNDataset(theirs)
    one, two = ours.grasp_labels(2, 30, 10), copy.grasp_labels(2, 30, 10)  # scene 1
    for name in ("T_world_grasp", "widths", "object_index", "class_index", "colliding"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert 0 < one.colliding.sum() < len(one.colliding)


def test_stored_grasps_are_the_families_at_their_density(theirs):
    """What this reader does not read, but KGN's own code does."""
    info = json.loads((theirs / "1" / "scene_info.json").read_text())
    # Protocol, section 2.6: numbers of grasps before collisions.
    assert [len(poses) for poses in info["grasp_poses"]] == [60, 22, 11, 77, 22, 55]
    for k, shape in enumerate(SHAPES):
        grasps = object_grasps(shape, 11, 5)
        world = np.asarray(info["obj_poses"][k]) @ grasps.T_object_grasp
        np.testing.assert_allclose(info["grasp_poses"][k], world, atol=1e-12)
        np.testing.assert_allclose(info["grasp_widths"][k], grasps.widths, atol=1e-12)
        assert len(info["grasp_collision"][k]) == len(world)
    flags = np.concatenate(info["grasp_collision"])
    assert flags.dtype == bool
    assert 0 < flags.sum() < len(flags)


def test_files_are_as_published(ours, theirs):
    """Intrinsics count from the corner of the pixel; numbers of one dimension are no lists."""
    info = json.loads((theirs / "0" / "scene_info.json").read_text())
    assert info["intrinsic"] == [[60.0, 0, 30.75], [0, 61.0, 23.25], [0, 0, 1]]
    assert info["obj_dims"] == [0.03]
    dimensions = json.loads((theirs / "1" / "scene_info.json").read_text())["obj_dims"]
    assert dimensions[:3] == [[0.05, 0.06, 0.07], 0.03, 0.05]
    depth = np.load(theirs / "0/depth_raw/depth_raw_1.npy")
    assert (depth.dtype, depth[0, 0]) == (np.float32, 0.0)
    image = cv2.imread(str(theirs / "0/depth_img/depth_image_1.png"), cv2.IMREAD_UNCHANGED)
    assert (image.dtype, image.shape) == (np.uint16, (48, 64, 3))
    assert np.abs(image * 1e-4 - depth[..., None]).max() < 1e-6


def test_depth_survives_without_the_raw_arrays(ours, theirs):
    for raw in theirs.rglob("*.npy"):
        raw.unlink()
    one, two = ours.load(0).image.depth, KGNDataset(theirs).load(0).image.depth
    np.testing.assert_allclose(one, two, atol=1e-7)


def numbers(path):
    return [int(line) for line in path.read_text().split()]


def test_scenes_are_split(theirs):
    train, test = numbers(theirs / "train.txt"), numbers(theirs / "test.txt")
    assert (len(train), len(test)) == (4, 1)
    assert sorted(train + test) == list(range(SCENES))


def test_all_scenes_can_be_test_scenes(ours, tmp_path):
    assert write_kgn(ours, tmp_path / "kgn", test_share=1.0) == (0, SCENES)
    assert KGNDataset(tmp_path / "kgn", "test").scene_numbers == tuple(range(SCENES))


def test_an_interrupted_copy_goes_on(ours, theirs):
    before = (theirs / "1" / "scene_info.json").stat().st_mtime_ns
    (theirs / "2").rename(theirs / ".2.partial-1")
    write_kgn(ours, theirs)
    assert sorted(p.name for p in theirs.iterdir()) == [
        "0", "1", "2", "3", "4", "test.txt", "train.txt"
    ]  # fmt: skip
    assert (theirs / "1" / "scene_info.json").stat().st_mtime_ns == before


def test_a_folder_with_something_else_is_left_alone(ours, tmp_path):
    (tmp_path / "thesis.pdf").write_text("years of work")
    with pytest.raises(DatasetError, match=r"thesis\.pdf"):
        write_kgn(ours, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.pdf"]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none(ours, tmp_path, share):
    with pytest.raises(DatasetError, match="share of test scenes"):
        write_kgn(ours, tmp_path / "kgn", share)


@pytest.mark.parametrize("shape", [Shape("cylinder", (0.04, 0.08), closure="base"),
                                   Shape("cylinder", (0.04, 0.08), wall=1.05)])  # fmt: skip
def test_shapes_that_the_format_has_not(shape):
    with pytest.raises(DatasetError, match="special shape"):
        scene_info(example_scene(0, (shape,)))


def test_obstacles_that_the_format_has_not():
    scene = example_scene(0)
    obstacle = replace(scene.objects[0], graspable=False)
    with pytest.raises(DatasetError, match="an obstacle"):
        scene_info(replace(scene, objects=(obstacle,)))
