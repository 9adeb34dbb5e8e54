# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Publishing diagnostics: the upstream names and behaviour."""

from .status import DiagnosticStatusWrapper
from .tasks import (
    CompositeDiagnosticTask,
    DiagnosticTask,
    FrequencyStatus,
    FrequencyStatusParam,
    FunctionDiagnosticTask,
    HeaderlessTopicDiagnostic,
    TimeStampStatus,
    TimeStampStatusParam,
    TopicDiagnostic,
)
from .updater import Updater

__all__ = [
    "CompositeDiagnosticTask",
    "DiagnosticStatusWrapper",
    "DiagnosticTask",
    "FrequencyStatus",
    "FrequencyStatusParam",
    "FunctionDiagnosticTask",
    "HeaderlessTopicDiagnostic",
    "TimeStampStatus",
    "TimeStampStatusParam",
    "TopicDiagnostic",
    "Updater",
]
