# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Configurations from YAML and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import dacite
import yaml

from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.files import read_yaml

T = TypeVar("T")


def config_from_dict(cls: type[T], data: Mapping[str, Any] | None, source: str = "config") -> T:
    """Build a configuration; absent keys keep their defaults.

    Raises:
        ConfigError: If a key is unknown, a value has the wrong type or is out of range.
    """
    settings = dacite.Config(strict=True, cast=[tuple], type_hooks={float: _float, int: _integer})
    try:
        return dacite.from_dict(cls, dict(data or {}), settings)
    except (dacite.DaciteError, TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from error


def _integer(value: Any) -> Any:
    """Make dacite refuse ``yes`` for a number: True is an int, its text is not."""
    return str(value) if isinstance(value, bool) else value


def _float(value: Any) -> Any:
    """Take whole numbers where YAML readers expect a float, but no truth values."""
    value = _integer(value)
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError as error:
            bits = value.bit_length()
            raise ConfigError(f"expected a number of at most 1024 bits, got {bits}") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"expected a finite number, got {value}")
    return value


def load_config(cls: type[T], path: str | Path) -> T:
    """Read a YAML file over the defaults of a configuration class.

    Raises:
        ConfigError: If the file is missing, is not YAML, or does not fit.
    """
    data = read_yaml(Path(path), ConfigError)
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {type(data).__name__}")
    return config_from_dict(cls, data, str(path))


def dump_config(config: Any) -> str:
    """The YAML text of a configuration; :func:`load_config` reads it back."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False)


def _plain(value: Any) -> Any:
    """Turn tuples into lists, which YAML has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
