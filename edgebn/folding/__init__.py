"""Folding on the ONNX graph: finding the nodes and carrying the arrays. The equations live in `edgebn.algebra`."""

from edgebn.folding.apply import apply
from edgebn.folding.plan import Plan, plan
from edgebn.folding.preference import Preference
from edgebn.folding.view import LayerConstant, View

__all__ = ["LayerConstant", "Plan", "Preference", "View", "apply", "plan"]
