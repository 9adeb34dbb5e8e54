# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Two real processes with DDP on the CPU: they end, agree, resume, and skip together."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from support.tiny_dataset import write_tiny_dataset

from kgnpro_ros.network.weights import load_model
from kgnpro_ros.training.checkpoint import CHECKPOINT, load_checkpoint

ROOT = Path(__file__).resolve().parents[1]

#: What each process runs. Lightning starts the second one with the same script and arguments.
SCRIPT = """
    import os
    import sys
    import numpy as np
    import torch
    from pathlib import Path
    from kgnpro_ros.config import LabelConfig, LossConfig, TrainConfig
    from kgnpro_ros.training import train as training
    from kgnpro_ros.training.module import GraspModule
    from kgnpro_ros.training.samples import CropDataset

    data, out, steps, mode = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    rank = int(os.environ.get("LOCAL_RANK", 0))
    torch.set_num_threads(1)
    training.VALIDATION_BATCHES = 2

    getitem = CropDataset.__getitem__

    def remember(self):
        torch.save({"weights": self.network.state_dict(), "skipped": self.skipped,
                    "step": self.global_step}, out / f"rank{rank}.pt")

    def spoil(self, number):
        sample = getitem(self, number)
        (out / "numbers").open("a").write(f"{rank} {number}\\n")
        if mode == "nan" and number == 5:  # the second process's third sample, in its second step
            sample.targets.width[:] = np.nan
        if mode == "half" and number == 5:
            raise OSError("half-written sample")
        return sample

    GraspModule.on_train_end = remember
    CropDataset.__getitem__ = spoil
    config = TrainConfig(
        network="tiny", crop=32, batch_size=2, workers=0, max_steps=steps, warmup_steps=1,
        validation_scenes=1, validation_interval=2, checkpoint_minutes=0.0, devices=2,
        strategy="ddp", precision="32-true",
        labels=LabelConfig(rotation_samples=8, translation_samples=3),
        # The confidence head gets no gradient before the pose loss starts.
        loss=LossConfig(reprojection=0.0, pose=0.1, pose_start=3, pose_ramp=1, pose_grasps=8),
    )
    training.train(config, [data], out, mode == "resume")
"""


def launch(tmp_path, out, steps, mode):
    """Run it in a session of its own; a dead-lock ends in a time-out that kills both processes."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"
    }  # fmt: skip
    out.mkdir(exist_ok=True)
    command = [sys.executable, str(script), str(tmp_path / "data"), str(out), str(steps), mode]
    process = subprocess.Popen(
        command, env=environment, cwd=tmp_path, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        text, _ = process.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise
    return process.returncode, text


def ranks(out):
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def check_equal(first, second):
    assert first["step"] == second["step"]
    for name, value in first["weights"].items():
        if "running_" not in name:  # each process has statistics of its own batches
            assert torch.equal(value, second["weights"][name]), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("distributed")
    write_tiny_dataset(path / "data")
    return path


@pytest.mark.slow
def test_two_processes_end_with_equal_weights_and_go_on_together(folder):
    out = folder / "run"
    code, text = launch(folder, out, 4, "new")
    assert code == 0, text
    check_equal(*ranks(out))
    seen = sorted(line.split() for line in (out / "numbers").read_text().splitlines())
    training = {rank: [int(n) for r, n in seen if r == rank and int(n) < 10**6] for rank in "01"}
    assert sorted(training["0"]) == list(range(0, 16, 2))
    assert sorted(training["1"]) == list(range(1, 16, 2))
    assert load_model(out / "model.safetensors").card["steps"] == 4
    (out / "numbers").unlink()
    code, text = launch(folder, out, 6, "resume")
    assert code == 0, text
    check_equal(*ranks(out))
    assert load_checkpoint(out / CHECKPOINT)["global_step"] == 6
    seen = [int(line.split()[1]) for line in (out / "numbers").read_text().splitlines()]
    assert sorted(n for n in seen if n < 10**6) == list(range(16, 24))


@pytest.mark.slow
def test_a_broken_batch_in_one_process_is_skipped_by_both(folder):
    out = folder / "nan"
    code, text = launch(folder, out, 4, "nan")
    assert code == 0, text
    first, second = ranks(out)
    check_equal(first, second)
    assert (first["skipped"], second["skipped"], first["step"]) == (1, 1, 4)
    assert all(torch.isfinite(value.float()).all() for value in first["weights"].values())
    assert "another process" in text


@pytest.mark.slow
def test_a_failing_process_ends_both_and_leaves_a_checkpoint(folder):
    out = folder / "half"
    code, text = launch(folder, out, 4, "half")
    assert code != 0
    assert "half-written sample" in text
    assert load_checkpoint(out / CHECKPOINT)["global_step"] == 1
