# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The arms that ``grasp_executor`` can move; each is imported only where it is used."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from rclpy.node import Node
from rclpy.time import Time

from kgnpro_ros.config import ExecutorConfig
from kgnpro_ros.exceptions import ConfigError, KGNProError
from kgnpro_ros.execution.arm import Arm, ArmError, ArmFailure
from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.ros.controllers import RosControllers
from kgnpro_ros.ros.transforms import TransformSource
from kgnpro_ros.types import FloatArray

#: Between two tries to connect to a robot that is not there yet [s].
RETRY_PERIOD = 1.0

#: Makes an arm; blocks, and may need answers of other nodes.
ArmFactory = Callable[[Node, ExecutorConfig, Gripper, RosControllers], Arm]


def make_arm(
    node: Node, config: ExecutorConfig, gripper: Gripper, controllers: RosControllers
) -> Arm:
    """The arm that the configuration names.

    Raises:
        ArmError: If the robot does not answer yet.
        ConfigError: If the planner is not installed.
        KGNProError: If a description cannot be read.
    """
    factory = {"mplib": _mplib_arm, "moveit": _moveit_arm}[config.arm]
    return factory(node, config, gripper, controllers)


def _mplib_arm(
    node: Node, config: ExecutorConfig, gripper: Gripper, controllers: RosControllers
) -> Arm:
    try:
        from kgnpro_ros.execution.mplib_arm import MplibArm
        from kgnpro_ros.execution.mplib_planner import MplibPlanner
    except ImportError as error:
        raise ConfigError(f"arm: mplib needs the package mplib: {error}") from error
    from kgnpro_ros.execution.robot_model import panda_model

    return MplibArm(MplibPlanner(panda_model(), config.motion), controllers)


def _moveit_arm(
    node: Node, config: ExecutorConfig, gripper: Gripper, controllers: RosControllers
) -> Arm:
    from kgnpro_ros.ros.moveit_arm import MoveItArm
    from kgnpro_ros.ros.moveit_motion import cancel_all

    controllers.joints()  # first: without them this is tried again and again
    transforms = TransformSource(node)

    def find(target: str, source: str) -> FloatArray:
        newest = Time().to_msg()
        return transforms.lookup(target, source, newest, config.connect_timeout, latest=True)

    return MoveItArm(
        config.moveit, config.motion, gripper, controllers,
        use_sim_time=bool(node.get_parameter("use_sim_time").value), find_transform=find,
        halt=cancel_all(node, config.controllers.arm_action),
    )  # fmt: skip


def leave(code: int) -> int:
    """The exit code; does not return where MoveIt's libraries could crash on the way out."""
    if "moveit.planning" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


class ArmConnection:
    """Makes the arm beside the node, which has to be spun for it.

    Args:
        node: Owns what talks to the robot.
        config: Of the executor.
        gripper: What the arm carries.
        factory: Makes the arm.

    Attributes:
        controllers: What moves the joints.
        arm: None until it was made.
        problem: Why there is no arm; empty while all is well.
    """

    def __init__(
        self, node: Node, config: ExecutorConfig, gripper: Gripper, factory: ArmFactory
    ) -> None:
        self.controllers = RosControllers(node, config.controllers, config.controllers.joints)
        self.arm: Arm | None = None
        self.problem = ""
        self._make = lambda: factory(node, config, gripper, self.controllers)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._connect, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give up waiting for the robot."""
        self._closed.set()

    def end(self) -> None:
        """End the planner, where it has something to end; the arm is not used any more."""
        close = getattr(self.arm, "close", None)
        if close is not None:
            close()

    def missing(self) -> list[str]:
        """What does not answer yet, or why there will be no arm."""
        missing = self.controllers.missing()
        if self.arm is None and not missing:
            missing = [f"the arm ({self.problem})" if self.problem else "the planner of the arm"]
        return missing

    def _connect(self) -> None:
        while not self._closed.is_set():
            try:
                self.arm = self._make()
            except ArmError as error:
                self.problem = str(error)
                if error.failure is not ArmFailure.CONNECTION:
                    return
            except KGNProError as error:
                self.problem = str(error)
                return
            except Exception as error:
                # Whoever waits for the node must see this; a thread dies silently.
                self.problem = f"{type(error).__name__}: {error}"
                raise
            else:
                self.problem = ""
                return
            time.sleep(RETRY_PERIOD)
