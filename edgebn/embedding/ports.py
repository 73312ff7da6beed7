"""What goes into a model and comes out of it, as programs see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx_ir as ir

from edgebn.embedding.names import identifier
from edgebn.errors import InputError


@dataclass(frozen=True)
class NumberType:
    """A type of numbers, as NumPy and ONNX, C, JavaScript and onnxruntime's C API call it."""

    name: str
    c: str
    javascript: str
    onnxruntime: str


FLOAT = NumberType("float32", "float", "Float32Array", "FLOAT")

TYPES: Mapping[str, Mapping[ir.DataType, NumberType]] = {
    "input": {ir.DataType.FLOAT: FLOAT, ir.DataType.UINT8: NumberType("uint8", "uint8_t", "Uint8Array", "UINT8")},
    "output": {ir.DataType.FLOAT: FLOAT, ir.DataType.INT64: NumberType("int64", "int64_t", "BigInt64Array", "INT64")},
}
"""What apps take: numbers or pixels; and what they give: numbers or the index of a class."""


@dataclass(frozen=True)
class Port:
    """An input or output: its name in the file, a name for programs, the shape of one sample, and its type.

    `batched`: whether the file's tensor has a batch axis of any extent before these axes.
    """

    name: str
    identifier: str
    shape: tuple[int, ...]
    batched: bool
    type: NumberType = FLOAT

    @property
    def size(self) -> int:
        """Numbers in a sample."""
        return prod(self.shape)

    @property
    def extents(self) -> str:
        """The shape of one sample in words."""
        return f"{list(self.shape)}, row by row" if self.shape else "(one number)"

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of one sample as the file takes it."""
        return (1, *self.shape) if self.batched else self.shape


def port_of(path: Path, value: ir.Value, role: str, taken: set[str]) -> Port:
    """The port that is a graph's input or output, as `role` says; its name for programs is added to `taken`.

    Raises:
        InputError: if an extent other than the first is open, one is 0, or its type is none that apps take.
    """
    name, types = value.name or role, TYPES[role]
    chosen = None if value.dtype is None else types.get(value.dtype)
    if chosen is None:
        found = "unknown type" if value.dtype is None else value.dtype.name.lower()
        known = " or ".join(each.name for each in types.values())
        raise InputError(f"{path}: {role} {name} is of {found}; apps are made for {role}s of {known}")
    extents = [
        extent if isinstance(extent, int) else None for extent in ((None, None) if value.shape is None else value.shape)
    ]
    shape = ", ".join(map(str, ("?",) if value.shape is None else value.shape))
    if None in extents[1:] or (role == "input" and extents == [None]):
        raise InputError(
            f"{path}: {role} {name} has the shape [{shape}]; only the first extent, the batch, may be open: "
            "export the model with fixed extents"
        )
    if 0 in extents:
        raise InputError(f"{path}: {role} {name} has the shape [{shape}], which is empty; there is nothing to run")
    batched = extents[0] is None if extents else False
    known_extents = tuple(extent for extent in extents if extent is not None)
    return Port(name, identifier(name, taken), known_extents, batched, chosen)
