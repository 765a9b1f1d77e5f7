"""Calibration of a dry run: as few steps as tell the time, however long one takes."""

from functools import partial
from types import SimpleNamespace

import pytest

from surrogate import step_times as calibration
from surrogate.step_times import StepTimes, seconds_of_one, step_times
from surrogate.training import population_trials


class Clock:
    """Passes when something runs: first of all for so long, then for so long each."""

    def __init__(self, first, each):
        self.seconds, self.done = 0.0, 0
        self._first, self._each = first, each

    def __call__(self):
        return self.seconds

    def run(self, count):
        for _ in range(count):
            self.seconds += self._each if self.done else self._first
            self.done += 1


def test_the_first_step_traces_and_is_left_out():
    clock = Clock(first=3.0, each=0.01)
    assert seconds_of_one(clock.run, now=clock) == pytest.approx(0.01)
    # 1 + 2 + ... + 64 of 0.01 s each: 64 are the first that take more than half a second.
    assert clock.done == 1 + 127


def test_a_step_that_takes_long_is_taken_once():
    clock = Clock(first=21.0, each=20.0)
    assert seconds_of_one(clock.run, now=clock) == 21.0
    assert clock.done == 1


def test_a_first_step_that_compiles_tells_nothing_of_the_others():
    clock = Clock(first=21.0, each=0.3)
    assert seconds_of_one(clock.run, first_counts=False, now=clock) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("seconds_of_a_member", "one_by_one", "asked"),
    [
        (0.001, False, [4, 32]),
        (0.2, False, [4]),  # they fill the processor
        (0.001, True, [1]),
        (9.0, True, [1]),
    ],
)
def test_only_populations_whose_time_does_not_follow_are_timed(
    seconds_of_a_member, one_by_one, asked
):
    timed = []

    def seconds_of(members):
        timed.append(members)
        return members * seconds_of_a_member

    times = step_times(seconds_of, one_by_one=one_by_one, evaluation=1.0)
    assert timed == asked
    for members in (1, 4, 20, 32, 48):
        assert times.step(members) == pytest.approx(members * seconds_of_a_member)


def test_a_population_that_is_timed_as_no_slower_than_a_smaller_one_takes_as_long():
    times = StepTimes(step_of_4=1.0, step_of_32=0.9, evaluation=0.0)
    assert times.step(4) == times.step(32) == 1.0


def test_an_evaluation_that_compiles_is_timed_after_it(monkeypatch):
    clock = Clock(first=30.0, each=0.02)  # tens of seconds on a busy machine

    class Population:
        def evaluate(self, place):
            clock.run(1)

    monkeypatch.setattr(calibration, "_population", lambda plan, size, members: Population())
    monkeypatch.setattr(calibration, "seconds_of_one", partial(seconds_of_one, now=clock))
    for compiled, seconds in ((True, 0.02), (False, 30.0)):
        clock.seconds, clock.done = 0.0, 0
        task = SimpleNamespace(compiled=compiled)
        monkeypatch.setattr(population_trials, "task_of", lambda plan, size, task=task: task)
        assert calibration.evaluation_seconds(SimpleNamespace(), 64) == pytest.approx(seconds)
