# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``kgnpro card``: what was measured goes into a model's JSON card, and that into Markdown.

The Markdown is made of the JSON alone, so the two cannot disagree. Figures are taken only when they
were measured on these very weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kgnpro_ros.evaluation.card_text import card_text
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.files import read_json
from kgnpro_ros.network.weights import card_path, load_model
from kgnpro_ros.predictions import write_text_atomically

#: What is taken from an evaluation report.
REPORT_KEYS = ("data", "images", "scenes", "objects", "predictions", "cells", "kgn_pairs")


def update_card(
    model: str | Path, reports: Mapping[str, Path] | None = None, gallery: Path | None = None
) -> Path:
    """Add figures to a model's card and write it as JSON and Markdown.

    Args:
        model: Name or file of the model.
        reports: What ``kgnpro evaluate --json`` wrote, by the name of the test set.
        gallery: ``gallery.json`` of ``benchmarks/gallery.py``, with its pictures beside it.

    Returns:
        The Markdown file, beside the weights.

    Raises:
        ModelError: If a report is none, or was made with other weights; nothing is written then.
    """
    loaded = load_model(model)
    path = card_path(loaded.path)
    results = _kept(loaded.card.get("results"), loaded.sha256)
    for name, file in (reports or {}).items():
        report = read_json(file, ModelError)
        results["sets"][name] = _figures(report, loaded.sha256, str(file))
        results["score_threshold"] = report["model"]["score_threshold"]
    if gallery is not None:
        results["gallery"] = _gallery(gallery, path.parent)
    if not results["sets"] and not results["gallery"]:
        raise ModelError(f"{path} holds no figures of {loaded.path} yet; give --report NAME=FILE")
    card = {**_portable(loaded.card), "results": results}
    text = card_text(path.stem, card)
    write_text_atomically(path, json.dumps(card, indent=1, allow_nan=False) + "\n")
    markdown = path.with_suffix(".md")
    write_text_atomically(markdown, text)
    return markdown


def _portable(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card with names instead of paths, which mean nothing on another machine."""
    result = dict(card)
    for part, key in (("start", "file"), ("training", "start")):
        values = result.get(part)
        if isinstance(values, dict) and isinstance(values.get(key), str):
            result[part] = {**values, key: Path(values[key]).name}
    return result


def _kept(stored: Any, sha256: str) -> dict[str, Any]:
    """Figures that the card has of these weights; those of others are dropped."""
    if isinstance(stored, dict) and stored.get("sha256") == sha256:
        return {**stored, "sets": dict(stored.get("sets", {}))}
    return {"sha256": sha256, "sets": {}, "gallery": None}


def _figures(report: Any, sha256: str, source: str) -> dict[str, Any]:
    """What the card says about one test set."""
    try:
        found = report["model"]["sha256"]
        figures = {key: report[key] for key in REPORT_KEYS}
        figures["data"] = Path(report["data"]).name
        figures["lost"] = report["stages"]["objects"]
        figures["classes"] = {
            name: {"objects": entry["objects"], "osr": [cell["osr"] for cell in entry["cells"]]}
            for name, entry in report["classes"].items()
        }
        inside = report["calibration"]
        figures["covariance"] = {key: inside[key] for key in ("inside_50", "inside_90")}
    except (KeyError, TypeError) as error:
        raise ModelError(f"{source} is no report of kgnpro evaluate: {error!r}") from error
    if found != sha256:
        raise ModelError(
            f"{source} was measured with weights {str(found)[:8]}, the model has {sha256[:8]}; "
            "evaluate this model"
        )
    return figures


def _gallery(path: Path, folder: Path) -> dict[str, Any]:
    """Numbers of the gallery, and where its pictures are as seen from the card."""
    content = read_json(path, ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{path} is no gallery.json: it holds {type(content).__name__}")
    pictures = {
        name: os.path.relpath(file, folder)
        for name in content
        if (file := path.parent.resolve() / f"gallery_{name}.jpg").is_file()
    }
    return {"numbers": content, "pictures": pictures}
