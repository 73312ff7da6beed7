"""Mistakes to plant in what a law gives: the property test must see each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgebn.algebra import Affine, Clip, Conv, ConvTranspose, MatMul, Operator, Outcome, Pad, PRelu

Change = Callable[[np.ndarray], np.ndarray]


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _changed(operator: Any, factor: Change = _same, summand: Change = _same) -> Any:
    """The operator with another scale, kernel or slope, and with another shift, bias, bound or border."""
    match operator:
        case Affine():
            return Affine(factor(operator.scale), summand(operator.shift))
        case MatMul() | Conv() | ConvTranspose():
            return replace(operator, kernel=factor(operator.kernel), bias=summand(operator.bias))
        case PRelu():
            return PRelu(factor(operator.slope))
        case Clip():
            return Clip(summand(operator.lower), summand(operator.upper))
        case Pad():
            return replace(operator, value=float(summand(np.array(operator.value))))
    return operator


def _swapped(operator: Any) -> Any:
    return Clip(operator.upper, operator.lower) if isinstance(operator, Clip) else operator


def _unbounded(operator: Any) -> Any:
    return Clip(operator.lower, np.full_like(operator.upper, np.inf)) if isinstance(operator, Clip) else operator


MISTAKES: Mapping[str, Callable[[Any], Any]] = {
    "scale off by 1 %": lambda operator: _changed(operator, factor=lambda scale: scale * 1.01),
    "sign of the scale dropped": lambda operator: _changed(operator, factor=np.abs),
    "shift off by 0.01": lambda operator: _changed(operator, summand=lambda shift: shift + 0.01),
    "sign of the shift turned": lambda operator: _changed(operator, summand=np.negative),
    "shift forgotten": lambda operator: _changed(operator, summand=np.zeros_like),
    "channels in reverse": lambda operator: _changed(operator, np.flip, np.flip),
    "bounds swapped": _swapped,
    "upper bound forgotten": _unbounded,
}


def mistaken(operators: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """`operators` with each mistake in each of them, where it changes anything, and what it is called."""
    for index, operator in enumerate(operators):
        for name, mistake in MISTAKES.items():
            wrong = mistake(operator)
            if not equal(wrong, operator):
                yield f"{name}, in place {index}", (*operators[:index], wrong, *operators[index + 1 :])


def mistaken_outcomes(outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
    """The outcome with one mistake, for every mistake that changes it."""
    for name, operators in mistaken(outcome.operators):
        yield f"operators: {name}", replace(outcome, operators=operators)
    for name, rests in mistaken(outcome.rests):
        yield f"rests: {name}", replace(outcome, rests=rests)
    for name, rest in mistaken((outcome.rest,)):
        yield f"rest: {name}", replace(outcome, rest=rest[0])
    if len(outcome.operators) > 1 and all(isinstance(each, Conv | Affine) for each in outcome.operators):
        yield "the map forgotten", replace(outcome, operators=outcome.operators[:1])
    if outcome.rest is not None and not equal(outcome.rest, Affine(np.ones(()), np.zeros(()))):
        yield "rest forgotten", replace(outcome, rest=None)
    if any(rest is not None for rest in outcome.rests):
        yield "rests forgotten", replace(outcome, rests=(None,) * len(outcome.rests))


def equal(first: Operator | None, second: Operator | None) -> bool:
    """Whether all parameters are the same."""
    if first is None or second is None:
        return first is second
    return first is second or all(
        np.array_equal(mine, theirs) for mine, theirs in zip(vars(first).values(), vars(second).values(), strict=True)
    )
