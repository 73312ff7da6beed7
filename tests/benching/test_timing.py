"""The loop, on a clock that only the calls move: what is reported is what they took, whatever else the machine does."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebn.benching import timing
from edgebn.benching.timing import Samples, interleaved

LEAST: dict[str, Any] = {"seconds": 0.0, "seed": 0}


class Machine:
    """A clock, how slow everything is now, and who was called."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slowness = 1.0
        self.called: list[str] = []

    def call(self, name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.now += self.slowness * seconds
            self.called.append(name)

        return call

    def visits(self) -> list[str]:
        """Who was called, without the repetitions in a row."""
        return [name for name, before in zip(self.called, [None, *self.called], strict=False) if name != before]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(timing, "perf_counter", lambda: machine.now)  # the default clock was bound before
    monkeypatch.setitem(interleaved.__kwdefaults__, "clock", lambda: machine.now)
    return machine


@pytest.mark.parametrize("seconds", [3e-7, 1e-5, 4e-3, 2.0])
def test_the_latency_is_that_of_one_call(seconds: float, machine: Machine) -> None:
    (((samples, twice),),) = (interleaved([[machine.call("a", seconds), machine.call("b", 2.0 * seconds)]], **LEAST),)
    latency = samples.latency()
    assert (latency.median, latency.p95, latency.p99) == pytest.approx((seconds, seconds, seconds))
    assert latency.rounds == 5
    assert latency.samples == sum(map(len, samples.blocks))
    assert twice.ratio_to(samples).median == pytest.approx(2.0)


def test_runs_of_the_loop_are_one_with_all_their_rounds(machine: Machine) -> None:
    runs = []
    for slow in (1.0, 1.0, 3.0):
        machine.slowness = slow
        runs.append(interleaved([[machine.call("a", 1e-3), machine.call("b", 2e-3)]], **LEAST)[0])
    first, second = (Samples.of_runs(parts) for parts in zip(*runs, strict=True))
    assert first.latency().rounds == 15
    assert first.latency().p99 == pytest.approx(3e-3)
    assert second.ratio_to(first).upper_quartile == pytest.approx(2.0)


@pytest.mark.parametrize("seconds", [3e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("reading", [1e-8, 1e-6])
def test_reading_the_clock_does_not_matter(seconds: float, reading: float, machine: Machine) -> None:
    def slow_clock() -> float:
        machine.now += reading
        return machine.now

    ((samples,),) = interleaved([[machine.call("a", seconds)]], clock=slow_clock, **LEAST)
    latency = samples.latency()
    assert seconds < latency.median <= latency.p99 < 1.01 * seconds


def test_cpu_time_is_another_clock() -> None:
    ((waiting, working),) = interleaved(
        [[lambda: time.sleep(0.02), lambda: sum(range(20_000))]], clock=time.process_time, **LEAST
    )
    assert 0.0 < waiting.latency().median < 0.01
    assert working.latency().median > 0.0


def test_a_block_begins_with_calls_that_are_not_timed(machine: Machine) -> None:
    slow_at_first: list[float] = []

    def cold() -> None:
        first = machine.visits()[-1:] != ["cold"]
        machine.called.append("cold")
        slow_at_first.append(1e-3 if first else 1e-4)
        machine.now += slow_at_first[-1]

    ((samples, _),) = interleaved([[cold, machine.call("other", 1e-4)]], **LEAST)
    assert slow_at_first.count(1e-3) >= 5
    assert samples.latency().p99 == pytest.approx(1e-4)


@pytest.mark.parametrize(("seconds", "calls"), [(0.1, 14), (1.0, 6)])
def test_a_long_call_is_made_no_more_than_it_must(seconds: float, calls: int, machine: Machine) -> None:
    ((samples,),) = interleaved([[machine.call("a", seconds)]], **LEAST)
    assert len(machine.called) == calls
    assert (samples.latency().median, samples.latency().rounds) == (pytest.approx(seconds), 5)


def test_all_are_visited_in_every_round_in_an_order_that_the_seed_gives(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [[machine.call(name, 1e-3) for name in group] for group in ("abc", "def")]
    names = {
        call: name
        for group, text in zip(groups, ("abc", "def"), strict=True)
        for call, name in zip(group, text, strict=True)
    }
    orders: list[list[str]] = []
    monkeypatch.setattr(timing, "_warm_up", lambda call: orders[-1].append(names[call]))
    for seed in (0, 0, 1):
        orders.append([])
        interleaved(groups, seconds=0.0, seed=seed)
    assert orders[0] == orders[1] != orders[2]
    rounds = ["".join(orders[0][start : start + 6]) for start in range(0, 30, 6)]
    assert len(orders[0]) == 30
    assert {"".join(sorted(each)) for each in rounds} == {"abcdef"}
    assert all({*each[:3]} in ({*"abc"}, {*"def"}) for each in rounds)  # a group stays together
    assert len({each[0] in "abc" for each in rounds}) == 2
    assert len(set(rounds)) > 2


def test_five_rounds_at_least_and_then_until_the_time_is_over(machine: Machine) -> None:
    for seconds, least, most in ((0.0, 5, 5), (1.0, 30, 60)):
        ((samples, other),) = interleaved([[machine.call("a", 1e-4), machine.call("b", 1e-4)]], seconds=seconds, seed=0)
        assert least <= len(samples.blocks) == len(other.blocks) <= most


@settings(deadline=None)
@given(
    slowness=st.lists(st.floats(0.5, 50.0), min_size=5, max_size=30),
    ratio=st.floats(0.01, 100.0),
)
def test_a_ratio_does_not_see_that_the_machine_was_slow_in_some_rounds(slowness: list[float], ratio: float) -> None:
    reference = Samples(tuple(np.full(3, each) for each in slowness))
    samples = Samples(tuple(np.full(5, ratio * each) for each in slowness))
    measured = samples.ratio_to(reference)
    assert (measured.lower_quartile, measured.median, measured.upper_quartile) == pytest.approx([ratio] * 3)


def test_a_ratio_has_the_quartiles_of_the_rounds() -> None:
    reference = Samples(tuple(np.array([1.0, 1.0, 9.0]) for _ in range(5)))
    samples = Samples(tuple(np.array([each, each, 100.0]) for each in (1.0, 2.0, 3.0, 4.0, 50.0)))
    ratio = samples.ratio_to(reference)
    assert (ratio.lower_quartile, ratio.median, ratio.upper_quartile) == (2.0, 3.0, 4.0)


@pytest.mark.parametrize("collecting", [True, False])
def test_pythons_collector_waits_and_is_then_as_it_was(collecting: bool) -> None:
    seen = set()
    before, divisors = gc.isenabled(), iter([1, 1, 1, 1, 0])
    try:
        (gc.enable if collecting else gc.disable)()
        interleaved([[lambda: seen.add(gc.isenabled())]], **LEAST)
        assert gc.isenabled() is collecting
        with pytest.raises(ZeroDivisionError):
            interleaved([[lambda: 1 / next(divisors)]], **LEAST)
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if before else gc.disable)()
    assert False in seen
