#!/usr/bin/env python3
# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What eight-bit arithmetic changes: writes and proves the quantised network, and compares again.

    python benchmarks/bench_int8.py --model lite --test DATA --test DATA --out table.md

Does what kgnpro export --model lite --int8 does (not with --keep, which takes the file that is
there), then lets both networks detect in every image of test data, one after the other, and times
them in turn. Needs the ONNX file of kgnpro export --model lite beside the model.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from kgnpro_ros.config import DetectorConfig, EvaluationConfig
from kgnpro_ros.evaluation.command import open_test_split
from kgnpro_ros.evaluation.quantised import compare, export_on_console, paired_differences
from kgnpro_ros.evaluation.runner import chosen_images
from kgnpro_ros.evaluation.timing import Times, summary
from kgnpro_ros.network.graph import read_graph
from kgnpro_ros.network.runtime import OnnxRuntime, OpenVinoRuntime, graph_path
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.pipeline import GraspDetector
from kgnpro_ros.types import RGBDImage

WARM_UP = 3


def detectors(model: str) -> tuple[GraspDetector, GraspDetector]:
    """Single precision by OpenVINO, and INT8, as the metric judges."""
    settings = DetectorConfig(model=model, device="cpu", runtime="openvino")
    settings = replace(settings, filters=settings.filters.without_gripper())
    return GraspDetector(settings), GraspDetector(replace(settings, runtime="int8"))


def accuracy(
    one: GraspDetector, two: GraspDetector, path: Path, config: EvaluationConfig
) -> tuple[list[str], RGBDImage]:
    """Rows of the table for one data set, and its first image."""
    data = open_test_split(path)
    first, second = compare(one, two.runtime, data, config)
    difference, (low, high) = paired_differences(first, second)
    cells = 100.0 * first.rates().osr[first.sections()["cells"]]
    osr = [f"{value:.1f}" for value in [*cells, cells.mean()]]
    change = [
        f"{value:+.1f} ({a:+.1f} to {b:+.1f})"
        for value, a, b in zip(difference, low, high, strict=True)
    ]
    title = f"{path.name}, {first.images} images, {len(first.counts.classes)} objects"
    rows = [
        f"| {title}: single precision | {' | '.join(osr)} |",
        f"| INT8 minus that (95 %) | {' | '.join(change)} |",
    ]
    return rows, data.load(chosen_images(data, config)[0]).image


def accuracy_table(
    one: GraspDetector, two: GraspDetector, tests: list[Path], config: EvaluationConfig
) -> tuple[list[str], RGBDImage]:
    """OSR in the cells of the evaluation's table and their mean, and an image."""
    heads = [f"{100 * d:g} cm, {a:g}°" for a in config.angles for d in config.distances]
    lines = [f"| OSR [%] | {' | '.join(heads)} | mean |", "|---" * (len(heads) + 2) + "|"]
    for path in tests:
        rows, image = accuracy(one, two, path, config)
        lines += rows
    return lines, image


def time_table(model: str, detector: GraspDetector, image: RGBDImage, runs: int) -> list[str]:
    """Milliseconds of both networks in both packages, each run in turn."""
    inputs = detector.prepare(image.undistorted())[:2]
    loaded = load_model(model)
    graphs = [read_graph(graph_path(loaded, quantised)) for quantised in (False, True)]
    runtimes = [kind(graph) for kind in (OpenVinoRuntime, OnnxRuntime) for graph in graphs]
    wall: list[list[float]] = [[] for _ in runtimes]
    processor: list[list[float]] = [[] for _ in runtimes]
    for run in range(runs + WARM_UP):
        for index, runtime in enumerate(runtimes):
            start = os.times()
            runtime(*inputs)
            end = os.times()
            if run >= WARM_UP:
                wall[index].append(1e3 * (end.elapsed - start.elapsed))
                spent = end.user + end.system - start.user - start.system
                processor[index].append(1e3 * spent)
    times = [summary(a, b) for a, b in zip(wall, processor, strict=True)]
    sizes = [len(graph.content) / 1e6 for graph in graphs]
    lines = [
        f"File: {sizes[0]:.1f} MB single precision, {sizes[1]:.1f} MB INT8. Network, median of",
        f"{runs} runs in turn [ms], wall clock and (processor), load {os.getloadavg()[0]:.1f}:",
        "",
        "| | single precision | INT8 | ratio |",
        "|---|---|---|---|",
    ]
    names = ("OpenVINO", "ONNX Runtime")
    return lines + [_row(name, *times[2 * k : 2 * k + 2]) for k, name in enumerate(names)]


def _row(name: str, one: Times, two: Times) -> str:
    ratios = two.median / one.median, two.cpu_median / one.cpu_median
    texts = [f"{each.median:.1f} ({each.cpu_median:.0f})" for each in (one, two)]
    return f"| {name} | {' | '.join(texts)} | {ratios[0]:.2f} ({ratios[1]:.2f}) |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--test", type=Path, action="append", required=True)
    parser.add_argument("--calibrate", type=Path, help="frames or data; rendered if absent")
    parser.add_argument("--keep", action="store_true", help="take the INT8 file that is there")
    parser.add_argument("--scenes", type=int, help="only the first scenes of each test set")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--out", type=Path, help="Markdown file for the tables")
    arguments = parser.parse_args()
    if not arguments.keep:
        export_on_console(arguments.model, None, arguments.calibrate, Console())
    one, two = detectors(arguments.model)
    config = EvaluationConfig(scenes=arguments.scenes)
    lines, image = accuracy_table(one, two, arguments.test, config)
    text = "\n".join(
        [f"INT8: {two.runtime.note}.", "", *lines, "",
         *time_table(arguments.model, one, image, arguments.runs), ""]
    )  # fmt: skip
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
