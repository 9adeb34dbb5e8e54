# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The soak program: its arithmetic, and two minutes of the real thing."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "benchmarks" / "soak.py"


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    return module


def record(soak, growth=0.0, latency_growth=0.0, missed=()):
    rng = np.random.default_rng(0)
    seconds = np.arange(0.0, 600.0)
    memory = 400.0 + growth * seconds / 600 + rng.normal(0, 0.1, len(seconds))
    memory[200] += 300.0  # one reading that is off does not decide
    latency = 80.0 + latency_growth * seconds / 600 + rng.normal(0, 2, len(seconds))
    pairs = [list(map(tuple, np.stack([seconds, v], 1))) for v in (memory, latency)]
    # 0.05 s for each of the detections, one a second.
    processor = list(zip(seconds, 0.05 * seconds, strict=True))
    return soak.Record(pairs[0], pairs[1], pairs[1], list(missed), processor)


def test_growth_is_measured_and_judged(soak):
    steady = soak.figures(record(soak), 10.0)
    assert steady.problems(1.0) == []
    assert abs(steady.memory_slope) < 0.1
    assert steady.processor_start == pytest.approx(50.0, rel=0.02)
    assert steady.processor_end == pytest.approx(50.0, rel=0.02)
    leak = soak.figures(record(soak, growth=5.0), 10.0)
    assert leak.memory_slope == pytest.approx(5.0, abs=0.2)
    assert "memory grows by" in leak.problems(1.0)[0]
    slower = soak.figures(record(soak, latency_growth=80.0), 10.0)
    assert "latency grew" in slower.problems(1.0)[0]
    silent = soak.figures(record(soak, missed=["3.0 s: no answer"]), 10.0)
    assert "1 of 601 calls were not answered" in silent.problems(1.0)


@pytest.mark.slow
@pytest.mark.reliability("soak: two minutes")
def test_two_minutes(tmp_path):
    """Memory is given the leeway of a short run: caches fill in the first minutes."""
    report = tmp_path / "soak.json"
    command = [sys.executable, PROGRAM, "--minutes", "2", "--json", report, "--max-slope", "20"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(report.read_text())["figures"]
    assert figures["missed"] == 0
    assert figures["calls"] > 20
