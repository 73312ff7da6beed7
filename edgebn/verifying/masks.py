"""Inputs of which some are masks: all 1, all 0, or either, while the others are as ever.

In h + (1 − m)·−10⁹ whatever is in h shows where m is 1 alone, and only beside nothing that is masked: a tolerance rests
on the largest number of a channel. In h + m·−10⁹ it is where m is 0.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgebn.verifying.probes import NORMAL, Plan, Probe, random_probe
from edgebn.verifying.samples import Inputs

MASKS = "masks"
_FEW = 3
"""Of so many inputs every choice is tried."""

Places = tuple[int, ...]


def mask_probes(plan: Plan) -> Iterator[Probe]:
    """None for a single input. At the largest batch alone: other probes have the others."""
    drawn = random_probe(plan, NORMAL)
    chosen = list(_choices(plan))
    for places in chosen:
        names = ", ".join(plan.inputs[place].name for place in places)
        for value in (1, 0):
            yield _probe(plan, f"{names} all {value}", _filled(drawn.inputs, places, value))
    if chosen:
        yield _probe(plan, MASKS, _masked(plan, drawn.inputs))


def _probe(plan: Plan, name: str, inputs: Inputs) -> Probe:
    return Probe(name, inputs, plan.batch_sizes[-1:])


def _choices(plan: Plan) -> Iterator[Places]:
    """Which inputs are masks. Of every two that may be, one is in some choice and the other is not.

    Beyond three they are numbered from 1 on, and a binary digit of the numbers says who is in: log n choices, not 2ⁿ.
    """
    inputs, masks = len(plan.inputs), list(_possible(plan))
    numbers = range(1, len(masks) + 1)
    digits = [tuple(number >> digit & 1 for number in numbers) for digit in range(len(masks).bit_length())]
    rows = [*digits, *(tuple(1 - each for each in row) for row in digits), (1,) * len(masks)]
    if len(masks) <= _FEW:
        rows = [tuple(choice >> place & 1 for place in range(len(masks))) for choice in range(1 << len(masks))]
    for row in dict.fromkeys(rows):
        if 0 < sum(row) < inputs:
            yield tuple(place for place, is_in in zip(masks, row, strict=True) if is_in)


def _possible(plan: Plan) -> Iterator[int]:
    """The places of the inputs that may be masks: all but indices."""
    return (place for place, tensor in enumerate(plan.inputs) if tensor.name not in plan.index_ranges)


def _filled(drawn: Inputs, places: Places, value: int) -> Inputs:
    return tuple(np.full_like(array, value) if place in places else array for place, array in enumerate(drawn))


def _masked(plan: Plan, drawn: Inputs) -> Inputs:
    """In every sample one input, in turn, is 0 or 1 in each of its elements."""
    rng = np.random.default_rng((plan.seed, zlib.crc32(MASKS.encode())))
    masks = list(_possible(plan))
    turns = np.resize(masks, len(drawn[0]))
    return tuple(
        _sprinkled(array, turns == place, rng) if place in masks else array for place, array in enumerate(drawn)
    )


def _sprinkled(array: NDArray[np.generic], where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.generic]:
    rows = where.reshape(-1, *[1] * (array.ndim - 1))
    return np.where(rows, rng.integers(0, 1, array.shape, endpoint=True).astype(array.dtype), array)
