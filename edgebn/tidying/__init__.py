"""Making the graph lean. Generic clean-up is onnx-ir's; here is what it leaves, and the order of it all."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from edgebn.tidying.layout import (
    join_transposes,
    make_conv_attributes_explicit,
    products_to_gemm,
    reshapes_to_flatten,
    transpose_into_product,
)
from edgebn.tidying.names import name_constants, name_nodes, unique, value_names
from edgebn.tidying.shapes import infer_shapes, make_reshapes_constant

__all__ = ["infer_shapes", "name_nodes", "prepare", "tidy", "unique", "value_names"]


def prepare(model: ir.Model) -> None:
    """Bring `model`, in place, into the form that folding reads best: known shapes, constants as initializers, Gemm."""
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.IdentityEliminationPass()(model)
    infer_shapes(model)
    make_reshapes_constant(model)
    common.RemoveUnusedNodesPass()(model)
    infer_shapes(model)
    products_to_gemm(model)
    _shorten(model)


def tidy(model: ir.Model) -> None:
    """Clean up `model`, in place, after folding: nothing dead, nothing twice, explicit attributes, readable names."""
    common.IdentityEliminationPass()(model)
    _shorten(model)
    common.RemoveUnusedOpsetsPass()(model)
    make_conv_attributes_explicit(model)
    name_constants(model)


def _shorten(model: ir.Model) -> None:
    join_transposes(model)
    transpose_into_product(model)
    reshapes_to_flatten(model)
    common.RemoveUnusedNodesPass()(model)
