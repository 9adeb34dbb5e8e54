# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import json

import cv2
import numpy as np
from rich.console import Console
from support.evaluation_scenes import MemoryScenes, grasp_batch, scene_object, truth

from kgnpro_ros.config import EvaluationConfig
from kgnpro_ros.evaluation.calibration import Calibration
from kgnpro_ros.evaluation.report import plot_curves, print_report, write_report
from kgnpro_ros.evaluation.runner import evaluate
from kgnpro_ros.evaluation.stages import StageCounts

CONFIG = EvaluationConfig(bootstrap_samples=50, rotation_samples=6, translation_samples=2)


def report(predictions=True):
    data = MemoryScenes([[scene_object("sphere")], [scene_object("ring")]])

    def predict(sample):
        return grasp_batch(truth(sample, 6, 2) if predictions else np.zeros((0, 4, 4)))

    counts = StageCounts(np.array([1, 0, 0, 0, 0, 0, 3]), np.array([0, 0, 0, 0, 0, 0, 4]))
    calibration = Calibration(12, 0, 0.25, 0.5, 3.5, 0.5, 0.75)
    result = evaluate(data, predict, CONFIG).to_dict()
    return {**result, "stages": counts.to_dict(), "calibration": calibration.to_dict()}


def printed(content):
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    print_report(content, console)
    return console.export_text()


def test_tables_show_the_figures():
    text = printed(report())
    assert "2 scenes, 4 images, 4 objects" in text
    assert "1.5 cm 20°" in text
    assert "3 cm 45°" in text
    assert "100.0 [100.0, 100.0]" in text
    assert "sphere" in text
    assert "stick" not in text
    assert "peak missed" in text
    assert "25.0 % of 12 errors in the 50 % ellipsoid" in text
    assert "factor of 3.5" in text


def test_rates_without_denominator_are_dashes():
    text = printed(report(predictions=False))
    row = next(line for line in text.splitlines() if "1 cm 10°" in line and "[" in line)
    assert " - " in row
    assert "0.0 [0.0, 0.0]" in row


def test_json_on_disk_is_the_report(tmp_path):
    content = report(predictions=False)
    write_report(tmp_path / "deep" / "r.json", content)
    assert json.loads((tmp_path / "deep" / "r.json").read_text()) == content


def test_curves_are_a_picture(tmp_path):
    path = tmp_path / "c.png"
    plot_curves(path, {"good": report(), "none": report(predictions=False)})
    picture = cv2.imread(str(path))
    assert picture.shape[1] > 1000
    assert (picture != 255).mean() > 0.01
    assert [file.name for file in tmp_path.iterdir()] == ["c.png"]
