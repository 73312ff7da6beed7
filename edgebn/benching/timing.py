"""The loop that times calls in turn, so that what else the machine does meets all of them alike.

A round visits every group, in an order shuffled anew, and every call of a group, shuffled too. A visit is a block:
calls that are not timed, until caches, clock rate and threads have settled, and then samples; long calls settle in
their own first milliseconds. What is compared are the blocks of one round, which lie milliseconds apart:
r = median(block) / median(block of the reference).
"""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgebn.measurements import Latency, Ratio

Call = Callable[[], object]
Clock = Callable[[], float]

CLOCK_READINGS = 200
"""A sample lasts at least as long as reading the clock so many times: a reading is half a percent of it at most."""

_WARM_UP_SECONDS = 2e-3
_BLOCK_SECONDS = 10e-3
_LONG_SECONDS = 0.2
"""Of a call so long, what settles in the first milliseconds is no part that counts: it needs no calls before it."""

_LEAST_ROUNDS = 5
_LEAST_SECONDS = 1e-7  # no call from Python is faster


@dataclass(frozen=True, eq=False)
class Samples:
    """Seconds for each call, by round: `blocks` has one array for each round."""

    blocks: tuple[NDArray[np.float64], ...]

    @property
    def medians(self) -> NDArray[np.float64]:
        """The median of each round."""
        return np.array([np.median(block) for block in self.blocks])

    def latency(self) -> Latency:
        """The distribution over all rounds."""
        seconds = np.concatenate(self.blocks)
        median, p95, p99 = (float(each) for each in np.percentile(seconds, (50, 95, 99)))
        return Latency(median, p95, p99, len(self.blocks), len(seconds))

    @classmethod
    def of_runs(cls, runs: Sequence[Samples]) -> Samples:
        """All rounds of several runs of the loop."""
        return cls(tuple(chain.from_iterable(run.blocks for run in runs)))

    def ratio_to(self, reference: Samples) -> Ratio:
        """The paired ratios of the rounds: their median, and the quartiles between which half of them lie."""
        lower, median, upper = np.percentile(self.medians / reference.medians, (25, 50, 75))
        return Ratio(float(median), float(lower), float(upper))


@dataclass(eq=False)
class _Timed:
    """A call, how often a sample repeats it, how many samples a block has, and the blocks so far."""

    call: Call
    clock: Clock
    is_long: bool
    repetitions: int
    samples: int
    blocks: list[NDArray[np.float64]] = field(default_factory=list)

    def visit(self) -> None:
        """Warm up, and time one block."""
        if not self.is_long:
            _warm_up(self.call)
        self.blocks.append(np.array([_sample(self.call, self.clock, self.repetitions) for _ in range(self.samples)]))


def interleaved(
    groups: Sequence[Sequence[Call]], *, seconds: float, seed: int, clock: Clock = perf_counter
) -> list[list[Samples]]:
    """Time all calls in turn for about `seconds`, and for five rounds at least; `seed` is that of the order.

    By `time.process_time` as the clock, what others on a busy machine use is not counted, and neither is waiting.
    Returns the samples of every call, in the order of `groups`; all have as many rounds.
    """
    timed = [[_calibrated(call, clock) for call in group] for group in groups]
    order = random.Random(seed)  # noqa: S311
    collecting = gc.isenabled()
    gc.disable()  # a pause of Python's collector belongs to no call
    try:
        started, rounds = perf_counter(), 0
        while rounds < _LEAST_ROUNDS or perf_counter() - started < seconds:
            _round(timed, order)
            rounds += 1
    finally:
        if collecting:
            gc.enable()
    return [[Samples(tuple(each.blocks)) for each in group] for group in timed]


def _round(timed: Sequence[Sequence[_Timed]], order: random.Random) -> None:
    for group in order.sample(timed, len(timed)):
        for each in order.sample(group, len(group)):
            each.visit()


def _calibrated(call: Call, clock: Clock) -> _Timed:
    started = perf_counter()
    call()  # the first call plans memory
    if perf_counter() - started > _LONG_SECONDS:
        return _Timed(call, clock, True, 1, 1)
    reading = min(-clock() + clock() for _ in range(CLOCK_READINGS))
    seconds = max(min(_sample(call, clock, 1) for _ in range(3)) - reading, _LEAST_SECONDS)
    repetitions = max(1, math.ceil(CLOCK_READINGS * reading / seconds))
    return _Timed(call, clock, False, repetitions, max(1, int(_BLOCK_SECONDS / (seconds * repetitions))))


def _warm_up(call: Call) -> None:
    started = perf_counter()
    call()
    while perf_counter() - started < _WARM_UP_SECONDS:
        call()


def _sample(call: Call, clock: Clock, repetitions: int) -> float:
    """Seconds for each of `repetitions` calls. The last result is let go when the clock has been read."""
    result = None
    started = clock()
    for _ in repeat(None, repetitions):
        result = call()
    seconds = clock() - started
    del result
    return seconds / repetitions
