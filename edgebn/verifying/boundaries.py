"""Samples at which an integer or a boolean is about to change: what is slightly wrong tips hardly any other."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgebn.errors import InputError
from edgebn.verifying.probes import NORMAL, Plan, Probe, random_probe
from edgebn.verifying.reference import Reference
from edgebn.verifying.samples import Inputs

BOUNDARIES = "boundaries"
_HALVINGS = 12
"""Of the way from one random sample to another: what is left of it is still more than rounding."""

Elements = NDArray[np.float64]


def boundary_probe(plan: Plan, reference: Reference) -> Iterator[Probe]:
    """Pairs of samples close to each other, between which some element of the outputs changes that is no float.

    None for large models, and where all outputs are floats.
    """
    places = [place for place, tensor in enumerate(reference.outputs) if np.dtype(tensor.dtype).kind in "biu"]
    floats = any(np.dtype(tensor.dtype).kind == "f" for tensor in plan.inputs)
    if not (places and floats and plan.is_of_a_small_model):
        return

    def elements(inputs: Inputs) -> Elements:
        results = reference.run(inputs)
        return np.concatenate([results[place].reshape(len(inputs[0]), -1) for place in places], axis=1, dtype=float)

    try:
        inputs = _pairs(plan, elements)
    except (InputError, ValueError):  # it does not run, or how many elements there are hangs on the numbers
        return
    yield Probe(BOUNDARIES, inputs, plan.batch_sizes[-1:])


def _pairs(plan: Plan, elements: Callable[[Inputs], Elements]) -> Inputs:
    """By bisection. Integer inputs stay as they are."""
    low, high = (random_probe(replace(plan, seed=seed), NORMAL).inputs for seed in (plan.seed, plan.seed + 1))
    high = tuple(b if b.dtype.kind == "f" else a for a, b in zip(low, high, strict=True))
    before = elements(low)
    chosen = _changing(before != elements(high), plan.seed)
    rows = np.arange(len(before))
    for _ in range(_HALVINGS):
        middle = tuple((a + b) / a.dtype.type(2) if a.dtype.kind == "f" else a for a, b in zip(low, high, strict=True))
        stays = elements(middle)[rows, chosen] == before[rows, chosen]
        low, high = _where(stays, middle, low), _where(stays, high, middle)
    return tuple(map(np.concatenate, zip(low, high, strict=True)))


def _changing(differs: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """For each sample one of the elements that change, if any does."""
    rng = np.random.default_rng((seed, zlib.crc32(BOUNDARIES.encode())))
    return np.asarray((differs * rng.uniform(0.5, 1.0, differs.shape)).argmax(axis=1))


def _where(rows: NDArray[np.bool_], ours: Inputs, theirs: Inputs) -> Inputs:
    return tuple(np.where(rows.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(ours, theirs, strict=True))
