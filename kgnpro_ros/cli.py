# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The ``kgnpro`` command. Exit codes: 0 done, 1 failed while running, 2 bad input."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from kgnpro_ros.exceptions import KGNProError
from kgnpro_ros.progress import progress_bar
from kgnpro_ros.threads import keep_blas_to_one_thread
from kgnpro_ros.version import __version__

# Heavy modules (PyTorch, MuJoCo, ROS) are imported in the commands that need them: ``--help`` and
# mistakes on the command line should answer at once.

app = typer.Typer(
    help="Ranked 6-DoF grasps from RGB-D images (KGN-Pro).",
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True, style="red", highlight=False, markup=False, soft_wrap=True)

#: Mistakes on the command line; typer exports only one kind of them.
UsageError: Any = typer.BadParameter.__base__

#: A path that is not what the command needs is bad input; a full disk is not.
BAD_PATH = (
    FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError,
)  # fmt: skip


def main() -> None:
    """Run the command line; bad input and expected failures cost one line on stderr."""
    keep_blas_to_one_thread()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UsageError as error:
        _fail(error.format_message(), 2)
    except KGNProError as error:
        _fail(str(error), 2)
    except OSError as error:
        _fail(str(error), 2 if isinstance(error, BAD_PATH) else 1)
    sys.exit(code if isinstance(code, int) else 0)


def _say(line: str) -> None:
    """Print a line as it is: no markup in file names, no wrapping."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _fail(message: str, code: int) -> NoReturn:
    errors.print(f"error: {' '.join(message.split())}")
    sys.exit(code)


@app.command()
def detect(
    color: Annotated[Path | None, typer.Option(help="Colour image (PNG, JPEG).")] = None,
    depth: Annotated[Path | None, typer.Option(help="Depth image registered to it.")] = None,
    camera: Annotated[Path | None, typer.Option(help="Camera JSON.")] = None,
    frames: Annotated[Path | None, typer.Option(help="Folder of frames instead.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Non-zero where grasps may be.")] = None,
    model: Annotated[str | None, typer.Option(help="Model name or file.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML over the defaults.")] = None,
    max_grasps: Annotated[int | None, typer.Option(min=1, help="Most grasps kept.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for NAME.json and NAME.png.")] = Path("grasps"),
) -> None:
    """Detect grasps in image files; writes a prediction JSON and an overlay picture of each."""
    single = [path for path in (color, depth, camera) if path is not None]
    if bool(single) == (frames is not None) or (frames is None and len(single) < 3):
        raise typer.BadParameter("give --color, --depth and --camera, or --frames DIR")
    if frames is not None and mask is not None:
        raise typer.BadParameter("--mask goes with --color; a frame folder may hold mask.png")
    from kgnpro_ros import predictions
    from kgnpro_ros.detect_files import detect_to_files, load_detector

    detector = load_detector(model, config)
    if frames is None:
        assert color is not None
        assert depth is not None
        assert camera is not None
        image = predictions.read_rgbd(color, depth, camera, mask)
        name = color.parent.name if color.stem == "color" else color.stem
        _say(detect_to_files(detector, image, out, name or "frame", max_grasps))
        return
    failed = 0
    for folder in predictions.find_frames(frames):
        try:
            image = predictions.read_frame(folder)
        except KGNProError as error:
            failed += 1
            errors.print(f"skipped {folder.name}: {error}")
            continue
        _say(detect_to_files(detector, image, out, folder.resolve().name, max_grasps))
    if failed:
        raise typer.Exit(2)


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="Folder of the data set.")],
    scenes: Annotated[int, typer.Option(min=1, help="Number of scenes.")],
    mode: Annotated[str, typer.Option(help="single or multi.")] = "single",
    look: Annotated[str, typer.Option(help="kgn (as the paper's data) or random.")] = "kgn",
    views: Annotated[int, typer.Option(min=1, help="Views per scene.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all scenes.")] = 0,
    depth_noise: Annotated[bool, typer.Option(help="Apply the depth-sensor model.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.")] = None,
    classes: Annotated[str, typer.Option(help="Classes, separated by commas; all if empty.")] = "",
) -> None:
    """Generate a synthetic data set; run it again to finish an interrupted one."""
    from kgnpro_ros.config import SceneConfig, config_from_dict
    from kgnpro_ros.data import generate as generation

    settings = {
        "mode": mode, "look": look, "views": views, "depth_noise": depth_noise, "classes": classes
    }  # fmt: skip
    config = config_from_dict(SceneConfig, settings, "generate")
    with progress_bar(console, f"{mode} scenes") as progress:
        manifest = generation.generate(out, config, scenes, seed, workers, progress=progress)
    _say(f"{out}: {manifest['counts']}")


@app.command()
def convert(
    data: Annotated[Path, typer.Option(help="Data set of this package, of look kgn.")],
    out: Annotated[Path, typer.Option(help="Folder in KGN's format.")],
    test_share: Annotated[float, typer.Option(help="Share of scenes in test.txt.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of these.")] = 0,
) -> None:
    """Copy a data set into the folder format of KGN's published data."""
    from kgnpro_ros.data.kgn_format import open_dataset
    from kgnpro_ros.data.kgn_writer import write_kgn

    with progress_bar(console, "scenes") as progress:
        train_scenes, test_scenes = write_kgn(
            open_dataset(data), out, test_share, seed, progress=progress
        )
    _say(f"{out}: {train_scenes} training and {test_scenes} test scenes")


@app.command()
def train(
    data: Annotated[list[Path], typer.Option(help="Data set; may be given several times.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the model.")],
    config: Annotated[Path | None, typer.Option(help="Training YAML.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in --out.")] = False,
    allow: Annotated[
        list[str] | None, typer.Option(help="Setting that --resume changes on purpose.")
    ] = None,
) -> None:
    """Train a model; a killed run goes on with --resume."""
    from kgnpro_ros.config import TrainConfig, load_config
    from kgnpro_ros.training.train import train as run_training

    settings = TrainConfig() if config is None else load_config(TrainConfig, config)
    _say(f"model: {run_training(settings, data, out, resume, allow or ())}")


@app.command()
def reproduce(
    config: Annotated[Path, typer.Option(help="YAML with scenes, training and test sets.")],
    out: Annotated[Path, typer.Option(help="Folder of everything; run again to go on.")],
    minutes: Annotated[float | None, typer.Option(help="Minutes of training.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Generating processes.")] = None,
) -> None:
    """From nothing to an evaluated model: scenes, training, weights, evaluation, card."""
    from kgnpro_ros.config import ReproduceConfig, config_from_dict, load_config
    from kgnpro_ros.reproduce import reproduce as run

    settings = load_config(ReproduceConfig, config)
    if minutes is not None:
        changed = {**asdict(settings.train), "max_minutes": minutes}
        trained = config_from_dict(type(settings.train), changed, "--minutes")
        settings = replace(settings, train=trained)
    _say(f"model: {run(settings, out, workers, console)}")


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Generated data set or KGN-format folder.")],
    model: Annotated[str | None, typer.Option(help="Model name or file.")] = None,
    config: Annotated[Path | None, typer.Option(help="Detector YAML.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures here.")] = None,
    curve: Annotated[Path | None, typer.Option(help="Write the curves here (PNG).")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Folder for predictions.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="First N images only.")] = None,
) -> None:
    """Evaluate a model with the field's metric: GSR, GCR and OSR, with intervals."""
    from kgnpro_ros.detect_files import load_detector
    from kgnpro_ros.evaluation.command import evaluate_model

    evaluate_model(load_detector(model, config, plain=True), data, json, curve, predictions, limit)


@app.command()
def card(
    model: Annotated[str, typer.Argument(help="Model name or file.")],
    report: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE of kgnpro evaluate --json; repeatable.")
    ] = None,
    gallery: Annotated[Path | None, typer.Option(help="gallery.json, pictures beside it.")] = None,
) -> None:
    """Put figures into a model's card, and write it as Markdown beside the weights."""
    from kgnpro_ros.evaluation.card import update_card

    pairs = [item.partition("=") for item in report or ()]
    wrong = [name + sign for name, sign, file in pairs if not (name and file)]
    if wrong:
        raise typer.BadParameter(f"--report {wrong[0]}: expected NAME=FILE")
    files = {name: Path(file) for name, _, file in pairs}
    _say(str(update_card(model, files, gallery)))


@app.command()
def ablate(
    config: Annotated[Path, typer.Option(help="YAML with the variants.")],
    data: Annotated[list[Path], typer.Option(help="Training data; may be given several times.")],
    test: Annotated[list[Path], typer.Option(help="Test data; may be given several times.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs and tables.")],
    start: Annotated[str | None, typer.Option(help="Weights that all start from.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Train only this variant.")] = None,
) -> None:
    """Train and evaluate variants alike and compare them; run it again to go on."""
    from kgnpro_ros.ablation.run import Ablation
    from kgnpro_ros.config import AblationConfig, load_config

    settings = load_config(AblationConfig, config)
    if start is not None:
        settings = replace(settings, train={**settings.train, "start": start})
    _say(f"tables: {Ablation(settings, data, test, out, console).run(only or ())}")


@app.command()
def export(
    run: Annotated[Path | None, typer.Argument(help="Folder of a training run.")] = None,
    name: Annotated[str, typer.Option(help="Stem of the model file.")] = "model",
    model: Annotated[str | None, typer.Option(help="Model to write as ONNX instead.")] = None,
    out: Annotated[Path | None, typer.Option(help="ONNX file; beside the model if absent.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Weights in half precision.")] = False,
    frames: Annotated[Path | None, typer.Option(help="Frames to prove it on.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to eight bits.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Frames or data for --int8; rendered if absent.")
    ] = None,
) -> None:
    """Write a run's newest checkpoint as a model file, or a model as an ONNX file."""
    if (run is None) == (model is None):
        raise typer.BadParameter("give the folder of a run, or --model M")
    if model is None:
        from kgnpro_ros.training.train import export_checkpoint

        assert run is not None
        _say(str(export_checkpoint(run, name)))
        return
    if int8:
        if half or frames is not None:
            raise typer.BadParameter("--int8 goes without --half, and renders the frames it needs")
        from kgnpro_ros.evaluation.quantised import export_on_console

        export_on_console(model, out, calibrate, console)
        return
    if calibrate is not None:
        raise typer.BadParameter("--calibrate is for --int8")
    from kgnpro_ros.evaluation.export import export_graph

    path, parity = export_graph(model, out, half, _frames(frames))
    worst = ", ".join(f"{key} {value:.1e}" for key, value in parity.differences.items())
    _say(f"{path}: {100 * parity.same:.1f} % of {parity.grasps} grasps are the same; {worst}")


@app.command()
def bench(
    frames: Annotated[Path | None, typer.Option(help="Frames; rendered if absent.")] = None,
    model: Annotated[str | None, typer.Option(help="Model name or file.")] = None,
    config: Annotated[Path | None, typer.Option(help="Detector YAML.")] = None,
    runtime: Annotated[list[str] | None, typer.Option(help="Runtime; may be repeated.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Detections that count.")] = 50,
    candidates: Annotated[bool, typer.Option("--candidates", help="All of top_k.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write all figures here.")] = None,
) -> None:
    """Measure each stage, beside the time that the arithmetic alone would take."""
    from kgnpro_ros.config import DetectorConfig, config_from_dict, load_config
    from kgnpro_ros.evaluation import bench as benchmark

    settings = DetectorConfig() if config is None else load_config(DetectorConfig, config)
    images, reports = _frames(frames), []
    for choice in runtime or [settings.runtime]:
        changes: dict[str, Any] = {"runtime": choice, "model": model or settings.model}
        config_from_dict(DetectorConfig, changes, "bench")
        report = benchmark.run_bench(replace(settings, **changes), images, runs, candidates)
        benchmark.print_bench(report, console)
        reports.append(report)
    if json is not None:
        benchmark.write_bench(json, reports)


def _frames(folder: Path | None) -> list[Any]:
    """The frames of a folder, or simulated ones."""
    if folder is None:
        from kgnpro_ros.evaluation.export import rendered_frames

        return rendered_frames()
    from kgnpro_ros.predictions import find_frames, read_frame

    return [read_frame(item) for item in find_frames(folder)]


@app.command()
def demo(
    frames: Annotated[Path | None, typer.Option(help="Real frames instead.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for pictures and logs.")] = Path("outputs/demo"),
    model: Annotated[str | None, typer.Option(help="Model name or file.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the scene.")] = None,
    arm: Annotated[bool, typer.Option(help="Pick the objects, or only show grasps.")] = True,
) -> None:
    """Start simulator, detector, executor and client as ROS 2 nodes: an arm empties a table."""
    try:
        from kgnpro_ros.ros import demo as ros_demo
    except ImportError as error:
        raise typer.BadParameter(
            f"the demo needs ROS 2 ({error}); run it with make demo, which sets that up"
        ) from error
    raise typer.Exit(ros_demo.run(frames, out, model=model, seed=seed, arm=arm))


@app.command()
def trials(
    out: Annotated[Path, typer.Option(help="Folder of results; goes on where a run stopped.")],
    model: Annotated[str | None, typer.Option(help="Model name or file.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML over the settings.")] = None,
    quick: Annotated[bool, typer.Option(help="A few trials of each row only.")] = False,
    only: Annotated[str, typer.Option(help="Names of trials, as a shell pattern.")] = "*",
    pictures: Annotated[bool, typer.Option(help="A picture of every failed attempt.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.")] = None,
) -> None:
    """Run the paper's physical experiment in physics: single objects, and scenes to clear."""
    from kgnpro_ros.simulation.trial_command import trials_on_console

    trials_on_console(
        out, model, config, console, quick=quick, only=only, pictures=pictures, workers=workers
    )


@app.command()
def info() -> None:
    """Print versions, devices and the models that are found."""
    import torch

    from kgnpro_ros.network.weights import found_models

    console.print(f"kgnpro_ros {__version__}, Python {platform.python_version()}", highlight=False)
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    console.print(f"torch {torch.__version__}, CUDA: {', '.join(devices) or 'none'}")
    for name, path in sorted(found_models().items()):
        _say(f"model {name}: {path}")
