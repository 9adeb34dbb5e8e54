# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The interface tables of the README say what the running nodes offer, with its types."""

import re
from pathlib import Path

import pytest
from ros_graph import PATIENCE, Caller, wait_until
from test_ros_security import make_detector, make_executor, make_replay, make_sim, used_with_types

README = Path(__file__).resolve().parents[2] / "README.md"
MAKERS = {
    "grasp_detector": make_detector, "grasp_executor": make_executor, "rgbd_replay": make_replay,
    "grasp_sim": make_sim,
}  # fmt: skip
#: First word of a table's header, and what its rows are in the graph.
TABLES = {
    "input": "subscribe", "output": "publish", "service": "reply", "action": "execute",
    "calls": "calls",
}  # fmt: skip
DESCRIBED = {"grasp_detector", "grasp_executor", "grasp_sim"}

#: What every node has, or a listener of TF brings along.
COMMON = re.compile(
    r"/(parameter_events|rosout|tf|tf_static|clock|tf2_frames|[\w/]+/(\w*parameter\w*|"
    r"get_type_description|\w*state\w*|\w*transition\w*))"
)
#: Inputs are relative names, which the test remaps as the launch file does.
REMAPPED = {
    "/color/image_raw": "/camera/camera/color/image_raw",
    "/color/camera_info": "/camera/camera/color/camera_info",
    "/depth/image_raw": "/camera/camera/aligned_depth_to_color/image_raw",
}


def sections():
    """{node: text} of the sections that describe an interface."""
    parts = re.split(r"^## Interface of `(\w+)`\n", README.read_text(), flags=re.M)[1:]
    return {
        name: text.split("\n## ")[0] for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def resolved(name, node):
    if name.startswith("~/"):
        return f"/{node}/{name[2:]}"
    return name if name.startswith("/") else f"/{name}"


def documented(node):
    """{kind: {name: type}} of the tables of one section."""
    found, kind = {kind: {} for kind in TABLES.values()}, None
    for line in sections()[node].splitlines():
        if not line.startswith("|"):
            kind = None
            continue
        cells = [cell.strip(" `") for cell in line.split("|")[1:-1]]
        if kind is None:
            kind = TABLES.get(cells[0].split()[0])
        elif kind and not cells[0].startswith("---"):
            name = resolved(cells[0], node)
            package, *_, last = cells[1].split("/")
            found[kind][REMAPPED.get(name, name)] = (package, last)
    return found


@pytest.mark.parametrize(
    "node",
    [pytest.param(n, marks=pytest.mark.slow) if n == "grasp_sim" else n for n in sections()],
)
def test_tables_match_the_running_node(local, tmp_path, node):
    observer = local(Caller("readme_observer"))
    local(MAKERS[node](tmp_path))
    tables = documented(node)
    assert any(tables.values())

    def offered():
        graph = used_with_types(observer, node)
        graph["calls"] = {**graph["request"], **graph["call"]}
        return {
            kind: {
                name: tuple(types[0].split("/")[:: len(types[0].split("/")) - 1])
                for name, types in graph[kind].items() if not COMMON.fullmatch(name)
            }
            for kind in tables
        }  # fmt: skip

    wait_until(lambda: offered() == tables, PATIENCE / 4)
    found = offered()
    for kind in tables:
        assert found[kind] == tables[kind], kind


def test_the_nodes_are_described():
    assert set(sections()) == DESCRIBED
