# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation results as tables on the screen, as JSON, and as a picture of curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kgnpro_ros.files import whole_file
from kgnpro_ros.predictions import write_text_atomically

RATES = {"gsr": "grasp success", "gcr": "grasp coverage", "osr": "object success"}


def print_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the tables of a report: cells with intervals, classes, stages, calibration.

    Args:
        report: From :meth:`~kgnpro_ros.evaluation.runner.EvaluationResult.to_dict`, optionally
            with ``stages`` and ``calibration``.
        console: Where to print.
    """
    console = console or Console()
    console.print(
        f"{report['scenes']} scenes, {report['images']} images, {report['objects']} objects with "
        f"ground truth, {report['predictions']} predictions",
        highlight=False,
    )
    console.print(_rates_table("Rates with 95 % intervals over scenes", report))
    console.print(_class_table(report))
    if "stages" in report:
        console.print(_stage_table(report["stages"]))
    if report.get("calibration"):
        console.print(_calibration_line(report["calibration"]), highlight=False)


def write_report(path: str | Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON; the file appears complete or not at all."""
    write_text_atomically(path, json.dumps(report, indent=1, allow_nan=False) + "\n")


def plot_curves(path: str | Path, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw GSR, GCR and OSR over the tolerance as a PNG.

    Args:
        path: File to write.
        reports: Reports by the name in the legend.
    """
    # The object interface needs no display and leaves pyplot's global state alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4))
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.14, top=0.92, wspace=0.08)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    for axis, (key, title) in zip(axes, RATES.items(), strict=True):
        for name, report in reports.items():
            points = report["curve"]
            values = [_or_nan(point[key]) for point in points]
            (line,) = axis.plot(range(len(points)), values, marker="o", ms=3, label=name)
            low, high = zip(
                *(map(_or_nan, point[f"{key}_interval"]) for point in points), strict=True
            )
            axis.fill_between(range(len(points)), low, high, color=line.get_color(), alpha=0.15)
            axis.set_xticks(
                range(len(points)), [_pair(point, "\n") for point in points], fontsize=7
            )
        axis.set_title(f"{title} rate ({key.upper()})", fontsize=10)
        axis.set_ylim(0, 1.02)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("rate, with 95 % interval over scenes", fontsize=9)
    axes[-1].legend(fontsize=8, loc="lower right")
    with whole_file(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _rates_table(title: str, report: Mapping[str, Any]) -> Table:
    table = Table("tolerance", *(f"{name} ({key.upper()}) %" for key, name in RATES.items()))
    table.title, table.title_justify = title, "left"
    for section in ("cells", "kgn_pairs"):
        for cell in report[section]:
            rates = [_with_interval(cell[key], cell[f"{key}_interval"]) for key in RATES]
            table.add_row(_pair(cell), *rates)
        table.add_section()
    return table


def _class_table(report: Mapping[str, Any]) -> Table:
    """GSR / GCR / OSR per class at the tightest and the loosest cell."""
    pairs = [report["cells"][0], report["cells"][-1]]
    table = Table("class", "objects", *(f"GSR / GCR / OSR % at {_pair(pair)}" for pair in pairs))
    for name, entry in report["classes"].items():
        if entry["objects"]:
            cells = (entry["cells"][0], entry["cells"][-1])
            rates = [" / ".join(_percent(cell[key]) for key in RATES) for cell in cells]
            table.add_row(name, str(entry["objects"]), *rates)
    return table


def _stage_table(stages: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table("ended at", "objects %", "grasps %")
    table.title, table.title_justify = "Where ground truth was lost", "left"
    for name in stages["objects"]:
        shares = (_percent(stages[kind][name]) for kind in ("objects", "grasps"))
        table.add_row(name.replace("_", " "), *shares)
    return table


def _calibration_line(calibration: Mapping[str, Any]) -> str:
    return (
        f"covariance: {_percent(calibration['inside_50'])} % of {calibration['count']} errors in "
        f"the 50 % ellipsoid, {_percent(calibration['inside_90'])} % in the 90 % one; after a "
        f"fitted factor of {_or_nan(calibration['temperature']):.3g}: "
        f"{_percent(calibration['fitted_50'])} %, {_percent(calibration['fitted_90'])} %"
    )


def _pair(cell: Mapping[str, float], separator: str = " ") -> str:
    return f"{cell['distance'] * 100:.3g} cm{separator}{cell['angle']:.3g}°"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _with_interval(value: float | None, interval: list[float | None]) -> str:
    if value is None:
        return "-"
    return f"{_percent(value)} [{_percent(interval[0])}, {_percent(interval[1])}]"


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
