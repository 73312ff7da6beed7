"""ONNX for operators of TensorFlow that tf2onnx does not know, each by an equation in operators that it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_Handler = Callable[[Any, Any, str, Any], None]


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """erfc(x) = 1 − erf(x): the exact GELU."""
    one = _one(graph, node)
    _replace(graph, node, name, lambda x: graph.make_node("Sub", [one, graph.make_node("Erf", [x]).output[0]]))


def _expm1(graph: Any, node: Any, name: str, _: Any) -> None:
    """expm1(x) = exp(x) − 1: CELU. Near 0, off by one rounding of 1."""
    one = _one(graph, node)
    _replace(graph, node, name, lambda x: graph.make_node("Sub", [graph.make_node("Exp", [x]).output[0], one]))


def _one(graph: Any, node: Any) -> str:
    dtype = np.float64 if graph.get_dtype(node.input[0]) == 11 else np.float32  # 11: ONNX's number for double
    return str(graph.make_const(f"{node.name}/one", np.array(1.0, dtype)).output[0])


def _replace(graph: Any, node: Any, name: str, make: Callable[[str], Any]) -> None:
    """Put what `make` makes of the node's input in its place."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    source, result = node.input[0], node.output[0]
    graph.remove_node(name)
    made = make(source)
    graph.make_node("Identity", [made.output[0]], name=name, outputs=[result], shapes=shapes, dtypes=dtypes)


HANDLERS: Mapping[str, tuple[_Handler, list[Any]]] = {"Erfc": (_erfc, []), "Expm1": (_expm1, [])}
