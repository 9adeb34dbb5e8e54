# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Model cards: figures of these weights only, and the Markdown says what the JSON says."""

import json
import re
from pathlib import Path

import pytest
import torch

from kgnpro_ros.config import NETWORK_PRESETS
from kgnpro_ros.evaluation.card import update_card
from kgnpro_ros.evaluation.card_text import card_text
from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import load_model, save_model

MODELS = Path(__file__).resolve().parents[1] / "models"
PAIRS = [(d, a) for a in (10.0, 20.0) for d in (0.01, 0.015, 0.02)]


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "models" / "small.safetensors"
    path.parent.mkdir()
    details = {
        "data": [{"mode": "multi", "look": "kgn", "seed": 5, "scenes": 30, "views": 5,
                  "depth_noise": True, "classes": "ring", "training_scenes": 29,
                  "counts": {"objects": 77}}],
        "training": {"crop": 256, "batch_size": 8, "seed": 3,
                     "start": "/somewhere/else/last.ckpt"},
        "steps": 1234, "hours": 1.5, "machine": "2 CPU cores", "torch": "2",
        "history": ["one", "two"],
        "start": {"file": "/somewhere/else/last.ckpt", "sha256": "0", "new_heads": []},
    }  # fmt: skip
    save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), path, details)
    return path


def a_report(model, shift=0.0):
    def cell(k, distance, angle):
        values = {"distance": distance, "angle": angle}
        for j, name in enumerate(("gsr", "gcr", "osr")):
            value = 0.5 + 0.01 * k + 0.1 * j + shift
            values |= {name: value, f"{name}_interval": [value - 0.05, value + 0.04]}
        return values

    return {
        "data": "x/test_single", "images": 250, "scenes": 50, "objects": 248, "predictions": 7000,
        "model": {"name": "m", "sha256": load_model(model).sha256, "score_threshold": 0.25},
        "cells": [cell(k, *pair) for k, pair in enumerate(PAIRS)],
        "kgn_pairs": [cell(7, 0.03, 45.0)],
        "classes": {"ring": {"objects": 40, "cells": [{"osr": 0.111 * k} for k in range(6)]},
                    "stick": {"objects": 0, "cells": [{"osr": None} for _ in range(6)]}},
        "stages": {"objects": {"found": 0.9, "depth_error": 0.075, "pose_off": 0.025}},
        "calibration": {"inside_50": 0.512, "inside_90": 0.834},
        "curve": [], "median_milliseconds": 5.0,
    }  # fmt: skip


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def cells_of(text):
    """Numbers of the rows of a Markdown table of tolerances."""
    rows = re.findall(r"^\| ([\d.]+) cm / ([\d.]+)° \|(.*)\|$", text, re.M)
    return [
        (float(d), float(a), [float(x) for x in re.findall(r"[+-]?\d+\.\d+", rest)])
        for d, a, rest in rows
    ]


def test_every_cell_of_the_json_is_in_the_markdown(model, tmp_path):
    report = write(tmp_path / "r.json", a_report(model))
    markdown = update_card(model, {"single": report})
    assert markdown == model.with_suffix(".md")
    stored = json.loads(model.with_suffix(".json").read_text())["results"]["sets"]["single"]
    shown = cells_of(markdown.read_text())
    wanted = [*stored["cells"], *stored["kgn_pairs"]]
    assert len(shown) == len(wanted) == 7
    for (distance, angle, numbers), cell in zip(shown, wanted, strict=True):
        assert (distance, angle) == (pytest.approx(100 * cell["distance"]), cell["angle"])
        expected = [
            100 * value
            for key in ("osr", "gsr", "gcr")
            for value in (cell[key], *cell[f"{key}_interval"])
        ]
        assert numbers[:9] == pytest.approx(expected, abs=0.051)


def test_the_paper_stands_beside(model, tmp_path):
    """Table I of the paper, and the difference to it."""
    update_card(model, {"multi-kgn": write(tmp_path / "r.json", a_report(model))})
    shown = cells_of(model.with_suffix(".md").read_text())
    assert [numbers[9] for _, _, numbers in shown[:6]] == [90.9, 93.9, 96.9, 95.2, 97.5, 98.1]
    assert [numbers[10] for _, _, numbers in shown[:6]] == pytest.approx(
        [70 - 90.9, 71 - 93.9, 72 - 96.9, 73 - 95.2, 74 - 97.5, 75 - 98.1], abs=0.051
    )
    assert len(shown[6][2]) == 9


def test_what_else_a_card_tells(model, tmp_path):
    text = update_card(model, {"single": write(tmp_path / "r.json", a_report(model))}).read_text()
    assert "| steps | 1234 |" in text
    assert "| hours | 1.5 |" in text
    assert "| multi | kgn | yes | ring | 5 | 30 | 29 | 5 | 77 |" in text
    assert "- one\n- two" in text
    assert "crop 256, batch_size 8, seed 3." in text
    assert "depth error 7.5 %, pose off 2.5 %" in text
    assert "inside the 90 % one 83.4 %" in text
    assert "| ring | 40 | 0.0 | 11.1 | 22.2 |" in text
    assert "stick" not in text
    assert "| started from | last.ckpt |" in text
    assert "/somewhere" not in text + model.with_suffix(".json").read_text()
    assert "`test_single`, 50 scenes, 250 images, 248 objects" in text


def gallery(folder):
    row = {"scene": "00007", "view": 2, "found": 3, "objects": 5, "matching": 4, "grasps": 31,
           "missed_classes": ["ring", "stick"]}  # fmt: skip
    frame = {"grasps": 4, "best_valid": True, "first_ten_valid": 3, "objects": 2,
             "objects_with_valid_grasp": 1, "on_bare_table": 0}  # fmt: skip
    folder.mkdir()
    (folder / "gallery_multi.jpg").write_bytes(b"")
    content = {"multi": {"worst": [row]}, "real": {"frames": {"red_mug": frame}}}
    return write(folder / "gallery.json", content)


def test_failures_and_real_frames(model, tmp_path):
    text = update_card(model, gallery=gallery(tmp_path / "pictures")).read_text()
    assert "- scene 7, view 2: 3 of 5 objects found, missed ring, stick; 4 of 31 grasps" in text
    assert "](../pictures/gallery_multi.jpg)" in text
    assert "gallery_real" not in text
    assert "| red mug | 4 | yes | 3 of 4 | 1 of 2 | 0 |" in text


def test_figures_are_added_one_after_the_other(model, tmp_path):
    first, second = (write(tmp_path / f"{k}.json", a_report(model, shift=k / 100)) for k in (0, 1))
    update_card(model, {"single": first})
    update_card(model, gallery=gallery(tmp_path / "pictures"))
    update_card(model, {"multi": second})
    text = model.with_suffix(".md").read_text()
    assert text.index("### single") < text.index("### multi")
    assert "red mug" in text
    assert update_card(model).read_text() == text


def test_figures_of_earlier_weights_are_dropped(model, tmp_path):
    update_card(model, {"single": write(tmp_path / "a.json", a_report(model))})
    card = json.loads(model.with_suffix(".json").read_text())
    torch.manual_seed(1)
    save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), model, card)
    with pytest.raises(ModelError, match="no figures of"):
        update_card(model)
    text = update_card(model, {"multi": write(tmp_path / "b.json", a_report(model))}).read_text()
    assert "### single" not in text


def test_figures_of_other_weights_are_refused(model, tmp_path):
    other = a_report(model) | {"model": {"name": "m", "sha256": "f" * 64, "score_threshold": 0.25}}
    before = model.with_suffix(".json").read_bytes()
    with pytest.raises(ModelError, match="measured with weights ffffffff"):
        update_card(model, {"single": write(tmp_path / "r.json", other)})
    assert model.with_suffix(".json").read_bytes() == before
    assert not model.with_suffix(".md").exists()


@pytest.mark.parametrize("content", [[1], {"images": 3}, "text", {"model": 3}])
def test_what_is_no_report(model, tmp_path, content):
    with pytest.raises(ModelError, match=r"r\.json is no report"):
        update_card(model, {"single": write(tmp_path / "r.json", content)})


@pytest.mark.parametrize("key", ["data", "results", "history"])
def test_a_damaged_card(model, tmp_path, key):
    update_card(model, {"single": write(tmp_path / "r.json", a_report(model))})
    card = json.loads(model.with_suffix(".json").read_text())
    with pytest.raises(ModelError, match="the card of small is damaged"):
        card_text("small", {**card, key: 3})


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.md")), ids=lambda path: path.stem)
def test_the_shipped_cards_are_those_of_their_json(path):
    card = json.loads(path.with_suffix(".json").read_text())
    assert path.read_text() == card_text(path.stem, card), f"run kgnpro card {path.stem}"
    assert card["results"]["sha256"] == load_model(path.with_suffix(".safetensors")).sha256
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", path.read_text()):
        assert (path.parent / picture).is_file(), picture
    shown = cells_of(path.read_text())
    stored = [
        cell
        for figures in card["results"]["sets"].values()
        for cell in (*figures["cells"], *figures["kgn_pairs"])
    ]
    assert [numbers[0] for _, _, numbers in shown] == pytest.approx(
        [100 * cell["osr"] for cell in stored], abs=0.051
    )
