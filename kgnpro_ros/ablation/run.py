# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``kgnpro ablate``: trains and evaluates a list of variants; goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from kgnpro_ros.ablation.rows import evaluate_rows
from kgnpro_ros.ablation.table import write_tables
from kgnpro_ros.config import (
    AblationConfig,
    DetectorConfig,
    EvaluationConfig,
    TrainConfig,
    VariantConfig,
    config_from_dict,
    dump_config,
)
from kgnpro_ros.evaluation.command import open_test_split
from kgnpro_ros.evaluation.report import write_report
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.predictions import write_text_atomically
from kgnpro_ros.training.checkpoint import CHECKPOINT, flat_settings, load_checkpoint
from kgnpro_ros.training.train import export_checkpoint, open_train_split, train

RESULT = "result.json"

#: Training settings that decide nothing about the result.
INDIFFERENT = ("checkpoint_minutes", "validation_interval", "workers")


class Ablation:
    """One ablation in one folder: ``OUT/NAME/seed_K/result.json`` for each row and seed.

    Args:
        config: Variants.
        data: Data sets to train on.
        tests: Data sets to test on.
        out: Folder of all runs.
        console: Where to say what is done.

    Raises:
        ConfigError: If two sets of a kind have the same folder name, or a variant names another.
        DatasetError: If a data set is missing or incomplete.
    """

    def __init__(
        self,
        config: AblationConfig,
        data: Sequence[Path],
        tests: Sequence[Path],
        out: Path,
        console: Console | None = None,
    ) -> None:
        self.config, self.out = config, out
        self.data = {path.resolve().name: path for path in data}
        self.tests = {path.resolve().name: path for path in tests}
        self.console = console or Console()
        if not data or not tests:
            raise ConfigError("an ablation needs data to train on and data to test on")
        if len(self.tests) < len(tests) or len(self.data) < len(data):
            raise ConfigError("sets need different folder names, which name them in tables")
        for variant in config.variants:
            absent = [name for name in variant.data if name not in self.data]
            if absent:
                raise ConfigError(
                    f"variant {variant.name} trains on {', '.join(absent)}; the data sets given "
                    f"are {', '.join(self.data)}"
                )
        self.train_manifests = {n: open_train_split(p).manifest for n, p in self.data.items()}
        self.test_manifests = {n: open_test_split(p).manifest for n, p in self.tests.items()}

    def run(self, only: Sequence[str] = ()) -> Path:
        """Do what is not yet done; the tables are written anew after every evaluation.

        Args:
            only: Names of variants to train, with the rows that use their weights; all when empty.
                Others may run at the same time, on other devices, in the same folder.

        Returns:
            The Markdown file.

        Raises:
            ConfigError: If ``only`` names no trained variant.
            ModelError: If the folder holds results of other settings.
        """
        trained = [row.name for row in self.config.variants if row.weights_of is None]
        unknown = [name for name in only if name not in trained]
        if unknown:
            raise ConfigError(f"no variant {', '.join(unknown)} to train: {', '.join(trained)}")
        self.out.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.out / "config.yaml", dump_config(self.config))
        results = self.finished()
        for name in only or trained:
            source = self.config.variant(name)
            for seed in self.config.seeds_of(source):
                users = self.rows_of(source, seed)
                rows = [row for row in users if (row.name, seed) not in results]
                if rows:
                    self.evaluate(rows, self.train(source, seed), seed)
                    results = self.finished()
                    write_tables(self.out, self.config, results)
        return write_tables(self.out, self.config, results)

    def folder(self, variant: VariantConfig, seed: int) -> Path:
        """Folder of a row and seed."""
        return self.out / variant.name / f"seed_{seed}"

    def data_of(self, variant: VariantConfig) -> list[str]:
        """Names of the data sets that a variant, or the one whose weights it uses, trains on."""
        return list(self.config.trained(variant).data or self.data)

    def rows_of(self, source: VariantConfig, seed: int) -> list[VariantConfig]:
        """Rows that use the weights of a trained variant with a seed, itself first."""
        users = [row for row in self.config.variants if row.weights_of == source.name]
        return [row for row in (source, *users) if seed in self.config.seeds_of(row)]

    def settings(self, variant: VariantConfig, seed: int) -> dict[str, Any]:
        """Everything that a result depends on."""
        source = self.config.trained(variant)
        training = asdict(self.config.train_config(source, seed))
        detector = asdict(self.config.detector_config(variant))
        del detector["model"], detector["device"]
        settings = {
            "train": {k: v for k, v in training.items() if k not in INDIFFERENT},
            "detector": detector,
            "evaluation": asdict(self.config.evaluation),
            "best": self.config.best,
            "data": [self.train_manifests[name] for name in self.data_of(variant)],
            "tests": self.test_manifests,
        }
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        return plain

    def finished(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Results that are there.

        Raises:
            ConfigError: If one was made with other settings; names them.
        """
        results = {}
        for variant in self.config.variants:
            for seed in self.config.seeds_of(variant):
                path = self.folder(variant, seed) / RESULT
                if path.is_file():
                    result = json.loads(path.read_text())
                    check_same(path, result["settings"], self.settings(variant, seed))
                    results[variant.name, seed] = result
        return results

    def train(self, variant: VariantConfig, seed: int) -> Path:
        """Train a variant, or go on with it; returns its weights."""
        run, config = self.folder(variant, seed), self.config.train_config(variant, seed)
        checkpoint, model = run / CHECKPOINT, run / "model.safetensors"
        resume = checkpoint.is_file()
        if resume and load_checkpoint(checkpoint)["global_step"] >= config.max_steps:
            return model if model.is_file() else export_checkpoint(run)
        self.say(f"{variant.name}, seed {seed}: {'going on' if resume else 'training'}")
        return train(config, [self.data[name] for name in self.data_of(variant)], run, resume)

    def evaluate(self, rows: Sequence[VariantConfig], model: Path, seed: int) -> None:
        """Evaluate rows with the same weights on all test sets, and write their results."""
        names = ", ".join(row.name for row in rows)
        detectors = {
            row.name: replace(self.config.detector_config(row), model=str(model)) for row in rows
        }
        reports: dict[str, dict[str, Any]] = {}
        for name, path in self.tests.items():
            self.say(f"{names}, seed {seed}: testing on {name}")
            reports[name] = evaluate_rows(detectors, path, self.config.evaluation, self.config.best)
        card = load_model(model).card
        training = {
            "seconds": round(3600 * card["hours"]),
            **{key: card[key] for key in ("steps", "machine", "torch", "skipped_batches")},
            "start": card.get("start"),
        }
        for row in rows:
            result = {
                "variant": row.name,
                "seed": seed,
                "settings": self.settings(row, seed),
                "training": training,
                "tests": {name: report[row.name] for name, report in reports.items()},
            }
            folder = self.folder(row, seed)
            folder.mkdir(parents=True, exist_ok=True)
            write_report(folder / RESULT, result)

    def say(self, line: str) -> None:
        """Print a line as it is."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def check_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse a result that was made with other settings.

    Settings that the package did not have then count with their defaults.

    Raises:
        ModelError: If any differs; names all.
    """
    classes = {"train": TrainConfig, "detector": DetectorConfig, "evaluation": EvaluationConfig}
    for name, cls in classes.items():
        filled: Any = config_from_dict(cls, before[name], str(path))
        before = {**before, name: {key: asdict(filled)[key] for key in now[name]}}
    old, new = flat_settings(before), flat_settings(now)
    changes = [
        f"{key} ({old.get(key, 'absent')!r} before, {new.get(key, 'absent')!r} now)"
        for key in sorted({**old, **new})
        if old.get(key, "absent") != new.get(key, "absent")
    ]
    if changes:
        raise ModelError(
            f"{path} was made with other settings: {'; '.join(changes)}. Choose another folder, or "
            "delete that file to evaluate again (its folder, to train again)"
        )
