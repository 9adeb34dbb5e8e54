# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The living world of ``grasp_sim``: an arm that moves, and a camera that sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from builtin_interfaces.msg import Time as TimeMsg
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from kgnpro_ros.config import SimConfig, SimControllerConfig, WorldConfig
from kgnpro_ros.data.render import Light
from kgnpro_ros.data.scene import look_at
from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.geometry.se3 import invert
from kgnpro_ros.ros.camera_publisher import T_LINK_OPTICAL, CameraPublisher
from kgnpro_ros.ros.conversions import image_to_message
from kgnpro_ros.ros.delivery import may_be_lost
from kgnpro_ros.ros.sim_actions import SimActions
from kgnpro_ros.ros.sim_loop import Periodic, SimLoop
from kgnpro_ros.ros.sim_robot import ClockPublisher, RobotPublisher
from kgnpro_ros.simulation import panda
from kgnpro_ros.simulation.camera import wrist_camera_pose
from kgnpro_ros.simulation.world import PickWorld
from kgnpro_ros.types import FloatArray

CLOCK_RATE = 100.0
#: The spectator's camera: size [px], focal length [px], place and what it looks at [m].
OVERVIEW = Camera(420.0, 420.0, 199.5, 149.5, 400, 300)
OVERVIEW_PLACE, OVERVIEW_TARGET = np.array([0.85, 0.95, 0.75]), np.array([-0.25, 0.12, 0.17])
OVERVIEW_TOPIC = "~/overview"
#: What changes by less than this has not moved [rad, m].
STILL = 2e-4

T = TypeVar("T")


class StillView(Generic[T]):
    """A picture that is taken again only when something has moved: rendering is what costs.

    Args:
        world: What is in the picture.
        render: Takes it.
    """

    def __init__(self, world: PickWorld, render: Callable[[], T]) -> None:
        self._world = world
        self._render = render
        self._last: tuple[FloatArray, T] | None = None

    def picture(self) -> T:
        """The picture of the world now."""
        world = self._world
        state = np.concatenate(
            [world.joint_positions(), [world.finger_width()], world.object_poses().ravel()]
        )
        last = self._last
        moved = last is None or last[0].shape != state.shape
        if moved or last is None or np.abs(state - last[0]).max() > STILL:
            self._last = last = state, self._render()
        return last[1]


class SimulatedArm:
    """World, camera, robot and controllers of one scene after the other.

    Args:
        node: Owns everything that publishes and serves.
        config: Of the node.
        world: What is in the world.
        controllers: Tolerances.

    Raises:
        KGNProError: If the world cannot be built or this machine cannot render.
    """

    def __init__(
        self,
        node: Node,
        config: SimConfig,
        world: WorldConfig,
        controllers: SimControllerConfig,
    ) -> None:
        self._node = node
        self._config = config
        self._world_config = world
        self._loop = SimLoop(world, controllers, config, self._make_periodics)
        self._actions = SimActions(node, self._loop, self._stamp)
        self.waits_for = f"goals of {self._actions.describe()}"

    @property
    def failure(self) -> str:
        """Why the simulation has ended; empty while it runs."""
        return self._loop.failure

    def start_scene(self, index: int) -> list[str]:
        """Start a scene, the arm at home; returns what is in it."""

        def start() -> list[str]:
            self._loop.reset(self._world_config.seed + index)
            return self._kinds()

        return self._loop.call(start)

    def kinds(self) -> list[str]:
        """Names of what is in the scene."""
        return self._loop.call(self._kinds)

    def describe(self) -> str:
        """The objects as JSON: kind, place, height above the start, where they are."""
        return json.dumps(self._loop.call(self._objects))

    def close(self) -> None:
        """End the simulation."""
        self._loop.close()

    def _kinds(self) -> list[str]:
        return [item.kind for item in self._loop.world.objects]

    def _objects(self) -> list[dict[str, Any]]:
        world = self._loop.world
        heights, poses, held = world.lifted_heights(), world.object_poses(), world.held()
        return [
            {
                "index": k,
                "kind": world.objects[k].kind,
                "dimensions": list(getattr(world.objects[k].item, "dimensions", ())),
                "lifted": round(float(heights[k]), 4),
                "held": k in held,
                "in_box": world.in_bin(k),
                "position": poses[k, :3, 3].round(4).tolist(),
            }
            for k in world.present()
        ]

    def _make_periodics(self, loop: SimLoop) -> list[Periodic]:
        """In the thread of the world, which is the only one that may touch it."""
        self._loop = loop
        config, world = self._config, loop.world
        robot = RobotPublisher(self._node, world, config.base_frame)
        camera = self._make_camera()
        view = StillView(world, world.render)
        view.picture()  # what cannot be rendered is said at the start

        def show(_: float) -> None:
            stamp = self._stamp()
            image = view.picture()
            camera.publish(image.color, image.depth, image.camera, stamp)

        periodics = [
            self._periodic(config.state_rate, lambda _: robot.publish(self._stamp())),
            self._periodic(config.rate, show),
        ]
        if config.clock == "sim":
            clock = ClockPublisher(self._node)
            tick = self._periodic(CLOCK_RATE, lambda _: clock.publish(self._stamp()))
            periodics.insert(0, tick)
        if config.overview_rate > 0:
            periodics.append(self._periodic(config.overview_rate, self._make_overview()))
        return periodics

    def _periodic(self, rate: float, publish: Callable[[float], None]) -> Periodic:
        def act(now: float) -> None:
            # The world goes on when a message is lost.
            with may_be_lost(self._node.get_logger()):
                publish(now)

        return Periodic(rate, act)

    def _make_camera(self) -> CameraPublisher:
        """A camera in the world, or on the hand."""
        world, config = self._loop.world, self._config
        if world.config.camera == "wrist":
            parent, pose = panda.HAND, wrist_camera_pose(world.config)
        else:
            parent, pose = config.base_frame, world.T_world_camera
        return CameraPublisher(
            self._node, config.reliability, parent, pose @ invert(T_LINK_OPTICAL)
        )

    def _make_overview(self) -> Any:
        publisher = self._node.create_publisher(Image, OVERVIEW_TOPIC, QoSProfile(depth=2))
        pose, world = look_at(OVERVIEW_PLACE, OVERVIEW_TARGET, 0.0, 0.0), self._loop.world
        # The lamp of the scene is at the measuring camera: from here, all would lie in its shadow.
        lamp = Light(pose[:3, 3], pose[:3, 2], (0.75, 0.75, 0.75), ambient=(0.25, 0.25, 0.25))
        view = StillView(world, lambda: world.render_frame(OVERVIEW, pose, [lamp]))

        def show(_: float) -> None:
            header = Header(stamp=self._stamp(), frame_id="overview")
            publisher.publish(image_to_message(view.picture().color, "rgb8", header))

        return show

    def _stamp(self) -> TimeMsg:
        if self._config.clock == "sim":
            return Time(nanoseconds=round(self._loop.time * 1e9)).to_msg()
        return self._node.get_clock().now().to_msg()
