"""Duplicates: equal constants become one, and so do nodes that then do the same to the same."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgebn.tidying.logs import quiet

_LARGEST = 2**31
"""Elements of the largest constants that are compared: any that a file can hold."""


def drop_duplicates(model: ir.Model) -> None:
    """Keep the first of each; what draws at random, or has bodies, stays."""
    _lay_out(model)
    with quiet():  # the pass reports constants that the caller may override, which stay
        common.DeduplicateHashedInitializersPass(size_limit=_LARGEST)(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)


def _lay_out(model: ir.Model) -> None:
    """Let each constant lie in memory as in the file, which is how the pass reads it."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            array = None if value.const_value is None else value.const_value.numpy()
            if array is not None and not array.flags.c_contiguous:
                value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)
