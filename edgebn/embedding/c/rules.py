"""The table of operators that there is C for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir

from edgebn.embedding.c import layout_rules, product_rules
from edgebn.embedding.c.lowering import Lowering
from edgebn.embedding.c.pointwise import POINTWISE
from edgebn.embedding.c.steps import JOINING

RULES: dict[str, Callable[[Lowering, ir.Node], None]] = {
    **dict.fromkeys(POINTWISE, layout_rules.pointwise),
    **dict.fromkeys(product_rules.POOLS, product_rules.pool),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), layout_rules.view),
    **dict.fromkeys(("Identity", "Dropout"), layout_rules.identity),
    **dict.fromkeys((f"Reduce{kind}" for kind in JOINING), layout_rules.reduce),
    "ArgMax": layout_rules.arg_max,
    "Concat": layout_rules.concat,
    "Conv": product_rules.conv,
    "ConvTranspose": product_rules.conv_transpose,
    "Gemm": product_rules.gemm,
    "MatMul": product_rules.matmul,
    "Pad": layout_rules.pad,
    "Slice": layout_rules.cut,
    **dict.fromkeys(("Resize", "Upsample"), layout_rules.resize),
    **dict.fromkeys(("Softmax", "LogSoftmax"), layout_rules.softmax),
    "Split": layout_rules.split,
    "Transpose": layout_rules.transpose,
}


def unsupported(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes that there is no rule for."""
    return (node for node in graph if node.domain not in {"", "ai.onnx"} or node.op_type not in RULES)
