"""Random inputs by a file's own shapes and types.

Where the first axis of an input is symbolic, it is the batch axis, as is every axis with the same symbol. All other
symbolic extents are those that the caller gives by name, or 32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.errors import InputError, UsageError

DEFAULT_EXTENT = 32
MAX_BYTES = 4 << 30
"""The most that the inputs of one call may take, 4 GiB."""

_DTYPES = {"float": "float32", "double": "float64"}
_HIGHEST = {"uint8": 256}  # of other integers only 0 and 1 are known to be in range: they may be indices


@dataclass(frozen=True)
class Input:
    """An input of a file: its numpy dtype, and for each axis an extent or its symbol.

    An axis without a symbol has one made of the input's name and its position, `image.2`.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @staticmethod
    def of(path: Path, name: str, onnx_type: str, shape: Sequence[int | str | None]) -> Input:
        """From what onnxruntime says: `tensor(float)` and `['batch', 28, None]`. InputError for what is no tensor."""
        named = onnx_type.removeprefix("tensor(").removesuffix(")")
        dtype = _DTYPES.get(named, named)
        if not onnx_type.startswith("tensor(") or not (dtype == "string" or _known(dtype)):
            raise InputError(f"{path}: its input {name} is a {onnx_type}, for which no random values can be made")
        extents = (
            each or f"{name}.{axis}" if isinstance(each, str | None) else each for axis, each in enumerate(shape)
        )
        return Input(name, dtype, tuple(extents))


def fixed_batch(inputs: Sequence[Input], outputs: frozenset[int], extents: Mapping[str, int]) -> int | None:
    """The one batch size that the file allows; None if any.

    Without a batch axis that is the first extent, if all inputs and outputs share it, and else 1.
    """
    if _batch_symbols(inputs, extents):
        return None
    first = {extents.get(str(each.shape[0]), each.shape[0]) for each in inputs if each.shape}
    (batch, *others) = first or {1}
    return batch if isinstance(batch, int) and batch and not others and first >= outputs else 1


def draw(
    path: Path, inputs: Sequence[Input], batch_size: int, extents: Mapping[str, int], seed: int
) -> dict[str, NDArray[Any]]:
    """Values for every input: normal floats, integers that are valid as indices of anything, the same for one seed.

    Raises:
        UsageError: if they would take more than `MAX_BYTES`.
    """
    batch = dict.fromkeys(_batch_symbols(inputs, extents), batch_size)
    known = {**batch, **extents}
    shapes = [
        tuple(known.get(each, DEFAULT_EXTENT) if isinstance(each, str) else each for each in tensor.shape)
        for tensor in inputs
    ]
    if sum(8 * math.prod(shape) for shape in shapes) > MAX_BYTES:
        raise UsageError(f"{path}: inputs of {shapes} take too much memory; choose smaller batches or extents")
    rng = np.random.default_rng(seed)
    return {tensor.name: _drawn(rng, tensor.dtype, shape) for tensor, shape in zip(inputs, shapes, strict=True)}


def symbols(inputs: Sequence[Input]) -> set[str]:
    """The symbolic extents of a file."""
    return {each for tensor in inputs for each in tensor.shape if isinstance(each, str)}


def _batch_symbols(inputs: Sequence[Input], extents: Mapping[str, int]) -> set[str]:
    first = {each.shape[0] for each in inputs if each.shape}
    return {each for each in first if isinstance(each, str)} - extents.keys()


def _drawn(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if dtype == "string":
        return np.full(shape, "a", dtype=object)
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape, np.float32).astype(dtype)
    return rng.integers(0, _HIGHEST.get(dtype, 2), shape).astype(dtype)


def _known(dtype: str) -> bool:
    try:
        return np.dtype(dtype).kind in "fiub"
    except TypeError:
        return False
