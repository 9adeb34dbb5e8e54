# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The trajectory and gripper controllers against joints that are simpler than physics."""

import numpy as np
import pytest

from kgnpro_ros.config import SimControllerConfig
from kgnpro_ros.exceptions import PlanningError
from kgnpro_ros.execution.trajectory import JointTrajectory
from kgnpro_ros.simulation.controllers import (
    GoalRejectedError,
    GoalState,
    Tolerances,
    TrajectoryCode,
    TrajectoryController,
)
from kgnpro_ros.simulation.gripper_controller import GripperController

NAMES = ("a", "b")
LIMITS = np.array([[-2.0, 2.0], [-1.0, 3.0]])
SPEEDS = np.array([2.0, 2.0])
PERIOD = 0.008
ZERO = np.zeros(2)


def controller(**settings):
    return TrajectoryController(NAMES, LIMITS, SPEEDS, SimControllerConfig(**settings))


def ramp(end=(1.0, 0.5), seconds=1.0, names=NAMES):
    """From zero to a place at constant speed; not at rest at its ends."""
    times = np.linspace(0, seconds, 5)
    end = np.array(end)
    return JointTrajectory(
        names, times, times[:, None] / seconds * end, np.tile(end / seconds, (5, 1))
    )


def run(control, joints=None, until=5.0, start=0.0):
    """Step with joints that are wherever ``joints(time, target)`` puts them."""
    joints = joints or (lambda time, target: target)
    time, measured, history = start, ZERO, []
    previous = measured
    while time < start + until and control.active:
        target, rate = control.update(time, measured, (measured - previous) / PERIOD)
        previous, measured = measured, joints(time, target)
        history.append((time, target, rate))
        time += PERIOD
    return history


def test_it_follows_the_way_points_and_succeeds():
    control = controller()
    control.start(ramp(), 0.0, ZERO)
    history = run(control)
    assert control.status.state is GoalState.SUCCEEDED
    assert control.status.code == TrajectoryCode.SUCCESSFUL
    for time, target, rate in history:
        np.testing.assert_allclose(target, min(time, 1.0) * np.array([1.0, 0.5]), atol=1e-9)
        if time < 1.0:
            np.testing.assert_allclose(rate, [1.0, 0.5], atol=1e-9)
    assert 1.0 <= history[-1][0] < 1.1


def test_joints_may_come_in_another_order():
    control = controller()
    control.start(ramp(end=(0.5, 1.0), names=("b", "a")), 0.0, ZERO)
    run(control)
    np.testing.assert_allclose(control.status.desired, [1.0, 0.5])


@pytest.mark.parametrize(
    ("trajectory", "code", "words"),
    [
        (ramp(names=("a", "c")), TrajectoryCode.INVALID_JOINTS, r"expected \['a', 'b'\]"),
        (ramp(end=(2.5, 0.0), seconds=4.0), TrajectoryCode.INVALID_GOAL, "limits are -2.0000 and"),
        (ramp(end=(1.0, 0.0), seconds=0.4), TrajectoryCode.INVALID_GOAL, "its limit is 2.000"),
    ],
)
def test_impossible_goals_are_rejected(trajectory, code, words):
    control = controller()
    with pytest.raises(GoalRejectedError, match=words) as caught:
        control.start(trajectory, 0.0, ZERO)
    assert caught.value.code == code
    assert not caught.value.start_mismatch
    assert not control.active


def test_an_arm_elsewhere_is_not_started_and_goes_on_with_its_goal():
    control = controller(start_tolerance=0.05)
    control.start(ramp(), 0.0, np.array([0.04, 0.0]))
    with pytest.raises(GoalRejectedError, match=r"b is 0\.0600 rad from where") as caught:
        control.start(ramp(end=(0.1, 0.1)), 0.1, np.array([0.0, 0.06]))
    assert caught.value.start_mismatch
    assert control.active
    run(control)
    np.testing.assert_allclose(control.status.desired, [1.0, 0.5])


def test_a_stuck_joint_breaks_the_path_tolerance():
    control = controller(path_tolerance=0.1)
    control.start(ramp(), 0.0, ZERO)
    history = run(control, lambda time, target: target * [1.0, 0.0])
    assert control.status.state is GoalState.ABORTED
    assert control.status.code == TrajectoryCode.PATH_TOLERANCE_VIOLATED
    assert control.status.message.startswith("b is 0.10")
    # 0.5 rad/s x 0.2 s = 0.1 rad.
    assert history[-1][0] == pytest.approx(0.2, abs=2 * PERIOD)


def test_tolerances_of_a_goal_replace_the_default_ones():
    control = controller(path_tolerance=0.1, goal_time_tolerance=0.2)
    control.start(ramp(), 0.0, ZERO, Tolerances(ZERO, np.array([0.0, 0.6]), 0.3))
    run(control, lambda time, target: target * [1.0, 0.0])
    assert control.status.state is GoalState.SUCCEEDED


def test_a_goal_that_is_not_reached_in_time_is_aborted():
    control = controller(path_tolerance=0.0, goal_tolerance=0.02, goal_time_tolerance=0.3)
    control.start(ramp(), 0.0, ZERO)
    history = run(control, lambda time, target: target * 0.9)
    assert control.status.code == TrajectoryCode.GOAL_TOLERANCE_VIOLATED
    assert "a is 0.1000 rad from its goal" in control.status.message
    assert history[-1][0] == pytest.approx(1.3, abs=2 * PERIOD)


def test_the_end_waits_until_the_joints_stand_still():
    control = controller(goal_tolerance=0.1, stopped_velocity=0.01)
    control.start(ramp(), 0.0, ZERO)

    def drifting(time, target):
        return target + 0.04 * max(0.0, 1.5 - time)

    history = run(control, drifting)
    assert control.status.state is GoalState.SUCCEEDED
    assert history[-1][0] > 1.5


def test_cancel_comes_to_rest_without_a_jump():
    control = controller(stop_time=0.1)
    control.start(ramp(), 0.0, ZERO)
    run(control, until=0.5)
    control.cancel(0.5)
    assert control.status.state is GoalState.CANCELED
    assert not control.active
    times = np.arange(0.5, 0.8, 0.001)
    points = np.array([control.update(t, ZERO, ZERO) for t in times])
    positions, rates = points[:, 0], points[:, 1]
    np.testing.assert_allclose(positions[0], [0.5, 0.25], atol=1e-9)
    # Half of speed times stopping time, and then not a bit more.
    np.testing.assert_allclose(positions[-1], [0.55, 0.275], atol=1e-9)
    at_rest = positions[times > 0.601]
    np.testing.assert_allclose(at_rest, np.broadcast_to([0.55, 0.275], at_rest.shape))
    np.testing.assert_allclose(np.diff(positions, axis=0) / 0.001, rates[:-1], atol=0.02)
    control.cancel(1.0)
    assert control.status.time == pytest.approx(0.5)


def test_stopping_does_not_leave_the_limits():
    control = controller(stop_time=0.5)
    control.start(ramp(end=(2.0, 0.0)), 0.0, ZERO)
    run(control, until=0.99)
    control.cancel(0.99)
    assert control.update(3.0, ZERO, ZERO)[0][0] == 2.0


def test_a_new_goal_takes_the_place_of_the_old_one():
    control = controller()
    control.start(ramp(), 0.0, ZERO)
    run(control, until=0.5)
    now = control.status.desired
    times = np.array([0.0, 1.0])
    back = JointTrajectory(NAMES, times, np.array([now, ZERO]), np.zeros((2, 2)))
    control.start(back, 0.5, now)
    time, measured = 0.5, now
    while control.active:
        measured, _ = control.update(time, measured, ZERO)
        time += PERIOD
    np.testing.assert_allclose(measured, ZERO)


def test_without_a_goal_it_holds_what_it_found():
    control = controller()
    first, rate = control.update(0.0, np.array([0.3, 0.4]), np.ones(2))
    later, _ = control.update(9.0, np.array([0.5, 0.5]), np.ones(2))
    np.testing.assert_array_equal(first, [0.3, 0.4])
    np.testing.assert_array_equal(later, first)
    np.testing.assert_array_equal(rate, ZERO)


def test_a_single_way_point_is_a_place_to_hold():
    control = controller()
    point = JointTrajectory(NAMES, np.zeros(1), np.array([[0.01, 0.0]]), np.zeros((1, 2)))
    control.start(point, 0.0, ZERO)
    run(control)
    assert control.status.state is GoalState.SUCCEEDED


# --- the fingers -------------------------------------------------------------------------------


def gripper(**settings):
    return GripperController(0.08, 0.08, 40.0, SimControllerConfig(**settings))


def squeeze(control, width, thing=0.0, start=0.0, until=5.0, effort=0.0):
    """Close or open fingers that follow at once, but not into a thing."""
    measured = squeeze.width
    control.start(width, start, measured, effort)
    time = start
    while time < start + until and control.active:
        target = control.update(time, measured, squeeze.rate, -5.0)
        new = max(target, thing)
        squeeze.rate, measured = (new - measured) / PERIOD, new
        time += PERIOD
    squeeze.width = measured
    return time - start


@pytest.fixture(autouse=True)
def _open_hand():
    squeeze.width, squeeze.rate = 0.08, 0.0


def test_free_fingers_reach_their_goal_at_their_speed():
    control = gripper(gripper_speed=0.1)
    seconds = squeeze(control, 0.03)
    assert control.status.state is GoalState.SUCCEEDED
    assert control.status.reached
    assert not control.status.stalled
    assert seconds == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("allow", [True, False])
def test_a_thing_between_the_fingers_stalls_them(allow):
    control = gripper(allow_stalling=allow, stall_time=0.15)
    seconds = squeeze(control, 0.0, thing=0.05)
    assert control.status.stalled
    assert not control.status.reached
    assert control.status.width == pytest.approx(0.05)
    assert control.status.state is (GoalState.SUCCEEDED if allow else GoalState.ABORTED)
    assert seconds == pytest.approx(0.3 + 0.15, abs=0.05)
    # And goes on pressing.
    assert control.update(10.0, 0.05, 0.0, -40.0) == 0.0


def test_fingers_that_tremble_about_one_place_have_stalled():
    """A bowl that swings in the hand shakes them faster than the speed of a stall."""
    control = gripper(stall_time=0.15, stall_speed=0.002)
    control.start(0.0, 0.0, 0.05)
    for time in np.arange(0.0, 0.4, PERIOD):
        phase = 2 * np.pi * 20 * time
        width, rate = 0.05 + 1e-3 * np.sin(phase), 1e-3 * 2 * np.pi * 20 * np.cos(phase)
        control.update(time, width, rate, -40.0)
        if time < 0.14:
            assert control.active
    assert control.status.stalled


def test_it_opens_again_from_where_the_thing_is():
    control = gripper(gripper_speed=0.1)
    squeeze(control, 0.0, thing=0.05)
    assert squeeze(control, 0.06, start=10.0) < 0.2
    assert control.status.reached


def test_canceling_moving_fingers_stops_them():
    control = gripper()
    squeeze(control, 0.0, until=0.3)
    control.cancel(0.3)
    assert control.status.state is GoalState.CANCELED
    held = control.update(0.4, squeeze.width, 0.0, 0.0)
    assert held == pytest.approx(squeeze.width, abs=0.002)
    assert control.update(9.0, squeeze.width, 0.0, 0.0) == held


def test_canceling_a_grip_keeps_it():
    control = gripper(stall_time=0.2)
    squeeze(control, 0.0, thing=0.05, until=0.45)
    assert control.active
    control.cancel(0.45)
    assert control.update(9.0, 0.05, 0.0, -40.0) < 0.03


@pytest.mark.parametrize(("width", "effort"), [(0.2, 0), (-0.1, 0), (np.nan, 0), (0.04, -1)])
def test_nonsense_is_rejected(width, effort):
    control = gripper()
    with pytest.raises(PlanningError, match=r"expected 0 to|must be 0 or more"):
        control.start(width, 0.0, 0.08, effort)
    assert not control.active


def test_effort_is_limited_to_what_the_hand_may_do():
    control = gripper()
    control.start(0.0, 0.0, 0.08, 500.0)
    assert control.max_effort == 40.0
    control.start(0.0, 0.0, 0.08, 10.0)
    assert control.max_effort == 10.0
    control.start(0.0, 0.0, 0.08)
    assert control.max_effort == 40.0
