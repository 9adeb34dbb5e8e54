# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A quantised network is written if it loses no more than the limit, and not otherwise."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from support.proposing_model import lenient, save_proposing_model
from support.tiny_dataset import write_tiny_dataset

from kgnpro_ros.config import EvaluationConfig
from kgnpro_ros.data.dataset import SceneDataset
from kgnpro_ros.data.labels import grasp_labels
from kgnpro_ros.evaluation import quantised
from kgnpro_ros.evaluation.metrics import MatchCounts, threshold_pairs
from kgnpro_ros.evaluation.runner import EvaluationResult
from kgnpro_ros.exceptions import ImageError, ModelError
from kgnpro_ros.network.graph import read_graph

#: Random weights hit an object at this distance and angle.
ANYWHERE = EvaluationConfig(
    distances=(1.0,), angles=(170.0,), kgn_pairs=((1.0, 170.0),), curve_points=2,
    bootstrap_samples=100,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), scenes=3)


@pytest.fixture
def settings(monkeypatch):
    own = quantised._settings
    monkeypatch.setattr(quantised, "_settings", lambda model: lenient(own(model)))
    monkeypatch.setattr(quantised, "EvaluationConfig", lambda: ANYWHERE)


@pytest.fixture
def without_grasps(monkeypatch):
    """Let quantisation break the network: no cell proposes anything any more."""
    own = quantised.quantised_bytes

    def broken(content, frames):
        model = onnx.load_model_from_string(own(content, frames))
        output = next(o.name for o in model.graph.output if o.name == "heatmap")
        node = next(n for n in model.graph.node if output in n.output)
        node.output[0] = "before"
        model.graph.node.add(op_type="Neg", input=["before"], output=["minus"])
        model.graph.node.add(op_type="Abs", input=["minus"], output=["size"])
        shift = onnx.numpy_helper.from_array(np.float32(100.0), "shift")
        model.graph.initializer.append(shift)
        model.graph.node.add(op_type="Add", input=["size", "shift"], output=["much"])
        model.graph.node.add(op_type="Neg", input=["much"], output=[output])
        return model.SerializeToString()

    monkeypatch.setattr(quantised, "quantised_bytes", broken)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_holds_its_own_is_written_with_its_proof(tmp_path, data, settings):
    model = save_proposing_model(tmp_path)
    seen = []
    path, proof = quantised.export_quantised(
        str(model), None, data, SceneDataset(data), lambda *at: seen.append(at)
    )
    assert path == tmp_path / "net_int8.onnx"
    graph = read_graph(path)
    assert graph.quantised
    assert graph.proof == proof
    assert (proof.images, proof.objects) == (6, 6)
    assert proof.osr > 50.0
    assert proof.low >= -quantised.LIMIT
    assert seen[-1] == (6, 6)
    assert files(tmp_path) == ["net.json", "net.safetensors", "net_int8.onnx"]


def test_what_loses_is_not_written_and_an_older_file_stays(
    tmp_path, data, settings, without_grasps
):
    model = save_proposing_model(tmp_path)
    (tmp_path / "net_int8.onnx").write_bytes(b"older")
    with pytest.raises(ModelError, match=r"may lose more than 1 point.*nothing was written"):
        quantised.export_quantised(str(model), None, data, SceneDataset(data))
    assert (tmp_path / "net_int8.onnx").read_bytes() == b"older"
    assert files(tmp_path) == ["net.json", "net.safetensors", "net_int8.onnx"]


def test_calibration_takes_frames_data_or_renders(tmp_path, data, monkeypatch):
    images = quantised.calibration_images(data)
    assert len(images) == 6
    monkeypatch.setattr(quantised, "CALIBRATION_FRAMES", 2)
    first, last = quantised.calibration_images(data)
    assert np.array_equal(first.color, images[0].color)
    assert np.array_equal(last.color, images[-1].color)
    with pytest.raises(ImageError, match="no frame"):
        quantised.calibration_images(tmp_path)


def test_rendered_scenes_are_the_same_each_time_and_of_every_kind():
    kinds = quantised.CALIBRATION_KINDS
    one, two = (quantised.RenderedScenes(3, 2, 9, kinds) for _ in range(2))
    assert len(one) == 6
    assert [one.scene_of(k) for k in range(6)] == [0, 0, 1, 1, 2, 2]
    several = one.load(0)
    labels = one.grasp_labels(1, 8, 2)
    assert len(np.unique(labels.free.object_index)) > 2
    assert len(labels.widths) == len(grasp_labels(several.objects, 8, 2).widths)
    assert not np.array_equal(several.image.color, one.load(1).image.color)
    single = one.load(5)
    assert len(single.objects) == 1
    assert np.array_equal(single.image.color, two.load(5).image.color)
    assert one.load(4).instances.any()


CELLS = EvaluationConfig(bootstrap_samples=2000)


def result(found):
    """One object in each image of each scene; ``found`` (scenes, images, cells)."""
    scenes, images, cells = found.shape
    thresholds = threshold_pairs(CELLS)
    hits = np.zeros((scenes * images, len(thresholds)), dtype=np.int64)
    hits[:, :cells] = found.reshape(-1, cells)
    ones = np.ones(scenes * images, dtype=np.int64)
    scene = np.repeat(np.arange(scenes), images)
    counts = MatchCounts(thresholds, scene, 0 * ones, ones, hits, hits, hits, scene, ones)
    return EvaluationResult(CELLS, counts)


def test_differences_are_paired_and_their_interval_is_that_of_the_mean():
    """Against the closed form: the mean of scenes is nearly normal."""
    rng = np.random.default_rng(0)
    one = rng.random((200, 5, 6)) < 0.7
    two = one ^ (rng.random(one.shape) < 0.02)
    difference, (low, high) = quantised.paired_differences(result(one), result(two))
    by_scene = 100.0 * (two.astype(float) - one).mean(axis=1)
    assert difference == pytest.approx([*by_scene.mean(axis=0), by_scene.mean()])
    table = np.column_stack([by_scene, by_scene.mean(axis=1)])
    half = 1.96 * table.std(axis=0) / np.sqrt(len(table))
    assert high - low == pytest.approx(2 * half, rel=0.12)
    assert (low + high) / 2 == pytest.approx(difference, abs=0.2)


@pytest.mark.parametrize(
    ("flips", "passes"),
    [(0, True), (3, True), (12, False)],  # of 1000 objects: 0, 0.3 and 1.2 points
)
def test_the_limit_is_one_point_with_confidence(flips, passes):
    one = np.ones((200, 5, 6), dtype=bool)
    two = one.copy()
    two[:flips, 0] = False
    if passes:
        proof = quantised.prove(result(one), result(two))
        assert proof.difference == pytest.approx(-flips / 10)
        assert -1.0 <= proof.low <= proof.difference
        assert (proof.images, proof.objects, proof.osr) == (1000, 1000, 100.0)
    else:
        with pytest.raises(ModelError, match=r"100\.0 % -1\.2 points of 1000 objects"):
            quantised.prove(result(one), result(two))


def test_too_few_frames_prove_no_small_loss():
    """One object in twenty scenes lost: half a point, but nobody knows."""
    one = np.ones((20, 10, 6), dtype=bool)
    two = one.copy()
    two[0, 0] = False
    with pytest.raises(ModelError, match="may lose more"):
        quantised.prove(result(one), result(two))


def test_a_model_that_finds_nothing_proves_nothing():
    none = np.zeros((20, 1, 6), dtype=bool)
    with pytest.raises(ModelError, match="finds no object"):
        quantised.prove(result(none), replace(result(none)))
