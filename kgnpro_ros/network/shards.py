# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A model in one file, or in several small ones: ``full-00001-of-00003.safetensors`` and so on.

Every shard names the set of tensors that it belongs to, so that shards of two models, or of two
states of one, are never mixed.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, uint8

from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.files import file_exists, parse_json, whole_file

#: Largest file that is written [bytes], and most files that are read.
MAX_FILE, MAX_SHARDS = 16_000_000, 1000
#: Kept free for the names and shapes at the beginning of a file [bytes].
HEADER_ROOM = 200_000

_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")


def model_name(path: Path) -> str:
    """Name of the model that a weights file belongs to."""
    match = _SHARD.fullmatch(path.stem)
    return match["name"] if match else path.stem


def beside(path: Path, suffix: str) -> Path:
    """The file of the same model with another suffix, such as ``.json`` for its card."""
    return path.with_name(model_name(path) + suffix)


def first_file(path: Path) -> Path | None:
    """The file itself, or the first shard of the model of that name; None if neither is there.

    Raises:
        ModelError: If there are first shards of several sets.
    """
    if file_exists(path):
        return path
    try:
        pattern = f"{glob.escape(path.stem)}-00001-of-*.safetensors"
        found = sorted(file for file in path.parent.glob(pattern) if _SHARD.fullmatch(file.stem))
    except (OSError, ValueError):
        return None
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ModelError(f"{path} is there in several sets of shards ({names}); remove the old one")
    return found[0] if found else None


def all_files(path: Path) -> list[Path]:
    """All files of a model, given any of them.

    Raises:
        ModelError: If one is missing.
    """
    match = _SHARD.fullmatch(path.stem)
    if match is None:
        return [path]
    number, count = int(match["number"]), int(match["count"])
    if not 1 <= number <= count <= MAX_SHARDS:
        raise ModelError(f"{path} is no shard: expected a number from 1 to {MAX_SHARDS} at most")
    files = [_shard(path, match["name"], k, count) for k in range(1, count + 1)]
    missing = [file for file in files if not file_exists(file)]
    if missing:
        raise ModelError(f"{missing[0]} is missing; {path.name} is one of {count} shards")
    return files


def write_files(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a model as one file, or as shards where it would be larger than ``MAX_FILE``.

    Earlier files of the same model are removed. A kill leaves a model that is complete or refused.
    """
    groups = _groups(tensors)
    identity = _identity(tensors) if len(groups) > 1 else ""
    targets = []
    with ExitStack() as finished:
        for number, names in enumerate(groups, start=1):
            text: dict[str, Any] = dict(header)
            target = path
            if identity:
                target = _shard(path, path.stem, number, len(groups))
                text["shard"] = {"of": identity, "number": number, "count": len(groups)}
            part = {name: tensors[name] for name in names}
            partial = finished.enter_context(whole_file(target))
            save_file(part, partial, metadata={"kgnpro": json.dumps(text)})
            targets.append(target)
        old = [path, *path.parent.glob(f"{glob.escape(path.stem)}-*-of-*.safetensors")]
        for file in old:
            if file not in targets and model_name(file) == path.stem:
                file.unlink(missing_ok=True)


class ModelFiles:
    """The open files of a model; nothing but names and shapes is read until asked for.

    Args:
        path: Any of them.
        stack: Closes them.

    Raises:
        ModelError: If a file is missing, damaged, or belongs to another set.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._where: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        files = all_files(path)
        for number, file in enumerate(files, start=1):
            try:
                opened = stack.enter_context(safe_open(str(file), framework="pt"))
                header = _header(opened.metadata() or {}, file)
                names = list(opened.keys())
            except (SafetensorError, OSError, ValueError) as error:
                raise unreadable(file, error) from error
            if len(files) > 1:
                self._check_set(header, file, number, len(files))
            twice = [name for name in names if name in self._where]
            if twice:
                raise ModelError(f"{file} holds {twice[0]}, which another shard holds, too")
            self._where |= dict.fromkeys(names, opened)
            self.header = header

    def _check_set(self, header: dict[str, Any], file: Path, number: int, count: int) -> None:
        """Whether this is the shard that its name says, of the same set as the one before."""
        shard = header.get("shard")
        of = shard.get("of") if isinstance(shard, dict) else None
        if shard != {"of": of, "number": number, "count": count} or not isinstance(of, str):
            raise ModelError(f"{file} is not shard {number} of {count}: it says {shard!r:.200}")
        before = {**self.header, "shard": None}
        if self.header and (
            before != {**header, "shard": None} or self.header["shard"]["of"] != of
        ):
            raise ModelError(f"{file} belongs to another model than the shard before it")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor."""
        return {name: tuple(file.get_slice(name).get_shape()) for name, file in self._where.items()}

    def tensors(self) -> dict[str, Tensor]:
        """All tensors."""
        return {name: file.get_tensor(name) for name, file in self._where.items()}


def unreadable(path: Path, error: Exception) -> ModelError:
    """What to say about a file that is no safetensors file."""
    return ModelError(
        f"{path} is not a readable safetensors model (truncated or another format): {error}"
    )


def _header(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    header = parse_json(metadata.get("kgnpro", "{}"), f"the header of {path}", ModelError)
    if not isinstance(header, dict):
        raise ModelError(f"{path}: its header is no mapping")
    return header


def _shard(path: Path, name: str, number: int, count: int) -> Path:
    return path.with_name(f"{name}-{number:05d}-of-{count:05d}.safetensors")


def _groups(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of the tensors of each file, in order."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, value in tensors.items():
        if groups[-1] and size + value.nbytes > MAX_FILE - HEADER_ROOM:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += value.nbytes
    return groups


def _identity(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in tensors.items():
        digest.update(name.encode())
        digest.update(value.contiguous().reshape(-1).view(uint8).numpy().tobytes())
    return digest.hexdigest()
