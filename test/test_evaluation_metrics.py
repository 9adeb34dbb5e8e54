# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The metric against the protocol written out as loops, and against cases with known scores."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.evaluation_scenes import SHAPES, MemoryScenes, grasp_batch, scene_object, truth

from kgnpro_ros.config import EvaluationConfig
from kgnpro_ros.data.labels import grasp_labels
from kgnpro_ros.data.shapes import CLASSES
from kgnpro_ros.evaluation import metrics
from kgnpro_ros.evaluation.runner import evaluate
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.geometry.se3 import invert, make_transform

ALL = EvaluationConfig(max_grasps=100000, bootstrap_samples=20)
TWIN = np.diag([1.0, -1.0, -1.0, 1.0])


def spread_out(kinds):
    """Objects too far apart to get in each other's way."""
    return [scene_object(kind, 0.5 * k, 0.0) for k, kind in enumerate(kinds)]


SINGLE = MemoryScenes([[scene_object(kind)] for kind in SHAPES])
MULTI = MemoryScenes([spread_out(SHAPES), spread_out(reversed(SHAPES))])


def rates_by_pair(result):
    """{(distance, angle): (gsr, gcr, osr)} over all threshold pairs."""
    rates = result.rates()
    return {
        (round(distance, 4), angle): (rates.gsr[t], rates.gcr[t], rates.osr[t])
        for t, (distance, angle) in enumerate(result.counts.thresholds.tolist())
    }


def score(data, change):
    """Evaluate ground truth after a change of the poses in the grasp frame or the camera frame."""
    return rates_by_pair(evaluate(data, lambda s: grasp_batch(change(truth(s))), ALL))


@pytest.mark.parametrize("data", [SINGLE, MULTI])
def test_ground_truth_scores_one_everywhere(data):
    for rates in score(data, lambda poses: poses).values():
        assert rates == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("data", [SINGLE, MULTI])
def test_turned_by_180_degrees_about_the_approach_axis_still_scores_one(data):
    for rates in score(data, lambda poses: poses @ TWIN).values():
        assert rates == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("axis", range(3))
def test_moved_by_12_mm_fails_10_mm_and_passes_15_mm(axis):
    # All grasps of a sphere share their origin, so no neighbour is nearer than the moved one.
    move = np.eye(4)
    move[axis, 3] = 0.012
    scores = score(MemoryScenes([[scene_object("sphere")]]), lambda poses: move @ poses)
    for angle in (10.0, 20.0):
        assert scores[0.01, angle] == (0.0, 0.0, 0.0)
        assert scores[0.015, angle] == (1.0, 1.0, 1.0)
        assert scores[0.02, angle] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("axis", "xyz")
def test_turned_by_15_degrees_fails_10_and_passes_20(axis):
    # The grasps of a cuboid differ by at least 90 degrees, so no neighbour is nearer.
    turn = make_transform(Rotation.from_euler(axis, 15, degrees=True).as_matrix(), np.zeros(3))
    scores = score(MemoryScenes([[scene_object("cuboid")]]), lambda poses: poses @ turn)
    for distance in (0.01, 0.015, 0.02):
        assert scores[distance, 10.0] == (0.0, 0.0, 0.0)
        assert scores[distance, 20.0] == (1.0, 1.0, 1.0)


def test_random_grasps_score_next_to_nothing():
    rng = np.random.default_rng(0)
    scenes = [
        [scene_object(k, 0.12 * (i % 3) - 0.12, 0.15 * (i // 3)) for i, k in enumerate(SHAPES)]
    ]

    def random(sample):
        origins = rng.uniform((-0.25, -0.2, 0.0), (0.25, 0.3, 0.15), (100, 3))
        poses = make_transform(
            Rotation.random(100, random_state=rng.integers(2**31)).as_matrix(), origins
        )
        return grasp_batch(invert(sample.T_world_camera) @ poses)

    scores = rates_by_pair(evaluate(MemoryScenes(scenes * 10), random, ALL))
    assert max(scores[0.02, 20.0]) < 0.02
    assert scores[0.05, 45.0][2] > 0.1  # and the metric is weak where it is loose


def protocol(predictions, labels, reach, angle):
    """Section 5.3 of the protocol for one image, as loops: sums for GSR, GCR and OSR."""
    free = labels.free
    used, sums = set(), {"succeeded": 0, "covered": 0, "truths": 0, "objects": 0, "found": 0}
    for k in sorted(set(labels.object_index.tolist())):
        truths = free.T_world_grasp[free.object_index == k]
        matched, covered = set(), set()
        for i, p in enumerate(predictions):
            for j, g in enumerate(truths):
                near = np.linalg.norm(p[:3, 3] - g[:3, 3]) < reach
                turns = [p[:3, :3].T @ g[:3, :3], p[:3, :3].T @ (g @ TWIN)[:3, :3]]
                if near and min(Rotation.from_matrix(t).magnitude() for t in turns) < angle:
                    matched.add(i)
                    covered.add(j)
        fresh = matched - used
        used |= matched
        if len(truths):
            sums["succeeded"] += len(fresh)
            sums["covered"] += len(covered)
            sums["truths"] += len(truths)
            sums["objects"] += 1
            sums["found"] += bool(fresh)
    return sums


def test_counts_agree_with_the_protocol_written_as_loops():
    rng = np.random.default_rng(3)
    # Close together, so that grasps collide and predictions match two objects.
    objects = [
        scene_object("stick"),
        scene_object("sphere", 0.055),
        scene_object("ring", 0.0, 0.06),
    ]
    labels = grasp_labels(objects, 5, 2)
    assert 0 < labels.colliding.sum() < len(labels.colliding)
    pick = rng.integers(0, len(labels.widths), 25)
    noise = make_transform(
        Rotation.from_rotvec(rng.normal(0, 0.15, (25, 3))).as_matrix(), rng.normal(0, 0.01, (25, 3))
    )
    predictions = labels.T_world_grasp[pick] @ noise
    thresholds = np.array([[0.01, 20.0], [0.03, 25.0], [0.08, 60.0]])
    counts = metrics.count_matches(predictions, labels, thresholds)
    for t, (reach, angle) in enumerate(thresholds):
        expected = protocol(predictions, labels, reach, np.radians(angle))
        assert counts.succeeded[:, t].sum() == expected["succeeded"]
        assert counts.covered[:, t].sum() == expected["covered"]
        assert counts.truths.sum() == expected["truths"]
        assert len(counts.truths) == expected["objects"]
        assert (counts.succeeded[:, t] > 0).sum() == expected["found"]
        assert counts.attributed[:, t].sum() == len(predictions)
    assert counts.succeeded[:, 1].sum() > 3


def test_prediction_counts_for_the_first_object_that_it_matches():
    # Two spheres at one place: the second one's grasps are all used up by the first.
    labels = grasp_labels([scene_object("sphere"), scene_object("sphere")], 4, 1)
    labels = type(labels)(**{**vars(labels), "colliding": np.zeros(len(labels.widths), bool)})
    counts = metrics.count_matches(labels.T_world_grasp[:3], labels, np.array([[0.01, 10.0]]))
    assert counts.succeeded[:, 0].tolist() == [3, 0]
    assert counts.covered[0, 0] == counts.covered[1, 0] > 0


def test_thresholds_are_strict():
    labels = grasp_labels([scene_object("sphere")], 4, 1)
    moved = labels.free.T_world_grasp[:1].copy()
    moved[0, 0, 3] += 0.0625
    distance = metrics.pose_distances(moved, labels.free.T_world_grasp[:1])[0][0, 0]
    pairs = np.array([[distance, 10.0], [np.nextafter(distance, 1), 10.0]])
    assert metrics.count_matches(moved, labels, pairs).succeeded[0].tolist() == [0, 1]


def test_pose_distance_agrees_with_scipy():
    rotations = Rotation.random(40, random_state=2)
    poses = make_transform(rotations.as_matrix(), np.random.default_rng(0).normal(size=(40, 3)))
    distance, cosine = metrics.pose_distances(poses[:20], poses[20:])
    twin = Rotation.from_euler("x", 180, degrees=True)
    for i in range(20):
        other = rotations[20:]
        one = (rotations[i].inv() * other).magnitude()
        two = (rotations[i].inv() * other * twin).magnitude()
        np.testing.assert_allclose(np.arccos(cosine[i]), np.minimum(one, two), atol=1e-7)
        gaps = np.linalg.norm(poses[i, :3, 3] - poses[20:, :3, 3], axis=1)
        np.testing.assert_allclose(distance[i], gaps)


def test_only_the_best_hundred_count():
    data = MemoryScenes([[scene_object("cylinder")]])
    junk = np.tile(np.eye(4), (100, 1, 1))

    def predict(sample):
        return grasp_batch(np.concatenate([junk, truth(sample)]))

    result = evaluate(data, predict, EvaluationConfig())
    assert result.counts.predictions.tolist() == [100, 100]
    assert result.rates().osr.max() == 0.0


def test_image_without_predictions_costs_coverage_but_not_success_rate():
    data = MemoryScenes([[scene_object("sphere")], [scene_object("cuboid")]])

    def predict(sample):
        return grasp_batch(truth(sample) if sample.scene_id == "0" else np.zeros((0, 4, 4)))

    gsr, gcr, osr = rates_by_pair(evaluate(data, predict, ALL))[0.01, 10.0]
    assert gsr == 1.0
    assert 0 < gcr < 1
    assert osr == 0.5


def test_class_rates_have_the_right_denominators():
    counts = evaluate(SINGLE, lambda sample: grasp_batch(truth(sample)), ALL).counts
    for index in range(len(CLASSES)):
        rates = metrics.class_rates(counts, index)
        assert (rates.gsr == 1.0).all()
        assert (rates.osr == 1.0).all()
    # Half of the predictions for one class are junk: only that class may suffer.

    def half_junk(sample):
        poses = truth(sample)
        if sample.objects[0].shape.kind == "ring":
            junk = poses.copy()
            junk[:, 2, 3] += 0.2
            poses = np.concatenate([poses, junk])
        return grasp_batch(poses)

    counts = evaluate(SINGLE, half_junk, ALL).counts
    assert (metrics.class_rates(counts, CLASSES.index("ring")).gsr == 0.5).all()
    assert (metrics.class_rates(counts, CLASSES.index("stick")).gsr == 1.0).all()


def test_class_without_objects_has_no_rate():
    counts = evaluate(
        MemoryScenes([[scene_object("ring")]]), lambda s: grasp_batch(truth(s))
    ).counts
    assert np.isnan(metrics.class_rates(counts, CLASSES.index("stick")).osr).all()


def test_bootstrap_resamples_scenes():
    # In 12 of 20 scenes everything is found, in 8 nothing.
    data = MemoryScenes([[scene_object("sphere")]] * 20)

    def predict(sample):
        return grasp_batch(truth(sample) if int(sample.scene_id) < 12 else np.zeros((0, 4, 4)))

    counts = evaluate(data, predict, ALL).counts
    low, high = metrics.bootstrap_intervals(counts, 4000, seed=1)
    again, _ = metrics.bootstrap_intervals(counts, 4000, seed=1)
    np.testing.assert_array_equal(low.osr, again.osr)
    # Quantiles of Binomial(20, 0.6) / 20, the exact distribution of the resampled rate.
    assert low.osr[0] == pytest.approx(0.40, abs=0.051)
    assert high.osr[0] == pytest.approx(0.80, abs=0.051)
    assert (low.gsr == 1.0).all()


def test_thresholds_hold_the_table_the_pairs_and_the_curve():
    result = evaluate(MemoryScenes([[scene_object("ring")]]), lambda s: grasp_batch(truth(s)))
    pairs, parts = result.counts.thresholds, result.sections()
    expected = [[0.01, 10], [0.015, 10], [0.02, 10], [0.01, 20], [0.015, 20], [0.02, 20]]
    np.testing.assert_allclose(pairs[parts["cells"]], expected)
    np.testing.assert_allclose(pairs[parts["kgn_pairs"]], [[0.01, 20], [0.02, 30], [0.03, 45]])
    curve = pairs[parts["curve"]]
    np.testing.assert_allclose(curve[[0, -1]], [[0.01, 10], [0.05, 45]])
    assert (np.diff(curve, axis=0) > 0).all()


def test_predictions_of_the_wrong_shape():
    labels = grasp_labels([scene_object("ring")], 3, 1)
    with pytest.raises(ShapeError, match="expected"):
        metrics.count_matches(np.eye(4), labels, np.array([[0.01, 10.0]]))
