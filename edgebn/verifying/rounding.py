"""How far a file's outputs move when each of its results is rounded once: what sums that cancel leave of rounding.

Rounding the weights does not show it. tanh(x), for a small x, is off by up to half a unit in the last place of x, and
x − tanh(x) = x³/3 − … by as much, which may be more than all of it; so is eˣ − 1, and x + 1 of which 1 is subtracted
later. No weight is there to be moved, so the results themselves are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgebn.errors import InputError
from edgebn.tidying.shapes import infer_shapes
from edgebn.verifying.anatomy import ROUNDS_AT_ONE
from edgebn.verifying.candidate import Candidate
from edgebn.verifying.compare import PRECISIONS, absolute, channels, magnitudes
from edgebn.verifying.onnx_files import OnnxFile, in_memory
from edgebn.verifying.samples import Inputs, Outputs, fixed_batch
from edgebn.verifying.sessions import Runtime, open_runtime

_EXACT = frozenset(
    {
        *("Abs", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Dropout", "Expand"),
        *("Flatten", "Gather", "GatherElements", "GatherND", "GlobalMaxPool", "Identity", "If", "Loop", "Max"),
        *("MaxPool", "Min", "Neg", "Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Scan", "Slice"),
        *("SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Unsqueeze", "Where"),
    }
)
"""They choose among numbers, or arrange them."""

_FLOATS = {ir.DataType.FLOAT16: "float16", ir.DataType.FLOAT: "float32", ir.DataType.DOUBLE: "float64"}
_HALF_UNITS = 4.0
"""Half units in the last place between the two twins, of which one moves each result up by one, the other down."""
_MOST_SIGNS = 1 << 20
_BATCH = 256

Columns = NDArray[np.float64]


class OwnRounding:
    """How far each channel of a file's outputs, in the reference's order, moves on some samples."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate

    def __call__(self, inputs: Inputs) -> tuple[Columns, ...]:
        """Of each output; 0 where the twins do not run."""
        try:
            up, down = (self._run(twin, inputs) for twin in self._twins)
        except InputError:
            return tuple(np.zeros(()) for _ in self._candidate.match.outputs)
        return tuple(map(moves, up, down))

    @cached_property
    def _twins(self) -> list[Runtime]:
        whole = self._candidate.runtimes[0].whole
        return [open_runtime(twin, "off", 1, of_whole=whole) for twin in twins(self._candidate.file)]

    def _run(self, twin: Runtime, inputs: Inputs) -> Outputs:
        batch = None if twin.whole else fixed_batch(twin.inputs)
        return self._candidate.match.run(twin, inputs, batch or _BATCH)


def moves(up: NDArray[Any], down: NDArray[Any]) -> Columns:
    """How far each channel moves by half a unit in the last place, if `up` and `down` are what the twins give."""
    if up.shape != down.shape:  # how many there are hangs on the numbers
        return np.zeros(())
    return channels(magnitudes(absolute(up, down))) / _HALF_UNITS


def twins(file: OnnxFile) -> Iterator[OnnxFile]:
    """Two, in one of which each result is moved up by a unit in its last place, or down, and in the other vice versa.

    What is no sum of its own, as a maximum, stays; so does what is an output, whose own rounding is known by its size.
    """
    for sign in (1.0, -1.0):
        twin, rng = file.model.clone(), np.random.default_rng(0)
        infer_shapes(twin)
        for node, value in list(_rounded(twin.graph)):
            _move(twin.graph, node, value, sign * rng.choice((-1.0, 1.0), _extents(value)))
        yield in_memory(file.name, ir.to_proto(twin).SerializeToString(), twin)


def _rounded(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Value]]:
    """Every result that is a float, of a known shape, and used."""
    for node in graph:
        for value in () if node.op_type in _EXACT else node.outputs:
            if _dtype(value) and value.shape is not None and value.uses():
                yield node, value


def _move(graph: ir.Graph, node: ir.Node, value: ir.Value, signs: NDArray[np.float64]) -> None:
    """Let all that use `value` see it moved by a unit in its last place, or by one of 1 where it is rounded so."""
    is_at_one, dtype = node.op_type in ROUNDS_AT_ONE, _dtype(value)
    units = np.asarray(PRECISIONS[dtype].epsilon * signs + (0.0 if is_at_one else 1.0), dtype)
    constant = ir.Value(name=f"{value.name}/units", const_value=ir.tensor(units, name=f"{value.name}/units"))
    graph.register_initializer(constant)
    uses = list(value.uses())
    moved = ir.node("Add" if is_at_one else "Mul", [value, constant], name=f"{value.name}/moved")
    graph.insert_after(node, moved)
    for user, index in uses:
        user.replace_input_with(index, moved.outputs[0])


def _dtype(value: ir.Value) -> str:
    return "" if value.dtype is None else _FLOATS.get(value.dtype, "")


def _extents(value: ir.Value) -> list[int]:
    """Those of its signs: 1 along all axes but axis 1 and the last one, of those that are known."""
    shape = [] if value.shape is None else list(value.shape)
    signed = {1, len(shape) - 1} - {0}
    known = [extent if axis in signed and isinstance(extent, int) else 1 for axis, extent in enumerate(shape)]
    return known if np.prod(known, dtype=int) <= _MOST_SIGNS else [1] * len(known)
