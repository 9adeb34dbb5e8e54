# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Every file that the package reads, altered in every way: taken, or refused with a reason."""

import io
import json
import struct
import zlib
from dataclasses import MISSING, fields
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
import yaml
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from support.fuzz import JUNK, NASTY_TEXT, altered, as_json, damaged
from support.tiny_dataset import write_tiny_dataset

from kgnpro_ros import config as settings
from kgnpro_ros import predictions
from kgnpro_ros.config import NETWORK_PRESETS, config_from_dict, dump_config, load_config
from kgnpro_ros.data.kgn_format import open_dataset
from kgnpro_ros.geometry import Camera, load_gripper
from kgnpro_ros.network.graph import Proof, graph_bytes, read_graph, with_proof
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.quantise import quantised_bytes
from kgnpro_ros.network.weights import find_model, load_model, save_model
from kgnpro_ros.types import GraspBatch

CAMERA = {"fx": 60.0, "fy": 61.0, "cx": 31.5, "cy": 23.5, "width": 64, "height": 48,
          "distortion": [0.01, 0.0, 0.0, 0.0], "depth_scale": 0.001}  # fmt: skip
CONFIGS = [
    value for name, value in sorted(vars(settings).items())
    if name.endswith("Config") and isinstance(value, type)
    and all(f.default is not MISSING or f.default_factory is not MISSING for f in fields(value))
]  # fmt: skip

#: What the classes need that do not construct from defaults alone.
REQUIRED = {"AblationConfig": {"variants": (settings.VariantConfig("plain"),)}}


def text_cases(document):
    """A JSON document: altered values, damaged text, or something else altogether."""
    whole = as_json(document)
    return altered(document).map(as_json) | damaged(whole) | NASTY_TEXT | st.binary(max_size=50)


def yaml_cases(document):
    whole = yaml.safe_dump(document).encode()
    written = altered(document).map(lambda d: yaml.safe_dump(d).encode())
    return written | damaged(whole) | NASTY_TEXT | st.binary(max_size=50)


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.reliability("fuzz: camera files")
def test_camera_files(fuzz, tmp_path):
    fuzz(text_cases(CAMERA), lambda c: predictions.read_camera(put(tmp_path / "c.json", c)),
         quick=120, many=3000)  # fmt: skip


@pytest.fixture
def prediction_document(tmp_path):
    n, path = 2, tmp_path / "p.json"
    numbers = np.full(n, 0.5)
    grasps = GraspBatch(
        np.tile(np.eye(4), (n, 1, 1)), "camera", numbers, numbers, numbers, numbers,
        np.zeros((n, 6, 6)), np.zeros((n, 4, 2)), np.zeros(n, np.int64), {"empty": 3},
    )  # fmt: skip
    predictions.write_predictions(path, grasps, Camera.from_dict(CAMERA))
    return json.loads(path.read_text())


@pytest.mark.reliability("fuzz: prediction files")
def test_prediction_files(fuzz, tmp_path, prediction_document):
    def check(content):
        read = predictions.read_predictions(put(tmp_path / "q.json", content))
        # What was taken can be written and read again.
        predictions.write_predictions(tmp_path / "again.json", read.grasps, read.camera)
        assert len(predictions.read_predictions(tmp_path / "again.json").grasps) == len(read.grasps)

    fuzz(text_cases(prediction_document), check, quick=120, many=3000)


def encoded(extension, array) -> bytes:
    return cv2.imencode(extension, array)[1].tobytes()


def stored(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


COLOR = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
DEPTH = np.full((48, 64), 700, np.uint16)
IMAGES = st.sampled_from([
    b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"P5\n99999 99999\n255\n", b"P6\n-1 -1\n255\n",
    encoded(".png", COLOR), encoded(".jpg", COLOR), encoded(".tiff", DEPTH),
    encoded(".bmp", COLOR),
    encoded(".png", DEPTH), encoded(".png", COLOR[:20]), encoded(".png", DEPTH * 0),
    encoded(".png", COLOR[..., 0]), encoded(".webp", COLOR),
    encoded(".png", COLOR.astype(np.uint16)),
])  # fmt: skip
PNG = encoded(".png", DEPTH)
#: PNG images whose header claims another size, with the right checksum or a wrong one.
SIZED = st.tuples(st.sampled_from([0, 1, 64, 2**15, 2**31 - 1, 2**32 - 1]), st.booleans())


def resized_png(case) -> bytes:
    size, honest = case
    header = b"IHDR" + struct.pack(">II", size, size) + PNG[24:29]
    checksum = struct.pack(">I", zlib.crc32(header)) if honest else PNG[29:33]
    return PNG[:12] + header + checksum + PNG[33:]


@pytest.mark.reliability("fuzz: colour, depth and mask images")
@pytest.mark.parametrize("name", ["color.png", "depth.png", "mask.png"])
def test_frame_images(fuzz, tmp_path, name):
    (tmp_path / "camera.json").write_bytes(as_json(CAMERA))
    put(tmp_path / "color.png", encoded(".png", COLOR))
    put(tmp_path / "depth.png", PNG)
    good = encoded(".png", COLOR) if name == "color.png" else PNG

    def check(content):
        put(tmp_path / name, content)
        image = predictions.read_frame(tmp_path)
        assert image.color.shape == (48, 64, 3)

    fuzz(damaged(good) | IMAGES | SIZED.map(resized_png), check, quick=60, many=2000)


NPY = stored(DEPTH.astype(np.float32))
ARRAYS = st.sampled_from([
    stored(np.array([{"a": 1}], dtype=object)), stored(DEPTH.astype(complex)),
    stored(DEPTH.astype("U3")), stored(DEPTH[None]), stored(np.float32(3)), stored(DEPTH[:3]),
    stored(np.zeros((48, 64), [("a", "f4"), ("b", "i2")])), stored(DEPTH.astype(np.float16)),
    NPY.replace(b"(48, 64)", b"(9**9, )"), NPY.replace(b"(48, 64), ", b"(999999999999,),"),
    NPY.replace(b"(48, 64)", b"(-48,-64)"), NPY.replace(b"<f4", b"|O8"),
    NPY.replace(b"<f4", b"M8s"),
    NPY.replace(b"\x01\x00", b"\x03\x00"), NPY.replace(b"{'descr'", b"[[[[[[[["),
])  # fmt: skip


@pytest.mark.reliability("fuzz: depth arrays")
def test_depth_arrays(fuzz, tmp_path):
    camera = put(tmp_path / "camera.json", as_json(CAMERA))
    color = put(tmp_path / "color.png", encoded(".png", COLOR))
    fuzz(
        damaged(NPY) | damaged(NPY[:128]).map(lambda head: head + NPY[128:]) | ARRAYS,
        lambda c: predictions.read_rgbd(color, put(tmp_path / "d.npy", c), camera),
        quick=120, many=3000,
    )  # fmt: skip


@pytest.mark.reliability("fuzz: gripper files")
def test_gripper_files(fuzz, tmp_path):
    preset = Path(settings.__file__).parents[1] / "geometry/grippers/franka_hand.yaml"
    document = yaml.safe_load(preset.read_text())

    def check(content):
        gripper = load_gripper(put(tmp_path / "g.yaml", content))
        lower, upper = gripper.finger_boxes(np.array([gripper.max_width]))
        assert np.isfinite(lower).all()
        assert np.isfinite(upper).all()
        assert np.isfinite(gripper.tool_poses(np.eye(4)[None])).all()
        for text in (gripper.name, gripper.tool_link):
            assert text.encode().decode() == text

    fuzz(yaml_cases(document), check, quick=80, many=3000)


@pytest.mark.reliability("fuzz: names of models and grippers")
def test_names_that_no_file_has(fuzz):
    names = st.text(max_size=40) | st.sampled_from([
        "a" * 5000, "a" * 5000 + ".safetensors", "\x00", "\x00.safetensors",
        "~nobody/a.safetensors",
        "../../etc/passwd", "/dev/zero", "/dev/stdin.safetensors", "/proc/self/mem", "/", ".", "..",
        "\ud800", "lite/../lite", "./lite",
    ])  # fmt: skip
    fuzz(names, find_model, quick=100, many=3000)
    fuzz(names, load_gripper, quick=100, many=3000)


@pytest.mark.reliability("fuzz: configuration files")
@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: cls.__name__)
def test_configuration_files(fuzz, tmp_path, cls):
    document = yaml.safe_load(dump_config(cls(**REQUIRED.get(cls.__name__, {}))))

    def check(content):
        read = load_config(cls, put(tmp_path / "c.yaml", content))
        assert config_from_dict(cls, yaml.safe_load(dump_config(read))) == read

    fuzz(yaml_cases(document), check, quick=10, many=200)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(KeypointNetwork(NETWORK_PRESETS["tiny"]), path, {"steps": 7, "data": [{"seed": 1}]})
    return path


@pytest.mark.reliability("fuzz: model files, bytes")
def test_damaged_model_files(fuzz, tmp_path, model):
    whole, path = model.read_bytes(), tmp_path / "m.safetensors"
    length = struct.unpack("<Q", whole[:8])[0] + 8
    headers = damaged(whole[:length]).map(lambda head: head + whole[length:])
    sizes = st.integers(0, 2**64 - 1).map(lambda n: struct.pack("<Q", n) + whole[8:])
    cases = headers | sizes | damaged(whole) | NASTY_TEXT
    fuzz(cases, lambda c: load_model(put(path, c)), quick=25, many=2000)


@pytest.mark.reliability("fuzz: model files, header and tensors")
def test_altered_model_files(fuzz, tmp_path, model):
    tensors, path = load_file(model), tmp_path / "m.safetensors"
    header = json.loads(model.with_suffix(".json").read_text())
    shapes = st.sampled_from([(), (0,), (1,), (8, 8), (1, 8, 3, 3)])
    kinds = st.sampled_from([torch.float16, torch.float64, torch.int64, torch.bool, torch.uint8])
    change = st.tuples(st.sampled_from([*sorted(tensors), "new"]), shapes, kinds)
    texts = altered(header).map(json.dumps) | st.text(max_size=20)

    def check(case):
        text, changed = case
        edited = dict(tensors)
        for name, shape, kind in changed:
            edited[name] = torch.ones(shape, dtype=kind)
        save_file(edited, path, metadata={"kgnpro": text})
        load_model(path)

    fuzz(st.tuples(texts, st.lists(change, max_size=1)), check, quick=20, many=2000)


@pytest.fixture(scope="module")
def graphs(model):
    loaded = load_model(model)
    whole = graph_bytes(loaded.network, loaded.sha256)
    frame = np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 0.7, np.float32)
    return whole, with_proof(quantised_bytes(whole, [frame]), Proof(4, 9, 70.0, -0.25, -0.75))


@pytest.mark.reliability("fuzz: ONNX files, bytes")
@pytest.mark.parametrize("kind", ["single", "int8"])
def test_damaged_onnx_files(fuzz, tmp_path, graphs, kind):
    whole, path = graphs[kind == "int8"], tmp_path / "m.onnx"
    ends = damaged(whole[-3000:]).map(lambda end: whole[:-3000] + end)
    cases = damaged(whole[:2000]).map(lambda head: head + whole[2000:]) | ends | NASTY_TEXT
    fuzz(cases, lambda c: read_graph(put(path, c)), quick=30, many=2000)


@pytest.mark.reliability("fuzz: ONNX files, header")
def test_altered_onnx_headers(fuzz, tmp_path, graphs):
    model, path = onnx.load_model_from_string(graphs[1]), tmp_path / "m.onnx"
    entry = next(entry for entry in model.metadata_props if entry.key == "kgnpro")
    header = json.loads(entry.value)

    def check(text):
        entry.value = text
        graph = read_graph(put(path, model.SerializeToString()))
        assert graph.quantised
        assert graph.proof is None or np.isfinite(graph.proof.low)

    texts = altered(header).map(json.dumps) | st.text(st.characters(codec="utf-8"), max_size=20)
    fuzz(texts, check, quick=30, many=2000)


@pytest.mark.reliability("fuzz: model cards")
def test_model_cards(fuzz, tmp_path, model):
    path = put(tmp_path / "m.safetensors", model.read_bytes())
    card = json.loads(model.with_suffix(".json").read_text())

    def check(content):
        put(tmp_path / "m.json", content)
        assert isinstance(load_model(path).card, dict)

    fuzz(text_cases(card), check, quick=12, many=500)


def read_all(root):
    data = open_dataset(root)
    for index in range(min(len(data), 2)):
        sample = data.load(index)
        assert sample.instances.shape == sample.image.depth.shape
        assert "/" not in sample.scene_id
    data.grasp_labels(0, 30, 10)


def fuzz_file_of(fuzz, root, name, cases, quick, many):
    """Fuzz one file of a data set, and leave the good one."""
    path = root / name
    good = path.read_bytes()
    fuzz(cases, lambda c: put(path, c) and read_all(root), quick=quick, many=many)
    path.write_bytes(good)
    read_all(root)


@pytest.mark.reliability("fuzz: data sets")
@pytest.mark.parametrize("name", ["manifest.json", "scenes/00000/scene.json"])
def test_data_set_documents(fuzz, tmp_path, name):
    root = write_tiny_dataset(tmp_path / "data", scenes=1)
    document = json.loads((root / name).read_text())
    fuzz_file_of(fuzz, root, name, text_cases(document), quick=60, many=2000)


@pytest.mark.reliability("fuzz: data sets")
@pytest.mark.parametrize("name", ["color_0.png", "depth_0.png", "mask_0.png", "collisions.npz"])
def test_data_set_binaries(fuzz, tmp_path, name):
    root = write_tiny_dataset(tmp_path / "data", scenes=1)
    path = f"scenes/00000/{name}"
    others = IMAGES | ARRAYS | NASTY_TEXT
    cases = damaged((root / path).read_bytes()) | others
    fuzz_file_of(fuzz, root, path, cases, quick=15, many=500)


@pytest.mark.reliability("fuzz: data sets in KGN's format")
@pytest.mark.parametrize("name", ["scene_info.json", "depth_raw/depth_raw_0.npy", "train.txt"])
def test_kgn_folders(fuzz, tmp_path, name):
    from test_data_dataset import example_images, example_scene

    folder, scene = tmp_path / "0", example_scene(0)
    for part in ("color_images", "depth_raw", "seg_labels"):
        (folder / part).mkdir(parents=True)
    for view, frame in enumerate(example_images(0)[0]):
        cv2.imwrite(str(folder / f"color_images/color_image_{view}.png"), frame.color)
        np.save(folder / f"depth_raw/depth_raw_{view}.npy", np.nan_to_num(frame.depth))
        cv2.imwrite(str(folder / f"seg_labels/segmask_label_{view}.jpg"), DEPTH.astype(np.uint8))
    info = {
        "intrinsic": [[60.0, 0, 32.0], [0, 61.0, 24.0], [0, 0, 1]],
        "camera_poses": scene.T_world_camera.tolist(),
        "obj_types": ["sphere", "cylinder"], "obj_dims": [0.03, [0.04, 0.08]],
        "obj_poses": [item.T_world_object.tolist() for item in scene.objects],
    }  # fmt: skip
    (folder / "scene_info.json").write_text(json.dumps(info))
    lists = st.sampled_from([b"0\n", b"7\n", b"-1", b"../x", b"0 0 0", b"9" * 5000, b"\xff"])
    cases = {
        "scene_info.json": text_cases(info),
        "depth_raw/depth_raw_0.npy": damaged(NPY) | ARRAYS,
        "train.txt": lists | st.binary(max_size=20),
    }[name]
    path = tmp_path / name if name == "train.txt" else folder / name
    split = "train" if name == "train.txt" else None

    def check(content):
        put(path, content)
        open_dataset(tmp_path, split=split).load(0)

    fuzz(cases, check, quick=40, many=1000)


@pytest.mark.reliability("fuzz: values of every setting")
@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: cls.__name__)
def test_values_of_settings(fuzz, cls):
    names = st.sampled_from([*cls.__dataclass_fields__, "nothing"])
    values = st.dictionaries(names, JUNK, min_size=1, max_size=2)
    fuzz(values, lambda v: config_from_dict(cls, v, "fuzz"), quick=15, many=500)
