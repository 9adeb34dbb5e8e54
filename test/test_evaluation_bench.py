# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``kgnpro bench``: figures that add up, against a clock that is known and a count by hand."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console
from support.box_scene import box_scene
from support.proposing_model import lenient, proposing_network, save_proposing_model

from kgnpro_ros import cli
from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.evaluation import bench, timing
from kgnpro_ros.geometry import Camera
from kgnpro_ros.network.graph import graph_bytes
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.pipeline import GraspDetector

CAMERA = Camera(616.3, 616.3, 63.5, 47.5, 128, 96)
STAGES = ["network", "total", "table", "decode", "pnp", "filters", "after network"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = save_proposing_model(tmp_path_factory.mktemp("model"))
    loaded = load_model(path)
    path.with_suffix(".onnx").write_bytes(graph_bytes(loaded.network, loaded.sha256))
    return path


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch):
    monkeypatch.setattr(bench, "MATRIX", 128)


@pytest.fixture
def images():
    return [box_scene([((-0.03, -0.03, 0.0), (0.03, 0.03, 0.05))], camera=CAMERA).image] * 2


def test_times_are_those_of_the_clock(monkeypatch):
    """Every run takes a millisecond more than the one before; warm-up does not count."""
    now, cpu, calls = [0.0], [0.0], []

    def work():
        calls.append(1)
        now[0] += 1e-3 * len(calls)
        cpu[0] += 2e-3 * len(calls)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing.time, "process_time", lambda: cpu[0])
    times = timing.measure(work, runs=21, warm_up=3)
    assert len(calls) == 24
    assert times.median == pytest.approx(14.0)
    assert times.p95 == pytest.approx(23.0)
    assert times.least == pytest.approx(4.0)
    assert times.cpu_median == pytest.approx(28.0)
    assert times.cpu_least == pytest.approx(8.0)


def test_the_work_of_the_network_is_that_of_its_convolutions(model, images):
    counted = []

    def count(module, inputs, output):
        kernel = module.kernel_size[0] * module.kernel_size[1]
        counted.append(2 * kernel * module.in_channels // module.groups * output.numel())

    network = proposing_network()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, 96, 128, dtype=torch.uint8), torch.full((1, 96, 128), 0.7))
    detector = GraspDetector(DetectorConfig(model=str(model), runtime="torch"))
    found = bench.network_flops(detector, images[0])
    assert found == pytest.approx(sum(counted), rel=0.02)
    assert sum(counted) > 1e6


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_figures_of_a_run_belong_together(model, images, runtime):
    config = lenient(DetectorConfig(model=str(model), runtime=runtime))
    report = bench.run_bench(config, images, 3, all_candidates=True)
    assert report["runtime"] == runtime
    assert report["runs"] == 3
    assert report["candidates"] == config.decode.top_k
    assert sorted(report["stages_ms"]) == sorted(STAGES)
    medians = {name: times["median"] for name, times in report["stages_ms"].items()}
    for times in report["stages_ms"].values():
        assert 0 < times["least"] <= times["median"] <= times["p95"]
    assert medians["network"] < medians["total"]
    assert medians["after network"] < medians["total"]
    assert report["stages_ms"]["total"]["cpu_least"] > 0
    assert np.isnan(report["stages_ms"]["network"]["cpu_least"])
    assert report["floor_ms"] == pytest.approx(
        1e3 * report["network_gflop"] / report["matmul_gflops"]
    )
    assert all(times["least"] > 0 for times in report["pnp_ms"].values())


def test_without_all_candidates_the_settings_decide(model, images):
    config = lenient(DetectorConfig(model=str(model), runtime="torch"))
    scores = GraspDetector(config).run(images[0]).candidates.confidence
    decode = replace(config.decode, score_threshold=float(scores[10]))
    some = bench.run_bench(replace(config, decode=decode), images, 1)
    assert some["candidates"] == int((scores >= scores[10]).sum()) < config.decode.top_k


def write_frames(folder, images):
    for index, image in enumerate(images):
        path = folder / f"frame_{index}"
        path.mkdir(parents=True)
        cv2.imwrite(str(path / "color.png"), image.color)
        cv2.imwrite(str(path / "depth.png"), np.rint(1000 * image.depth).astype(np.uint16))
        camera = {**image.camera.to_dict(), "depth_scale": 0.001}
        (path / "camera.json").write_text(json.dumps(camera))


def test_the_command_prints_a_table_and_writes_all_figures(
    model, images, tmp_path, monkeypatch, capsys
):
    write_frames(tmp_path / "frames", images)
    out = tmp_path / "bench.json"
    arguments = [
        "bench", "--model", model, "--frames", tmp_path / "frames", "--runs", 2, "--json", out,
        "--runtime", "torch", "--runtime", "openvino", "--candidates",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["kgnpro", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    said = capsys.readouterr().out
    reports = json.loads(out.read_text())
    assert [report["runtime"] for report in reports] == ["torch", "openvino"]
    assert all(report["model_sha256"] == load_model(model).sha256 for report in reports)
    for stage in STAGES:
        assert said.count(f"│ {stage} ") == 2
    assert said.count("100 candidates solved") == 2
    assert "cv2.solvePnPGeneric" in said


def test_the_table_shows_what_the_report_says(model, images):
    config = DetectorConfig(model=str(model), runtime="torch")
    report = bench.run_bench(lenient(config), images, 1)
    report["stages_ms"]["network"].update(median=80.0, p95=91.26)
    report.update(floor_ms=60.0, network_gflop=4.2, matmul_gflops=70.0)
    said = io.StringIO()
    bench.print_bench(report, Console(file=said, width=200))
    (line,) = (line for line in said.getvalue().splitlines() if "network " in line[:12])
    assert line.split()[1::2] == ["network", "80.0", "91.3"]
    assert "60 ms at the matrix-multiply rate of 70 GFLOP/s: 75 % of it reached" in said.getvalue()


def test_reports_survive_the_file(tmp_path):
    path = Path(tmp_path) / "b.json"
    bench.write_bench(path, [{"runs": 3}, {"runs": 4}])
    assert json.loads(path.read_text()) == [{"runs": 3}, {"runs": 4}]
