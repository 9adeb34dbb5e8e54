# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The pick sequence against an arm that fails, slips and stops where it is told to."""

import threading

import numpy as np
import pytest
from pick_fakes import BASE, GRIPPER, FakeArm, grasp_at, scene_of

from kgnpro_ros.config import CandidateConfig, PickConfig
from kgnpro_ros.exceptions import PlanningError
from kgnpro_ros.execution.arm import ArmError, ArmFailure
from kgnpro_ros.execution.cancellation import Cancellation
from kgnpro_ros.execution.pick import PickSequence
from kgnpro_ros.execution.report import Place, Stage

FIRST, SECOND = grasp_at(0.5, 0.0, 0.03), grasp_at(0.4, 0.2, 0.03)
AWAY = grasp_at(0.4, -0.3, 0.06)
PLACE = Place(AWAY, BASE)
PICK_STAGES = [
    "check", "plan_pregrasp", "plan_approach", "plan_lift", "open", "move_pregrasp", "approach",
    "close", "attach", "lift", "hold",
]  # fmt: skip
PLACE_STAGES = ["plan_place", "move_place", "lower", "release", "leave"]


def two_objects(**changes):
    """An arm in front of an object at each of the two grasps."""
    return FakeArm([FIRST[:3, 3], SECOND[:3, 3]], **changes)


#: The jaws open as wide as was detected, whatever space there is.
AS_DETECTED = {"candidates": CandidateConfig(widening=0.0)}


def sequence(arm, clock=lambda: 0.0, **settings):
    return PickSequence(arm, GRIPPER, PickConfig(**settings), clock=clock, wait=lambda s: None)


def pick(arm, scene=None, settings=None, **options):
    scene = scene or scene_of([FIRST, SECOND])
    return sequence(arm, **(settings or {})).run(scene, **options)


def words(report):
    return [stage.stage.value for stage in report.stages]


def failures(report):
    return [(s.candidate, s.stage.value, s.cause) for s in report.stages if not s.ok]


def motions(arm):
    return [name for name, _ in arm.moves]


# ---------------------------------------------------------------------- it works


def test_it_lifts_the_best_grasp():
    arm = two_objects()
    report = pick(arm)
    assert report.success
    assert report.picked == 0
    assert report.attempts == 1
    assert report.holding
    assert report.lifted_height == pytest.approx(0.10)
    assert report.failure is None
    assert words(report) == PICK_STAGES
    assert all(stage.ok for stage in report.stages)
    np.testing.assert_allclose(arm.objects[0], FIRST[:3, 3] + (0, 0, 0.10))
    np.testing.assert_allclose(arm.objects[1], SECOND[:3, 3])


def test_everything_is_planned_before_anything_moves():
    arm = two_objects()
    pick(arm, place=PLACE)
    first_motion = arm.log.index("execute")
    before = arm.log[:first_motion]
    assert before.count("plan_free") == 2
    assert before.count("plan_straight") == 4
    assert arm.log.index("open") > max(i for i, name in enumerate(before) if "plan" in name)


def test_the_hand_comes_and_goes_along_straight_lines():
    arm = two_objects()
    pick(arm, settings=AS_DETECTED)
    (_, opened), (free, pregrasp), (straight, grasp), (_, closed), (up, lifted), _ = arm.moves
    assert opened == pytest.approx(0.05)
    assert closed == GRIPPER.min_width
    assert (free, straight, up) == ("plan_free", "plan_straight", "plan_straight")
    np.testing.assert_allclose(pregrasp - grasp, (0, 0, 0.10), atol=1e-12)
    np.testing.assert_allclose(lifted - grasp, (0, 0, 0.10), atol=1e-12)


def test_it_places():
    arm = two_objects()
    report = pick(arm, place=PLACE)
    assert report.success
    assert not report.holding
    assert report.message.endswith("and placed")
    assert words(report) == [*PICK_STAGES[:4], "plan_place", *PICK_STAGES[4:], *PLACE_STAGES]
    np.testing.assert_allclose(arm.objects[0], AWAY[:3, 3])
    assert arm.attached is None
    assert arm.held is None


def test_what_is_held_is_no_obstacle_any_more():
    arm = two_objects()
    scene = scene_of([FIRST, SECOND])
    pick(arm, scene)
    assert len(arm.attached) == 200
    assert len(arm.obstacles.points) == 200
    assert np.linalg.norm(arm.attached - FIRST[:3, 3], axis=1).max() < 0.05
    assert np.linalg.norm(arm.obstacles.points - SECOND[:3, 3], axis=1).max() < 0.05


def test_a_dry_run_moves_nothing():
    arm = two_objects()
    report = pick(arm, dry_run=True, place=PLACE)
    assert report.success
    assert report.attempts == 0
    assert report.picked == -1
    assert report.lifted_height == 0
    assert not report.holding
    assert arm.moves == []
    assert "execute" not in arm.log
    assert "open" not in arm.log
    assert words(report) == [*PICK_STAGES[:4], "plan_place"]


def test_a_dry_run_without_a_plan_fails():
    report = pick(two_objects(faults={"plan_straight": ArmFailure.NO_PLAN}), dry_run=True)
    assert not report.success
    assert report.failure.cause == "no_plan"


def test_feedback_names_stage_candidate_and_attempt():
    seen = []
    arm = two_objects(faults={"execute 2": ArmFailure.ABORTED})
    report = pick(arm, feedback=seen.append)
    assert [feedback.stage for feedback in seen] == [stage.stage for stage in report.stages]
    assert (seen[0].candidate, seen[0].attempt) == (-1, 0)
    assert {(f.candidate, f.attempt) for f in seen[1:]} == {(0, 1), (1, 2)}


# ---------------------------------------------------------------------- refused before it moves


@pytest.mark.parametrize(("age", "success"), [(2.0, True), (2.1, False)])
def test_an_old_detection_moves_nothing(age, success):
    arm = two_objects()
    report = pick(arm, scene_of([FIRST], age=age), {"max_grasp_age": 2.0})
    assert report.success is success
    assert bool(arm.moves) is success
    if not success:
        assert report.failure.cause == "stale_detection"
        assert report.failure.stage is Stage.CHECK
        assert "2.1 s old; at most 2 s" in report.message


def test_a_detection_that_grows_old_while_planning_moves_nothing():
    arm = two_objects()
    clock = iter(np.arange(0.0, 100.0, 0.5))
    report = sequence(arm, lambda: next(clock), max_grasp_age=3.0).run(scene_of([FIRST]))
    assert report.failure.cause == "stale_detection"
    assert report.failure.stage is Stage.OPEN
    assert arm.moves == []


def test_further_attempts_may_use_an_older_detection():
    now = [0.0]
    arm = two_objects(faults={"execute 2": ArmFailure.ABORTED})

    def slow(feedback):
        now[0] += 1.0

    limits = {"max_grasp_age": 6.0, "max_retry_age": 100.0}
    report = sequence(arm, lambda: now[0], **limits).run(scene_of([FIRST, SECOND]), feedback=slow)
    assert report.success
    assert report.picked == 1


@pytest.mark.parametrize("what", ["grasps", "place"])
def test_other_frames_are_refused(what):
    arm = two_objects()
    scene = scene_of([FIRST], frame="camera" if what == "grasps" else BASE)
    place = Place(AWAY, "camera" if what == "place" else BASE)
    report = pick(arm, scene, place=place)
    assert report.failure.cause == "wrong_frame"
    assert what in report.message
    assert "'camera'" in report.message
    assert BASE in report.message
    assert arm.moves == []


def test_no_candidates_is_an_outcome_with_counts():
    arm = two_objects()
    arm.unreachable = lambda poses: np.ones(len(poses), dtype=bool)
    report = pick(arm)
    assert report.failure.cause == "no_candidate"
    assert "2 unreachable_grasp" in report.message
    assert arm.moves == []
    assert "stop" not in arm.log


def test_an_empty_detection_is_an_outcome():
    scene = scene_of([FIRST])
    empty = type(scene)(scene.grasps.select([]), scene.obstacles)
    assert pick(two_objects(), empty).failure.cause == "no_candidate"


def test_a_place_out_of_reach_is_found_before_the_pick():
    arm = two_objects()
    arm.unreachable = lambda poses: np.abs(poses[:, 1, 3] + 0.3) < 0.01
    report = pick(arm, place=PLACE)
    assert not report.success
    assert report.failure.stage is Stage.CHECK
    assert report.failure.cause == "unreachable"
    assert "(0.400, -0.300, 0.060)" in report.message
    assert arm.moves == []
    assert "stop" not in arm.log


def test_a_way_to_the_place_is_planned_before_the_pick():
    arm = two_objects(faults={f"plan_free {n}": ArmFailure.NO_PLAN for n in range(2, 8)})
    report = pick(arm, scene_of([FIRST]), place=PLACE)
    assert report.success is True
    assert report.attempts == 1
    always = two_objects(faults={"plan_free 1": None})
    plain = always.plan_free
    always.plan_free = lambda pose, start=None: (
        plain(pose, start) if start is None else (always._plan("blocked", pose, start))
    )
    always.faults["blocked"] = ArmFailure.NO_PLAN
    report = pick(always, place=PLACE)
    assert report.failure.stage is Stage.PLAN_PLACE
    assert always.moves == []


# ---------------------------------------------------------------------- faults and the next one


@pytest.mark.parametrize(
    ("call", "stage"),
    [("plan_free 1", "plan_pregrasp"), ("plan_straight 1", "plan_approach"),
     ("plan_straight 2", "plan_lift")],
)  # fmt: skip
def test_without_a_plan_the_next_way_or_candidate_is_taken(call, stage):
    arm = two_objects(faults={call: ArmFailure.IN_COLLISION})
    report = pick(arm)
    assert report.success
    assert failures(report) == [(0, stage, "in_collision")]
    assert report.picked == 0
    assert report.attempts == 1


def test_jaws_open_no_wider_than_they_have_to_where_wide_ones_find_no_way():
    arm = two_objects()
    expected = []
    arm.expect_opening = expected.append
    plain = arm.plan_free

    def narrow_only(T_base_tool, start=None):
        if expected[-1] > 0.06:
            raise ArmError(ArmFailure.IN_COLLISION, "the hand touches a neighbour")
        return plain(T_base_tool, start)

    arm.plan_free = narrow_only
    report = pick(arm)
    assert report.picked == 0
    assert expected == [pytest.approx(0.08), pytest.approx(0.05)]
    opened = next(value for name, value in arm.moves if name == "open")
    assert opened == pytest.approx(0.05)


def test_a_hand_that_would_touch_something_stops_a_little_before():
    faults = {f"plan_straight {n}": ArmFailure.IN_COLLISION for n in (1, 2)}
    arm = two_objects(faults=faults)
    asked = []
    plain = arm.plan_straight

    def recorded(T_base_tool, start=None, *, contact=False):
        asked.append(T_base_tool)
        return plain(T_base_tool, start, contact=contact)

    arm.plan_straight = recorded
    report = pick(arm)
    assert report.picked == 0
    steps = [np.linalg.norm(pose[:3, 3] - asked[0][:3, 3]) for pose in asked[:3]]
    assert steps == pytest.approx([0.0, *PickConfig().retreat_steps], abs=1e-9)


def test_a_candidate_without_any_plan_does_not_count_as_an_attempt():
    faults = {f"plan_free {n}": ArmFailure.NO_PLAN for n in (1, 2)}
    report = pick(two_objects(faults=faults), max_attempts=1)
    assert report.success
    assert report.picked == 1
    assert report.attempts == 1


def test_a_posture_that_cannot_go_on_is_tried_again():
    arm = two_objects(faults={"plan_straight 1": ArmFailure.UNREACHABLE})
    report = pick(arm)
    assert words(report)[1:5] == ["plan_pregrasp", "plan_approach"] * 2
    assert report.picked == 0


def test_failed_plans_are_bounded():
    poses = [grasp_at(0.5, y, 0.03) for y in np.linspace(-0.2, 0.2, 8)]
    arm = FakeArm(faults={"plan_free": ArmFailure.NO_PLAN})
    report = pick(arm, scene_of(poses), {"max_plan_failures": 3})
    assert {stage.candidate for stage in report.stages} == {-1, 0, 1, 2}
    assert not report.success
    assert report.failure.cause == "no_plan"


@pytest.mark.parametrize("failure", [ArmFailure.REJECTED, ArmFailure.ABORTED, ArmFailure.TIMEOUT])
@pytest.mark.parametrize(
    ("call", "stage", "after"),
    [("open 1", "open", []), ("execute 1", "move_pregrasp", []),
     ("execute 2", "approach", ["release", "retreat"]),
     ("close 1", "close", ["release", "retreat"]),
     ("execute 3", "lift", ["put_back", "release", "retreat"]),
     ("close 2", "hold", ["put_back", "release", "retreat"])],
)  # fmt: skip
def test_a_controller_fault_ends_the_attempt_safely(call, stage, after, failure):
    arm = two_objects(faults={call: failure})
    report = pick(arm)
    assert report.success
    assert report.picked == 1
    assert report.attempts == 2
    assert failures(report) == [(0, stage, failure.value)]
    index = words(report).index(stage)
    assert words(report)[index + 1 :][: len(after) + 1] == [*after, "plan_pregrasp"]
    # The first object stands where it stood.
    np.testing.assert_allclose(arm.objects[0], FIRST[:3, 3], atol=1e-9)
    np.testing.assert_allclose(arm.objects[1], SECOND[:3, 3] + (0, 0, 0.10))


@pytest.mark.parametrize(("call", "stage"), [("execute 2", "approach"), ("execute 3", "lift")])
def test_an_arm_that_is_held_back_goes_on_from_where_it_is(call, stage):
    arm = two_objects(faults={call: ArmFailure.START_MISMATCH})
    report = pick(arm)
    assert report.success
    assert report.picked == 0
    note = report.stages[words(report).index(stage)].message
    assert note == "planned anew: scripted start_mismatch"
    np.testing.assert_allclose(arm.objects[0], FIRST[:3, 3] + (0, 0, 0.10))


@pytest.mark.parametrize(("call", "stage"), [("execute 5", "lower"), ("execute 6", "leave")])
def test_an_arm_that_springs_at_the_place_goes_on_from_where_it_is(call, stage):
    arm = two_objects(faults={call: ArmFailure.START_MISMATCH})
    report = pick(arm, place=PLACE)
    assert report.success
    note = report.stages[words(report).index(stage)].message
    assert note == "planned anew: scripted start_mismatch"
    np.testing.assert_allclose(arm.objects[0], PLACE.T_base_grasp[:3, 3], atol=1e-9)


def test_the_reported_height_is_the_measured_one():
    arm = two_objects(sag=0.007)
    report = pick(arm)
    assert report.lifted_height == pytest.approx(0.093)
    assert "93.0 mm" in report.stages[words(report).index("hold")].message


def test_jaws_that_close_on_nothing():
    arm = FakeArm([SECOND[:3, 3]])
    report = pick(arm)
    assert failures(report) == [(0, "close", "closed_on_nothing")]
    assert report.picked == 1
    release = motions(arm).index("close") + 1
    assert motions(arm)[release : release + 2] == ["open", "plan_straight"]
    np.testing.assert_allclose(arm.moves[release + 1][1], arm.moves[1][1])


def test_an_object_that_slips():
    arm = two_objects(slippery=True)
    report = pick(arm)
    assert not report.success
    assert not report.holding
    assert report.picked == -1
    assert report.lifted_height == 0
    assert report.attempts == 2
    assert failures(report) == [(0, "hold", "slipped"), (1, "hold", "slipped")]
    assert "put_back" not in words(report)
    assert motions(arm)[-1] == "open"
    assert "stop" not in arm.log


def test_a_gripper_that_does_not_open():
    arm = two_objects()
    arm.move_gripper = lambda width: type("State", (), {"width": 0.01, "stalled": True})()
    report = pick(arm, settings=AS_DETECTED)
    assert [cause for _, _, cause in failures(report)] == ["not_open", "not_open"]
    assert "10.0 mm instead of 50.0 mm" in report.message
    assert not arm.moves


@pytest.mark.parametrize(
    ("gap", "stalled", "held"),
    [(0.0015, False, False), (0.0025, False, True), (0.0003, True, False), (0.0008, True, True)],
)
def test_thin_objects_are_told_from_nothing(gap, stalled, held):
    arm = two_objects()
    plain = arm.move_gripper

    def move(width):
        state = plain(width)
        return state if width > 0.01 else type(state)(gap, stalled, not stalled)

    arm.move_gripper = move
    report = pick(arm, scene_of([FIRST]))
    assert report.success is held
    assert held or report.stages[words(report).index("close")].cause == "closed_on_nothing"


def test_attempts_are_bounded():
    poses = [grasp_at(0.5, y, 0.03) for y in np.linspace(-0.2, 0.2, 6)]
    arm = FakeArm()
    assert pick(arm, scene_of(poses), max_attempts=2).attempts == 2
    assert pick(FakeArm(), scene_of(poses), {"max_attempts": 3}).attempts == 3


@pytest.mark.parametrize("call", ["plan_free 1", "execute 1", "close 1", "set_obstacles 1",
                                  "resume 1", "reachable 1"])  # fmt: skip
def test_a_lost_connection_ends_the_goal(call):
    arm = two_objects(faults={call: ArmFailure.CONNECTION})
    report = pick(arm)
    assert not report.success
    assert report.failure.cause == "connection"
    assert report.attempts <= 1
    assert arm.log[-1] == "stop"
    assert pick(arm).success  # the next goal works


def test_a_failed_retreat_is_said_loudly_and_stops(caplog):
    arm = FakeArm(faults={"execute 3": ArmFailure.ABORTED})  # 1 and 2: to the empty grasp
    report = pick(arm)
    assert not report.success
    assert not report.safe
    assert report.attempts == 1
    assert report.failure.stage is Stage.RETREAT
    assert report.failure.cause == "aborted"
    assert "COULD NOT BE BROUGHT AWAY" in report.message
    assert "COULD NOT" in caplog.text
    assert arm.stopped


def test_an_object_that_cannot_be_put_back_is_not_dropped():
    arm = two_objects(faults={f"execute {n}": ArmFailure.ABORTED for n in (3, 4)})
    report = pick(arm)
    assert report.failure.stage is Stage.PUT_BACK
    assert report.holding
    assert not report.safe
    assert arm.held == 0
    assert motions(arm).count("open") == 1
    assert arm.stopped


def test_an_error_of_ours_stops_the_arm_too():
    arm = two_objects()

    def broken(feedback):
        if feedback.stage is Stage.APPROACH:
            raise RuntimeError("a callback with a bug")

    report = pick(arm, feedback=broken)
    assert report.failure.cause == "internal_error"
    assert "a callback with a bug" in report.message
    assert arm.stopped
    assert report.failure.stage is Stage.APPROACH
    assert pick(two_objects()).success


# ---------------------------------------------------------------------- placing


@pytest.mark.parametrize(
    ("call", "stage", "holding", "safe"),
    [("execute 4", "move_place", True, True), ("execute 5", "lower", True, True),
     ("open 2", "release", True, False), ("execute 6", "leave", False, False)],
)  # fmt: skip
def test_a_fault_on_the_way_to_the_place(call, stage, holding, safe):
    arm = two_objects(faults={call: ArmFailure.ABORTED})
    report = pick(arm, place=PLACE)
    assert not report.success
    assert report.picked == 0
    assert report.lifted_height > 0
    assert report.failure.stage.value == stage
    assert report.failure.cause == "aborted"
    assert (report.holding, report.safe) == (holding, safe)
    assert "lifted 0.10 m, but not placed" in report.message
    assert (arm.held is not None) == holding
    assert report.attempts == 1


def test_an_object_lost_on_the_way_to_the_place():
    arm = two_objects()

    def lose(feedback):
        arm.slippery = feedback.stage is Stage.MOVE_PLACE

    report = pick(arm, place=PLACE, feedback=lose)
    assert report.failure.stage is Stage.MOVE_PLACE
    assert report.failure.cause == "slipped"
    assert not report.holding
    assert report.picked == 0


def test_the_place_may_be_taken_the_other_way_round():
    arm = two_objects(faults={f"plan_free {n}": ArmFailure.UNREACHABLE for n in (2, 3, 4)})
    report = pick(arm, place=PLACE)
    assert report.success
    assert report.picked == 0


# ---------------------------------------------------------------------- cancel


ALL_STAGES = list(dict.fromkeys(PICK_STAGES + PLACE_STAGES + ["put_back", "retreat"]))
HOLDING = {"attach", "lift", "hold", "move_place", "lower", "put_back"}


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_cancel_in_every_stage(stage):
    back = stage in ("put_back", "retreat")
    arm = two_objects(faults={"execute 3": ArmFailure.ABORTED} if back else {})
    cancellation, moved = Cancellation(), []

    def feedback(message):
        if message.stage.value == stage:
            moved.append(len(arm.moves))
            cancellation.request()

    report = pick(arm, place=PLACE, feedback=feedback, cancellation=cancellation)
    assert not report.success
    assert report.failure.stage.value == stage
    assert report.failure.cause == "cancelled"
    assert "cancelled" in report.message
    assert arm.stopped
    assert len(arm.moves) == moved[0], "nothing moves after the request"
    assert words(report).count(stage) == 1
    assert report.stages[-1] is report.failure
    assert report.holding == (arm.held is not None)
    arm.faults.clear()
    arm.objects = [FIRST[:3, 3], SECOND[:3, 3]]
    assert pick(arm).success, "the next goal works"


def test_cancel_while_the_arm_moves():
    arm = two_objects()
    cancellation = Cancellation()
    plain = arm.execute

    def blocking(motion):
        if arm.moves[-1][0] == "plan_free":  # the approach
            arm.blocking.set()
            assert arm.released.wait(10.0), "the arm was never told to stop"
        plain(motion)

    arm.blocking.clear()
    arm.execute = blocking
    reports = []
    thread = threading.Thread(target=lambda: reports.append(pick(arm, cancellation=cancellation)))
    thread.start()
    assert arm.blocking.wait(10.0)
    cancellation.request()
    thread.join(10.0)
    (report,) = reports
    assert report.failure.stage is Stage.APPROACH
    assert report.failure.cause == "cancelled"
    assert motions(arm) == ["open", "plan_free"]


def test_cancel_ends_the_hold_time():
    cancellation = Cancellation()
    arm = two_objects()

    def feedback(message):
        if message.stage is Stage.HOLD:
            threading.Timer(0.05, cancellation.request).start()

    runner = PickSequence(arm, GRIPPER, PickConfig(hold_time=60.0))
    report = runner.run(scene_of([FIRST]), feedback=feedback, cancellation=cancellation)
    assert report.failure.stage is Stage.HOLD
    assert report.failure.cause == "cancelled"
    assert report.failure.seconds < 30.0
    assert report.holding


def test_cancel_before_the_start():
    arm = two_objects()
    cancellation = Cancellation()
    cancellation.request()
    report = pick(arm, cancellation=cancellation)
    assert report.failure.cause == "cancelled"
    assert arm.moves == []
    assert arm.stopped
    assert "resume" not in arm.log


def test_cancel_after_the_end_stops_nothing():
    arm = two_objects()
    cancellation = Cancellation()
    assert pick(arm, cancellation=cancellation).success
    cancellation.request()
    assert not arm.stopped


def test_an_arm_that_somebody_else_stops():
    arm = two_objects()

    def feedback(message):
        if message.stage is Stage.LIFT:
            arm.stop()

    report = pick(arm, feedback=feedback)
    assert report.failure.stage is Stage.LIFT
    assert report.failure.cause == "stopped"
    assert report.holding
    assert report.attempts == 1
    assert motions(arm)[-1] == "close", "no retreat, no opening"


def test_one_goal_at_a_time():
    arm = two_objects()
    runner = sequence(arm)
    errors = []

    def feedback(message):
        if message.stage is Stage.CLOSE:
            with pytest.raises(PlanningError, match="one goal at a time"):
                runner.run(scene_of([FIRST]))
            errors.append(True)

    assert runner.run(scene_of([FIRST]), feedback=feedback).success
    assert errors
    assert runner.run(scene_of([SECOND])).success


def test_waiting_is_left_to_the_simulation_where_it_is_the_time():
    waited = []
    runner = PickSequence(two_objects(), GRIPPER, PickConfig(hold_time=0.12), wait=waited.append)
    assert runner.run(scene_of([FIRST])).success
    assert sum(waited) == pytest.approx(0.12)
    assert max(waited) <= 0.05


def test_the_lift_height_is_a_setting():
    arm = two_objects()
    settings = {"lift_height": 0.2, "candidates": CandidateConfig(pregrasp_distance=0.05)}
    report = pick(arm, scene_of([FIRST]), settings)
    assert report.lifted_height == pytest.approx(0.2)
    np.testing.assert_allclose(arm.objects[0], FIRST[:3, 3] + (0, 0, 0.2))
    np.testing.assert_allclose(arm.moves[1][1] - arm.moves[2][1], (0, 0, 0.05), atol=1e-12)
