# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated world: arm, objects, camera, contacts."""

from xml.etree import ElementTree

import numpy as np
import pytest
from support.panda_motion import PandaKinematics

from kgnpro_ros.config import WorldConfig
from kgnpro_ros.data.render import make_gl_context
from kgnpro_ros.data.scene import KGN_CAMERA, Scene, SceneObject
from kgnpro_ros.data.shapes import CLASSES, Shape
from kgnpro_ros.exceptions import ConfigError, ShapeError
from kgnpro_ros.simulation import panda
from kgnpro_ros.simulation.layout import PlacedObject
from kgnpro_ros.simulation.world import PickWorld

CUBE = Shape("cuboid", (0.06, 0.06, 0.06))


def at(shape, x=0.0, y=0.0, z=0.03):
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return PlacedObject(shape, pose)


@pytest.fixture(scope="module")
def cube_world():
    with PickWorld(WorldConfig(), objects=[at(CUBE)]) as world:
        yield world


@pytest.fixture
def world(cube_world):
    cube_world.reset(objects=[at(CUBE)])
    return cube_world


@pytest.fixture(scope="module")
def gl():
    return make_gl_context()


def test_the_arm_has_the_limits_of_its_description():
    kinematics = PandaKinematics()
    model = kinematics.model
    joints = [model.joint(name).id for name in panda.ARM_JOINTS]
    np.testing.assert_allclose(model.jnt_range[joints[3]], [-3.0718, -0.0698])
    torques = model.jnt_actfrcrange[joints]
    np.testing.assert_allclose(torques[:, 1], [87, 87, 87, 87, 12, 12, 12])
    # Modified Denavit-Hartenberg parameters of the maker, at zero.
    pose = kinematics.forward(np.zeros(7))
    np.testing.assert_allclose(pose[:3, 3], [0.088, 0, 0.333 + 0.316 + 0.384 - 0.107], atol=1e-9)
    tree = ElementTree.parse(panda.panda_urdf())
    masses = [float(mass.attrib["value"]) for mass in tree.iter("mass")]
    assert model.body_mass.sum() == pytest.approx(sum(masses), abs=1e-9)


def test_the_arm_waits_at_home_and_does_not_sag(world):
    world.step(1.0)
    np.testing.assert_allclose(world.joint_positions(), panda.HOME, atol=2e-3)
    assert np.abs(world.joint_velocities()).max() < 1e-3
    assert (np.abs(world.joint_efforts()) < [87] * 4 + [12] * 3).all()
    assert world.finger_width() == pytest.approx(panda.MAX_WIDTH, abs=1e-3)
    pose = PandaKinematics().forward(world.joint_positions())
    np.testing.assert_allclose(world.hand_pose(), pose, atol=1e-6)


def test_targets_are_approached_no_faster_than_the_joints_may(world):
    target = panda.HOME + np.eye(7)[0]
    world.set_joint_targets(target)
    fastest = 0.0
    for _ in range(100):
        world.step(0.01)
        fastest = max(fastest, abs(world.joint_velocities()[0]))
    assert fastest == pytest.approx(panda.VELOCITY_LIMITS[0], rel=0.02)
    world.step(1.0)
    np.testing.assert_allclose(world.joint_positions(), target, atol=2e-3)


def test_targets_with_velocities_are_followed_without_delay(world):
    start = world.time
    for _ in range(100):
        ahead = world.time - start
        way = np.array([0.5 * ahead, 0, 0, 0, 0, 0, 0])
        world.set_joint_targets(panda.HOME + way, np.array([0.5, 0, 0, 0, 0, 0, 0]))
        world.step(0.01)
    assert world.joint_positions()[0] == pytest.approx(0.5 * (world.time - start), abs=0.01)


def test_targets_beyond_the_limits_are_cut(world):
    world.set_joint_targets(panda.HOME + 10.0)
    assert (world._target <= world.joint_limits[:, 1]).all()


@pytest.mark.parametrize("targets", [np.zeros(6), np.full(7, np.nan)])
def test_nonsense_targets_are_refused(world, targets):
    with pytest.raises(ShapeError, match="joint targets"):
        world.set_joint_targets(targets)


def test_the_fingers_close_and_stay_together(world):
    world.set_gripper(0.0)
    world.step(1.0)
    assert world.finger_width() == pytest.approx(0.0, abs=1e-3)
    world.set_gripper(0.05)
    world.step(1.0)
    assert world.finger_width() == pytest.approx(0.05, abs=1e-3)
    positions = world._data.qpos[world._finger_qpos]
    assert positions[0] == pytest.approx(positions[1], abs=1e-4)


def test_time_passes_in_whole_steps(world):
    assert world.time == 0.0
    world.step(0.1)
    assert world.time == pytest.approx(0.1)
    world.step_n(3)
    assert world.time == pytest.approx(0.1 + 3 * world.timestep)


def test_a_hand_that_hits_the_table_shows(world):
    below = np.diag([1.0, -1.0, -1.0, 1.0])
    # The fingertips would be 3 cm under the table.
    below[:3, 3] = 0.4, 0.2, 0.0825
    world.set_joint_targets(PandaKinematics().inverse(below, panda.HOME))
    world.step(2.0)
    touching = [contact for contact in world.contacts() if contact.of_robot]
    assert any(contact.second == "table" and contact.force > 10 for contact in touching)
    # The table holds, and the motors give no more than they can.
    assert world.hand_pose()[2, 3] == pytest.approx(0.1125, abs=4e-3)
    assert np.abs(world.joint_efforts()[:4]).max() <= 87.0 + 1e-6


def test_scenes_repeat_with_their_seed():
    config = WorldConfig(mode="multi", mass_jitter=0.2)
    first, second = PickWorld(config), PickWorld(config)
    kinds = [item.kind for item in first.objects]
    assert set(kinds) <= set(CLASSES)
    assert len(kinds) >= 3
    np.testing.assert_array_equal(first.object_poses(), second.object_poses())
    np.testing.assert_array_equal(first._model.body_mass, second._model.body_mass)
    second.reset(seed=config.seed + 1)
    assert (
        first.object_poses().shape != second.object_poses().shape
        or (first.object_poses() != second.object_poses()).any()
    )
    second.reset(seed=config.seed)
    np.testing.assert_array_equal(first.object_poses(), second.object_poses())
    # In reach, in view, at rest.
    places = first.object_poses()[:, :3, 3]
    assert np.abs(places[:, :2]).max() < 0.22
    first.step(1.0)
    assert np.nanmax(np.abs(first.lifted_heights())) < 1e-3
    np.testing.assert_allclose(first.clearances(), 0.0, atol=2e-3)


def test_objects_of_a_scene_are_where_it_says():
    pose = np.eye(4)
    pose[:3, 3] = 0.05, -0.08, 0.03
    scene = Scene("s", (SceneObject(CUBE, pose),), KGN_CAMERA, np.eye(4)[None])
    world = PickWorld(objects=scene.objects)
    np.testing.assert_allclose(world.object_poses()[0], pose, atol=1e-3)


def test_what_stood_on_a_removed_object_falls(world):
    world.reset(objects=[at(CUBE), at(CUBE, z=0.0901), at(CUBE, x=0.15)])
    world.step(1.0)
    world.remove_object(0)
    assert world.present() == [1, 2]
    world.step(0.5)
    heights = world.lifted_heights()
    assert np.isnan(heights[0])
    np.testing.assert_allclose(heights[1:], [-0.06, 0.0], atol=2e-3)
    with pytest.raises(ShapeError, match=r"no object 0 to remove; there are \[1, 2\]"):
        world.remove_object(0)
    world.reset(objects=[at(CUBE)])
    assert world.present() == [0]


def test_contacts_carry_the_weight(world):
    # What sleeps is not listed.
    world._model.opt.enableflags = 0
    world.step(0.1)
    contacts = world.contacts()
    assert [(c.first, c.second) for c in contacts] == [("object_0", "table")]
    assert contacts[0].force == pytest.approx(0.06**3 * 500 * 9.81, rel=0.05)
    assert contacts[0].between("table", "object_0")
    assert world.held() == []


def test_the_box_holds_what_is_dropped_into_it():
    config = WorldConfig()
    x, y, _ = config.bin_position
    world = PickWorld(config, objects=[at(CUBE, x, y, 0.2), at(CUBE)])
    world.step(0.5)
    assert world.in_bin(0)
    assert not world.in_bin(1)
    assert world.clearances()[0] == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize("angle", [90.0, 60.0, 30.0])
def test_the_fixed_camera_looks_at_the_scene_from_its_angle(angle):
    world = PickWorld(WorldConfig(camera_angle=angle, camera_distance=0.7), objects=[at(CUBE)])
    pose = world.T_world_camera
    down = np.degrees(np.arcsin(-pose[2, 2]))
    assert down == pytest.approx(angle, abs=1e-6)
    pixel = world.camera.project((np.linalg.inv(pose) @ [0, 0, 0.02, 1])[:3])
    np.testing.assert_allclose(pixel, [world.camera.cx, world.camera.cy], atol=1e-6)
    np.testing.assert_allclose(world.T_world_base @ world.T_base_camera, pose, atol=1e-12)


def test_the_wrist_camera_moves_with_the_hand(world):
    wrist = PickWorld(WorldConfig(camera="wrist"), objects=[at(CUBE)])
    before = np.linalg.inv(wrist.hand_pose()) @ wrist.T_base_camera
    assert wrist.T_world_camera[2, 2] == pytest.approx(-1.0, abs=1e-3)
    pixel = wrist.camera.project((np.linalg.inv(wrist.T_world_camera) @ [0, 0, 0, 1])[:3])
    assert np.abs(pixel - (wrist.camera.cx, wrist.camera.cy)).max() < 20
    wrist.set_joint_targets(wrist.home + np.array([0.4, 0.2, 0, 0, 0, 0.3, 0.2]))
    wrist.step(1.0)
    after = np.linalg.inv(wrist.hand_pose()) @ wrist.T_base_camera
    np.testing.assert_allclose(before, after, atol=1e-9)
    assert wrist.T_world_camera[2, 2] > -0.999


def test_the_camera_sees_the_objects_and_the_arm_where_they_are(gl):
    """Rendered depth against the geometry; the arm hides what is behind it."""
    config = WorldConfig(camera_angle=90.0, camera_distance=0.8, depth_noise=False)
    with PickWorld(config, gl, objects=[at(CUBE)]) as world:
        image = world.render()
        center = image.depth[237, 310]
        # Camera 0.8 m from a point 0.02 m above the table; the cube's top is 0.06 m high.
        assert center == pytest.approx(0.8 + 0.02 - 0.06, abs=1e-3)
        labels = world.visible_labels(world.render_frame(world.camera, world.T_world_camera))
        assert labels[237, 310] == "object_0"
        assert np.isin(labels, ["arm", "hand", "left_finger", "right_finger"]).mean() < 0.002
        stretched = panda.HOME.copy()
        stretched[1] += 0.5
        world.set_joint_targets(stretched)
        world.step(1.0)
        labels = world.visible_labels(world.render_frame(world.camera, world.T_world_camera))
        assert np.isin(labels, ["arm", "hand"]).mean() > 0.02


@pytest.mark.parametrize(
    "angle",
    [90.0, 30.0, *(pytest.param(angle, marks=pytest.mark.slow) for angle in (75.0, 60.0, 45.0))],
)
def test_the_arm_at_home_is_not_in_the_picture(gl, angle):
    config = WorldConfig(camera_angle=angle)
    with PickWorld(config, gl, objects=[at(CUBE)]) as world:
        labels = world.visible_labels(world.render_frame(world.camera, world.T_world_camera))
    assert (labels == "object_0").sum() > 1000
    assert np.isin(labels, ["arm", "hand", "left_finger", "right_finger"]).mean() < 0.002


def test_sensor_noise_repeats_with_its_seed(gl):
    with PickWorld(WorldConfig(), gl, objects=[at(CUBE)]) as world:
        first, second = world.render(), world.render()
        world.reset(objects=[at(CUBE)])
        again = world.render()
    np.testing.assert_array_equal(first.depth, again.depth)
    np.testing.assert_array_equal(first.color, again.color)
    assert (np.nan_to_num(first.depth) != np.nan_to_num(second.depth)).any()
    assert 0.5 < np.isfinite(first.depth).mean() < 1.0


@pytest.mark.parametrize(
    "settings", [{"camera_angle": 120.0}, {"grip_force": 0.0}, {"bin_size": (0.1, 0.1, -1.0)}]
)
def test_settings_have_ranges(settings):
    with pytest.raises(ConfigError):
        WorldConfig(**settings)
