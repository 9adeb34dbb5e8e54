# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""``grasp_sim``: a MuJoCo tabletop seen by a simulated RGB-D camera.

Publishes under the RealSense topic names. The scene stands still, so it is rendered once and
published with fresh stamps; ``~/next`` makes another scene.
"""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from std_srvs.srv import Trigger

from kgnpro_ros.config import SceneConfig, SimConfig
from kgnpro_ros.data.compose import make_scene
from kgnpro_ros.data.render import make_gl_context
from kgnpro_ros.geometry.se3 import invert
from kgnpro_ros.ros.camera_publisher import T_LINK_OPTICAL, CameraPublisher
from kgnpro_ros.ros.params import Parameters, fixed_at_start
from kgnpro_ros.ros.spinning import run_node

NODE_NAME = "grasp_sim"


class SimNode(Node):
    """Renders a tabletop scene and publishes it as a camera.

    Raises:
        KGNProError: If the parameters are not valid or this machine cannot render.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(NODE_NAME, **options)
        self._settings = Parameters(self, SimConfig(), may_change=fixed_at_start)
        self._config = self._settings.get(SimConfig)
        self._gl = make_gl_context()
        self._index = 0
        self._camera: CameraPublisher | None = None
        self._make_scene()
        self._next_service = self.create_service(Trigger, "~/next", self._on_next)
        self._current_service = self.create_service(Trigger, "~/current", self._on_current)
        self._timer = self.create_timer(1.0 / self._config.rate, self._publish)

    def _make_scene(self) -> None:
        config = self._config
        scene_config = SceneConfig(
            mode=config.mode, look=config.look, views=1, depth_noise=config.depth_noise
        )
        scene, frames, _ = make_scene(scene_config, config.seed, self._index, self._gl)
        self._scene, self._frame = scene, frames[0]
        T_base_link = scene.T_world_camera[0] @ invert(T_LINK_OPTICAL)
        if self._camera is None:
            self._camera = CameraPublisher(self, config.reliability, config.base_frame, T_base_link)
        else:
            self._camera.move(config.base_frame, T_base_link)
        names = ", ".join(item.shape.kind for item in scene.objects)
        self.get_logger().info(f"scene {self._index} of seed {config.seed}: {names}")

    def _publish(self) -> None:
        self._camera.publish(self._frame.color, self._frame.depth, self._scene.camera)

    def _on_next(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Make the next scene; the message is its number."""
        self._index += 1
        self._make_scene()
        return self._on_current(request, response)

    def _on_current(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The message is the number of the scene."""
        response.success, response.message = True, f"scene_{self._index}"
        return response


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of ``ros2 run kgnpro_ros grasp_sim``."""
    return run_node(SimNode, args=args)


if __name__ == "__main__":
    raise SystemExit(main())
