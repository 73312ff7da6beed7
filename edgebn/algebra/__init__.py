"""The mathematics of folding: affine maps, clips, and the laws by which they move. NumPy alone; no ONNX, no Keras.

affine      x ↦ s⊙x + t, what an inference BatchNormalization is
operators   what a law needs to know of an operator, as arrays
laws        one pure function per law, and `LAWS`, the table of all of them
"""

from edgebn.algebra.affine import Affine, Array
from edgebn.algebra.laws import LAWS, Direction, Law, as_relu, laws_for
from edgebn.algebra.operators import (
    AveragePool,
    Clip,
    Conv,
    MatMul,
    MaxPool,
    Operator,
    Outcome,
    Refusal,
    Reshape,
    Transpose,
)

__all__ = [
    "LAWS",
    "Affine",
    "Array",
    "AveragePool",
    "Clip",
    "Conv",
    "Direction",
    "Law",
    "MatMul",
    "MaxPool",
    "Operator",
    "Outcome",
    "Refusal",
    "Reshape",
    "Transpose",
    "as_relu",
    "laws_for",
]
