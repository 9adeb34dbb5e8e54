# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Files from strangers, read safely: sizes are checked before anything is allocated, nothing runs.

Every reader takes the exception of its caller and raises nothing else. Devices, pipes and folders
are refused, JSON and YAML hold plain values only, arrays hold numbers and never pickled objects.
Results appear whole or not at all: :func:`whole_file`.
"""

from __future__ import annotations

import io
import json
import math
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from kgnpro_ros.exceptions import KGNProError

#: Largest files read: JSON and lists, YAML (whose reader is slow), images and arrays [bytes].
MAX_TEXT, MAX_YAML, MAX_BINARY = 64 * 2**20, 2**20, 2**30
#: Largest image; a camera of 8192x8192 pixels has as many.
MAX_PIXELS = 2**26
#: Whole numbers beyond this overflow a float or an int64.
MAX_INTEGER = 2**63

#: Brackets within brackets in a YAML file.
MAX_NESTING = 50

#: Formats that are handed to OpenCV, which has decoders for many more.
IMAGE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP")

ErrorType = type[KGNProError]


def file_exists(path: Path) -> bool:
    """Whether a regular file is there; False too for names that no file can have."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def folder_exists(path: Path) -> bool:
    """Whether a folder is there; False too for names that none can have."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of ``path`` when the block ends.

    It is created anew, so that a link that waits there is not followed. The permissions are those
    of the umask, whatever the writer within the block makes of them. An error in the block leaves
    ``path`` as it was, and nothing else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        temporary.open("x").close()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        # safetensors puts a file of its own there, which only its owner may read.
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_bytes(path: Path, error: ErrorType, limit: int = MAX_BINARY) -> bytes:
    """Content of a regular file of at most ``limit`` bytes."""
    try:
        # Before it is opened: opening a pipe would wait for a writer.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{path} is no regular file")
        if status.st_size > limit:
            raise error(f"{path} has {status.st_size} bytes; expected at most {limit}")
        with path.open("rb") as file:
            return file.read(status.st_size)
    except (OSError, ValueError) as problem:
        raise error(f"cannot read {path}: {problem}") from problem


def read_text(path: Path, error: ErrorType, limit: int = MAX_TEXT) -> str:
    """Content of a UTF-8 text file."""
    try:
        return read_bytes(path, error, limit).decode()
    except UnicodeDecodeError as problem:
        raise error(f"cannot read {path}: {problem}") from problem


def read_json(path: Path, error: ErrorType) -> Any:
    """Content of a JSON file."""
    return parse_json(read_text(path, error), str(path), error)


def parse_json(text: str, source: str, error: ErrorType) -> Any:
    """Value of a JSON text; ``source`` is named in errors."""
    try:
        return json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError) as problem:
        raise error(f"cannot read {source}: {problem}") from problem


def read_yaml(path: Path, error: ErrorType) -> Any:
    """Content of a YAML file, of plain values and without aliases."""
    return parse_yaml(read_text(path, error, MAX_YAML), str(path), error)


def parse_yaml(text: str, source: str, error: ErrorType) -> Any:
    """Value of a YAML text; ``source`` is named in errors."""
    try:
        return yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError,
            ArithmeticError, RecursionError) as problem:  # fmt: skip
        # PyYAML lets the errors of its converters through: "!!bool maybe" is a KeyError.
        detail = f"{type(problem).__name__}: {problem}"
        raise error(f"cannot read {source}: it is not valid YAML: {detail}") from problem


def read_image(path: Path, flags: int, error: ErrorType) -> NDArray[Any]:
    """Pixels of an image file as ``cv2.imread`` gives them.

    Args:
        path: PNG, JPEG, TIFF, BMP, PPM or WebP of at most ``MAX_PIXELS``.
        flags: ``cv2.IMREAD_...``.
        error: Raised where it is missing, too large or damaged.
    """
    if not file_exists(path):
        raise error(f"no image {path}")
    data = read_bytes(path, error)
    try:
        # Only the header is read here, so that an absurd size costs nothing.
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as header:
            width, height = header.size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError,
            SyntaxError, LookupError, TypeError, ArithmeticError) as problem:  # fmt: skip
        formats = ", ".join(IMAGE_FORMATS)
        raise error(f"{path} is no image that OpenCV can read; expected {formats}") from problem
    if width * height > MAX_PIXELS:
        raise error(f"{path} has {width}x{height} pixels; expected at most {MAX_PIXELS}")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as problem:
        raise error(f"{path} is damaged: {problem}") from problem
    if pixels is None:
        raise error(f"{path} is damaged: no image that OpenCV can read")
    return np.asarray(pixels)


def read_array(path: Path, error: ErrorType) -> NDArray[Any]:
    """The numbers of a ``.npy`` file."""
    return _parse_array(read_bytes(path, error), str(path), error)


def read_array_of_archive(path: Path, name: str, error: ErrorType) -> NDArray[Any] | None:
    """One array of an ``.npz`` file, or None where there is none of that name."""
    if not file_exists(path):
        raise error(f"{path} is missing or damaged: no such file")
    content = io.BytesIO(read_bytes(path, error))
    try:
        with zipfile.ZipFile(content) as archive:
            if f"{name}.npy" not in archive.namelist():
                return None
            size = archive.getinfo(f"{name}.npy").file_size
            if size > MAX_BINARY:
                raise error(f"{path} unpacks {name} to {size} bytes; expected {MAX_BINARY} at most")
            data = archive.read(f"{name}.npy")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError,
            NotImplementedError) as problem:  # fmt: skip
        raise error(f"{path} is missing or damaged: {problem}") from problem
    return _parse_array(data, f"{path}, {name}", error)


def _parse_array(data: bytes, source: str, error: ErrorType) -> NDArray[Any]:
    stream = io.BytesIO(data)
    try:
        shape, dtype = _array_header(stream)
    # NumPy evaluates the header as a Python literal, and lets that parser's errors through.
    except Exception as problem:
        raise error(f"{source} is no array of numbers, or damaged: {problem}") from problem
    claimed, held = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if dtype.kind not in "biuf" or min(shape, default=0) < 0 or claimed > held:
        raise error(
            f"{source} is damaged: it claims {dtype} {shape}, {claimed} bytes, and holds {held}; "
            "expected numbers"
        )
    stream.seek(0)
    return np.asarray(np.load(stream, allow_pickle=False))


def _array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    header: Any = np.lib.format
    old = header.read_magic(stream) == (1, 0)
    read = header.read_array_header_1_0 if old else header.read_array_header_2_0
    shape, _, dtype = read(stream)
    return tuple(int(size) for size in shape), dtype


def _integer(text: str) -> int:
    """A whole number that fits a float and an int64.

    Raises:
        ValueError: If it does not.
    """
    value = int(text)
    if abs(value) >= MAX_INTEGER:
        raise ValueError(f"the number {text[:20]}... is out of range")
    return value


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, whose nesting makes gigabytes of a few lines."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(problem="aliases (*name) are refused")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        # The scanner's work grows with the square of the open brackets.
        if self.flow_level > MAX_NESTING:
            raise yaml.scanner.ScannerError(problem=f"more than {MAX_NESTING} nested brackets")
        super().fetch_flow_collection_start(token)

    def construct_plain_int(self, node: yaml.ScalarNode) -> int:
        value: int = self.construct_yaml_int(node)
        return _integer(str(value))


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_plain_int)
