# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: what it writes, and one line with exit code 2 for each mistake."""

import gc
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from support.box_scene import box_scene
from support.tiny_dataset import CAMERA, write_tiny_dataset

from kgnpro_ros import cli
from kgnpro_ros.config import NETWORK_PRESETS
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import save_model
from kgnpro_ros.predictions import read_predictions


@pytest.fixture(scope="module", autouse=True)
def nothing_left_to_collect():
    """Tasks that ROS tests left in this process write to stderr, which is read here, as they go."""
    gc.collect()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights that propose many grasps."""
    torch.manual_seed(0)
    network = KeypointNetwork(NETWORK_PRESETS["tiny"])
    for head in network.heads.values():
        torch.nn.init.normal_(head.out.weight, std=0.3)
    torch.nn.init.constant_(network.heads["heatmap"].out.bias, 1.0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(network, path, {})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("scenes"), scenes=1)


@pytest.fixture
def lenient(tmp_path):
    """Settings that let the nonsense of random weights through."""
    path = tmp_path / "lenient.yaml"
    path.write_text(
        "{decode: {orientation_check: false}, pnp: {max_reprojection_error: 10000}, "
        "filters: {collision: false, limit_width: false, max_approach_angle: 180}}"
    )
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the command; returns exit code, standard output, standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["kgnpro", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


@pytest.fixture
def refused(run):
    """Call the command; it must say one line and leave with 2. Returns the line."""

    def call(*arguments):
        code, out, err = run(*arguments)
        assert code == 2, err
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in out + err
        return err

    return call


def write_frame(folder, camera=CAMERA):
    folder.mkdir(parents=True)
    view = box_scene([((-0.02, -0.015, 0.0), (0.02, 0.015, 0.05))], eye=(0.0, -0.3, 0.4),
                     camera=camera)  # fmt: skip
    cv2.imwrite(str(folder / "color.png"), view.image.color)
    raw = np.nan_to_num(view.image.depth * 1000).round().astype(np.uint16)
    cv2.imwrite(str(folder / "depth.png"), raw)
    settings = {**camera.to_dict(), "depth_scale": 0.001}
    (folder / "camera.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def frame(tmp_path):
    return write_frame(tmp_path / "frames" / "box")


def files_of(frame):
    return ["--color", frame / "color.png", "--depth", frame / "depth.png",
            "--camera", frame / "camera.json"]  # fmt: skip


def test_detect_writes_prediction_and_picture(run, frame, model, tmp_path):
    out = tmp_path / "out"
    code, said, err = run("detect", *files_of(frame), "--model", model, "--out", out)
    assert (code, err) == (0, "")
    assert said.startswith("box: ")
    assert said.count("\n") == 1
    assert sorted(p.name for p in out.iterdir()) == ["box.json", "box.png"]
    predictions = read_predictions(out / "box.json")
    assert predictions.camera == CAMERA
    count = len(predictions.grasps) + sum(predictions.grasps.rejected.values())
    assert count > 10
    assert f"box: {len(predictions.grasps)} grasps" in said
    assert cv2.imread(str(out / "box.png")).shape == (128, 128, 3)


def test_max_grasps(run, frame, model, lenient, tmp_path):
    out = tmp_path / "out"
    arguments = ["--model", model, "--config", lenient, "--out", out, "--max-grasps", 2]
    code, _, _ = run("detect", *files_of(frame), *arguments)
    assert code == 0
    assert len(read_predictions(out / "box.json").grasps) == 2


def test_a_mask_limits_where(run, frame, model, lenient, tmp_path):
    mask = tmp_path / "mask.png"
    cv2.imwrite(str(mask), np.zeros((128, 128), np.uint8))
    out = tmp_path / "out"
    arguments = ["--mask", mask, "--model", model, "--config", lenient, "--out", out]
    code, _, _ = run("detect", *files_of(frame), *arguments)
    assert code == 0
    found = read_predictions(out / "box.json").grasps
    assert len(found) == 0
    assert found.rejected["outside_mask"] > 10


def test_many_frames_of_which_one_is_broken(run, frame, model, tmp_path):
    """The good ones are written, the bad one is named, and the exit code tells."""
    broken = write_frame(frame.parent / "broken")
    (broken / "depth.png").write_bytes(b"no image")
    other = write_frame(frame.parent / "other")
    out = tmp_path / "out"
    code, said, err = run("detect", "--frames", frame.parent, "--model", model, "--out", out)
    assert code == 2
    assert "skipped broken: " in err
    assert err.count("\n") == 1
    names = {"box.json", "box.png", f"{other.name}.json", f"{other.name}.png"}
    assert {p.name for p in out.iterdir()} == names
    assert said.count("grasps") == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--color, --depth and --camera, or --frames"),
        (["--color", "c.png"], "--color, --depth and --camera"),
        (["--frames", "f", "--color", "c.png"], "or --frames DIR"),
        (["--frames", "f", "--mask", "m.png"], "--mask goes with --color"),
        (["--frames", "f", "--max-grasps", "0"], "--max-grasps"),
        (["--frames", "f", "--max-grasps", "many"], "--max-grasps"),
        (["--colour", "c.png"], "--colour"),
    ],
)
def test_options_that_do_not_fit(refused, arguments, says):
    assert says in refused("detect", *arguments)


def test_an_unknown_command(refused):
    assert "fly" in refused("fly")


def spoil_camera(frame, **changes):
    path = frame / "camera.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoil_depth(frame, image):
    cv2.imwrite(str(frame / "depth.png"), image)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "color.png").unlink(), "no image"),
        (lambda f: (f / "color.png").write_bytes(b""), "no image that OpenCV can read"),
        (lambda f: (f / "camera.json").unlink(), "camera.json"),
        (lambda f: (f / "camera.json").write_text("{"), "camera.json"),
        (lambda f: (f / "camera.json").write_text("[]"), "expected a JSON object"),
        (lambda f: spoil_camera(f, fx=0), "focal lengths must be positive"),
        (lambda f: spoil_camera(f, fx="wide"), "numbers"),
        (lambda f: spoil_camera(f, depth_scale=0), "depth_scale"),
        (lambda f: spoil_camera(f, width=64, cx=31), "colour image is uint8 (128, 128, 3)"),
        (lambda f: spoil_depth(f, np.zeros((128, 128), np.uint16)), "no measurement"),
        (lambda f: spoil_depth(f, np.ones((64, 128), np.uint16)), "of the size of the colour"),
        (lambda f: spoil_depth(f, np.ones((128, 128), np.uint8)), "uint16 or float"),
        (lambda f: spoil_depth(f, np.ones((128, 128, 3), np.uint16)), "one channel"),
    ],
)
def test_bad_frames_cost_one_line_and_write_nothing(refused, frame, model, tmp_path, spoil, says):
    spoil(frame)
    out = tmp_path / "out"
    assert says in refused("detect", *files_of(frame), "--model", model, "--out", out)
    assert not out.exists()


def test_bad_models_and_settings_write_nothing(refused, frame, model, tmp_path):
    out = tmp_path / "out"
    detect = ["detect", *files_of(frame), "--out", out]
    truncated = tmp_path / "short.safetensors"
    truncated.write_bytes(model.read_bytes()[:1000])
    assert "truncated or another format" in refused(*detect, "--model", truncated)
    assert "gone.safetensors does not exist" in refused(*detect, "--model", "gone.safetensors")
    assert "no model 'huge'" in refused(*detect, "--model", "huge")
    settings = tmp_path / "mine.yaml"
    settings.write_text("decode: {top_k: 0}")
    assert "top_k must be 1 to" in refused(*detect, "--model", model, "--config", settings)
    settings.write_text("decode: [")
    assert "mine.yaml" in refused(*detect, "--model", model, "--config", settings)
    assert "nowhere.yaml" in refused(*detect, "--model", model, "--config", "nowhere.yaml")
    assert not out.exists()


def test_the_output_folder_is_a_file(refused, frame, model, tmp_path):
    out = tmp_path / "taken"
    out.write_text("mine")
    assert "taken" in refused("detect", *files_of(frame), "--model", model, "--out", out)
    assert out.read_text() == "mine"


def test_no_frames_in_the_folder(refused, model, tmp_path):
    assert "no frame in" in refused("detect", "--frames", tmp_path, "--model", model)


def test_generate_refuses_what_it_cannot_make(refused, tmp_path):
    out = tmp_path / "data"
    generate = ["generate", "--out", out, "--scenes", 1]
    assert "mode" in refused(*generate, "--mode", "many")
    assert "look" in refused(*generate, "--look", "pretty")
    assert "--scenes" in refused("generate", "--out", out, "--scenes", 0)
    assert "--scenes" in refused("generate", "--out", out)
    assert not out.exists()
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert "holds no data set" in refused(*generate)
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]


def test_train_refuses_missing_data_and_leaves_nothing(refused, tmp_path):
    out = tmp_path / "run"
    train = ["train", "--data", tmp_path / "nowhere", "--out", out]
    assert "nowhere is no folder" in refused(*train)
    assert "nothing to resume" in refused(*train, "--resume")
    settings = tmp_path / "train.yaml"
    settings.write_text("network: enormous")
    assert "no network preset 'enormous'" in refused(*train, "--config", settings)
    assert not out.exists()


def test_export_needs_a_run(refused, tmp_path):
    assert "not a readable checkpoint" in refused("export", tmp_path)


def test_evaluate_prints_and_writes_all_figures(run, data, model, tmp_path):
    report, folder = tmp_path / "report.json", tmp_path / "predictions"
    arguments = ["--model", model, "--data", data, "--json", report, "--predictions", folder]
    code, out, err = run("evaluate", *arguments)
    assert (code, err) == (0, "")
    assert "OSR" in out
    figures = json.loads(report.read_text())
    assert len(figures["cells"]) == 6
    assert all(0 <= cell["osr"] <= 1 for cell in figures["cells"])
    assert sorted(p.name for p in folder.iterdir()) == ["00000_0.json", "00000_1.json"]
    read_predictions(folder / "00000_0.json")


def test_evaluate_needs_data_and_a_model(refused, data, model, tmp_path):
    report = tmp_path / "report.json"
    assert "nowhere" in refused("evaluate", "--data", tmp_path / "nowhere", "--model", model,
                                "--json", report)  # fmt: skip
    assert "no model 'huge'" in refused("evaluate", "--data", data, "--model", "huge",
                                        "--json", report)  # fmt: skip
    assert not report.exists()


def test_info_lists_the_models(run, model, monkeypatch):
    monkeypatch.setenv("KGNPRO_MODELS", str(model.parent))
    code, out, _ = run("info")
    assert code == 0
    assert f"model tiny: {model}" in out
    assert f"torch {torch.__version__}" in out


@pytest.mark.parametrize("command", [[], ["--help"], ["detect", "--help"], ["train", "--help"]])
def test_help(run, command):
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert "Usage" in out


def test_the_installed_command_answers_without_a_traceback(tmp_path):
    """In a process of its own: exit code and streams as a shell sees them."""
    call = [sys.executable, "-c", "from kgnpro_ros.cli import main; main()", "detect",
            "--frames", str(tmp_path / "nowhere"), "--model", "none"]  # fmt: skip
    answer = subprocess.run(call, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: no model 'none'")
    assert answer.stderr.count("\n") == 1


@pytest.mark.slow
def test_from_nothing_to_an_evaluated_model(run, tmp_path):
    """generate, train, train on, export, evaluate: real rendering, real steps."""
    data, out = tmp_path / "data", tmp_path / "run"
    assert run("generate", "--scenes", 2, "--views", 2, "--out", data, "--workers", 1)[0] == 0
    settings = tmp_path / "train.yaml"
    settings.write_text(
        "{network: tiny, crop: 64, batch_size: 2, workers: 0, max_steps: 3, validation_scenes: 1, "
        "validation_interval: 3, labels: {rotation_samples: 8, translation_samples: 3}}"
    )
    train = ["train", "--config", settings, "--data", data, "--out", out]
    assert run(*train)[0] == 0
    settings.write_text(settings.read_text().replace("max_steps: 3", "max_steps: 5"))
    assert run(*train, "--resume")[0] == 0
    code, said, _ = run("export", out, "--name", "mine")
    assert code == 0
    assert said.strip() == str(out / "mine.safetensors")
    assert json.loads((out / "mine.json").read_text())["steps"] == 5
    assert run("evaluate", "--model", out / "mine.safetensors", "--data", data)[0] == 0


def test_convert_writes_what_evaluate_reads(run, refused, data, model, tmp_path):
    out, report = tmp_path / "kgn", tmp_path / "report.json"
    code, said, err = run("convert", "--data", data, "--out", out, "--test-share", 1)
    assert (code, err) == (0, "")
    assert said.splitlines()[-1] == f"{out}: 0 training and 1 test scenes"
    code, _, err = run("evaluate", "--data", out, "--model", model, "--json", report)
    assert (code, err) == (0, "")
    assert json.loads(report.read_text())["images"] == 2
    assert "share of test scenes" in refused(
        "convert", "--data", data, "--out", out, "--test-share", 2
    )
