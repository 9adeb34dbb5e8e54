# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of the physical experiment beside those of the paper (its Table II)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kgnpro_ros.simulation.trial_objects import TRIAL_CLASSES
from kgnpro_ros.simulation.trial_results import (
    Rates,
    TrialRecord,
    by_group,
    failures,
    rates,
)

#: The paper's counts: successes and grasps of single objects.
PAPER_SINGLE = {
    "cylinder": (24, 25), "sphere": (25, 25), "stick": (23, 25), "cuboid": (23, 25),
    "other": (20, 25),
}  # fmt: skip
#: By camera angle [deg]: successes, grasps, cleared scenes, scenes.
PAPER_MULTI = {
    "90": (50, 57, 10, 10), "75": (50, 61, 10, 10), "60": (48, 65, 9, 10), "45": (46, 72, 9, 10),
    "30": (42, 83, 8, 10),
}  # fmt: skip


def summarize(records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Rates of every row and in all, failures by cause, objects, times; in JSON form."""
    single, multi = by_group(records, "single"), by_group(records, "multi")
    attempts = [attempt for record in records for attempt in record.attempts]
    seconds: Counter[str] = Counter()
    for attempt in attempts:
        seconds.update(attempt.seconds)
    return {
        "single": {name: _rates(rates(group)) for name, group in single.items()},
        "multi": {name: _rates(rates(group)) for name, group in multi.items()},
        "failures": {
            name: [
                {"stage": stage, "cause": cause, "count": count}
                for stage, cause, count in failures(group)
            ]
            for name, group in {**single, **multi}.items()
        },
        "sizes": _sizes(records),
        "attempts": len(attempts),
        "seconds": sum(record.seconds for record in records),
        "seconds_by_part": dict(seconds),
        "simulated_seconds": sum(attempt.simulated for attempt in attempts),
    }


def to_markdown(summary: Mapping[str, Any]) -> str:
    """The tables of a summary, with the paper's figures beside them."""
    parts = [_single_table(summary["single"]), _multi_table(summary["multi"])]
    parts += [_failure_table(summary["failures"]), _size_table(summary["sizes"])]
    seconds, attempts = summary["seconds"], summary["attempts"]
    if attempts:
        parts.append(
            f"{attempts} attempts, {seconds / attempts:.1f} s of one core each; "
            f"model {summary['config']['detector']['model']}, "
            f"SHA-256 {summary['model_sha256'][:16]}.\n"
        )
    return "\n".join(part for part in parts if part)


def _rates(row: Rates) -> dict[str, Any]:
    return {
        "grasps": row.grasps, "successes": row.successes, "gsr": row.gsr,
        "scenes": row.scenes, "complete": row.complete, "scr": row.scr,
    }  # fmt: skip


def _sizes(records: Sequence[TrialRecord]) -> dict[str, list[str]]:
    """The distinct things of each class, in words."""
    sizes: dict[str, list[str]] = {}
    for record in records:
        for item in record.objects:
            words = sizes.setdefault(item["trial_class"], [])
            text = _size(item)
            if text not in words:
                words.append(text)
    return {name: sizes[name] for name in TRIAL_CLASSES if name in sizes}


def _size(item: Mapping[str, Any]) -> str:
    """Kind and sizes of a shape [mm]; diameters of round things."""
    mm = [1000 * value for value in item["dimensions"]]
    kind = item["class"]
    if kind == "cuboid":
        return " x ".join(f"{value:.0f}" for value in mm)
    if kind == "sphere":
        return f"diameter {2 * mm[0]:.0f}"
    if kind == "semi_sphere":
        return f"bowl, diameter {2 * mm[0]:.0f}"
    if kind == "stick":
        return f"diameter {2 * mm[0]:.0f}, length {mm[1]:.0f}"
    names = {"open": "tube", "base": "cup", "solid": "solid"}
    name = "ring" if kind == "ring" else names[item["closure"]]
    extra = " with a handle" if item["handle"] else ""
    extra += " tapered" if item["taper"] < 1 else ""
    return f"{name}{extra}, diameter {2 * mm[0] * item['wall']:.0f}, height {mm[1]:.0f}"


def _single_table(groups: Mapping[str, Mapping[str, Any]]) -> str:
    if not groups:
        return ""
    lines = ["| single object | GSR % | paper |", "|---|---|---|"]
    for name, row in groups.items():
        lines.append(f"| {name} | {_gsr(row)} | {_paper(PAPER_SINGLE.get(name))} |")
    mean = sum(row["gsr"] or 0.0 for row in groups.values()) / len(groups)
    known = [PAPER_SINGLE[name] for name in groups if name in PAPER_SINGLE]
    paper = f"{100 * sum(s / n for s, n in known) / len(known):.1f}" if known else "-"
    lines.append(f"| mean of the classes | {100 * mean:.1f} | {paper} |")
    return "\n".join(lines) + "\n"


def _multi_table(groups: Mapping[str, Mapping[str, Any]]) -> str:
    if not groups:
        return ""
    lines = ["| camera | GSR % | paper | SCR % | paper |", "|---|---|---|---|---|"]
    for name, row in groups.items():
        paper = PAPER_MULTI.get(name)
        scr = f"{_percent(row['scr'])} ({row['complete']}/{row['scenes']})"
        lines.append(
            f"| {name}° | {_gsr(row)} | {_paper(paper and paper[:2])} | {scr} | "
            f"{_paper(paper and paper[2:])} |"
        )
    return "\n".join(lines) + "\n"


def _failure_table(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = ["| failed attempts | stage | cause | number |", "|---|---|---|---|"]
    for name, rows in groups.items():
        label = f"{name}°" if name[0].isdigit() else name
        for row in rows:
            lines.append(f"| {label} | {row['stage']} | {row['cause']} | {row['count']} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "No attempt failed.\n"


def _size_table(sizes: Mapping[str, Sequence[str]]) -> str:
    lines = ["| class | objects, sizes in mm |", "|---|---|"]
    lines += [f"| {name} | {'; '.join(words)} |" for name, words in sizes.items()]
    return "\n".join(lines) + "\n"


def _gsr(row: Mapping[str, Any]) -> str:
    return f"{_percent(row['gsr'])} ({row['successes']}/{row['grasps']})"


def _paper(counts: Sequence[int] | None) -> str:
    return "-" if counts is None else f"{100 * counts[0] / counts[1]:.1f} ({counts[0]}/{counts[1]})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
