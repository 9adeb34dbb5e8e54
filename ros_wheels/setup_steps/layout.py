# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Where things lie, and what has been done already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class SetupError(Exception):
    """The set-up cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Layout:
    """Folders of one checkout; everything that is made lies in .venv and .build."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def build(self) -> Path:
        return self.root / ".build"

    @property
    def logs(self) -> Path:
        return self.build / "log"

    @property
    def install(self) -> Path:
        return self.build / "ros" / "install"

    @property
    def requirements(self) -> Path:
        return self.root / "ros_wheels" / "requirements"

    @property
    def stand_ins(self) -> Path:
        return self.root / "ros_wheels" / "src"


class Stamps:
    """Remembers for each step the fingerprint of what it was last done with."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._done = json.loads(path.read_text())
        except (OSError, ValueError):
            self._done = {}

    def is_current(self, step: str, fingerprint: str) -> bool:
        return self._done.get(step) == fingerprint

    def forget(self, *steps: str) -> None:
        """Drops the named steps, or all of them."""
        for step in steps or list(self._done):
            self._done.pop(step, None)

    def record(self, step: str, fingerprint: str) -> None:
        self._done[step] = fingerprint
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".tmp")
        draft.write_text(json.dumps(self._done, indent=1))
        draft.replace(self._path)


def fingerprint(texts: Iterable[str] = (), files: Iterable[Path] = ()) -> str:
    """Returns a hash of texts and of the contents of files."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    for path in files:
        digest.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
