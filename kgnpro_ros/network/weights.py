# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Model files: safetensors weights with a JSON card. Neither can run code."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from kgnpro_ros.config import NetworkConfig, config_from_dict
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.files import read_json, whole_file
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.shards import (
    ModelFiles,
    all_files,
    beside,
    first_file,
    model_name,
    unreadable,
    write_files,
)

#: Version of the meaning of the weights; raised when old files would predict other grasps.
FORMAT = "kgnpro-keypoint-network"
FORMAT_VERSION = 1

INITIALISERS = (
    nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_, nn.init.constant_
)  # fmt: skip


@dataclass(frozen=True)
class LoadedModel:
    """A network ready for inference.

    Attributes:
        network: In evaluation mode, float32.
        card: Content of the JSON card.
        sha256: Hash of the weights file, of all shards one after the other, hexadecimal.
        path: The weights file, the first one of several shards.
    """

    network: KeypointNetwork
    card: dict[str, Any]
    sha256: str
    path: Path


def find_model(name_or_path: str | Path) -> Path:
    """Resolve a path, or the name of a model shipped with the package; may be the first shard.

    Looked for in: the folder in ``KGNPRO_MODELS``, the package's share folder of a ROS
    installation, and ``models/`` beside the package.

    Raises:
        ModelError: If there is no such model; the message names the ones there are.
    """
    path = Path(name_or_path)
    if path.suffix == ".safetensors":
        try:
            path = path.expanduser()
        except RuntimeError as error:
            raise ModelError(f"model file {path} does not exist: {error}") from error
        if (found := first_file(path)) is not None:
            return found
        raise ModelError(f"model file {path} does not exist")
    folders = model_folders()
    for folder in folders:
        candidate = folder / f"{name_or_path}.safetensors"
        # A name is no path: "../other" does not lead out of the folder.
        if candidate.parent == folder and (found := first_file(candidate)) is not None:
            return found
    names = sorted({model_name(file) for folder in folders for file in _files(folder)})
    raise ModelError(
        f"no model {str(name_or_path)!r}: give the path of a .safetensors file or one of "
        f"{', '.join(names) or '(none shipped)'}"
    )


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def found_models() -> dict[str, Path]:
    """Names of all models that are found, with their first files; the first folder wins."""
    files = [file for folder in reversed(model_folders()) for file in reversed(_files(folder))]
    return {model_name(file): file for file in files}


def card_path(weights: Path) -> Path:
    """Where the card of a weights file is."""
    return beside(weights, ".json")


def model_folders() -> list[Path]:
    """Folders that models are looked up in, those that exist."""
    package = Path(__file__).resolve().parents[1]
    folders = [Path(os.environ["KGNPRO_MODELS"])] if os.environ.get("KGNPRO_MODELS") else []
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    folders += [Path(prefix) / "share/kgnpro_ros/models" for prefix in prefixes if prefix]
    folders += [package.parent / "models", package / "models"]
    return [folder for folder in folders if folder.is_dir()]


def save_model(network: KeypointNetwork, path: Path, card: dict[str, Any]) -> None:
    """Write weights in half precision and the card, each in one step.

    Args:
        network: Its configuration goes into both files.
        path: Ends in ``.safetensors``; the card gets the same name with ``.json``. Larger networks
            become shards beside that path, see :func:`write_files`.
        card: Where the model comes from: data, seeds, steps, hours, machine, results.
    """
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    header = {"format": FORMAT, "version": FORMAT_VERSION, "network": asdict(network.config)}
    write_files(path, tensors, header)
    text = json.dumps({**header, **card}, indent=2) + "\n"
    with whole_file(card_path(path)) as partial:
        partial.write_text(text)


def load_model(name_or_path: str | Path, device: torch.device | str = "cpu") -> LoadedModel:
    """Load a model file.

    Raises:
        ModelError: If it is missing, truncated, of another format, version or architecture.
    """
    path = find_model(name_or_path)
    header, tensors = _read(path)
    network = KeypointNetwork(_config(header, path))
    try:
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit this network: {error}") from error
    broken = [n for n, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise ModelError(f"{path} holds values that are not finite, in {broken[0]}")
    file = card_path(path)
    try:
        card = read_json(file, ModelError) if file.exists() else {}
    except ModelError as error:
        raise ModelError(f"model card {file} is not readable JSON: {error}") from error
    if not isinstance(card, dict):
        raise ModelError(f"model card {file} holds {type(card).__name__}; expected a mapping")
    return LoadedModel(network.eval().to(device), card, _hash(path), path)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    for part in all_files(path):
        with part.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _config(header: dict[str, Any], path: Path) -> NetworkConfig:
    if header.get("format") != FORMAT or header.get("version") != FORMAT_VERSION:
        raise ModelError(
            f"{path} is {header.get('format')!r} version {header.get('version')!r}; this package "
            f"reads {FORMAT!r} version {FORMAT_VERSION}"
        )
    try:
        return config_from_dict(NetworkConfig, header.get("network"), str(path))
    except ConfigError as error:
        raise ModelError(f"{path} does not fit this network: {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with ExitStack() as stack:
        files = ModelFiles(path, stack)
        try:
            _check_shapes(_config(files.header, path), files.shapes(), path)
            return files.header, files.tensors()
        except (SafetensorError, OSError, ValueError) as error:
            raise unreadable(path, error) from error


class _WithoutInitialValues(TorchFunctionMode):
    """Leaves parameters as they are: random values without memory cost seconds of imports."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in INITIALISERS:
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


def _check_shapes(config: NetworkConfig, shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    """Compare with a network without memory, before anything of its size is allocated."""
    with torch.device("meta"), _WithoutInitialValues():
        expected = {n: tuple(v.shape) for n, v in KeypointNetwork(config).state_dict().items()}
    wrong = [name for name in {*expected, *shapes} if expected.get(name) != shapes.get(name)]
    if wrong:
        name = min(wrong)
        raise ModelError(
            f"{path} does not fit this network in {len(wrong)} tensors: {name} has shape "
            f"{shapes.get(name)}; expected {expected.get(name)}"
        )
