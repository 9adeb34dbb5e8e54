# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The controllers and the world together, as an arm of ``execution`` drives them."""

import threading

import numpy as np
import pytest
from support.panda_motion import PandaKinematics, smooth

from kgnpro_ros.config import SimControllerConfig, WorldConfig
from kgnpro_ros.data.shapes import Shape
from kgnpro_ros.execution.arm import ArmError, ArmFailure
from kgnpro_ros.execution.controllers import Controllers
from kgnpro_ros.simulation import panda
from kgnpro_ros.simulation.layout import PlacedObject
from kgnpro_ros.simulation.sim_controllers import SimControllers
from kgnpro_ros.simulation.world import PickWorld

FAR = panda.HOME + np.array([0.8, 0.2, 0, 0, 0, 0, 0])


@pytest.fixture(scope="module")
def shared_world():
    pose = np.eye(4)
    pose[2, 3] = 0.03
    return PickWorld(WorldConfig(), objects=[PlacedObject(Shape("cuboid", (0.06,) * 3), pose)])


@pytest.fixture
def controllers(shared_world):
    shared_world.reset(objects=shared_world.objects)
    return SimControllers(shared_world)


def test_they_are_what_an_arm_asks_for(controllers):
    asked = {name for name in vars(Controllers) if not name.startswith("_")}
    assert asked == {"joints", "follow", "move_gripper", "stop", "resume"}
    assert all(callable(getattr(controllers, name)) for name in asked)


def test_following_ends_at_the_goal_in_about_its_time(controllers):
    motion = smooth(panda.HOME, FAR, seconds=2.0)
    errors = []

    def watch(world):
        if world.time < 2.0:
            errors.append(np.abs(world.joint_positions() - motion.at(world.time)).max())

    SimControllers(controllers.world, on_tick=watch).follow(motion)
    np.testing.assert_allclose(controllers.joints(), FAR, atol=2e-3)
    assert 2.0 <= controllers.world.time < 2.3
    # Tracking, not just arriving.
    assert max(errors) < 0.02


def test_a_trajectory_that_starts_elsewhere_is_refused_without_motion(controllers):
    with pytest.raises(ArmError, match="from where the trajectory starts") as caught:
        controllers.follow(smooth(FAR, panda.HOME))
    assert caught.value.failure is ArmFailure.START_MISMATCH
    assert controllers.world.time == 0.0


def test_a_trajectory_beyond_a_limit_is_rejected(controllers):
    with pytest.raises(ArmError, match="panda_joint4 would go") as caught:
        controllers.follow(smooth(panda.HOME, panda.HOME + np.array([0, 0, 0, 3.0, 0, 0, 0])))
    assert caught.value.failure is ArmFailure.REJECTED


def test_an_arm_that_is_held_up_aborts_and_the_next_goal_works(controllers):
    """Straight into the table: the arm gives up, holds still, and can be moved away."""
    config = SimControllerConfig(path_tolerance=0.05)
    controllers = SimControllers(controllers.world, config)
    below = np.diag([1.0, -1.0, -1.0, 1.0])
    # Fingertips 0.1 m under the table.
    below[:3, 3] = 0.4, 0.25, 0.01
    into_the_table = PandaKinematics().inverse(below, panda.HOME)
    with pytest.raises(ArmError, match="path_tolerance_violated: panda_joint") as caught:
        controllers.follow(smooth(panda.HOME, into_the_table, seconds=2.0))
    assert caught.value.failure is ArmFailure.ABORTED
    controllers.wait(0.3)
    assert np.abs(controllers.world.joint_velocities()).max() < 0.05
    here = controllers.joints()
    up = SimControllers(controllers.world, SimControllerConfig(path_tolerance=0.5))
    up.follow(smooth(here, panda.HOME))
    np.testing.assert_allclose(up.joints(), panda.HOME, atol=2e-3)


@pytest.mark.parametrize("after", [0.0, 0.3, 0.7])
def test_stop_brings_the_arm_to_rest_within_two_tenths_of_a_second(controllers, after):
    world = controllers.world
    stopped_at = []

    def interrupt(_):
        if world.time >= after and not stopped_at:
            stopped_at.append(world.time)
            stopping.stop()

    stopping = SimControllers(world, on_tick=interrupt)
    with pytest.raises(ArmError) as caught:
        stopping.follow(smooth(panda.HOME, FAR, seconds=1.0))
    assert caught.value.failure is ArmFailure.STOPPED
    assert world.time - stopped_at[0] < 0.2
    assert np.abs(world.joint_velocities()).max() < 0.05
    with pytest.raises(ArmError, match="has not been resumed"):
        stopping.follow(smooth(stopping.joints(), panda.HOME))
    with pytest.raises(ArmError, match="has not been resumed"):
        stopping.move_gripper(0.04)
    stopping.resume()
    stopping.follow(smooth(stopping.joints(), panda.HOME))


def test_stop_from_another_thread(controllers):
    threading.Timer(0.05, controllers.stop).start()
    with pytest.raises(ArmError) as caught:
        controllers.wait(600.0)
    assert caught.value.failure is ArmFailure.STOPPED


def test_the_gripper_reaches_stalls_and_is_stopped(controllers):
    state = controllers.move_gripper(0.03)
    assert state.reached
    assert not state.stalled
    assert state.width == pytest.approx(0.03, abs=1.5e-3)
    world = controllers.world
    stopping = SimControllers(world, on_tick=lambda _: stopping.stop())
    with pytest.raises(ArmError) as caught:
        stopping.move_gripper(0.08)
    assert caught.value.failure is ArmFailure.STOPPED
    width = world.finger_width()
    world.step(0.5)
    assert world.finger_width() == pytest.approx(width, abs=3e-3)


def test_impossible_widths_are_rejected(controllers):
    with pytest.raises(ArmError, match=r"expected 0 to 0\.08") as caught:
        controllers.move_gripper(0.5)
    assert caught.value.failure is ArmFailure.REJECTED


def test_after_a_reset_old_goals_are_forgotten(controllers):
    controllers.follow(smooth(panda.HOME, FAR))
    controllers.stop()
    controllers.world.reset(objects=controllers.world.objects)
    controllers.restart()
    controllers.wait(0.5)
    np.testing.assert_allclose(controllers.joints(), panda.HOME, atol=2e-3)
