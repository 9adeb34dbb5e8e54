# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
from support.evaluation_scenes import MemoryScenes, grasp_batch, scene_object, truth

from kgnpro_ros.config import EvaluationConfig
from kgnpro_ros.evaluation.runner import (
    Contender,
    chosen_images,
    evaluate,
    evaluate_together,
)
from kgnpro_ros.exceptions import DatasetError

DATA = MemoryScenes([[scene_object("sphere")], [scene_object("ring")], [scene_object("stick")]])
QUICK = EvaluationConfig(bootstrap_samples=50, rotation_samples=6, translation_samples=2)


def perfect(sample):
    return grasp_batch(truth(sample, 6, 2))


def test_ground_truth_is_sampled_once_a_scene():
    DATA.label_calls = 0
    result = evaluate(DATA, perfect, QUICK)
    assert DATA.label_calls == 3
    assert (result.images, result.scenes) == (6, 3)
    assert result.counts.image_scene.tolist() == [0, 0, 1, 1, 2, 2]


def test_limit_progress_and_inspection():
    steps, seen = [], []

    def progress(done, total):
        steps.append((done, total))

    def inspect(sample, labels, grasps):
        seen.append((sample.view, len(labels.widths) > 0, len(grasps) > 0))

    evaluate(DATA, perfect, QUICK, limit=4, progress=progress, inspect=inspect)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert seen == [(0, True, True), (1, True, True)] * 2


def test_result_is_plain_json():
    data = json.loads(json.dumps(evaluate(DATA, perfect, QUICK).to_dict(), allow_nan=False))
    assert len(data["cells"]) == 6
    assert len(data["kgn_pairs"]) == 3
    assert len(data["curve"]) == 9
    cell = data["cells"][0]
    assert (cell["distance"], cell["angle"], cell["osr"]) == (0.01, 10.0, 1.0)
    assert cell["osr_interval"] == [1.0, 1.0]
    assert data["classes"]["ring"]["objects"] == 2
    assert data["classes"]["ring"]["cells"][0]["gsr"] == 1.0
    assert data["classes"]["cuboid"]["cells"][0]["gsr"] is None


def test_no_predictions_at_all_has_no_success_rate():
    data = evaluate(DATA, lambda sample: grasp_batch(np.zeros((0, 4, 4))), QUICK).to_dict()
    assert data["cells"][0]["gsr"] is None
    assert data["cells"][0]["gsr_interval"] == [None, None]
    assert data["cells"][0]["osr"] == 0.0


def test_nothing_to_evaluate():
    with pytest.raises(DatasetError, match="no image"):
        evaluate(MemoryScenes([]), perfect, QUICK)


def test_only_some_scenes_and_views():
    data = MemoryScenes([[scene_object("sphere")], [], [scene_object("cuboid")]])
    for scenes, views, expected in (
        (None, None, [0, 1, 2, 3, 4, 5]), (2, None, [0, 1, 2, 3]), (None, 1, [0, 2, 4]),
        (2, 1, [0, 2]), (9, 9, [0, 1, 2, 3, 4, 5]),
    ):  # fmt: skip
        assert chosen_images(data, EvaluationConfig(scenes=scenes, views=views)) == expected
    result = evaluate(data, perfect, EvaluationConfig(views=1))
    assert (result.images, result.scenes) == (3, 3)


def test_contenders_see_the_same_images_and_count_apart():
    data = MemoryScenes([[scene_object("sphere")], [scene_object("cuboid")]])
    seen = []

    def nothing(sample):
        seen.append((sample.scene_id, sample.view))
        return grasp_batch(np.zeros((0, 4, 4)))

    contenders = [Contender(perfect), Contender(nothing), Contender(perfect, max_grasps=3)]
    whole, none, best = evaluate_together(data, contenders)
    assert data.label_calls == 2
    assert seen == [("0", 0), ("0", 1), ("1", 0), ("1", 1)]
    assert none.counts.predictions.sum() == 0
    assert best.counts.predictions.tolist() == [3] * 4
    alone = evaluate(data, perfect)
    np.testing.assert_array_equal(whole.counts.succeeded, alone.counts.succeeded)
    np.testing.assert_array_equal(whole.rates().gsr, alone.rates().gsr)
