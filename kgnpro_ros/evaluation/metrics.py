# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""KGN's metric: grasp success, grasp coverage and object success rate (protocol, section 5).

A prediction matches a ground-truth grasp when their origins are closer than a distance and their
rotations closer than an angle, both strictly, where the grasp turned by 180 degrees about its
approach axis counts too. Opening and collision of the prediction do not matter. All threshold pairs
are counted in one pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from kgnpro_ros.config import EvaluationConfig
from kgnpro_ros.data.labels import GraspLabels
from kgnpro_ros.exceptions import ShapeError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def threshold_pairs(config: EvaluationConfig) -> FloatArray:
    """All pairs (distance [m], angle [deg]) of a configuration, shape (T, 2).

    In this order: every distance with the first angle, with the second, ...; KGN's own pairs; the
    points of the tolerance curve.
    """
    cells = [(distance, angle) for angle in config.angles for distance in config.distances]
    curve = np.linspace(config.curve_start, config.curve_end, config.curve_points)
    return np.concatenate([np.array([*cells, *config.kgn_pairs]), curve])


def pose_distances(poses_a: FloatArray, poses_b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distances between two sets of grasps.

    Args:
        poses_a: ``T_frame_grasp``, shape (A, 4, 4).
        poses_b: Others in the same frame, shape (B, 4, 4).

    Returns:
        Distance of the origins [m], and cosine of the smaller rotation angle with and without the
        180 degree turn about the approach axis, both of shape (A, B).
    """
    distance = cdist(poses_a[:, :3, 3], poses_b[:, :3, 3])
    # The trace of Ra^T Rb is x.x + y.y + z.z; the turn flips the signs of the last two.
    x, y, z = (poses_a[:, :3, axis] @ poses_b[:, :3, axis].T for axis in range(3))
    cosine: FloatArray = (x + np.abs(y + z) - 1.0) / 2.0
    return distance, cosine


@dataclass(frozen=True)
class ImageCounts:
    """What one image adds to the sums, for O objects that have ground truth and T thresholds.

    Attributes:
        predictions: Number of predictions.
        classes: Class of each object, int64, shape (O,).
        truths: Ground-truth grasps of each object, int64, shape (O,).
        succeeded: Predictions credited to each object: they match one of its grasps and none of an
            earlier object, int64, shape (O, T).
        covered: Ground-truth grasps that some prediction matches, int64, shape (O, T).
        attributed: Predictions that an object has to answer for: those credited to it, and those
            that match nothing and are nearest to one of its grasps, int64, shape (O, T).
    """

    predictions: int
    classes: IntArray
    truths: IntArray
    succeeded: IntArray
    covered: IntArray
    attributed: IntArray


def count_matches(
    T_world_grasp: FloatArray, labels: GraspLabels, thresholds: FloatArray
) -> ImageCounts:
    """Compare the predictions of one image with the ground truth of its scene.

    Args:
        T_world_grasp: Predicted grasps, shape (P, 4, 4).
        labels: Ground truth; colliding grasps are left out here.
        thresholds: Pairs (distance [m], angle [deg]), shape (T, 2).

    Returns:
        Counts; objects without a free grasp do not appear in them.
    """
    if T_world_grasp.ndim != 3 or T_world_grasp.shape[1:] != (4, 4):
        raise ShapeError(f"predictions have shape {T_world_grasp.shape}; expected (P, 4, 4)")
    free = labels.free
    order = np.argsort(free.object_index, kind="stable")
    poses, owner = free.T_world_grasp[order], free.object_index[order]
    _, starts, truths = np.unique(owner, return_index=True, return_counts=True)
    succeeded = np.zeros((len(starts), len(thresholds)), dtype=np.int64)
    covered, attributed = succeeded.copy(), succeeded.copy()
    if len(starts) and len(T_world_grasp):
        distance, cosine = pose_distances(T_world_grasp, poses)
        nearest = np.searchsorted(starts, distance.argmin(axis=1), side="right") - 1
        for t, (reach, angle) in enumerate(thresholds):
            match = (distance < reach) & (cosine > np.cos(np.radians(angle)))
            covered[:, t] = np.add.reduceat(match.any(axis=0), starts, dtype=np.int64)
            by_object = np.logical_or.reduceat(match, starts, axis=1)
            matched, first = by_object.any(axis=1), by_object.argmax(axis=1)
            succeeded[:, t] = np.bincount(first[matched], minlength=len(starts))
            stray = np.bincount(nearest[~matched], minlength=len(starts))
            attributed[:, t] = succeeded[:, t] + stray
    classes = free.class_index[order][starts]
    return ImageCounts(len(T_world_grasp), classes, truths, succeeded, covered, attributed)


@dataclass(frozen=True)
class MatchCounts:
    """Counts of many images: one row per object that has ground truth, in R rows.

    Attributes:
        thresholds: Pairs (distance [m], angle [deg]), shape (T, 2).
        scene: Scene of each row, from 0, shape (R,).
        classes, truths, succeeded, covered, attributed: As in :class:`ImageCounts`, row by row.
        image_scene: Scene of each image, shape (I,).
        predictions: Predictions of each image, shape (I,).
    """

    thresholds: FloatArray
    scene: IntArray
    classes: IntArray
    truths: IntArray
    succeeded: IntArray
    covered: IntArray
    attributed: IntArray
    image_scene: IntArray
    predictions: IntArray

    @classmethod
    def pool(
        cls, thresholds: FloatArray, images: list[ImageCounts], scenes: list[int]
    ) -> MatchCounts:
        """Put the counts of images together; ``scenes`` numbers the scene of each, from 0."""
        rows = [len(item.classes) for item in images]
        none = np.zeros((0, len(thresholds)), dtype=np.int64)

        def stack(name: str, start: IntArray) -> IntArray:
            return np.concatenate([start, *(getattr(item, name) for item in images)])

        return cls(
            thresholds=thresholds,
            scene=np.repeat(np.asarray(scenes, dtype=np.int64), rows),
            classes=stack("classes", none[:, 0]),
            truths=stack("truths", none[:, 0]),
            succeeded=stack("succeeded", none),
            covered=stack("covered", none),
            attributed=stack("attributed", none),
            image_scene=np.asarray(scenes, dtype=np.int64),
            predictions=np.array([item.predictions for item in images], dtype=np.int64),
        )


@dataclass(frozen=True)
class Rates:
    """Rates at T thresholds, shape (..., T); NaN where a denominator is zero.

    Attributes:
        gsr: Grasp success rate: credited predictions over all predictions.
        gcr: Grasp coverage rate: covered ground truth over all ground truth.
        osr: Object success rate: objects with a credited prediction over all objects seen.
    """

    gsr: FloatArray
    gcr: FloatArray
    osr: FloatArray


@dataclass(frozen=True)
class SceneSums:
    """Counts added up by scene, which is all that rates of whole scenes need.

    Attributes:
        predictions, truths, objects: Numbers in each of S scenes, shape (S,).
        succeeded, covered, found: Credited predictions, covered ground truth and objects with a
            credited prediction at T thresholds, shape (S, T).
    """

    predictions: FloatArray
    truths: FloatArray
    objects: FloatArray
    succeeded: FloatArray
    covered: FloatArray
    found: FloatArray

    @classmethod
    def of(cls, counts: MatchCounts) -> SceneSums:
        """Add up the counts of images."""
        scenes = int(counts.image_scene.max(initial=-1)) + 1

        def add(values: NDArray[np.generic], scene: IntArray) -> FloatArray:
            table = np.zeros((scenes, *values.shape[1:]))
            np.add.at(table, scene, values.astype(np.float64))
            return table

        return cls(
            predictions=add(counts.predictions, counts.image_scene),
            truths=add(counts.truths, counts.scene),
            objects=add(np.ones_like(counts.truths), counts.scene),
            succeeded=add(counts.succeeded, counts.scene),
            covered=add(counts.covered, counts.scene),
            found=add(counts.succeeded > 0, counts.scene),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form; all are whole numbers."""
        return {name: value.astype(np.int64).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SceneSums:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{name: np.asarray(value, dtype=np.float64) for name, value in data.items()})

    def rates(self, weights: FloatArray | None = None) -> Rates:
        """Rates where scene s counts weights[..., s] times; each once when None.

        Args:
            weights: Shape (B, S).

        Returns:
            Rates of shape (B, T), or (T,) without weights.
        """
        if weights is None:
            rates = self.rates(np.ones((1, len(self.predictions))))
            return Rates(rates.gsr[0], rates.gcr[0], rates.osr[0])
        return Rates(
            gsr=_ratio(weights @ self.succeeded, (weights @ self.predictions)[:, None]),
            gcr=_ratio(weights @ self.covered, (weights @ self.truths)[:, None]),
            osr=_ratio(weights @ self.found, (weights @ self.objects)[:, None]),
        )


def pooled_rates(counts: MatchCounts) -> Rates:
    """The metric: ratios of sums over all images and objects, shape (T,)."""
    return SceneSums.of(counts).rates()


def resampling_weights(scenes: int, samples: int, seed: int) -> FloatArray:
    """How often each scene is drawn in each resampling of as many scenes, shape (B, S).

    The same for the same arguments, so that resampled differences of two systems are paired.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(scenes, np.full(scenes, 1.0 / scenes), size=samples)
    return drawn.astype(np.float64)


def interval_ends(values: FloatArray, share: float = 0.95) -> FloatArray:
    """Percentile interval of resampled values (B, ...) -> (2, ...); NaN where all are NaN."""
    with warnings.catch_warnings():
        # A rate whose denominator is zero in every resampling stays NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        ends: FloatArray = np.nanquantile(values, [(1 - share) / 2, (1 + share) / 2], axis=0)
    return ends


def bootstrap_intervals(
    counts: MatchCounts, samples: int, seed: int, share: float = 0.95
) -> tuple[Rates, Rates]:
    """Percentile intervals from resampling whole scenes, whose views are not independent.

    Args:
        counts: Counts of all images.
        samples: Number of resamplings.
        seed: Of the random numbers.
        share: Probability mass of the interval.

    Returns:
        Lower and upper ends, each of shape (T,).
    """
    sums = SceneSums.of(counts)
    scenes = len(sums.predictions)
    if scenes == 0:
        empty = pooled_rates(counts)
        return empty, empty
    rates = sums.rates(resampling_weights(scenes, samples, seed))
    gsr, gcr, osr = (interval_ends(rate, share) for rate in (rates.gsr, rates.gcr, rates.osr))
    return Rates(gsr[0], gcr[0], osr[0]), Rates(gsr[1], gcr[1], osr[1])


def class_rates(counts: MatchCounts, class_index: int) -> Rates:
    """Rates of one object class, shape (T,).

    The denominator of GSR is the predictions that objects of this class answer for (see
    :class:`ImageCounts`), not, as in KGN's code, those of all images.
    """
    rows = counts.classes == class_index
    succeeded = counts.succeeded[rows]
    return Rates(
        gsr=_ratio(succeeded.sum(axis=0), counts.attributed[rows].sum(axis=0)),
        gcr=_ratio(counts.covered[rows].sum(axis=0), counts.truths[rows].sum()),
        osr=_ratio((succeeded > 0).sum(axis=0), np.count_nonzero(rows)),
    )


def _ratio(part: NDArray[np.generic], whole: NDArray[np.generic] | int) -> FloatArray:
    part = np.asarray(part, dtype=np.float64)
    whole = np.broadcast_to(np.asarray(whole, dtype=np.float64), part.shape)
    result = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
