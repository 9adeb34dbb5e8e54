# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""A Panda at a table with objects and an RGB-D camera, in MuJoCo.

World frame: z up, the table top is z = 0, the objects lie about the origin; the arm's base frame is
``panda_link0``. Nothing is ever attached to the hand: what it lifts, it holds by friction. A world
belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.config import WorldConfig
from kgnpro_ros.data.mujoco_model import object_name
from kgnpro_ros.data.placement import set_pose
from kgnpro_ros.data.render import Frame, Light, Renderer, make_gl_context
from kgnpro_ros.data.scene import KGN_CAMERA, SceneObject
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.exceptions import ShapeError
from kgnpro_ros.geometry import Camera
from kgnpro_ros.geometry.se3 import invert, make_transform
from kgnpro_ros.simulation import panda
from kgnpro_ros.simulation.camera import (
    fixed_camera_pose,
    lights_at,
    sense,
    world_look,
    wrist_camera_pose,
)
from kgnpro_ros.simulation.contacts import (
    LEFT_FINGER,
    RIGHT_FINGER,
    TABLE,
    Contact,
    find_contacts,
    geom_labels,
)
from kgnpro_ros.simulation.layout import PlacedObject, draw_scene, extreme_points
from kgnpro_ros.simulation.model import build_world
from kgnpro_ros.types import RGBDImage

FloatArray = NDArray[np.float64]

#: Time that objects are given to come to rest [s].
_SETTLE = 0.5


class PickWorld:
    """The simulated world; :meth:`reset` has been called once when it is made.

    Args:
        config: What is in it.
        gl: An OpenGL context of ``data.render.make_gl_context`` to render with; made at the first
            picture where None.
        objects: What stands where, as for :meth:`reset`.

    Attributes:
        config: The settings.
        camera: Intrinsics of the camera.
        objects: What stood on the table at the last reset; index k is the one of all methods.
        home: Joint positions at a reset [rad], shape (7,).
        T_world_base: Base frame of the arm, shape (4, 4).

    Raises:
        ModelError: If the description of the arm is missing.
        DatasetError: If the folder of objects cannot be used.
    """

    def __init__(
        self,
        config: WorldConfig | None = None,
        gl: Any = None,
        objects: Sequence[PlacedObject | SceneObject] | None = None,
    ) -> None:
        self.config = config or WorldConfig()
        self.camera: Camera = KGN_CAMERA
        self.home = panda.HOME if self.config.camera == "fixed" else panda.WRIST_HOME
        self.T_world_base = make_transform(np.eye(3), self.config.base_position)
        self.objects: tuple[PlacedObject, ...] = ()
        self._gl = gl
        self._renderer: Renderer | None = None
        self.reset(objects=objects)

    # --- life ---------------------------------------------------------------------------------

    def reset(
        self,
        seed: int | None = None,
        objects: Sequence[PlacedObject | SceneObject] | None = None,
    ) -> None:
        """Start again: arm at home, hand open, objects at rest, time 0.

        Args:
            seed: Of everything random; the configuration's where None.
            objects: What stands where; drawn from the seed where None. Primitives come first.
        """
        seed = self.config.seed if seed is None else seed
        rng = np.random.default_rng([seed, 5])
        placed = draw_scene(rng, self.config) if objects is None else _as_placed(objects)
        self.objects = tuple(placed)
        self._look = world_look(rng, self.config, len(placed), fixed_camera_pose(self.config))
        self._close_renderer()
        self._model = build_world([item.item for item in placed], self._look, self.config)
        self._data = mujoco.MjData(self._model)
        self._labels = geom_labels(self._model)
        self._find_addresses()
        self._jitter(rng)
        self._noise = np.random.default_rng([seed, 6])
        for index, item in enumerate(placed):
            set_pose(self._model, self._data, index, item.T_world_object, 2e-4)
        self._removed: set[int] = set()
        self._go_home()
        self.step(_SETTLE)
        self._data.time = 0.0
        self._start_heights = self._heights()

    def close(self) -> None:
        """Free what the graphics side holds."""
        self._close_renderer()

    def __enter__(self) -> PickWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _close_renderer(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _find_addresses(self) -> None:
        model = self._model
        joints = [model.joint(name) for name in panda.ARM_JOINTS]
        fingers = [model.joint(name) for name in panda.FINGER_JOINTS]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        self._finger_qpos = np.array([joint.qposadr[0] for joint in fingers])
        self._finger_dof = np.array([joint.dofadr[0] for joint in fingers])
        self._servo = np.array([model.actuator(name).id for name in panda.ARM_JOINTS])
        self._grip = model.actuator(panda.GRIPPER_ACTUATOR).id
        self.joint_limits: FloatArray = np.array([joint.range for joint in joints])
        self._bodies = [model.body(object_name(k)).id for k in range(len(self.objects))]
        self._hand = model.body(panda.HAND).id

    def _jitter(self, rng: np.random.Generator) -> None:
        """Masses and frictions that differ from one reset to the next."""
        model, config = self._model, self.config
        for body in self._bodies:
            factor = 1.0 + config.mass_jitter * rng.uniform(-1, 1)
            model.body_mass[body] *= factor
            model.body_inertia[body] *= factor
            geoms = model.geom_bodyid == body
            model.geom_friction[geoms, 0] *= 1.0 + config.friction_jitter * rng.uniform(-1, 1)
        factor = 1.0 + config.friction_jitter * rng.uniform(-1, 1)
        for finger in panda.FINGERS:
            model.geom(panda.pad_name(finger)).friction[0] *= factor

    def _go_home(self) -> None:
        self._data.qpos[self._qpos] = self.home
        self._data.qpos[self._finger_qpos] = panda.MAX_WIDTH / 2
        self._command: FloatArray = self.home.copy()
        self.set_joint_targets(self.home)
        self.set_gripper(panda.MAX_WIDTH)
        mujoco.mj_forward(self._model, self._data)

    # --- time and motion ----------------------------------------------------------------------

    @property
    def time(self) -> float:
        """Seconds since the reset."""
        return float(self._data.time)

    @property
    def timestep(self) -> float:
        """Of the physics [s]."""
        return float(self._model.opt.timestep)

    def step(self, seconds: float) -> None:
        """Let time pass: at least one time step."""
        self.step_n(max(1, round(seconds / self.timestep)))

    def step_n(self, count: int) -> None:
        """Let time pass: so many time steps."""
        reach = panda.VELOCITY_LIMITS * self.timestep
        feed = panda.DAMPING / panda.STIFFNESS * self._target_velocity
        while count > 0:
            step = np.maximum(np.minimum(self._target - self._command, reach), -reach)
            self._command += step
            self._data.ctrl[self._servo] = self._command + feed
            # Nothing to do between the steps once the set-point is there.
            steps = 1 if step.any() else count
            mujoco.mj_step(self._model, self._data, steps)
            count -= steps

    def joint_positions(self) -> FloatArray:
        """Of the arm [rad], shape (7,)."""
        return np.array(self._data.qpos[self._qpos])

    def joint_velocities(self) -> FloatArray:
        """Of the arm [rad/s], shape (7,)."""
        return np.array(self._data.qvel[self._dof])

    def joint_efforts(self) -> FloatArray:
        """Torques of the arm's motors [N m], shape (7,)."""
        return np.array(self._data.qfrc_actuator[self._dof])

    def set_joint_targets(
        self, positions: FloatArray, velocities: FloatArray | None = None
    ) -> None:
        """Where the servos pull the arm.

        Args:
            positions: Joint positions [rad], shape (7,); cut to the limits. They are approached at
                no more than the velocity limits.
            velocities: How fast the positions themselves move [rad/s], shape (7,); without them a
                moving target is followed 0.1 s late.
        """
        positions = np.asarray(positions, np.float64)
        velocities = np.zeros(7) if velocities is None else np.asarray(velocities, np.float64)
        if positions.shape != (7,) or velocities.shape != (7,):
            raise ShapeError(
                f"joint targets have shapes {positions.shape}, {velocities.shape}; expected (7,)"
            )
        if not (np.isfinite(positions).all() and np.isfinite(velocities).all()):
            raise ShapeError("joint targets hold values that are not finite")
        self._target = np.clip(positions, *self.joint_limits.T)
        limit = panda.VELOCITY_LIMITS
        self._target_velocity = np.clip(velocities, -limit, limit)

    def set_gripper(self, width: float, max_effort: float | None = None) -> None:
        """Where the fingers go.

        Args:
            width: Jaw opening [m]; cut to what the hand can do.
            max_effort: Greatest force of each finger [N]; the configuration's where None.
        """
        effort = self.config.grip_force if max_effort is None else max_effort
        self._data.ctrl[self._grip] = np.clip(width, 0.0, panda.MAX_WIDTH)
        self._model.actuator_forcerange[self._grip] = (-effort, effort)

    def finger_width(self) -> float:
        """Opening between the fingertips [m]."""
        return float(self._data.qpos[self._finger_qpos].sum())

    def finger_velocity(self) -> float:
        """Rate of the opening [m/s]."""
        return float(self._data.qvel[self._finger_dof].sum())

    def finger_effort(self) -> float:
        """Force of each finger, positive when it opens [N]."""
        return float(self._data.actuator_force[self._grip])

    def hand_pose(self) -> FloatArray:
        """``T_base_hand`` of the link ``panda_hand``, shape (4, 4)."""
        mujoco.mj_kinematics(self._model, self._data)
        return invert(self.T_world_base) @ self._body_pose(self._hand)

    def link_transforms(self) -> list[tuple[str, str, FloatArray]]:
        """Parent link, child link and ``T_parent_child`` (4, 4), of all links of arm and hand."""
        mujoco.mj_kinematics(self._model, self._data)
        result = []
        for body in range(1, self._model.nbody):
            parent = int(self._model.body_parentid[body])
            names = self._model.body(parent).name, self._model.body(body).name
            if all(name.startswith("panda_") for name in names):
                relative = invert(self._body_pose(parent)) @ self._body_pose(body)
                result.append((*names, relative))
        return result

    # --- objects ------------------------------------------------------------------------------

    def object_poses(self) -> FloatArray:
        """``T_world_object`` of all objects, shape (N, 4, 4); removed ones are far away."""
        mujoco.mj_kinematics(self._model, self._data)
        poses = [self._body_pose(body) for body in self._bodies]
        return np.array(poses).reshape(-1, 4, 4)

    def present(self) -> list[int]:
        """Indices of the objects that were not removed."""
        return [k for k in range(len(self.objects)) if k not in self._removed]

    def lifted_heights(self) -> FloatArray:
        """How far each centre of mass has risen since the reset [m], shape (N,).

        NaN for removed objects. An object that tips in the hand rises less than the hand.
        """
        heights = self._heights() - self._start_heights
        heights[list(self._removed)] = np.nan
        return heights

    def clearances(self) -> FloatArray:
        """How far the lowest point of each object is above the table [m], shape (N,)."""
        result = np.full(len(self.objects), np.nan)
        poses = self.object_poses()
        for index in self.present():
            points, radius = extreme_points(self.objects[index].item)
            heights = points @ poses[index, 2, :3] + poses[index, 2, 3]
            result[index] = heights.min() - radius
        return result

    def remove_object(self, index: int) -> None:
        """Take an object out of the world until the next reset."""
        if index not in self.present():
            raise ShapeError(f"no object {index} to remove; there are {self.present()}")
        self._removed.add(index)
        body = self._bodies[index]
        set_pose(self._model, self._data, index, make_transform(np.eye(3), (10.0 + index, 0, 1)))
        dof = int(self._model.body_dofadr[body])
        self._data.qvel[dof : dof + 6] = 0.0
        # It hangs where it is, weightless, and nothing touches it.
        self._model.body_gravcomp[body] = 1.0
        geoms = self._model.geom_bodyid == body
        self._model.geom_contype[geoms] = self._model.geom_conaffinity[geoms] = 0
        mujoco.mj_forward(self._model, self._data)

    def contacts(self) -> tuple[Contact, ...]:
        """Who touches whom now, with forces; things that have long been at rest are not listed."""
        return find_contacts(self._model, self._data, self._labels)

    def held(self) -> list[int]:
        """Objects between both fingers that rest on nothing else."""
        contacts = self.contacts()

        def touches(index: int, other: str) -> bool:
            return any(contact.between(object_name(index), other) for contact in contacts)

        return [
            index
            for index in self.present()
            if touches(index, LEFT_FINGER)
            and touches(index, RIGHT_FINGER)
            and not touches(index, TABLE)
        ]

    def in_bin(self, index: int) -> bool:
        """Whether the origin of an object is within the walls of the box."""
        low, size = np.array(self.config.bin_position), np.array(self.config.bin_size)
        offset = self.object_poses()[index, :3, 3] - low
        inside = np.abs(offset[:2]) < size[:2] / 2
        return bool(inside.all() and offset[2] < size[2] + 0.05)

    def _body_pose(self, body: int) -> FloatArray:
        return make_transform(self._data.xmat[body].reshape(3, 3), self._data.xpos[body])

    def _heights(self) -> FloatArray:
        mujoco.mj_kinematics(self._model, self._data)
        return np.array(self._data.xipos[self._bodies, 2])

    # --- camera -------------------------------------------------------------------------------

    @property
    def T_world_camera(self) -> FloatArray:
        """Pose of the camera (OpenCV axes) now, shape (4, 4)."""
        if self.config.camera == "fixed":
            return fixed_camera_pose(self.config)
        return self.T_world_base @ self.hand_pose() @ wrist_camera_pose(self.config)

    @property
    def T_base_camera(self) -> FloatArray:
        """The same in the arm's base frame, shape (4, 4)."""
        return invert(self.T_world_base) @ self.T_world_camera

    def render(self) -> RGBDImage:
        """What the camera measures now."""
        frame = self.render_frame(self.camera, self.T_world_camera)
        return sense(frame, self.camera, self._noise, noise=self.config.depth_noise)

    def render_frame(
        self, camera: Camera, T_world_camera: FloatArray, lights: Sequence[Light] | None = None
    ) -> Frame:
        """A perfect picture from anywhere; the lights of the camera's where None."""
        if self._renderer is None:
            self._gl = self._gl or make_gl_context()
            self._renderer = Renderer(self._model, self._gl)
            self._renderer.data = self._data
        mujoco.mj_kinematics(self._model, self._data)
        if lights is None:
            lights = lights_at(self._look, self.T_world_camera, self.config.look == "kgn")
        return self._renderer.render(camera, T_world_camera, lights, self._look.gamma)

    def visible_labels(self, frame: Frame) -> NDArray[np.str_]:
        """What each pixel of a frame shows, in the words of contacts; empty for nothing, (H, W)."""
        return np.array([*self._labels, ""])[frame.geom]


def _as_placed(objects: Sequence[PlacedObject | SceneObject]) -> list[PlacedObject]:
    placed = [
        PlacedObject(item.shape, item.T_world_object) if isinstance(item, SceneObject) else item
        for item in objects
    ]
    return sorted(placed, key=lambda item: not isinstance(item.item, Shape))
