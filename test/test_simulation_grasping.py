# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""What is grasped well is lifted and held, what is grasped badly slips: nothing is glued."""

import numpy as np
import pytest
from support.panda_motion import PandaKinematics, pick, top_grasp

from kgnpro_ros.config import WorldConfig
from kgnpro_ros.data.mujoco_model import DENSITY
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.simulation.layout import PlacedObject
from kgnpro_ros.simulation.sim_controllers import SimControllers
from kgnpro_ros.simulation.world import PickWorld

UPRIGHT, LYING = np.eye(3), np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
GRAVITY, LIFT = 9.81, 0.1
#: How far the pads reach beyond the origin of the grasp frame [m].
OVERHANG = 0.0095


@pytest.fixture(scope="module")
def kinematics():
    return PandaKinematics()


def resting(shape, height, rotation=UPRIGHT):
    pose = np.eye(4)
    pose[:3, :3], pose[2, 3] = rotation, height
    return PlacedObject(shape, pose)


def rim(shape):
    return -(shape.outer_radius + shape.inner_radius) / 2


CUBOID = Shape("cuboid", (0.05, 0.04, 0.08))
SPHERE = Shape("sphere", (0.035,))
BOWL = Shape("semi_sphere", (0.06,))
TUBE = Shape("cylinder", (0.05, 0.08))
RING = Shape("ring", (0.04, 0.02))
STICK = Shape("stick", (0.008, 0.08))
THIN_STICK = Shape("stick", (0.005, 0.06))
GOOD = {
    "cuboid": (resting(CUBOID, 0.04), top_grasp(0, 0, 0.06), 0.04),
    "sphere": (resting(SPHERE, 0.035), top_grasp(0, 0, 0.035), 0.07),
    "semi_sphere": (resting(BOWL, 0.06), top_grasp(0, rim(BOWL), 0.058), None),
    "cylinder": (resting(TUBE, 0.04), top_grasp(0, rim(TUBE), 0.075), None),
    "lying cylinder": (
        resting(Shape("cylinder", (0.03, 0.08)), 0.0345, LYING),
        top_grasp(0, 0, 0.0345, np.pi / 2),
        # The collision pieces have 16 sides.
        None,
    ),
    "ring": (resting(RING, 0.01), top_grasp(0, rim(RING), 0.012), None),
    "stick": (resting(STICK, 0.008, LYING), top_grasp(0, 0, 0.0115, np.pi / 2), 0.016),
    "thin stick": (
        resting(THIN_STICK, 0.005, LYING), top_grasp(0.01, 0, 0.0115, np.pi / 2), 0.01
    ),
}  # fmt: skip


def lift(kinematics, placed, grasp, **settings):
    world = PickWorld(WorldConfig(**settings), objects=[placed])
    controllers = SimControllers(world)
    state = pick(world, controllers, kinematics, grasp, lift=LIFT)
    return world, controllers, state


SECOND_LOOK = ("lying cylinder", "thin stick")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in SECOND_LOOK else ()) for n in GOOD],
)
def test_a_well_placed_grasp_lifts_and_holds(name, kinematics):
    placed, grasp, width = GOOD[name]
    world, controllers, state = lift(kinematics, placed, grasp)
    assert state.stalled
    assert world.held() == [0]
    if width is not None:
        # The jaws measure what they hold: nothing sinks into anything.
        assert state.width == pytest.approx(width, abs=5e-4)
    before = world.hand_pose()
    relative = np.linalg.inv(before) @ np.linalg.inv(world.T_world_base) @ world.object_poses()[0]
    # A bowl turns in the fingers until its wall lies flat against them.
    assert world.lifted_heights()[0] == pytest.approx(LIFT, abs=0.015)
    assert world.clearances()[0] > 0.07
    controllers.wait(3.0)
    after = world.hand_pose()
    later = np.linalg.inv(after) @ np.linalg.inv(world.T_world_base) @ world.object_poses()[0]
    assert world.held() == [0]
    assert np.linalg.norm(later[:3, 3] - relative[:3, 3]) < 1e-3
    assert np.trace(later[:3, :3].T @ relative[:3, :3]) > 1 + 2 * np.cos(np.radians(2))


def test_a_seam_between_the_pieces_of_a_bowl_does_not_burst_it(kinematics):
    """Half a piece to the side a flat pad's edge meets the next piece: half a meganewton."""
    turned = np.eye(3)
    angle = np.pi / 16
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    grasp = top_grasp(0, rim(BOWL), 0.045)
    world, _, state = lift(kinematics, resting(BOWL, 0.06, turned), grasp)
    assert state.stalled
    assert world.held() == [0]
    forces = [contact.force for contact in world.contacts()]
    assert max(forces) < 1.2 * world.config.grip_force


def test_jaws_that_miss_close_and_lift_nothing(kinematics):
    world, _, state = lift(kinematics, resting(CUBOID, 0.04), top_grasp(0.06, 0, 0.06))
    assert state.width < 0.002
    assert world.held() == []
    assert abs(world.lifted_heights()[0]) < 1e-3


@pytest.mark.parametrize(("friction", "holds"), [(1.1, True), (0.6, False)])
def test_a_ball_gripped_above_its_middle_needs_the_friction_of_its_slope(
    friction, holds, kinematics
):
    """Pads that touch it at an angle above the equator hold it where that is below atan(mu)."""
    height = 0.066
    above = height - OVERHANG - 0.035
    slope = above / np.sqrt(0.035**2 - above**2)
    assert 0.6 < slope < 1.1
    world, controllers, _ = lift(
        kinematics, resting(SPHERE, 0.035), top_grasp(0, 0, height), pad_friction=friction
    )
    controllers.wait(1.0)
    assert (world.held() == [0]) == holds
    assert (world.clearances()[0] > 0.05) == holds


@pytest.mark.parametrize("margin", [0.7, 1.6])
def test_friction_carries_a_weight_of_twice_mu_times_the_force(margin, kinematics):
    shape = Shape("cuboid", (0.12, 0.06, 0.12))
    weight = DENSITY * float(np.prod(shape.dimensions)) * GRAVITY
    friction = 0.25
    force = margin * weight / (2 * friction)
    world, controllers, _ = lift(
        kinematics, resting(shape, 0.06), top_grasp(0, 0, 0.1),
        pad_friction=friction, grip_force=force,
    )  # fmt: skip
    controllers.wait(1.0)
    assert (world.clearances()[0] > 0.05) == (margin > 1)


def test_opening_the_hand_drops_it(kinematics):
    world, controllers, _ = lift(kinematics, *GOOD["cuboid"][:2])
    controllers.move_gripper(0.08)
    controllers.wait(0.5)
    assert world.held() == []
    assert world.clearances()[0] < 1e-3


def test_a_pick_repeats_with_its_seed(kinematics):
    """The same seed gives the same motion, another one other masses and another motion."""
    results = []
    for seed in (1, 1, 2):
        world, _, _ = lift(
            kinematics, *GOOD["sphere"][:2], seed=seed, mass_jitter=0.3, friction_jitter=0.2
        )
        results.append((world.object_poses(), world.joint_positions()))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert (results[0][0] != results[2][0]).any()
