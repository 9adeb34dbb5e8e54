# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Files from strangers run no code, lead nowhere else, and cost no memory by claiming to be large.

The package opens no network connection and writes no file that everybody may write.
"""

import ast
import io
import json
import os
import pickle
import stat
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_dataset import write_tiny_dataset

import kgnpro_ros
from kgnpro_ros import files, predictions
from kgnpro_ros.config import NETWORK_PRESETS, DetectorConfig, load_config
from kgnpro_ros.data.dataset import SceneDataset
from kgnpro_ros.exceptions import (
    ConfigError,
    DatasetError,
    ImageError,
    KGNProError,
    ModelError,
    PredictionError,
)
from kgnpro_ros.geometry import load_gripper
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import find_model, load_model, save_model

PACKAGE = Path(kgnpro_ros.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))

pytestmark = pytest.mark.reliability("security: files from strangers")


class Bomb:
    """Unpickling this fails the test."""

    def __reduce__(self):
        return (pytest.fail, ("code from a file ran",))


PICKLE = pickle.dumps(Bomb())
OBJECT_ARRAY = io.BytesIO()
np.save(OBJECT_ARRAY, np.array([Bomb()], dtype=object), allow_pickle=True)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), path, {"steps": 7})
    return path


@pytest.mark.parametrize("content", [PICKLE, OBJECT_ARRAY.getvalue()], ids=["pickle", "objects"])
def test_no_reader_unpickles(tmp_path, content):
    readers = {
        "m.safetensors": (load_model, ModelError),
        "p.json": (predictions.read_predictions, PredictionError),
        "c.yaml": (lambda p: load_config(DetectorConfig, p), ConfigError),
        "g.yaml": (load_gripper, ConfigError),
        "d.npy": (lambda p: files.read_array(p, ImageError), ImageError),
        "i.png": (lambda p: files.read_image(p, 1, ImageError), ImageError),
    }
    for name, (read, error) in readers.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(error):
            read(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("flags.npy", OBJECT_ARRAY.getvalue())
    with pytest.raises(DatasetError, match="expected numbers"):
        files.read_array_of_archive(tmp_path / "a.npz", "flags", DatasetError)


def test_a_checkpoint_with_code_is_refused(tmp_path):
    from kgnpro_ros.training import train

    path = tmp_path / "last.ckpt"
    torch.save({"kgnpro_config": Bomb(), "state_dict": {}}, path)
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        train.export_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:pytest.fail ['code ran']",
        "!!python/object/new:os.system ['true']",
        "model: !!python/name:os.system",
        "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]",
    ],
)
def test_yaml_holds_plain_values_only(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(DetectorConfig, path)


def calls():
    """(module, dotted name, call) of every call in the package."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path, ast.unparse(node.func), node


def keyword(call, name):
    values = [ast.unparse(k.value) for k in call.keywords if k.arg == name]
    return values[0] if values else None


def test_the_sources_call_nothing_that_runs_data():
    """Not even with the arguments that make it safe by default in some version."""
    wrong = []
    for path, name, call in calls():
        where = f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
        if name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen") or (
            name.split(".")[0] in ("pickle", "marshal", "shelve", "dill", "joblib")
            or name.endswith(("yaml.unsafe_load", "yaml.full_load", "extractall", "unpack_archive"))
        ):
            wrong.append(where)
        if name == "yaml.load" and ast.unparse(call.args[1]) != "_PlainLoader":
            wrong.append(where)
        if name == "np.load" and keyword(call, "allow_pickle") != "False" and not own_file(path):
            wrong.append(where)
        if name == "torch.load" and keyword(call, "weights_only") != "True":
            wrong.append(where)
        if keyword(call, "shell") not in (None, "False"):
            wrong.append(where)
        if keyword(call, "weights_only") == "False" and name.endswith(".fit"):
            wrong.append(where)
    assert not wrong


def own_file(path):
    """The generator counts in files that it has written itself; NumPy's default is no pickle."""
    return path.name == "generate.py"


def test_files_from_strangers_go_through_one_door():
    """Readers elsewhere would have no size limits; these read what the program wrote itself."""
    own = {"generate.py", "command.py", "run.py"}
    wrong = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
        for path, name, call in calls()
        if name in ("json.loads", "json.load", "cv2.imread", "yaml.safe_load", "np.fromfile")
        and path.name not in {"files.py", *own}
        and not ast.unparse(call.args[0]).startswith(("json.dumps(", "dump_config("))
    ]
    assert not wrong


def test_the_sources_open_no_connection():
    network = {"socket", "urllib", "http", "requests", "ftplib", "smtplib", "aiohttp", "httpx"}
    imported = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {(path.name, alias.name.split(".")[0]) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add((path.name, node.module.split(".")[0]))
    assert not {pair for pair in imported if pair[1] in network}


def test_scene_names_do_not_lead_out_of_the_results(tmp_path):
    root = write_tiny_dataset(tmp_path / "data", scenes=1)
    path = root / "scenes/00000/scene.json"
    for name in (
        "../../evil",
        str(tmp_path / "evil"),
        "a/b",
        "..",
        ".hidden",
        "a\x00b",
        "a\nb",
        "",
        "x" * 300,
    ):
        document = json.loads(path.read_text())
        path.write_text(json.dumps({**document, "scene_id": name}))
        with pytest.raises(DatasetError, match="scene_id"):
            SceneDataset(root).scene(0)


def test_model_names_do_not_lead_out_of_the_model_folders(model, monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("KGNPRO_MODELS", str(tmp_path / "models"))
    with pytest.raises(ModelError, match=r"no model '\.\./tiny'"):
        find_model("../tiny")


@pytest.mark.parametrize(
    "name", ["scenes/00000/color_0.png", "scenes/00000/scene.json", "manifest.json",
             "scenes/00000/collisions.npz", "scenes/00000"],
)  # fmt: skip
def test_links_out_of_a_data_set_are_refused(tmp_path, name):
    root = write_tiny_dataset(tmp_path / "data", scenes=1)
    (root / name).rename(tmp_path / "outside")
    (root / name).symlink_to(tmp_path / "outside")
    with pytest.raises(DatasetError, match="outside the data set"):
        read_data(root)


def test_a_link_to_a_whole_data_set_is_fine(tmp_path):
    root = write_tiny_dataset(tmp_path / "data", scenes=1)
    (tmp_path / "link").symlink_to(root)
    read_data(tmp_path / "link")


def read_data(root):
    data = SceneDataset(root)
    data.load(0)
    data.grasp_labels(0, 30, 10)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/tty", "/proc/self/mem", "pipe", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, name):
    path = Path(name) if name.startswith("/") else tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    elif name == "folder":
        path.mkdir()
    with pytest.raises(KGNProError):
        predictions.read_camera(path)
    with pytest.raises(KGNProError):
        load_gripper(path)


class Allocation:
    """Bytes that Python and NumPy allocated at most within the block."""

    def __enter__(self):
        tracemalloc.start()
        return self

    def __exit__(self, *error):
        self.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def huge_png():
    data = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 0, 0, 0, 0)
    chunk = b"IHDR" + data
    checksum = struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + checksum + b"\0" * 100


def zip_bomb(path, claimed=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flags.npy", b"\0" * (50 * 2**20))
    if claimed is not None:
        # The size in the central directory, which readers allocate by.
        data = bytearray(path.read_bytes())
        at = data.index(b"PK\x01\x02") + 24
        data[at : at + 4] = struct.pack("<I", claimed)
        path.write_bytes(data)


def test_absurd_sizes_are_refused_before_anything_is_allocated(tmp_path, model):
    (tmp_path / "i.png").write_bytes(huge_png())
    array = io.BytesIO()
    np.save(array, np.zeros(1000, np.float32))
    for name, shape in (("a.npy", b"(9999999999,)"), ("b.npy", b"(99999, 9999)")):
        claimed = array.getvalue().replace(b"(1000,), }      ", shape + b", }")
        assert shape in claimed
        (tmp_path / name).write_bytes(claimed)
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(2**40)
    zip_bomb(tmp_path / "z.npz", claimed=2**31)
    tensors = load_file(model)
    header = {"format": "kgnpro-keypoint-network", "version": 1,
              "network": {"level_channels": [4096] * 4, "head_channels": 4096}}  # fmt: skip
    save_file(tensors, tmp_path / "wide.safetensors", metadata={"kgnpro": json.dumps(header)})
    header["network"] = {"level_channels": [10**9] * 4}
    save_file(tensors, tmp_path / "vast.safetensors", metadata={"kgnpro": json.dumps(header)})
    cases = [
        lambda: files.read_image(tmp_path / "i.png", -1, ImageError),
        lambda: files.read_array(tmp_path / "a.npy", ImageError),
        lambda: files.read_array(tmp_path / "b.npy", ImageError),
        lambda: load_gripper(tmp_path / "big.yaml"),
        lambda: predictions.read_camera(tmp_path / "big.yaml"),
        lambda: files.read_array_of_archive(tmp_path / "z.npz", "flags", DatasetError),
        lambda: load_model(tmp_path / "wide.safetensors"),
        lambda: load_model(tmp_path / "vast.safetensors"),
    ]
    for case in cases:
        with Allocation() as allocation, pytest.raises(KGNProError):
            case()
        assert allocation.peak < 8 * 2**20


def test_written_files_are_nobody_elses_to_write(tmp_path, model):
    """With the usual umask; and no temporary file is written through a link that waits there."""
    old = os.umask(0o022)
    try:
        predictions.write_text_atomically(tmp_path / "out/p.json", "{}")
        write_tiny_dataset(tmp_path / "data", scenes=1)
        save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), tmp_path / "b.safetensors", {})
    finally:
        os.umask(old)
    for path in tmp_path.rglob("*"):
        assert not path.stat().st_mode & stat.S_IWOTH, path
        # Models and data on a shared machine are for its other users too.
        assert path.stat().st_mode & stat.S_IROTH, path
    target = tmp_path / "precious"
    target.write_text("keep")
    (tmp_path / f".q.json.{os.getpid()}.tmp").symlink_to(target)
    (tmp_path / f".c.json.{os.getpid()}.tmp").symlink_to(target)
    predictions.write_text_atomically(tmp_path / "q.json", "{}")
    save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), tmp_path / "c.safetensors", {})
    assert target.read_text() == "keep"


def test_a_private_umask_is_kept(tmp_path):
    old = os.umask(0o077)
    try:
        save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), tmp_path / "m.safetensors", {})
    finally:
        os.umask(old)
    assert [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()] == [0o600] * 2


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("before")

    def write():
        with files.whole_file(path) as temporary:
            temporary.write_text("hal")
            raise OSError("no space left on this disk")

    with pytest.raises(OSError, match="disk"):
        write()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_repository_has_no_world_writable_file():
    folders = [PACKAGE, *(ROOT / name for name in ("config", "launch", "models", "ros_wheels"))]
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            if path.exists() and not path.is_symlink():
                assert not path.stat().st_mode & stat.S_IWOTH, path
