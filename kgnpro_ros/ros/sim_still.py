# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A scene of ``grasp_sim`` that stands still: rendered once, published with fresh stamps."""

from __future__ import annotations

import json

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_srvs.srv import Trigger

from kgnpro_ros.config import SceneConfig, SimConfig, WorldConfig
from kgnpro_ros.data.compose import make_scene
from kgnpro_ros.data.render import Frame, make_gl_context
from kgnpro_ros.data.scene import Scene
from kgnpro_ros.geometry.se3 import invert
from kgnpro_ros.ros.camera_publisher import T_LINK_OPTICAL, CameraPublisher
from kgnpro_ros.ros.inputs import type_name


class StillScene:
    """A camera over a tabletop.

    Args:
        node: Owns the publishers.
        config: Of the node.
        world: ``seed``, ``mode``, ``look`` and ``depth_noise`` are used.

    Raises:
        KGNProError: If this machine cannot render.
    """

    def __init__(self, node: Node, config: SimConfig, world: WorldConfig) -> None:
        self.failure = ""
        name = node.resolve_service_name("~/next")
        self.waits_for = f"calls of {name} ({type_name(Trigger)}) to show the next scene"
        self._node = node
        self._config = config
        self._world = world
        self._camera: CameraPublisher | None = None
        self._shown: tuple[Scene, Frame] | None = None
        group = MutuallyExclusiveCallbackGroup()
        self._timer = node.create_timer(1.0 / config.rate, self._publish, callback_group=group)

    def start_scene(self, index: int) -> list[str]:
        """Draw and render a scene; returns what is in it."""
        world = self._world
        scene_config = SceneConfig(
            mode=world.mode, look=world.look, views=1, depth_noise=world.depth_noise
        )
        # A context belongs to the thread that made it, and services come in any.
        gl = make_gl_context()
        try:
            scene, frames, _ = make_scene(scene_config, world.seed, index, gl)
        finally:
            gl.free()
        T_base_link = scene.T_world_camera[0] @ invert(T_LINK_OPTICAL)
        base, reliability = self._config.base_frame, self._config.reliability
        if self._camera is None:
            self._camera = CameraPublisher(self._node, reliability, base, T_base_link)
        else:
            self._camera.move(base, T_base_link)
        self._shown = scene, frames[0]
        return self._kinds()

    def describe(self) -> str:
        """The objects as JSON."""
        return json.dumps([{"index": k, "kind": kind} for k, kind in enumerate(self._kinds())])

    def close(self) -> None:
        """Nothing runs on its own."""

    def _kinds(self) -> list[str]:
        return [] if self._shown is None else [item.shape.kind for item in self._shown[0].objects]

    def _publish(self) -> None:
        if self._camera is not None and self._shown is not None:
            scene, frame = self._shown
            self._camera.publish(frame.color, frame.depth, scene.camera)
