# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The Markdown of a model card, from its JSON alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kgnpro_ros.exceptions import ModelError

#: The paper's object success (its Table I) [%]: by test set, then (distance [cm], angle [deg]).
PAPER = {
    "single": {
        (1.0, 10.0): 93.4, (1.5, 10.0): 96.5, (2.0, 10.0): 98.5,
        (1.0, 20.0): 99.1, (1.5, 20.0): 99.5, (2.0, 20.0): 100.0,
    },
    "multi": {
        (1.0, 10.0): 90.9, (1.5, 10.0): 93.9, (2.0, 10.0): 96.9,
        (1.0, 20.0): 95.2, (1.5, 20.0): 97.5, (2.0, 20.0): 98.1,
    },
}  # fmt: skip

#: Training settings that are worth a line.
SETTINGS = (
    "crop", "batch_size", "learning_rate", "schedule", "warmup_steps", "ema_decay", "precision",
    "seed",
)  # fmt: skip


def card_text(name: str, card: Mapping[str, Any]) -> str:
    """The Markdown of a card.

    Args:
        name: Name of the model.
        card: Content of the JSON card, with ``results`` as :mod:`kgnpro_ros.evaluation.card` makes.

    Raises:
        ModelError: If something in it is not what a card holds.
    """
    try:
        parts = [
            f"# Model card: {name}",
            f"Made by `kgnpro card` from [{name}.json]({name}.json); edit that one.",
            _facts(card), _data(card.get("data", [])), _training(card), _results(card["results"]),
            _real(card["results"]), _failures(card["results"]),
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelError(f"the card of {name} is damaged: {error!r}") from error
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _facts(card: Mapping[str, Any]) -> str:
    rows = [
        ("weights (sha256)", f"`{card['results']['sha256']}`"),
        ("network", card["network"]["preset"]),
        ("steps", card.get("steps", "-")),
        ("hours", card.get("hours", "-")),
        ("machine", card.get("machine", "-")),
        ("PyTorch", card.get("torch", "-")),
        ("batches skipped", card.get("skipped_batches", "-")),
    ]
    if card.get("start"):
        rows.append(("started from", f"{Path(card['start']['file']).name}"))
    if card.get("images_per_second"):
        rows.append(("images/s in training", card["images_per_second"]))
    return table(("", ""), rows)


def _data(sets: Sequence[Mapping[str, Any]]) -> str:
    if not sets:
        return ""
    rows = []
    for item in sets:
        noise = "yes" if item.get("depth_noise") else "no"
        counts = item.get("counts", {})
        rows.append(
            [item.get(key, "-") for key in ("mode", "look")] + [noise, item.get("classes") or "all"]
            + [item.get(key, "-") for key in ("seed", "scenes", "training_scenes", "views")]
            + [counts.get("objects", "-")]
        )  # fmt: skip
    head = ("mode", "look", "depth noise", "classes", "seed", "scenes", "trained on", "views",
            "objects")  # fmt: skip
    return "## Data\n\n" + table(head, rows)


def _training(card: Mapping[str, Any]) -> str:
    settings = card.get("training", {})
    told = ", ".join(f"{key} {settings[key]}" for key in SETTINGS if key in settings)
    lines = [f"{told}." if told else "", "\n".join(f"- {line}" for line in card.get("history", []))]
    text = "\n\n".join(line for line in lines if line)
    return f"## Training\n\n{text}" if text else ""


def _results(results: Mapping[str, Any]) -> str:
    parts = ["## Results on rendered scenes",
             f"KGN's protocol, threshold {results.get('score_threshold', '-')}; in %, with "
             "bootstrap 95 % intervals over scenes."]  # fmt: skip
    for name, figures in results["sets"].items():
        parts += [
            f"### {name}: `{figures['data']}`, {figures['scenes']} scenes, {figures['images']} "
            f"images, {figures['objects']} objects",
            _cells(name, figures), _lost(figures), _classes(figures),
        ]  # fmt: skip
    return "\n\n".join(parts) if results["sets"] else ""


def _cells(name: str, figures: Mapping[str, Any]) -> str:
    paper = PAPER.get(name.partition("-")[0], {})
    rows = []
    for section in ("cells", "kgn_pairs"):
        for cell in figures[section]:
            pair = (round(100 * cell["distance"], 3), round(cell["angle"], 3))
            rates = [_rate(cell[key], cell[f"{key}_interval"]) for key in ("osr", "gsr", "gcr")]
            theirs = paper.get(pair) if section == "cells" else None
            gap = "" if theirs is None else f"{100 * cell['osr'] - theirs:+.1f}"
            rows.append([f"{pair[0]:g} cm / {pair[1]:g}°", *rates, theirs or "", gap])
    return table(("tolerance", "OSR", "GSR", "GCR", "OSR of the paper", "difference"), rows)


def _lost(figures: Mapping[str, Any]) -> str:
    lost = sorted(figures["lost"].items(), key=lambda item: -item[1])
    told = [f"{stage.replace('_', ' ')} {_percent(share)} %" for stage, share in lost
            if stage != "found" and share > 0]  # fmt: skip
    inside = figures["covariance"]
    return (
        f"Objects lost at 2 cm / 20°: {', '.join(told) or 'none'}. Errors inside the 50 % "
        f"ellipsoid {_percent(inside['inside_50'])} %, inside the 90 % one "
        f"{_percent(inside['inside_90'])} %."
    )


def _classes(figures: Mapping[str, Any]) -> str:
    names = [_tolerance(cell) for cell in figures["cells"]]
    rows = [
        [name, entry["objects"], *map(_percent, entry["osr"])]
        for name, entry in figures["classes"].items()
        if entry["objects"]
    ]
    return table(("OSR by class", "objects", *names), rows)


def _real(results: Mapping[str, Any]) -> str:
    frames = ((results.get("gallery") or {}).get("numbers", {}).get("real") or {}).get("frames")
    if not frames:
        return ""
    rows = [
        [name.replace("_", " "), row["grasps"], "yes" if row["best_valid"] else "no",
         f"{row['first_ten_valid']} of {min(10, row['grasps'])}",
         f"{row['objects_with_valid_grasp']} of {row['objects']}", row["on_bare_table"]]
        for name, row in frames.items()
    ]  # fmt: skip
    head = ("frame", "grasps", "best one valid", "valid among the first ten",
            "objects with a valid grasp", "grasps on the bare table")  # fmt: skip
    return "## Results on real frames\n\n" + table(head, rows)


def _failures(results: Mapping[str, Any]) -> str:
    gallery = results.get("gallery") or {}
    parts = []
    for name, chosen in gallery.get("numbers", {}).items():
        lines = [_failure(row) for row in chosen.get("worst", [])]
        if lines:
            parts.append(f"The worst images of {name}, by the numbers:\n\n" + "\n".join(lines))
        if name in gallery["pictures"]:
            parts.append(f"![Gallery of {name}]({gallery['pictures'][name]})")
    return "\n\n".join(["## Known failures", *parts]) if parts else ""


def _failure(row: Mapping[str, Any]) -> str:
    missed = f", missed {', '.join(row['missed_classes'])}" if row["missed_classes"] else ""
    return (
        f"- scene {int(row['scene'])}, view {row['view']}: {row['found']} of {row['objects']} "
        f"objects found{missed}; {row['matching']} of {row['grasps']} grasps match"
    )


def _tolerance(cell: Mapping[str, Any]) -> str:
    return f"{100 * cell['distance']:.3g} cm / {cell['angle']:.3g}°"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _rate(value: float | None, interval: Sequence[float | None]) -> str:
    return f"{_percent(value)} [{_percent(interval[0])}, {_percent(interval[1])}]"
