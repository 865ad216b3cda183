"""`cxad calibrate` says when its promise leaves little to be found; the committed configuration's promise does not."""

from __future__ import annotations

import subprocess

from command_world import CommandWorld, summary


def test_a_promise_of_one_a_week_is_warned_of_and_that_of_the_configuration_is_not(
    first_run: tuple[CommandWorld, subprocess.CompletedProcess[str]],
) -> None:
    world, done = first_run
    assert "promise" in summary(done.stdout)
    assert "warning" not in summary(done.stdout)
    low = world.run("calibrate", CXAD_INCIDENTS__BUDGET_PER_WEEK="1")
    assert low.returncode == 0, low.stderr
    (warning,) = summary(low.stdout)["warning"]
    assert warning.startswith("the promise of 1 a week leaves little to be found")
    assert "raise incidents.budget_per_week" in warning
    usual = world.run("calibrate")  # which also leaves the folder as it was for other tests
    assert usual.returncode == 0, usual.stderr
    assert "warning" not in summary(usual.stdout)
