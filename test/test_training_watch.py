# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""When a loss counts as diverging."""

import math

from kgnpro_ros.training.watch import LossWatch


def test_a_falling_noisy_loss_is_fine():
    watch = LossWatch(100.0)
    for step in range(500):
        watch.update(300.0 * math.exp(-step / 40) + 2 + math.sin(step) - 1.5)
        assert watch.bad_steps == 0


def test_losses_below_zero_are_fine():
    watch = LossWatch(10.0)
    for value in (5.0, 0.1, -3.0, -8.0, 1.0, -8.0):
        watch.update(value)
    assert watch.bad_steps == 0


def test_explosions_and_nan_are_counted_until_one_good_step():
    watch = LossWatch(100.0)
    watch.update(2.0)
    for count, value in enumerate((math.nan, math.inf, 1e6, 203.0), start=1):
        watch.update(value)
        assert watch.bad_steps == count
    watch.update(150.0)
    assert watch.bad_steps == 0


def test_a_run_that_is_broken_from_the_first_step():
    watch = LossWatch(100.0)
    for _ in range(3):
        watch.update(math.nan)
    assert watch.bad_steps == 3
    watch.update(1e9)  # nothing to compare with yet
    assert watch.bad_steps == 0
