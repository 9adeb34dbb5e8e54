# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from support.box_scene import CAMERA, box_scene, top_grasp

from kgnpro_ros import predictions
from kgnpro_ros.exceptions import CameraError, ImageError, PredictionError
from kgnpro_ros.types import GraspBatch

SCENE = box_scene([((-0.02, -0.04, 0.0), (0.02, 0.04, 0.06))])


@pytest.fixture
def grasps():
    rng = np.random.default_rng(0)
    batch = SCENE.grasps(np.stack([top_grasp(0, 0, 0.04), top_grasp(0, 0.01, 0.05)]), [0.05, 0.06])
    return replace(
        batch,
        covariance=rng.normal(size=(2, 6, 6)),
        keypoints=rng.normal(size=(2, 4, 2)),
        reprojection_error=np.array([0.5, 0.25]),
        rejected={"empty": 3},
    )


@pytest.fixture
def frame(tmp_path):
    folder = tmp_path / "frame"
    folder.mkdir()
    depth = np.nan_to_num(SCENE.image.depth * 1000.0).round().astype(np.uint16)
    depth[0, 0] = 0
    color = SCENE.image.color.copy()
    color[..., 0] = 200  # red in RGB
    cv2.imwrite(str(folder / "color.png"), color[..., ::-1])
    cv2.imwrite(str(folder / "depth.png"), depth)
    camera = {**CAMERA.to_dict(), "depth_scale": 0.001, "source": "test"}
    (folder / "camera.json").write_text(json.dumps(camera))
    return folder


def test_file_has_the_documented_form(tmp_path, grasps):
    path = tmp_path / "new" / "a.json"
    predictions.write_predictions(path, grasps, CAMERA)
    data = json.loads(path.read_text())
    assert set(data) == {"camera", "grasps", "rejected"}
    assert data["camera"]["fx"] == CAMERA.fx
    assert data["rejected"] == {"empty": 3}
    first = data["grasps"][0]
    assert set(first) == {
        "T_camera_grasp", "width", "score", "confidence", "reprojection_error", "covariance",
        "keypoints",
    }  # fmt: skip
    np.testing.assert_array_equal(first["T_camera_grasp"], grasps.poses[0])
    assert first["T_camera_grasp"][0][3] == grasps.poses[0, 0, 3]  # row by row
    assert np.shape(first["covariance"]) == (36,)
    assert [path.name for path in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("n", [0, 2])
def test_round_trip_is_exact(tmp_path, grasps, n):
    path = tmp_path / "a.json"
    grasps = grasps.select(slice(0, n))
    predictions.write_predictions(path, grasps, CAMERA)
    read = predictions.read_predictions(path)
    assert read.camera == CAMERA
    assert read.grasps.frame == "camera"
    assert read.grasps.rejected == {"empty": 3}
    for name in ("poses", "widths", "score", "confidence", "covariance", "keypoints"):
        np.testing.assert_array_equal(getattr(read.grasps, name), getattr(grasps, name))


def test_no_file_with_values_that_are_not_finite(tmp_path, grasps):
    bad = replace(grasps, score=np.array([0.5, np.nan]))
    with pytest.raises(PredictionError, match="score"):
        predictions.write_predictions(tmp_path / "a.json", bad, CAMERA)
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        predictions.write_text_atomically(tmp_path / "a.json", "text")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("grasps"), "list 'grasps'"),
        (lambda d: d.update(grasps={}), "list 'grasps'"),
        (lambda d: d["camera"].update(fx=0), "fx"),
        (lambda d: d["grasps"][1].pop("width"), "grasp 1 lacks 'width'"),
        (lambda d: d["grasps"][0].update(covariance=[1.0] * 35), r"shape \(35,\)"),
        (lambda d: d["grasps"][0].update(score=float("nan")), "finite"),
        (lambda d: d["grasps"][0].update(width="wide"), "wide"),
        (lambda d: d["grasps"][0].update(T_camera_grasp=np.diag([2, 1, 1, 1]).tolist()), "rigid"),
        (lambda d: d.update(rejected=[1]), "rejected"),
    ],
)
def test_reading_says_what_is_wrong(tmp_path, grasps, change, message):
    path = tmp_path / "a.json"
    predictions.write_predictions(path, grasps, CAMERA)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(PredictionError, match=message) as error:
        predictions.read_predictions(path)
    assert "a.json" in str(error.value)


def test_missing_or_truncated_prediction_file(tmp_path, grasps):
    path = tmp_path / "a.json"
    with pytest.raises(PredictionError, match="cannot read"):
        predictions.read_predictions(path)
    predictions.write_predictions(path, grasps, CAMERA)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(PredictionError, match="cannot read"):
        predictions.read_predictions(path)
    path.write_text("[]")
    with pytest.raises(PredictionError, match="expected a JSON object"):
        predictions.read_predictions(path)


def test_frame_folder(frame):
    image = predictions.read_frame(frame)
    assert image.camera == CAMERA
    assert (image.color[0, 0] == (200, 128, 128)).all()
    assert np.isnan(image.depth[0, 0])
    assert image.mask is None
    np.testing.assert_allclose(image.depth[5:], SCENE.image.depth[5:], atol=6e-4)
    region = np.zeros((240, 320), dtype=np.uint8)
    region[10:20] = 255
    cv2.imwrite(str(frame / "mask.png"), region)
    assert predictions.read_frame(frame).mask.sum() == 3200


def test_depth_as_npy(frame):
    np.save(frame / "depth.npy", SCENE.image.depth)
    camera = json.loads((frame / "camera.json").read_text())
    (frame / "camera.json").write_text(json.dumps({**camera, "depth_scale": 1.0}))
    image = predictions.read_rgbd(
        frame / "color.png", frame / "depth.npy", frame / "camera.json", None
    )
    np.testing.assert_array_equal(image.depth, SCENE.image.depth)
    (frame / "depth.npy").write_bytes(b"no array")
    with pytest.raises(ImageError, match=r"depth\.npy"):
        predictions.read_rgbd(frame / "color.png", frame / "depth.npy", frame / "camera.json")


def test_find_frames(frame):
    assert predictions.find_frames(frame) == [frame]
    assert predictions.find_frames(frame.parent) == [frame]
    with pytest.raises(ImageError, match="no frame"):
        predictions.find_frames(frame / "none")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("camera.json", b"{", CameraError, "cannot read"),
        ("camera.json", b'{"fx": 1}', CameraError, "lacks"),
        ("camera.json", None, CameraError, "cannot read"),
        ("color.png", None, ImageError, "no image"),
        ("depth.png", b"junk", ImageError, "OpenCV"),
    ],
)
def test_unreadable_frame_files(frame, name, content, error, message):
    if content is None:
        (frame / name).unlink()
    else:
        (frame / name).write_bytes(content)
    with pytest.raises(error, match=message):
        predictions.read_frame(frame)


@pytest.mark.parametrize("scale", [None, 0, -1, "mm", True])
def test_depth_scale_is_checked(frame, scale):
    camera = json.loads((frame / "camera.json").read_text())
    (frame / "camera.json").write_text(json.dumps({**camera, "depth_scale": scale}))
    with pytest.raises(CameraError, match="depth_scale"):
        predictions.read_frame(frame)


def test_depth_of_the_wrong_kind(frame):
    cv2.imwrite(str(frame / "depth.png"), SCENE.image.color)
    with pytest.raises(ImageError, match="one channel"):
        predictions.read_frame(frame)
    cv2.imwrite(str(frame / "depth.png"), np.ones((10, 10), dtype=np.uint16))
    with pytest.raises(ImageError, match="size"):
        predictions.read_frame(frame)


def test_empty_batch_is_readable(tmp_path):
    predictions.write_predictions(tmp_path / "a.json", GraspBatch.empty("camera"), CAMERA)
    assert len(predictions.read_predictions(tmp_path / "a.json").grasps) == 0
