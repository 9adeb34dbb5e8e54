# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A status message that is easy to fill."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue


class DiagnosticStatusWrapper(DiagnosticStatus):
    """DiagnosticStatus with methods for the summary and the values."""

    def summary(self, *args: Any) -> None:
        """Sets level and message: from another status, or from (level, message)."""
        self.level, self.message = _level_and_message(args)

    def clearSummary(self) -> None:
        self.summary(DiagnosticStatus.OK, "")

    def mergeSummary(self, *args: Any) -> None:
        """Keeps the worse level; joins messages of the same kind with '; '."""
        level, message = _level_and_message(args)
        both_bad = level > DiagnosticStatus.OK and self.level > DiagnosticStatus.OK
        if (both_bad or level == self.level) and self.message and message:
            self.message = f"{self.message}; {message}"
        elif level > self.level or not self.message:
            self.message = message
        self.level = max(level, self.level)

    def add(self, key: str, val: Any) -> None:
        self.values.append(KeyValue(key=key, value=str(val)))


def _level_and_message(args: tuple[Any, ...]) -> tuple[bytes, str]:
    if len(args) == 1:
        return args[0].level, args[0].message
    level, message = args
    return level, str(message)
