"""Which integers an input that is no index may be: what the reference itself runs on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from edgebn.errors import InputError
from edgebn.loading import Tensor
from edgebn.verifying.probes import NORMAL, Plan, random_probe
from edgebn.verifying.reference import Reference

_WIDE = 255


def accepted(reference: Reference, plan: Plan, tables: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The lowest and the highest integer that the reference takes, up to ±255, for each input that is no index.

    `tables` are the rows of a table that an input looks up behind arithmetic: there it is up to so many.
    """
    found = {}
    for tensor in _unknown(plan):
        low, high = _limits(tensor, max(_WIDE, tables.get(tensor.name, 0)))
        highest = _furthest(reference, plan, tensor, high, 1)
        lowest = -_furthest(reference, plan, tensor, -low, -1)
        found[tensor.name] = (lowest, highest)
    return found


def _unknown(plan: Plan) -> Iterator[Tensor]:
    for tensor in plan.inputs:
        if np.dtype(tensor.dtype).kind in "iu" and tensor.dtype != "uint8" and tensor.name not in plan.index_ranges:
            yield tensor


def _limits(tensor: Tensor, widest: int) -> tuple[int, int]:
    limits = np.iinfo(tensor.dtype)
    return max(-widest, int(limits.min)), min(widest, int(limits.max))


def _furthest(reference: Reference, plan: Plan, tensor: Tensor, most: int, sign: int) -> int:
    """The largest n up to `most` for which the reference runs on sign·n alone, by bisection; at least 1, or 0 below."""
    works, fails = (1 if sign > 0 else 0), most + 1
    if most > works and _runs(reference, plan, tensor, sign * most):
        return most
    while fails - works > 1:
        middle = (works + fails) // 2
        works, fails = (middle, fails) if _runs(reference, plan, tensor, sign * middle) else (works, middle)
    return works


def _runs(reference: Reference, plan: Plan, tensor: Tensor, value: int) -> bool:
    probe = random_probe(replace(plan, samples=plan.whole_batches(1)), NORMAL)
    inputs = tuple(
        np.full_like(array, value) if each is tensor else array
        for each, array in zip(plan.inputs, probe.inputs, strict=True)
    )
    try:
        reference.run(inputs)
    except InputError:
        return False
    return True
