"""Channels first or last: a file may have its images, or sequences, in another layout than the model.

That is told by the shapes alone, where they fit in no other way; of an output whose shape does not tell it, by its
numbers, if an input is turned. The reference is then laid out as the file is, so that all that compares sees one
layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.interface import LAYOUT, LAYOUTS, reordering
from edgebn.loading import Tensor
from edgebn.verifying.compare import PRECISIONS, absolute, scale, share
from edgebn.verifying.matching import agrees, ordered
from edgebn.verifying.reference import Logits, Reference, Truth
from edgebn.verifying.samples import Inputs, Outputs, Run, transposed
from edgebn.verifying.sessions import Runtime

_RANKS = range(3, 6)
"""Of what has channels beside samples: sequences, images, volumes."""

_OTHER = {"nchw": "nhwc", "nhwc": "nchw"}

Axes = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Turns:
    """For each input and each output the axes by which the reference's is transposed to the file's; () if it is not."""

    inputs: tuple[Axes, ...]
    outputs: tuple[Axes, ...]

    @property
    def layout(self) -> str | None:
        """That of the file's images, where they are its only input and turned."""
        found = (each for each in LAYOUTS if self.inputs == (reordering(_OTHER[each], each),))
        return next(found, None)


def turns(reference: Reference, runtime: Runtime, *, is_said: bool = False) -> Turns:
    """Those that make the shapes fit; none where they fit as they are, and none where they fit in no way.

    If it `is_said` in which layout the file takes its input, and the reference is one behind that, the input is not
    turned: what is said must be right.
    """
    inputs = _axes(reference.inputs, runtime.inputs, "input")
    outputs = _axes(reference.outputs, runtime.outputs, "output")
    floats = [tensor.dtype in PRECISIONS for tensor in reference.outputs]
    return Turns(
        ((),) * len(inputs) if is_said else inputs,
        tuple(axes if is_float else () for axes, is_float in zip(outputs, floats, strict=True)),
    )


def turned_alike(reference: Reference, runtime: Runtime, found: Turns) -> Turns:
    """The same, but outputs that would fit both ways are turned as an input is, where one is."""
    seen = {axes for axes in found.inputs if axes}
    outputs = list(found.outputs)
    for place, (tensor, other) in enumerate(_pairs(reference.outputs, runtime.outputs)):
        fitting = [
            axes for axes in possible(tensor) if axes in seen and _fit(_turned(tensor, axes), other, "output") >= 0
        ]
        if fitting and not outputs[place] and tensor.dtype in PRECISIONS:
            outputs[place] = fitting[0]
    return Turns(found.inputs, tuple(outputs))


def closer(found: Turns, other: Turns, expected: Outputs, actual: Outputs) -> Turns:
    """Of each output the turn by which `expected`, turned as `found` says, is closer to what the file gives."""
    outputs = []
    for ours, theirs, reference, result in zip(found.outputs, other.outputs, expected, actual, strict=True):
        turned = theirs if theirs and not ours else ()
        (after,) = transposed([reference], [turned])
        outputs.append(theirs if _distance(after, result) < _distance(reference, result) else ours)
    return Turns(found.inputs, tuple(outputs))


def _distance(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    """The mean of how far they are apart, by the scale; what is as far as that, or no number, counts as 1."""
    if expected.shape != actual.shape:
        return 1.0
    return float(np.minimum(share(absolute(actual, expected), np.asarray(scale(expected))), 1.0).mean())


def turned_notes(reference: Reference, found: Turns) -> Iterator[str]:
    """What was transposed, of the reference as it is."""
    pairs = (*zip(reference.inputs, found.inputs, strict=True), *zip(reference.outputs, found.outputs, strict=True))
    for tensor, axes in pairs:
        shape = _turned(tensor, axes).shape
        if axes and shape == tensor.shape:
            doubt = f"channels first or last, the shape {shape} does not tell"
            yield f"{tensor.name}: {doubt}; transposed as the input is, for so it is closer to {reference.name}"
        elif axes:
            yield f"{tensor.name}: {shape} in the file, {tensor.shape} in {reference.name}; transposed"


def layout_doubts(reference: Reference, runtime: Runtime, found: Turns) -> Iterator[str]:
    """Of what fits as it is, that the shapes would allow another layout as well."""
    for role, ours, theirs, axes in (
        ("input", reference.inputs, runtime.inputs, found.inputs),
        ("output", reference.outputs, runtime.outputs, found.outputs),
    ):
        for (tensor, other), turn in zip(_pairs(ours, theirs), axes, strict=True):
            if not turn and any(_fit(_turned(tensor, each), other, role) >= 0 for each in possible(tensor)):
                said = f" unless the file's metadata say {LAYOUT}" if role == "input" else ""
                doubt = f"channels first or last, the shapes {tensor.shape} do not tell"
                yield f"{tensor.name}: {doubt}; taken as in {reference.name}{said}"


def laid_out(reference: Reference, found: Turns) -> Reference:
    """The reference with inputs and outputs as the file has them."""
    if not any((*found.inputs, *found.outputs)):
        return reference
    back = tuple(tuple(int(axis) for axis in np.argsort(axes)) for axes in found.inputs)

    def take(inputs: Inputs) -> Inputs:
        return reference.take(transposed(inputs, back))

    def turning(run: Run, places: Sequence[int]) -> Run:
        axes = [found.outputs[place] for place in places]
        return replace(run, once=lambda inputs: transposed(run.once(transposed(inputs, back)), axes))

    def giving(give: Callable[[Outputs], Outputs], places: Sequence[int]) -> Callable[[Outputs], Outputs]:
        axes = [found.outputs[place] for place in places]
        return lambda outputs: transposed(give(outputs), axes)

    def truth(exact: Truth | None, places: Sequence[int]) -> Truth | None:
        return None if exact is None else replace(exact, run=turning(exact.run, places))

    def logits(wanted: Mapping[int, str]) -> Logits | None:
        if (given := reference.logits(wanted)) is None:
            return None
        places = [*own, *given.kinds]
        run, exact = turning(given.run, places), truth(given.truth, places)
        return replace(given, run=run, truth=exact, give=giving(given.give, places))

    own = range(len(reference.outputs))
    return replace(
        reference,
        inputs=tuple(map(_turned, reference.inputs, found.inputs)),
        outputs=tuple(map(_turned, reference.outputs, found.outputs)),
        run=turning(reference.run, own),
        truth=truth(reference.truth, own),
        take=take,
        give=giving(reference.give, own),
        logits=logits,
    )


def _axes(wanted: Sequence[Tensor], found: Sequence[Tensor], role: str) -> tuple[Axes, ...]:
    """None for all of them if some fit in no way."""
    chosen = [_best(ours, theirs, role) for ours, theirs in _pairs(wanted, found)]
    known = [axes for axes in chosen if axes is not None]
    return tuple(known) if len(known) == len(wanted) else ((),) * len(wanted)


def _best(wanted: Tensor, found: Tensor, role: str) -> Axes | None:
    """The axes by which it fits best, () if as it is; None if it fits in no way."""
    fits = {axes: _fit(_turned(wanted, axes), found, role) for axes in ((), *possible(wanted))}
    best = max(fits, key=lambda axes: fits[axes])
    return best if fits[best] >= 0 else None


def _fit(wanted: Tensor, found: Tensor, role: str) -> int:
    """How many extents are known to be equal; -1 if some are not."""
    if not agrees(wanted, found, role):
        return -1
    return sum(ours == theirs is not None for ours, theirs in zip(wanted.shape, found.shape, strict=True))


def possible(tensor: Tensor) -> list[Axes]:
    """By what to transpose it if its channels may be elsewhere: last axis first, and axis 1 last."""
    rank = len(tensor.shape)
    if rank not in _RANKS:
        return []
    return [(0, rank - 1, *range(1, rank - 1)), (0, *range(2, rank), 1)][: 1 if rank == min(_RANKS) else 2]


def _turned(tensor: Tensor, axes: Axes) -> Tensor:
    return replace(tensor, shape=tuple(tensor.shape[axis] for axis in axes)) if axes else tensor


def _pairs(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    if len(wanted) != len(found):
        return []
    return [(tensor, found[place]) for tensor, place in zip(wanted, ordered(wanted, found), strict=True)]
