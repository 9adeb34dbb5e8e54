# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a whole run: scenes, training, evaluation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kgnpro_ros.config.checks import require
from kgnpro_ros.config.scenes import SceneConfig
from kgnpro_ros.config.training import TrainConfig


@dataclass(frozen=True)
class SceneSetConfig:
    """One data set to generate.

    Attributes:
        name: Its folder.
        scenes, seed: How many scenes, and their seed.
        scene: What they hold.
    """

    name: str = "scenes"
    scenes: int = 100
    seed: int = 0
    scene: SceneConfig = field(default_factory=SceneConfig)

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"\w[\w-]{0,99}", self.name, re.ASCII) is not None,
            f"the name of a data set is {self.name!r}; expected letters, digits, _ and -",
        )
        require(self.scenes >= 1, f"scenes must be at least 1, got {self.scenes}")
        require(self.seed >= 0, f"seed must not be negative, got {self.seed}")


@dataclass(frozen=True)
class ReproduceConfig:
    """From nothing to an evaluated model.

    Attributes:
        name: Name of the model.
        data: Data sets to train on.
        test: Data sets to evaluate on, with seeds that no training set has.
        train: The training; ``train.max_minutes`` limits its time.
    """

    name: str = "model"
    data: tuple[SceneSetConfig, ...] = (SceneSetConfig(),)
    test: tuple[SceneSetConfig, ...] = (SceneSetConfig("test", seed=9001),)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        SceneSetConfig(self.name)
        require(bool(self.data) and bool(self.test), "expected at least one set of data and test")
        names = [item.name for item in (*self.data, *self.test)]
        doubled = sorted({name for name in names if names.count(name) > 1})
        require(not doubled, f"data sets have the same name: {', '.join(doubled)}")
        seen = {item.seed for item in self.data}
        known = [item.name for item in self.test if item.seed in seen]
        require(not known, f"test set {', '.join(known)} has a seed that is trained on")
