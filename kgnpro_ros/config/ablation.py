# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of an ablation: variants of training and detection on the same data, steps and seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kgnpro_ros.config.checks import require
from kgnpro_ros.config.detector import DetectorConfig
from kgnpro_ros.config.evaluation import EvaluationConfig
from kgnpro_ros.config.files import config_from_dict
from kgnpro_ros.config.training import TrainConfig


@dataclass(frozen=True)
class VariantConfig:
    """One row of an ablation.

    Attributes:
        name: Short name: letters, digits, ``_``, ``-``, ``+`` and ``.``.
        text: What it is, for the table.
        train: Settings of :class:`TrainConfig` over the common ones.
        detector: Settings of :class:`DetectorConfig` over the common ones.
        data: Folder names of the data sets that it trains on; all when empty.
        weights_of: Name of a variant whose weights it uses, instead of training its own.
        seeds: Its seeds; those of the ablation, or of ``weights_of``, when None.
        compare_with: Row that its difference is taken to; the baseline when None.
    """

    name: str = "baseline"
    text: str = ""
    train: dict[str, Any] = field(default_factory=dict)
    detector: dict[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    weights_of: str | None = None
    seeds: tuple[int, ...] | None = None
    compare_with: str | None = None

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"[\w+-][\w.+-]*", self.name) is not None,
            f"variant name {self.name!r} is no name: use letters, digits, _, -, + and .",
        )
        require(
            self.weights_of is None or not (self.train or self.data),
            f"variant {self.name} uses the weights of {self.weights_of}, so it cannot have "
            "training settings or data of its own",
        )


@dataclass(frozen=True)
class AblationConfig:
    """Variants that are trained and evaluated alike; a row of a table each.

    Attributes:
        variants: The rows, in the order in which they are run.
        baseline: Name of the row that others are compared with; the first when None.
        seeds: Seeds of every variant that names none.
        train: Settings of :class:`TrainConfig` common to all, over its defaults. Training runs on
            one device.
        detector: Settings of :class:`DetectorConfig` common to all, over its defaults; the
            filters that know a gripper are off, as the metric knows none.
        evaluation: Thresholds; how many scenes and views of each.
        best: So many best-ranked grasps of each image give the rate that shows the ranking.
    """

    variants: tuple[VariantConfig, ...] = (VariantConfig(),)
    baseline: str | None = None
    seeds: tuple[int, ...] = (0,)
    train: dict[str, Any] = field(default_factory=dict)
    detector: dict[str, Any] = field(default_factory=dict)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    best: int = 5

    def __post_init__(self) -> None:
        require(bool(self.variants), "an ablation needs variants")
        names = [variant.name for variant in self.variants]
        doubled = sorted({name for name in names if names.count(name) > 1})
        require(not doubled, f"variants have the same name: {', '.join(doubled)}")
        require(bool(self.seeds), "an ablation needs at least one seed")
        require(self.best >= 1, f"best must be at least 1, got {self.best}")
        require(
            self.baseline is None or self.baseline in names,
            f"no variant {self.baseline!r} to be the baseline; there are {', '.join(names)}",
        )
        for variant in self.variants:
            self._check(variant, names)

    def _check(self, variant: VariantConfig, names: list[str]) -> None:
        """Everything about a variant that would otherwise fail after hours of training."""
        for role in ("weights_of", "compare_with"):
            name = getattr(variant, role)
            require(
                name is None or name in names,
                f"variant {variant.name}: {role} names {name!r}; there are {', '.join(names)}",
            )
        source = self.trained(variant)
        require(
            source.weights_of is None,
            f"variant {variant.name}: {source.name} has no weights of its own",
        )
        missing = set(self.seeds_of(variant)) - set(self.seeds_of(source))
        require(
            not missing,
            f"variant {variant.name}: {source.name} is not trained with seed {sorted(missing)}",
        )
        config = self.train_config(source, 0)
        require(
            config.num_nodes == 1 and config.devices == 1,
            "an ablation trains on one device (devices: 1); to use several, run it on each at the "
            "same time with --only NAME for other variants",
        )
        self.detector_config(variant)

    def variant(self, name: str) -> VariantConfig:
        """The variant of a name."""
        return next(variant for variant in self.variants if variant.name == name)

    def trained(self, variant: VariantConfig) -> VariantConfig:
        """The variant whose weights it uses: itself, mostly."""
        return variant if variant.weights_of is None else self.variant(variant.weights_of)

    def seeds_of(self, variant: VariantConfig) -> tuple[int, ...]:
        """Seeds of a variant."""
        if variant.seeds is not None:
            return variant.seeds
        return self.seeds if variant.weights_of is None else self.seeds_of(self.trained(variant))

    def reference(self, variant: VariantConfig) -> VariantConfig:
        """The row that a variant is compared with."""
        return self.variant(variant.compare_with or self.baseline or self.variants[0].name)

    def train_config(self, variant: VariantConfig, seed: int) -> TrainConfig:
        """How a variant is trained."""
        settings = merge({"devices": 1, **self.train}, variant.train)
        return config_from_dict(TrainConfig, {**settings, "seed": seed}, f"variant {variant.name}")

    def detector_config(self, variant: VariantConfig) -> DetectorConfig:
        """How a variant detects; its model is not set."""
        settings = merge(self.detector, variant.detector)
        config = config_from_dict(DetectorConfig, settings, f"variant {variant.name}")
        return replace(config, filters=config.filters.without_gripper())


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings laid over others."""
    result = dict(base)
    for name, value in over.items():
        below = result.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = merge(below, value)
        result[name] = value
    return result
