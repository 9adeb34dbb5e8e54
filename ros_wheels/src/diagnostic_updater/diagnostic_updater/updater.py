# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The publisher of all statuses of a node."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from .status import DiagnosticStatusWrapper
from .tasks import DiagnosticTask, FunctionDiagnosticTask

_PERIOD_PARAMETER = "diagnostic_updater.period"


class Updater:
    """Runs its tasks every ``period`` [s] and publishes their statuses on /diagnostics."""

    def __init__(self, node: Node, period: float = 1.0) -> None:
        self.node = node
        self.clock = node.get_clock()
        self.publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self.lock = threading.Lock()
        self.tasks: list[DiagnosticTask] = []
        self.hwid = ""
        if not node.has_parameter(_PERIOD_PARAMETER):
            node.declare_parameter(_PERIOD_PARAMETER, float(period))
        self._period = float(node.get_parameter(_PERIOD_PARAMETER).value)
        self.timer = node.create_timer(self._period, self.update)

    @property
    def period(self) -> float:
        """Time between two publications [s]."""
        return self._period

    @period.setter
    def period(self, value: float) -> None:
        self._period = float(value)
        self.timer.timer_period_ns = int(self._period * 1e9)

    def setHardwareID(self, hwid: str) -> None:
        self.hwid = hwid

    def add(
        self,
        task_or_name: DiagnosticTask | str,
        fn: Callable[[DiagnosticStatusWrapper], DiagnosticStatusWrapper] | None = None,
    ) -> None:
        """Adds a task, or ``add(name, fn)`` with a function that fills and returns a status."""
        task = task_or_name
        if not isinstance(task, DiagnosticTask):
            task = FunctionDiagnosticTask(task, fn)
        with self.lock:
            self.tasks.append(task)
        starting = DiagnosticStatusWrapper(level=DiagnosticStatus.OK, message="Node starting up")
        starting.name = task.getName()
        self._publish([starting])

    def removeByName(self, name: str) -> bool:
        """Removes a task; returns whether there was one."""
        with self.lock:
            kept = [task for task in self.tasks if task.getName() != name]
            removed = len(kept) < len(self.tasks)
            self.tasks = kept
        return removed

    def update(self) -> None:
        """Runs all tasks and publishes their statuses."""
        with self.lock:
            tasks = list(self.tasks)
        self._publish([self._run(task) for task in tasks])

    def force_update(self) -> None:
        """Publishes now, whatever the period says."""
        self.update()

    def broadcast(self, lvl: bytes, msg: str) -> None:
        """Publishes one message under the names of all tasks."""
        with self.lock:
            names = [task.getName() for task in self.tasks]
        self._publish([DiagnosticStatusWrapper(name=n, level=lvl, message=msg) for n in names])

    def _run(self, task: DiagnosticTask) -> Any:
        status = DiagnosticStatusWrapper(
            name=task.getName(),
            level=DiagnosticStatus.ERROR,
            message="No message was set",
            hardware_id=self.hwid,
        )
        return task.run(status)

    def _publish(self, statuses: list[Any]) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.clock.now().to_msg()
        for status in statuses:
            message.status.append(
                DiagnosticStatus(
                    level=status.level,
                    name=f"{self.node.get_name()}: {status.name}",
                    message=status.message,
                    hardware_id=status.hardware_id,
                    values=status.values,
                )
            )
        self.publisher.publish(message)
