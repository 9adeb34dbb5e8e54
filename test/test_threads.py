# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Threads of libraries: what counts is how many there are in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kgnpro_ros.threads import BLAS_THREADS, keep_blas_to_one_thread

#: Prints the number of threads of a process that multiplies.
MULTIPLY = """
import sys
from pathlib import Path
from kgnpro_ros.threads import keep_blas_to_one_thread
if sys.argv[1] == "limited":
    keep_blas_to_one_thread()
import os
import numpy as np
a = np.ones((400, 400))
a @ a
print(len(os.listdir("/proc/self/task")))
"""


def threads(how):
    environment = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    answer = subprocess.run(
        [sys.executable, "-c", MULTIPLY, how], env=environment, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    return int(answer.stdout)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="Linux counts threads there")
def test_products_stay_in_their_thread():
    if threads("free") == 1:
        pytest.skip("this NumPy has one thread, or this machine one core")
    assert threads("limited") == 1


def test_the_environment_goes_first():
    environment = {BLAS_THREADS: "3"}
    keep_blas_to_one_thread(environment)
    assert environment == {BLAS_THREADS: "3"}


@pytest.mark.parametrize("module", ["kgnpro_ros.threads", "kgnpro_ros.cli"])
def test_it_comes_before_numpy(module):
    """NumPy reads the number when it is imported; afterwards nothing would change."""
    code = f"import sys, {module}; raise SystemExit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
