"""An ONNX file as verify looks at it: its content for the runtimes, its graph for the probes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgebn import files
from edgebn.loading.onnx_files import open_onnx
from edgebn.verifying.anatomy import Anatomy, anatomy

_ROUNDED_TWINS = 2


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """`content` is a path, or the bytes of what is not yet written. `model` is the same, opened."""

    name: str
    sha256: str
    content: str | bytes
    model: ir.Model

    @cached_property
    def anatomy(self) -> Anatomy:
        """What the graph says of how to probe it."""
        return anatomy(self.model)

    def rounded(self) -> Iterator[OnnxFile]:
        """Twins with each weight moved to a float next to it, up or down by a fixed seed."""
        rng = np.random.default_rng(0)
        for _ in range(_ROUNDED_TWINS):
            twin = self.model.clone()
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(twin)
            for value in twin.graph.initializers.values():
                if value.const_value is not None and _is_weight(value):
                    weight = value.const_value.numpy()
                    side = rng.choice((-np.inf, np.inf), weight.shape).astype(weight.dtype)
                    with np.errstate(over="ignore"):
                        moved = np.nextafter(weight, side)
                    kept = (weight == 0.0) | ~np.isfinite(moved)
                    value.const_value = ir.tensor(np.where(kept, weight, moved), name=value.name)
            yield in_memory(self.name, ir.to_proto(twin).SerializeToString(), twin)

    def showing(self, names: list[str]) -> OnnxFile:
        """A twin whose outputs are the tensors of these names."""
        twin = self.model.clone()
        values = _values(twin.graph)
        made = [ir.node("Identity", [values[name]]) for name in names]  # copies: a tensor may be an input, or twice
        return self._with_outputs(twin, made, made)

    def showing_margin(self, left: str, right: str, name: str) -> OnnxFile:
        """A twin whose outputs are the difference of two tensors, the larger of their sizes, and what is so called."""
        twin = self.model.clone()
        values = _values(twin.graph)
        compared = [values[left], values[right]]
        margin = ir.node("Sub", compared)
        sizes = [ir.node("Abs", [value]) for value in compared]
        larger = ir.node("Max", [node.outputs[0] for node in sizes])
        made = ir.node("Identity", [values[name]])
        return self._with_outputs(twin, [margin, *sizes, larger, made], [margin, larger, made])

    def _with_outputs(self, twin: ir.Model, made: list[ir.Node], shown: list[ir.Node]) -> OnnxFile:
        """The twin with some more nodes, some of which make its outputs."""
        for index, node in enumerate(made):
            node.name = node.outputs[0].name = f"shown/{index}"
        twin.graph.extend(made)
        twin.graph.outputs.clear()
        twin.graph.outputs.extend(node.outputs[0] for node in shown)
        return in_memory(self.name, ir.to_proto(twin).SerializeToString(), twin)


def _values(graph: ir.Graph) -> dict[str | None, ir.Value]:
    """All that the nodes of a graph may read, by name."""
    made = (value for node in graph for value in node.outputs)
    return {value.name: value for value in (*graph.inputs, *graph.initializers.values(), *made)}


def open_file(path: Path) -> OnnxFile:
    """The file at `path`, its external data checked to lie beside it. Raises InputError as `open_onnx` does."""
    return OnnxFile(path.name, files.sha256(path), str(path), open_onnx(path))


def in_memory(name: str, content: bytes, model: ir.Model) -> OnnxFile:
    """A model that is in no file; `content` is `model`, serialized."""
    return OnnxFile(name, hashlib.sha256(content).hexdigest(), content, model)


def _is_weight(value: ir.Value) -> bool:
    """Whether the constant is multiplied or added; the factors of a Resize decide how large its result is.

    A single 1, as that of 1 − x, is one of a formula, and exact.
    """
    if value.const_value is None or value.const_value.dtype not in {ir.DataType.DOUBLE, ir.DataType.FLOAT}:
        return False
    if value.const_value.size == 1 and abs(value.const_value.numpy().item()) == 1.0:
        return False
    return not any(usage.node.op_type in {"Resize", "Upsample"} for usage in value.uses())
