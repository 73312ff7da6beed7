"""Sizes of what may vary, and whether axis 0 counts samples: what the reference itself runs on says so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from edgebn.errors import InputError
from edgebn.verifying.compare import DISTRUST, absolute, scale
from edgebn.verifying.probes import NORMAL, Plan, Sizes, random_probe, uniform
from edgebn.verifying.reference import Reference
from edgebn.verifying.samples import Inputs, Outputs, fixed_batch

_USUAL = (32, 45, 64, 96, 128, 224, 16, 8)
"""Extents that are tried first, an odd one among them."""
_MOST_CONSECUTIVE, _MOST, _STEP = 256, 1024, 32
_TIPPED = 0.02
"""The share of integers that may differ from one batch to another: of scores that are as good as equal."""


def sizes_that_run(reference: Reference, plan: Plan) -> Sizes:
    """The first sizes of a sample on which the reference gives numbers.

    Those of the plan come first, then usual extents; only if it runs on none of these, every one up to 256 and every
    32nd up to 1024. If it runs somewhere, but gives numbers nowhere, the first sizes on which it runs.

    Raises:
        InputError: if it runs on none of them.
    """
    error: InputError | None = None
    runs: Sizes | None = None
    usual = dict.fromkeys((plan.sizes, *_candidates(reference, plan, _USUAL)))
    others = dict.fromkeys((*range(1, _MOST_CONSECUTIVE + 1), *range(_STEP, _MOST + 1, _STEP)))
    for sizes in chain(usual, _candidates(reference, plan, others)):
        if runs is not None and sizes not in usual:
            return runs
        try:
            if _gives_numbers(reference, plan, sizes):
                return sizes
        except InputError as failed:
            error = error or failed
            continue
        runs = runs or sizes
    if runs is None:
        raise _nothing_runs(reference, plan) from error
    return runs


def other_sizes(reference: Reference, plan: Plan) -> Iterator[Sizes]:
    """Sizes beside the plan's: the first usual one, or multiple of the plan's, that runs; and a batch of one.

    The latter is for what may be a batch after all, though its samples are not independent of each other.
    """
    usual = (uniform(plan.inputs, extent) for extent in _USUAL)
    multiples = (_multiple(plan, factor) for factor in (2, 3))
    others = [sizes for sizes in (*usual, *multiples) if sizes != plan.sizes]
    for wanted in (others, [_led_by_one(plan, plan.sizes)] if reference.is_of_whole_arrays else []):
        yield from _first_that_runs(reference, plan, [sizes for sizes in wanted if sizes != plan.sizes])


def counts_samples(reference: Reference, plan: Plan) -> bool:
    """Whether axis 0 counts samples that are independent of each other: each gives the same in a batch of any size.

    Raises:
        InputError: if the reference can not be run at all.
    """
    inputs = random_probe(plan, NORMAL).inputs
    batch = fixed_batch(reference.inputs)
    try:
        together = reference.run(inputs)
    except InputError:
        reference.run(tuple(array[: batch or 1] for array in inputs))
        return False
    if any(output.ndim == 0 or len(output) != len(inputs[0]) for output in together):
        return False
    sizes = [size for size in plan.batch_sizes if size < len(inputs[0])] if batch is None else []
    return all(_is_part(reference, inputs, size, together) for size in sizes)


def _is_part(reference: Reference, inputs: Inputs, size: int, together: Outputs) -> bool:
    """Whether so many samples, from the second on, give alone what they give together, up to rounding.

    The second depends on the first where sums run along axis 0, and on those behind it where they run backwards.
    """
    try:
        alone = reference.run(tuple(array[1 : size + 1] for array in inputs))
    except InputError:
        return False
    expected = [output[1 : size + 1] for output in together]
    if any(a.shape != b.shape for a, b in zip(alone, expected, strict=True)):
        return False
    off = [absolute(a, b) > DISTRUST * scale(whole) for a, b, whole in zip(alone, expected, together, strict=True)]
    allowed = [0.0 if output.dtype.kind == "f" else _TIPPED for output in together]
    return all(each.mean() <= most for each, most in zip(off, allowed, strict=True) if each.size)


def _candidates(reference: Reference, plan: Plan, extents: Iterable[int]) -> Iterator[Sizes]:
    for extent in extents if plan.has_varying_extents else ():
        yield uniform(plan.inputs, extent)
        if reference.is_of_whole_arrays:
            yield _led_by_one(plan, uniform(plan.inputs, extent))


def _led_by_one(plan: Plan, sizes: Sizes) -> Sizes:
    """The same, but 1 along the axis that comes first in each array, if it may vary."""
    return tuple(
        (1, *size[1:]) if size and tensor.shape[1] is None else size
        for tensor, size in zip(plan.inputs, sizes, strict=True)
    )


def _multiple(plan: Plan, factor: int) -> Sizes:
    """The plan's sizes, with what may vary so many times as long."""
    return tuple(
        tuple(
            factor * extent if known is None else extent for known, extent in zip(tensor.shape[1:], size, strict=True)
        )
        for tensor, size in zip(plan.inputs, plan.sizes, strict=True)
    )


def _first_that_runs(reference: Reference, plan: Plan, candidates: list[Sizes]) -> Iterator[Sizes]:
    for sizes in candidates:
        with contextlib.suppress(InputError):
            if _gives_numbers(reference, plan, sizes):
                yield sizes
                return


def _gives_numbers(reference: Reference, plan: Plan, sizes: Sizes) -> bool:
    """Whether a single batch, as small as may be, gives numbers. Raises InputError if it does not run."""
    inputs = random_probe(replace(plan, samples=plan.whole_batches(1)), NORMAL, sizes).inputs
    if not reference.builds(reference.take(inputs)):
        raise InputError(f"{reference.name}: nothing is left of such sizes on the way")
    return all(np.isfinite(np.asarray(output, np.float64)).any() for output in reference.run(inputs))


def _nothing_runs(reference: Reference, plan: Plan) -> InputError:
    own = 1 if reference.is_of_whole_arrays else 0
    shapes = ", ".join(f"{tensor.name} {tensor.shape[own:]}" for tensor in plan.inputs)
    return InputError(
        f"{reference.name}: takes {shapes}, and runs on none of the sizes tried for what may vary there, up to "
        f"{_MOST}; give arrays of sizes that it takes with --data FILE.npz"
    )
