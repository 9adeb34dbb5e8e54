# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What is diagnosed: functions, rates and stamps of topics."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.time import Time

from .status import DiagnosticStatusWrapper


class DiagnosticTask:
    """Something with a name that fills a status."""

    def __init__(self, name: str) -> None:
        self.name = name

    def getName(self) -> str:
        return self.name

    def run(self, stat: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        raise NotImplementedError


class FunctionDiagnosticTask(DiagnosticTask):
    """Calls ``fn(stat)``, which returns the status."""

    def __init__(
        self, name: str, fn: Callable[[DiagnosticStatusWrapper], DiagnosticStatusWrapper]
    ) -> None:
        super().__init__(name)
        self.fn = fn

    def run(self, stat: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        return self.fn(stat)


class CompositeDiagnosticTask(DiagnosticTask):
    """Several tasks in one status, whose summary is the worst of theirs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.tasks: list[DiagnosticTask] = []

    def addTask(self, task: DiagnosticTask) -> None:
        self.tasks.append(task)

    def run(self, stat: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        combined = DiagnosticStatusWrapper(level=DiagnosticStatus.OK, message="")
        for task in self.tasks:
            stat.summary(DiagnosticStatus.ERROR, "No message was set")
            stat = task.run(stat)
            combined.mergeSummary(stat)
        stat.summary(combined)
        return stat


class FrequencyStatusParam:
    """Bounds on a rate: ``freq_bound`` is a dict with 'min' and 'max' [Hz], may change later."""

    def __init__(
        self, freq_bound: dict[str, float], tolerance: float = 0.1, window_size: int = 5
    ) -> None:
        self.freq_bound = freq_bound
        self.tolerance = tolerance
        self.window_size = window_size


class FrequencyStatus(DiagnosticTask):
    """The rate of ``tick()`` over the last ``window_size`` runs."""

    def __init__(self, params: FrequencyStatusParam, name: str = "FrequencyStatus") -> None:
        super().__init__(name)
        self.params = params
        self.lock = threading.Lock()
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.clear()

    def clear(self) -> None:
        with self.lock:
            self.count = 0
            start = (self._clock.now().nanoseconds, 0)
            self._history = deque([start], maxlen=max(1, self.params.window_size))

    def tick(self) -> None:
        with self.lock:
            self.count += 1

    def run(self, stat: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        with self.lock:
            now = self._clock.now().nanoseconds
            then, count_then = self._history[0]
            window = (now - then) / 1e9
            events = self.count - count_then
            self._history.append((now, self.count))
        rate = events / window if window > 0.0 else 0.0
        stat.summary(*self._judge(events, rate))
        stat.add("Events in window", str(events))
        stat.add("Events since startup", str(self.count))
        stat.add("Duration of window (s)", f"{window:f}")
        stat.add("Actual frequency (Hz)", f"{rate:f}")
        for bound, label in (("min", "Minimum"), ("max", "Maximum")):
            if bound in self.params.freq_bound:
                stat.add(f"{label} acceptable frequency (Hz)", f"{self._bound(bound):f}")
        return stat

    def _bound(self, name: str) -> float:
        slack = -self.params.tolerance if name == "min" else self.params.tolerance
        return self.params.freq_bound[name] * (1.0 + slack)

    def _judge(self, events: int, rate: float) -> tuple[bytes, str]:
        if events == 0:
            return DiagnosticStatus.ERROR, "No events recorded."
        if "min" in self.params.freq_bound and rate < self._bound("min"):
            return DiagnosticStatus.WARN, "Frequency too low."
        if "max" in self.params.freq_bound and rate > self._bound("max"):
            return DiagnosticStatus.WARN, "Frequency too high."
        return DiagnosticStatus.OK, "Desired frequency met"


class TimeStampStatusParam:
    """Bounds on the age of a stamp [s]; negative is the future."""

    def __init__(self, min_acceptable: float = -1, max_acceptable: float = 5) -> None:
        self.min_acceptable = min_acceptable
        self.max_acceptable = max_acceptable


class TimeStampStatus(DiagnosticTask):
    """The ages of the stamps since the last run."""

    def __init__(
        self,
        params: TimeStampStatusParam | None = None,
        name: str = "Timestamp Status",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(name)
        self.params = params or TimeStampStatusParam()
        self._clock = clock or Clock(clock_type=ClockType.ROS_TIME)
        self.lock = threading.Lock()
        self._ages: list[float] = []
        self._zero_seen = False

    def tick(self, stamp: Any) -> None:
        """Notes one stamp: a Time, a message's stamp, or seconds."""
        seconds = _seconds(stamp)
        with self.lock:
            if seconds == 0.0:
                self._zero_seen = True
            else:
                self._ages.append(self._clock.now().nanoseconds / 1e9 - seconds)

    def run(self, stat: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        with self.lock:
            ages, self._ages = self._ages, []
            zero_seen, self._zero_seen = self._zero_seen, False
        stat.summary(DiagnosticStatus.OK, "Timestamps are reasonable.")
        if not ages and not zero_seen:
            stat.summary(DiagnosticStatus.WARN, "No data since last update.")
        if ages and min(ages) < self.params.min_acceptable:
            stat.mergeSummary(DiagnosticStatus.ERROR, "Timestamps too far in future seen.")
        if ages and max(ages) > self.params.max_acceptable:
            stat.mergeSummary(DiagnosticStatus.ERROR, "Timestamps too far in past seen.")
        if zero_seen:
            stat.mergeSummary(DiagnosticStatus.ERROR, "Zero timestamp seen.")
        stat.add("Earliest timestamp delay:", f"{min(ages):f}" if ages else "No data")
        stat.add("Latest timestamp delay:", f"{max(ages):f}" if ages else "No data")
        stat.add("Earliest acceptable timestamp delay:", f"{self.params.min_acceptable:f}")
        stat.add("Latest acceptable timestamp delay:", f"{self.params.max_acceptable:f}")
        return stat


class HeaderlessTopicDiagnostic(CompositeDiagnosticTask):
    """The rate of a topic; adds itself to ``diag``."""

    def __init__(self, name: str, diag: Any, freq: FrequencyStatusParam) -> None:
        super().__init__(f"{name} topic status")
        self.freq = FrequencyStatus(freq)
        self.addTask(self.freq)
        diag.add(self)

    def tick(self) -> None:
        self.freq.tick()

    def clear_window(self) -> None:
        self.freq.clear()


class TopicDiagnostic(HeaderlessTopicDiagnostic):
    """The rate of a topic and the ages of its stamps."""

    def __init__(
        self, name: str, diag: Any, freq: FrequencyStatusParam, stamp: TimeStampStatusParam
    ) -> None:
        super().__init__(name, diag, freq)
        self.stamp = TimeStampStatus(stamp, clock=getattr(diag, "clock", None))
        self.addTask(self.stamp)

    def tick(self, stamp: Any) -> None:
        super().tick()
        self.stamp.tick(stamp)


def _seconds(stamp: Any) -> float:
    if isinstance(stamp, Time):
        return stamp.nanoseconds / 1e9
    if hasattr(stamp, "nanosec"):
        return stamp.sec + stamp.nanosec / 1e9
    return float(stamp)
