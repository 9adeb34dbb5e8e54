# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that the configuration classes share."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any

from kgnpro_ros.exceptions import ConfigError


def require(condition: bool, message: str) -> None:
    """Raise a ConfigError with a message unless a condition holds."""
    if not condition:
        raise ConfigError(message)


def ranged(default: Any, low: float, high: float) -> Any:
    """A field whose closed range is both checked here and announced to ROS."""
    return field(default=default, metadata={"range": (low, high)})


def check_ranges(config: Any) -> None:
    """Check every field that was declared by :func:`ranged`."""
    for item in fields(config):
        if "range" in item.metadata:
            low, high = item.metadata["range"]
            value = getattr(config, item.name)
            require(low <= value <= high, f"{item.name} must be {low} to {high}, got {value}")
