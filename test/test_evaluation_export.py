# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""An ONNX file is written if it finds the same grasps, and not otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.box_scene import box_scene
from support.proposing_model import TINY, lenient, save_proposing_model

from kgnpro_ros.evaluation import export
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.geometry import Camera
from kgnpro_ros.network.graph import graph_bytes, read_graph
from kgnpro_ros.network.runtime import TorchRuntime
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.types import RGBDImage

#: Where a head has another name than the map it goes into.
OUTPUTS = {"weight_scale": "weights"}
CAMERA = Camera(616.3, 616.3, 63.5, 47.5, 128, 96)
DEFORMABLE = replace(TINY, deformable=True, level_root=True, level_depths=(1, 1, 0, 0))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    scenes = [box_scene([((-x, -0.03, 0.0), (x, 0.03, 0.04))], camera=CAMERA) for x in (0.02, 0.04)]
    colors = rng.integers(0, 256, (2, 96, 128, 3), dtype=np.uint8)
    return [RGBDImage(c, s.image.depth, CAMERA) for c, s in zip(colors, scenes, strict=True)]


@pytest.fixture(autouse=True)
def let_nonsense_through(monkeypatch):
    monkeypatch.setattr(export, "GraspDetector", lambda config: GraspDetector(lenient(config)))


@pytest.fixture
def exported_as(monkeypatch):
    """Let the exporter write another network: one head's last layer goes through a function."""

    def use(head, change):
        def spoiled(network, sha256, half=False):
            weight = network.heads[head].out.weight
            kept = weight.detach().clone()
            with torch.no_grad():
                weight.copy_(change(weight))
            content = graph_bytes(network, sha256, half)
            with torch.no_grad():
                weight.copy_(kept)
            return content

        monkeypatch.setattr(export, "graph_bytes", spoiled)

    return use


@pytest.mark.parametrize("config", [TINY, DEFORMABLE], ids=["tiny", "deformable"])
def test_a_faithful_file_is_written_beside_the_model(tmp_path, images, config):
    model = save_proposing_model(tmp_path, config)
    path, parity = export.export_graph(str(model), None, False, images)
    assert path == tmp_path / "net.onnx"
    assert read_graph(path).config == config
    assert parity.grasps > 50
    assert parity.same >= 0.99
    assert set(parity.differences) >= {"heatmap", "offsets", "width"}
    assert 0.0 < max(parity.differences.values()) < 1e-3
    assert _files(tmp_path) == ["net.json", "net.onnx", "net.safetensors"]


def _files(folder):
    return sorted(p.name for p in folder.iterdir())


def test_half_is_smaller_and_rougher(tmp_path, images):
    wide = replace(TINY, head_channels=32)  # small weights stay as they are
    model = save_proposing_model(tmp_path, wide)
    whole, exact = export.export_graph(str(model), None, False, images)
    half, rough = export.export_graph(str(model), tmp_path / "sub" / "half.onnx", True, images)
    assert half.stat().st_size < whole.stat().st_size
    assert max(rough.differences.values()) > 10 * max(exact.differences.values())
    assert rough.same >= export.HALF_SAME_SHARE


@pytest.mark.parametrize("head", ["heatmap", "offsets", "width", "weight_scale", "depth"])
def test_a_head_that_differs_is_named_and_nothing_is_written(tmp_path, images, exported_as, head):
    model = save_proposing_model(tmp_path)
    before = _files(tmp_path)
    exported_as(head, lambda weight: 1.05 * weight)
    with pytest.raises(
        ModelError, match=rf"differs.* in {OUTPUTS.get(head, head)}.*nothing was written"
    ):
        export.export_graph(str(model), None, False, images)
    assert _files(tmp_path) == before


def test_an_older_file_survives_a_failed_export(tmp_path, images, exported_as):
    model = save_proposing_model(tmp_path)
    path, _ = export.export_graph(str(model), None, False, images)
    content = path.read_bytes()
    exported_as("offsets", lambda weight: 1.05 * weight)
    with pytest.raises(ModelError):
        export.export_graph(str(model), None, False, images)
    assert path.read_bytes() == content


def test_other_grasps_fail_even_where_maps_are_near(tmp_path, images, exported_as, monkeypatch):
    model = save_proposing_model(tmp_path)
    monkeypatch.setattr(export, "MAP_TOLERANCE", 1e3)
    exported_as("offsets", lambda weight: 1.5 * weight)
    monkeypatch.setattr(export, "HALF_SAME_GRASP", 1e-3)
    with pytest.raises(ModelError, match=r"finds \d.* % of the same \d+ grasps"):
        export.export_graph(str(model), None, False, images)
    assert not (tmp_path / "net.onnx").exists()


def test_frames_without_grasps_prove_nothing(tmp_path, images, monkeypatch):
    model = save_proposing_model(tmp_path)

    def strict(config):
        settings = replace(lenient(config), decode=replace(config.decode, score_threshold=0.999))
        return GraspDetector(settings)

    monkeypatch.setattr(export, "GraspDetector", strict)
    with pytest.raises(ModelError, match="finds no grasp"):
        export.export_graph(str(model), None, False, images)
    assert not (tmp_path / "net.onnx").exists()


def test_comparison_with_itself_is_perfect(tmp_path, images):
    detector = export.GraspDetector(
        lenient(export.DetectorConfig(model=str(save_proposing_model(tmp_path)), runtime="torch"))
    )
    parity = export.compare(detector, TorchRuntime(detector.network), images)
    assert parity.same == 1.0
    assert max(parity.differences.values()) == 0.0
