# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the cases of the fuzz and fault tests, and prints them as a table at the end."""

from pathlib import Path

import pytest
from support.fuzz import Fuzz
from support.reliability import LEDGER, write_table


def pytest_addoption(parser):
    parser.addoption(
        "--reliability-table", type=Path, metavar="FILE",
        help="write the counts of cases into the marked place of this Markdown file",
    )  # fmt: skip


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "reliability(kind): one case of what the package has to survive"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    marker = item.get_closest_marker("reliability")
    if marker is None or report.skipped:
        return
    # A test counts once: when its body ran, or when its set-up already failed.
    if report.when == "call" or (report.when == "setup" and report.failed):
        kind, cases = marker.args[0], getattr(item, "fuzz_cases", None)
        if cases is None:
            LEDGER.add(kind, tried=1, survived=int(report.passed))
        else:
            LEDGER.add(kind, cases.tried, max(0, cases.tried - int(report.failed)), cases.refused)


@pytest.fixture
def fuzz(request):
    """Runs a check on many generated cases: ``fuzz(strategy, check, quick=50, many=2000)``."""
    request.node.fuzz_cases = cases = Fuzz(request.config.getoption("markexpr"))
    return cases


def pytest_terminal_summary(terminalreporter, config):
    if not LEDGER.kinds:
        return
    terminalreporter.section("cases tried and survived")
    for line in LEDGER.lines():
        terminalreporter.write_line(line)
    table = config.getoption("reliability_table")
    if table is not None:
        write_table(table, LEDGER)
        terminalreporter.write_line(f"written to {table}")
