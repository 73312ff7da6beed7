"""Making the graph lean. Generic clean-up is onnx-ir's; here is what it leaves, and the order of it all."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from edgebn.tidying.constants import fold_constants
from edgebn.tidying.duplicates import drop_duplicates
from edgebn.tidying.identities import drop_identities
from edgebn.tidying.layout import (
    join_reshapes,
    join_transposes,
    keep_reduced_axes,
    make_conv_attributes_explicit,
    products_to_gemm,
    reshapes_to_flatten,
    reshapes_to_transposes,
    transpose_into_product,
    transposes_into_gemm,
    transposes_out_of_gemm,
    transposes_to_reshapes,
)
from edgebn.tidying.names import in_order_of_use, name_constants, name_nodes, unique, value_names
from edgebn.tidying.normalisations import join_layer_normalisations, scale_layer_normalisations
from edgebn.tidying.padding import merge_pads, name_no_axes
from edgebn.tidying.pools import reductions_to_pools
from edgebn.tidying.prelus import join_prelus, spell_prelus
from edgebn.tidying.regions import turn_regions
from edgebn.tidying.repeats import join_resizes, repeats_to_resizes
from edgebn.tidying.shapes import forget_shapes, infer_shapes, make_shapes_constant
from edgebn.tidying.states import begin_with_zeros
from edgebn.tidying.unit_axes import lift_unit_axes, sink_squeezes

__all__ = [
    "fold_constants",
    "forget_shapes",
    "in_order_of_use",
    "infer_shapes",
    "name_nodes",
    "prepare",
    "tidy",
    "unique",
    "value_names",
]


_LONGEST_CHAIN = 8
"""How many shapes may each be computed from the one before, until nothing new comes to be known."""


def prepare(model: ir.Model) -> None:
    """Bring `model`, in place, into the form that folding reads best: known shapes, constants as initializers, Gemm."""
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    drop_identities(model.graph)
    infer_shapes(model)
    for _ in range(_LONGEST_CHAIN):
        if not (make_shapes_constant(model) | fold_constants(model)):
            break
        common.RemoveUnusedNodesPass()(model)
        infer_shapes(model)
    begin_with_zeros(model.graph)
    name_no_axes(model.graph)
    _join(model)
    transposes_out_of_gemm(model.graph)
    products_to_gemm(model)
    _shorten(model)
    _join(model)  # what Transposes stood between


def tidy(model: ir.Model) -> None:
    """Clean up `model`, in place, after folding: nothing dead, nothing twice, explicit attributes, readable names."""
    drop_identities(model.graph)
    merge_pads(model.graph)
    _shorten(model)
    transposes_into_gemm(model)
    reductions_to_pools(model.graph)
    scale_layer_normalisations(model.graph)
    spell_prelus(model.graph)
    drop_duplicates(model)
    common.RemoveUnusedOpsetsPass()(model)
    make_conv_attributes_explicit(model)
    name_constants(model)


def _join(model: ir.Model) -> None:
    join_layer_normalisations(model)
    join_prelus(model.graph)
    common.RemoveUnusedNodesPass()(model)


def _shorten(model: ir.Model) -> None:
    reshapes_to_transposes(model)
    _turn(model)
    while repeats_to_resizes(model.graph):
        _turn(model)
    transpose_into_product(model)
    transposes_to_reshapes(model)
    join_reshapes(model)
    keep_reduced_axes(model)
    reshapes_to_flatten(model)
    drop_identities(model.graph)
    common.RemoveUnusedNodesPass()(model)


def _turn(model: ir.Model) -> None:
    """Let Transposes and axes that are 1 long cancel, each of which may stand in the other's way."""
    _move_unit_axes(model)
    turn_regions(model)
    join_transposes(model)
    common.RemoveUnusedNodesPass()(model)
    _move_unit_axes(model)


def _move_unit_axes(model: ir.Model) -> None:
    lift_unit_axes(model.graph)
    join_reshapes(model)
    sink_squeezes(model.graph)
    join_reshapes(model)
    join_resizes(model.graph)
    common.RemoveUnusedNodesPass()(model)
