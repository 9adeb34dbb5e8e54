# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The heaps of the C library in processes with many threads."""

import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ros_graph import wait_until

from kgnpro_ros.ros import memory

ROOT = Path(__file__).resolve().parents[2]
GLIBC = platform.libc_ver()[0] == "glibc"
#: glibc starts each heap but the first at a multiple of this.
HEAP_BYTES = 64 * 2**20

#: Threads take images in turn, as those of an executor do; the newest four stay alive.
TAKE_IMAGES = """
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from kgnpro_ros.ros.memory import keep_one_heap

limited = sys.argv[1] == "limited" and keep_one_heap({})
newest, barrier = deque(maxlen=4), Barrier(8)

def take(number):
    barrier.wait()
    newest.append(bytearray(921600 + 1000 * number))

with ThreadPoolExecutor(8) as pool:
    for _ in range(20):
        list(pool.map(take, range(8)))
    print(limited, open("/proc/self/maps").read())
"""

FREE_EVERY_SECOND = r"""
import re
from kgnpro_ros.ros.memory import give_back, keep_one_heap

def resident():
    return int(re.search(r"VmRSS:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024

keep_one_heap({})
blocks = [bytearray(b"1") * 2**20 for _ in range(100)]
full = resident()
del blocks[::2]
freed = resident()
give_back()
print(full - freed, freed - resident())
"""


def heaps(maps: str) -> int:
    """How many heaps there are beside the first, from the text of /proc/PID/maps.

    Behind each is what it may still grow into; other blocks begin at such places by chance.
    """
    pattern = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0 *\n\2-\w+ ---p", re.M)
    return sum(int(begin, 16) % HEAP_BYTES == 0 for begin, _ in pattern.findall(maps))


def without_malloc(**more: str) -> dict[str, str]:
    decided = ("MALLOC_", "GLIBC_TUNABLES")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(decided)}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_threads_that_take_images_share_a_heap():
    def run(what: str) -> str:
        command = [sys.executable, "-c", TAKE_IMAGES, what]
        return subprocess.run(
            command, cwd=ROOT, env=without_malloc(), capture_output=True, text=True, check=True
        ).stdout

    assert heaps(run("default")) >= 6
    limited = run("limited")
    assert limited.startswith("True")
    assert heaps(limited) == 0


def test_what_the_environment_decides_is_left_alone(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, number, value):
            calls.append((number, value))
            return 1

        gnu_get_libc_version = None

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Library())
    assert memory.keep_one_heap({})
    assert calls == list(memory.LIMITS.values())
    calls.clear()
    tunables = "glibc.malloc.mmap_threshold=1048576:glibc.malloc.trim_threshold=1"
    assert memory.keep_one_heap({"MALLOC_ARENA_MAX": "4", "GLIBC_TUNABLES": tunables})
    assert calls == []
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_one_heap({}), "not glibc"


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_the_node_limits_heaps_before_libraries_start_threads():
    program = "import kgnpro_ros.ros.detector_node; print(open('/proc/self/maps').read())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=ROOT, env=without_malloc(), capture_output=True, text=True, check=True
    )
    assert "librcl" in done.stdout
    assert heaps(done.stdout) == 0


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_free_memory_within_the_heap_is_given_back():
    """Every second block of 1 MB is freed: without the call all of it stays."""
    command = [sys.executable, "-c", FREE_EVERY_SECOND]
    done = subprocess.run(
        command, cwd=ROOT, env=without_malloc(), capture_output=True, text=True, check=True
    )
    kept, given_back = map(float, done.stdout.split())
    assert abs(kept) < 5.0
    assert given_back > 45.0


@pytest.mark.slow
@pytest.mark.skipif(not GLIBC, reason="needs glibc")
@pytest.mark.parametrize("arenas", ["", "16"])
def test_a_running_node_has_few_heaps(tmp_path, arenas):
    """With 16 heaps allowed by the environment it has many: they are seen from here."""
    command = [sys.executable, "-m", "kgnpro_ros.ros.detector_node", "--ros-args"]
    environment = without_malloc(**({"MALLOC_ARENA_MAX": arenas} if arenas else {}))
    log = (tmp_path / "log").open("wb")
    node = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: b"waiting for frames" in (tmp_path / "log").read_bytes(), 300.0)
        found = heaps(Path(f"/proc/{node.pid}/maps").read_text())
    finally:
        node.send_signal(signal.SIGINT)
        node.wait(30.0)
    assert found > 6 if arenas else found == 0
