"""Which tensor of the file is which of the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgebn.errors import InputError
from edgebn.loading import Tensor
from edgebn.verifying.reference import Reference
from edgebn.verifying.samples import Inputs, Outputs
from edgebn.verifying.sessions import Runtime

_NUMBERS = {
    *("bool", "bfloat16", "float16", "float32", "float64"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
_EXPORTED_AS = {"bfloat16": "float32", "float16": "float32", "float64": "float32"}


@dataclass(frozen=True, eq=False)
class Match:
    """For each input of the reference the name of the file's, for each output the position of the file's."""

    inputs: tuple[str, ...]
    outputs: tuple[int, ...]

    def run(self, runtime: Runtime, inputs: Inputs, batch_size: int) -> Outputs:
        """Inputs and outputs in the reference's order."""
        results: tuple[NDArray[Any], ...] = runtime.run(inputs, batch_size, self.inputs)
        return tuple(results[position] for position in self.outputs)


def match(reference: Reference, runtime: Runtime) -> Match:
    """Match inputs and outputs: by name if all names agree, else by position, else by shape if that leaves no choice.

    Raises:
        InputError: if they can not be matched, or the file takes one extent only where the reference takes any.
    """
    _check_arrays(reference.name, reference.inputs, reference.outputs)
    inputs = _matched(reference.name, "input", reference.inputs, runtime.inputs)
    return Match(
        tuple(runtime.inputs[position].name for position in inputs),
        _matched(reference.name, "output", reference.outputs, runtime.outputs),
    )


def _check_arrays(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Raise InputError unless there are inputs, of numbers, with an axis for samples, and outputs of numbers."""
    if not inputs:
        raise InputError(f"{name}: has no inputs, so that there is nothing to feed it")
    for role, tensor in (*(("input", each) for each in inputs), *(("output", each) for each in outputs)):
        if tensor.dtype not in _NUMBERS:
            raise InputError(f"{name}: its {role} {tensor.name} is {tensor.dtype}; only arrays of numbers are compared")
    for tensor in inputs:
        if not tensor.shape or 0 in tensor.shape:
            raise InputError(
                f"{name}: its input {tensor.name} has the shape {tensor.shape}, of which there are no samples"
            )


def _matched(name: str, role: str, wanted: Sequence[Tensor], found: Sequence[Tensor]) -> tuple[int, ...]:
    if len(wanted) != len(found):
        raise InputError(f"{name}: has {len(wanted)} {role}s, the ONNX file {len(found)}; they are not the same model")
    order = ordered(wanted, found)
    by_name = all(tensor.name == found[position].name for tensor, position in zip(wanted, order, strict=True))
    agreeing = [[agrees(tensor, other, role) for other in found] for tensor in wanted]
    if not all(agreeing[index][position] for index, position in enumerate(order)):
        found_order = _only_assignment(agreeing)
        if found_order is None or by_name:
            raise _mismatch(name, role, wanted, [found[position] for position in order])
        order = found_order
    return order


def ordered(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> tuple[int, ...]:
    """Where those wanted are among as many that were found: by name if all names agree, else by position."""
    positions = {tensor.name: index for index, tensor in enumerate(found)}
    by_name = all(tensor.name in positions for tensor in wanted)
    return tuple(positions[tensor.name] for tensor in wanted) if by_name else tuple(range(len(wanted)))


def _only_assignment(agreeing: list[list[bool]]) -> tuple[int, ...] | None:
    """The one way to give each wanted tensor one of its own that agrees; None if there is no such way, or another.

    If there is one way only, some tensor agrees with a single one; without that pair, the same holds of the rest.
    """
    options = {index: {place for place, fits in enumerate(row) if fits} for index, row in enumerate(agreeing)}
    chosen: dict[int, int] = {}
    while options:
        index = next((each for each, places in options.items() if len(places) == 1), None)
        if index is None:
            return None
        (place,) = options.pop(index)
        chosen[index] = place
        for places in options.values():
            places.discard(place)
    return tuple(chosen[index] for index in range(len(agreeing)))


def _mismatch(name: str, role: str, wanted: Sequence[Tensor], found: Sequence[Tensor]) -> InputError:
    ours, theirs = next(pair for pair in zip(wanted, found, strict=True) if not agrees(*pair, role))
    shapes = f"{ours.dtype} {ours.shape}, that of the ONNX file {theirs.dtype} {theirs.shape}"
    text = f"{name}: its {role} {ours.name} is {shapes}"
    if role == "input" and agrees(ours, theirs, "output"):
        return InputError(f"{text}; export it with extents that may vary, or fix those of the model")
    return InputError(f"{text}; they are not the same model")


def agrees(wanted: Tensor, found: Tensor, role: str) -> bool:
    """Whether `found` can stand for `wanted`. Only the batch of an input may be fixed where the reference's is not."""
    if len(wanted.shape) != len(found.shape) or found.dtype not in {wanted.dtype, _EXPORTED_AS.get(wanted.dtype)}:
        return False
    pairs = list(zip(wanted.shape, found.shape, strict=True))
    if role == "input" and any(ours is None and theirs is not None for ours, theirs in pairs[1:]):
        return False
    return all(ours is None or theirs is None or ours == theirs for ours, theirs in pairs)
