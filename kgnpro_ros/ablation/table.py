# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The comparison as one Markdown file and one JSON file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kgnpro_ros.ablation.compare import Estimate, SeedRates
from kgnpro_ros.config import AblationConfig, VariantConfig
from kgnpro_ros.evaluation.metrics import SceneSums
from kgnpro_ros.evaluation.report import write_report
from kgnpro_ros.predictions import write_text_atomically

Results = Mapping[tuple[str, int], Mapping[str, Any]]

LEGEND = (
    "Rates in % with 95 % intervals from resampling scenes. Differences are paired: the same "
    "resampled scenes and the same seeds in both rows; **bold** where zero is outside of the "
    "interval, so that the test scenes decide it. The intervals do not hold the spread between "
    "trainings; the rows of single seeds show that."
)


def write_tables(out: Path, config: AblationConfig, results: Results) -> Path:
    """Write ``ablation.md`` and ``ablation.json`` from the results there are.

    Args:
        out: Folder of the ablation.
        config: Its variants, in the order of the rows.
        results: By variant and seed; those that are missing are named as not run.

    Returns:
        The Markdown file.
    """
    tests = list(next(iter(results.values()))["tests"])
    comparison = {test: Comparison(config, results, test) for test in tests}
    lines = ["# Ablation", "", *_conditions(config, results), "", LEGEND, ""]
    for item in comparison.values():
        lines += item.markdown()
    lines += ["## Trainings", "", *_trainings(config, results), ""]
    write_report(
        out / "ablation.json",
        {
            "tests": {test: item.to_dict() for test, item in comparison.items()},
            "trainings": [
                {"variant": name, "seed": seed, **result["training"]}
                for (name, seed), result in results.items()
                if config.variant(name).weights_of is None
            ],
        },
    )
    path = out / "ablation.md"
    write_text_atomically(path, "\n".join(lines))
    return path


class Comparison:
    """All rows on one test set.

    Args:
        config: Variants.
        results: By variant and seed.
        test: Name of the test set.
    """

    def __init__(self, config: AblationConfig, results: Results, test: str) -> None:
        self.config, self.test = config, test
        self.reports = {
            variant.name: {
                seed: results[variant.name, seed]["tests"][test]
                for seed in config.seeds_of(variant)
                if (variant.name, seed) in results
            }
            for variant in config.variants
        }
        self.rows = [variant for variant in config.variants if self.reports[variant.name]]
        self.all = {row.name: self._rates(row, "scene_sums") for row in self.rows}
        self.best = {row.name: self._rates(row, "best_sums") for row in self.rows}

    def _rates(self, row: VariantConfig, sums: str) -> SeedRates:
        by_seed = {s: SceneSums.from_dict(r[sums]) for s, r in self.reports[row.name].items()}
        return SeedRates(by_seed, self.config.evaluation)

    def figures(self, row: VariantConfig) -> dict[str, list[Estimate]]:
        """OSR, GSR, GCR of all grasps and GSR of the best ones, at each cell."""
        return {
            **{rate: self.all[row.name].estimate(rate) for rate in ("osr", "gsr", "gcr")},
            "best_gsr": self.best[row.name].estimate("gsr"),
        }

    def differences(self, row: VariantConfig) -> tuple[dict[str, list[Estimate]], list[int]]:
        """The same figures minus those of the row it is compared with, and the common seeds."""
        other = self.config.reference(row)
        if other.name == row.name or other.name not in self.all:
            return {}, []
        result: dict[str, list[Estimate]] = {}
        seeds: list[int] = []
        for rate in ("osr", "gsr", "gcr"):
            result[rate], seeds = self.all[row.name].difference(self.all[other.name], rate)
        best, _ = self.best[row.name].difference(self.best[other.name], "gsr")
        return {**result, "best_gsr": best}, seeds

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        rows = {}
        for row in self.rows:
            differences, seeds = self.differences(row)
            rows[row.name] = {
                "seeds": list(self.reports[row.name]),
                **_plain(self.figures(row)),
                "compared_with": self.config.reference(row).name,
                "compared_seeds": seeds,
                "differences": _plain(differences),
                "stages": self.stages(row),
            }
        return {"cells": self.cells(), "best": self.config.best, "rows": rows}

    def cells(self) -> list[str]:
        """Names of the cells, tightest first."""
        evaluation = self.config.evaluation
        return [f"{100 * d:g} cm / {a:g}°" for a in evaluation.angles for d in evaluation.distances]

    def stages(self, row: VariantConfig) -> dict[str, float]:
        """Share of objects that ended at each stage, mean over seeds."""
        reports = list(self.reports[row.name].values())
        names = reports[0]["stages"]["objects"]
        return {
            name: sum(r["stages"]["objects"][name] for r in reports) / len(reports)
            for name in names
        }

    def markdown(self) -> list[str]:
        """Lines of its section."""
        report = next(iter(self.reports[self.rows[0].name].values()))
        lines = [
            f"## {self.test}", "",
            f"{report['scenes']} scenes, {report['images']} images, {report['objects']} objects.",
            "", *self._main_table(), "",
        ]  # fmt: skip
        for rate in ("osr", "gsr"):
            lines += [f"{rate.upper()} by seed:", "", *self._cell_table(rate), ""]
        return [*lines, "Where objects were lost (2 cm / 20°), mean over seeds:", "",
                *self._stage_table(), ""]  # fmt: skip

    def _main_table(self) -> Iterable[str]:
        cell, best = self.cells()[0], f"GSR of the best {self.config.best}"
        head = ["row", "seeds", f"OSR {cell}", f"GSR {cell}", best, "compared with", "ΔOSR", "ΔGSR",
                f"Δ{best}"]  # fmt: skip
        rows = []
        for row in self.rows:
            figures, (differences, seeds) = self.figures(row), self.differences(row)
            shown = [_percent(figures[rate][0]) for rate in ("osr", "gsr", "best_gsr")]
            other = f"{self.config.reference(row).name}, seed {_join(seeds)}" if seeds else "-"
            change = [_signed(differences[r][0]) for r in ("osr", "gsr", "best_gsr") if seeds]
            names = [_title(row), _join(self.reports[row.name])]
            rows.append([*names, *shown, other, *(change or ["-"] * 3)])
        return _table(head, rows)

    def _cell_table(self, rate: str) -> Iterable[str]:
        rows = []
        for row in self.rows:
            seeds = list(self.reports[row.name])
            for seed in seeds:
                estimates = self.all[row.name].estimate(rate, [seed])
                rows.append([row.name, str(seed), *map(_percent, estimates)])
            if len(seeds) > 1:
                rows.append([row.name, "mean", *map(_percent, self.all[row.name].estimate(rate))])
        return _table(["row", "seed", *self.cells()], rows)

    def _stage_table(self) -> Iterable[str]:
        names = list(self.stages(self.rows[0]))
        rows = [
            [row.name, *(f"{100 * share:.1f}" for share in self.stages(row).values())]
            for row in self.rows
        ]
        return _table(["row", *(name.replace("_", " ") for name in names)], rows)


def _conditions(config: AblationConfig, results: Results) -> list[str]:
    """What all rows have in common, and what has not been run."""
    train = next(iter(results.values()))["settings"]["train"]
    data = {_data(result) for result in results.values()}
    source = (
        f"the same crops in the same order for the same seed, from {data.pop()}"
        if len(data) == 1
        else "of the data that the last table names"
    )
    lines = [
        f"Every row: network `{train['network']}`, batch {train['batch_size']} of {train['crop']}² "
        f"px crops, {source}."
    ]
    starts = {
        f"`{s['file']}` (sha256 {s['sha256'][:12]}…)"
        for s in (r["training"]["start"] for r in results.values())
        if s
    }
    if starts:
        lines += ["", f"All trainings start from the weights of {_join(sorted(starts))}; heads "
                      "listed as new below were drawn from the seed and learnt in these steps "
                      "only, which is a handicap. The figures compare steps from there, not "
                      "trainings from nothing."]  # fmt: skip
    missing = [
        f"{variant.name} (seed {seed})"
        for variant in config.variants
        for seed in config.seeds_of(variant)
        if (variant.name, seed) not in results
    ]
    return [*lines, "", f"Not run yet: {', '.join(missing)}."] if missing else lines


def _data(result: Mapping[str, Any]) -> str:
    """What a row was trained on."""
    return ", ".join(
        f"{m.get('mode', '?')} {m.get('look', m.get('format', '?'))} (seed {m.get('seed', '?')}, "
        f"{m['scenes']} scenes)"
        for m in result["settings"]["data"]
    )


def _trainings(config: AblationConfig, results: Results) -> Iterable[str]:
    rows = []
    differ = len({_data(result) for result in results.values()}) > 1
    for (name, seed), result in sorted(results.items()):
        if config.variant(name).weights_of is None:
            run = result["training"]
            new = ", ".join((run["start"] or {}).get("new_heads", [])) or "-"
            rows.append(
                [name, str(seed), str(run["steps"]), str(run["seconds"]),
                 str(run["skipped_batches"]), new, f"{run['machine']}, torch {run['torch']}",
                 *([_data(result)] if differ else [])]
            )  # fmt: skip
    head = ["row", "seed", "steps", "seconds", "skipped batches", "new heads", "hardware"]
    return _table([*head, *(["data"] if differ else [])], rows)


def _title(row: VariantConfig) -> str:
    weights = f"weights of {row.weights_of}" if row.weights_of else ""
    text = "; ".join(part for part in (row.text, weights) if part)
    return f"**{row.name}** {text}".strip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def _percent(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _signed(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    text = f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"
    return f"**{text}**" if estimate.decided else text


def _join(items: Iterable[Any]) -> str:
    return ", ".join(map(str, items))


def _plain(figures: Mapping[str, Sequence[Estimate]]) -> dict[str, Any]:
    return {name: [item.to_dict() for item in items] for name, items in figures.items()}
