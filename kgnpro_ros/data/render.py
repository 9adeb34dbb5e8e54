# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Renders colour, z-depth and instance ids of a MuJoCo model with exact pinhole intrinsics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.data.mujoco_model import VISUAL_GROUP
from kgnpro_ros.exceptions import DatasetError
from kgnpro_ros.geometry import Camera

FloatArray = NDArray[np.float64]

#: Clipping planes [m] (KGN's).
NEAR, FAR = 0.04, 20.0
#: Colour is rendered this many times larger along each axis and averaged.
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class Light:
    """A light for one frame, in the world frame.

    Attributes:
        position: Its place [m], shape (3,).
        direction: Unit vector of its axis, shape (3,).
        diffuse: Brightness per colour channel, linear.
        ambient: Light from everywhere per channel.
        specular: Brightness of highlights.
        attenuation: Constant, linear, quadratic [1, 1/m, 1/m^2].
        cutoff: Half opening [deg] of a spot light.
        exponent: Fall-off of the spot towards its rim.
        directional: Parallel light along the direction, no spot.
        shadow: Whether it casts shadows.
    """

    position: FloatArray
    direction: FloatArray
    diffuse: tuple[float, float, float]
    ambient: tuple[float, float, float] = (0.0, 0.0, 0.0)
    specular: float = 0.0
    attenuation: tuple[float, float, float] = (1.0, 0.0, 0.0)
    cutoff: float = 60.0
    exponent: float = 0.0
    directional: bool = False
    shadow: bool = False


@dataclass(frozen=True)
class Frame:
    """One rendered view.

    Attributes:
        color: RGB uint8, shape (H, W, 3).
        depth: z-depth [m], float32, shape (H, W); NaN where nothing was hit.
        geom: Index of the geom seen at each pixel, int32, shape (H, W); -1 for nothing.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    geom: NDArray[np.int32]


class Renderer:
    """Renders one model; use as a context manager, since it holds an OpenGL context's buffers.

    Colour is anti-aliased by supersampling; depth and ids are sampled at the pixel centres.

    Args:
        model: The model.
        gl: An OpenGL context of :func:`make_gl_context`, current in this thread, to share between
            models of one process.
    """

    def __init__(self, model: mujoco.MjModel, gl: Any) -> None:
        self._model = model
        self._gl = gl
        self.data = mujoco.MjData(model)
        gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[VISUAL_GROUP] = 1
        self._perturb, self._free_camera = mujoco.MjvPerturb(), mujoco.MjvCamera()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the buffers on the graphics side."""
        self._gl.make_current()
        self._context.free()

    def render(
        self,
        camera: Camera,
        T_world_camera: FloatArray,
        lights: Sequence[Light],
        gamma: float = 1.0,
    ) -> Frame:
        """Render the current state of :attr:`data` (call ``mj_kinematics`` after changing it).

        Args:
            camera: Intrinsics; distortion is ignored.
            T_world_camera: Pose with OpenCV axes, shape (4, 4).
            lights: The only lights.
            gamma: Exponent of display encoding: stored = linear ** (1 / gamma).
        """
        mujoco.mjv_updateScene(
            self._model, self.data, self._option, self._perturb, self._free_camera,
            mujoco.mjtCatBit.mjCAT_ALL, self._scene,
        )  # fmt: skip
        _set_camera(self._scene, camera, T_world_camera)
        _set_lights(self._scene, lights)
        depth, geom = self._depth_and_ids(camera)
        return Frame(self._color(camera, lights, gamma), depth, geom)

    def _depth_and_ids(self, camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        rect = mujoco.MjrRect(0, 0, camera.width, camera.height)
        mujoco.mjr_render(rect, self._scene, self._context)
        ids = np.empty((camera.height, camera.width, 3), np.uint8)
        buffer = np.empty((camera.height, camera.width), np.float32)
        mujoco.mjr_readPixels(ids, buffer, rect, self._context)
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 0
        codes = ids[::-1].astype(np.int32)
        segment = codes[..., 0] + 256 * codes[..., 1] + 65536 * codes[..., 2]
        of_segment = np.full(self._scene.ngeom + 1, -1, np.int32)
        for item in self._scene.geoms[: self._scene.ngeom]:
            if item.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                of_segment[item.segid + 1] = item.objid
        geom = of_segment[segment]
        # Reversed depth, 0 at the far plane and 1 at the near one, keeps digits where they count.
        window = buffer[::-1].astype(np.float64)
        depth = NEAR * FAR / (NEAR + window * (FAR - NEAR))
        return np.where(geom >= 0, depth, np.nan).astype(np.float32), geom

    def _color(self, camera: Camera, lights: Sequence[Light], gamma: float) -> NDArray[np.uint8]:
        shadow = any(light.shadow for light in lights)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = int(shadow)
        width, height = camera.width * _SUPERSAMPLING, camera.height * _SUPERSAMPLING
        rect = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(rect, self._scene, self._context)
        large = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(large, None, rect, self._context)
        if gamma != 1.0:
            table = np.linspace(0.0, 1.0, 256) ** (1.0 / gamma) * 255.0
            large = cv2.LUT(large, table.round().astype(np.uint8)).astype(np.uint8, copy=False)
        size = (camera.width, camera.height)
        small = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(small[::-1], dtype=np.uint8)


def make_gl_context() -> Any:
    """An offscreen OpenGL context of this process, made current in this thread.

    EGL, which needs no display, unless the environment variable ``MUJOCO_GL`` asks for another.

    Raises:
        DatasetError: If the machine cannot render offscreen.
    """
    try:
        if os.environ.get("MUJOCO_GL", "egl").lower() == "egl":
            from mujoco.egl import GLContext
        else:
            from mujoco import GLContext
        context = GLContext(64, 64)
        context.make_current()
    except (ImportError, RuntimeError, AttributeError) as error:
        raise DatasetError(
            f"offscreen rendering does not work here: {type(error).__name__}: {error}; on Debian "
            "and Ubuntu it needs: apt-get install libegl1 libgl1-mesa-dri"
        ) from error
    return context


def _set_camera(scene: mujoco.MjvScene, camera: Camera, T_world_camera: FloatArray) -> None:
    """Write the exact frustum; pixel centres are integers, so the image starts at -0.5."""
    center = ((camera.width - 1) / 2 - camera.cx) / camera.fx
    for view in scene.camera:
        view.pos[:] = T_world_camera[:3, 3]
        view.forward[:] = T_world_camera[:3, 2]
        view.up[:] = -T_world_camera[:3, 1]
        view.frustum_near, view.frustum_far = NEAR, FAR
        view.frustum_center = NEAR * center
        view.frustum_width = NEAR * camera.width / camera.fx / 2
        view.frustum_top = NEAR * (camera.cy + 0.5) / camera.fy
        view.frustum_bottom = -NEAR * (camera.height - 0.5 - camera.cy) / camera.fy
        view.orthographic = 0


def _set_lights(scene: mujoco.MjvScene, lights: Sequence[Light]) -> None:
    scene.nlight = len(lights)
    for slot, light in zip(scene.lights, lights, strict=False):
        slot.pos[:], slot.dir[:] = light.position, light.direction
        slot.type = (
            mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
            if light.directional
            else mujoco.mjtLightType.mjLIGHT_SPOT
        )
        slot.attenuation[:] = light.attenuation
        slot.cutoff, slot.exponent = light.cutoff, light.exponent
        slot.ambient[:], slot.diffuse[:] = light.ambient, light.diffuse
        slot.specular[:] = (light.specular,) * 3
        slot.headlight, slot.castshadow, slot.texid = 0, int(light.shadow), -1
        slot.bulbradius, slot.range, slot.intensity = 0.02, 100.0, 0.0
