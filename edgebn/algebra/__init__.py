"""The mathematics of folding: affine maps, clips, and the laws by which they move. NumPy alone; no ONNX, no Keras.

affine       x ↦ s⊙x + t, what an inference BatchNormalization is
operators    what a law needs to know of an operator, as arrays
laws         `LAWS`, the table: which law applies to which operator, which way
  absorbing    into the weights of a linear operator
  travelling   past what moves, picks, pads or mixes elements
  clipping     through ReLU and its kin
  joining      through Concat, Add and Mul of several tensors
exchanges    equal ways to write operators that stand beside each other
"""

from edgebn.algebra.absorbing import shift_first
from edgebn.algebra.affine import Affine, Array
from edgebn.algebra.exchanges import (
    EXCHANGES,
    affine_as_conv,
    clip_as_relu,
    conv_plus_conv,
    extremum_before_clip,
    pad_before_clip,
)
from edgebn.algebra.laws import LAWS, Law, laws_for
from edgebn.algebra.operators import (
    Blend,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Direction,
    Extents,
    Extremum,
    Join,
    MatMul,
    Operator,
    Outcome,
    Pad,
    PRelu,
    Product,
    Refusal,
    Reshape,
    Select,
    Sum,
    Transpose,
    Window,
)

__all__ = [
    "EXCHANGES",
    "LAWS",
    "Affine",
    "Array",
    "Blend",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Direction",
    "Extents",
    "Extremum",
    "Join",
    "Law",
    "MatMul",
    "Operator",
    "Outcome",
    "PRelu",
    "Pad",
    "Product",
    "Refusal",
    "Reshape",
    "Select",
    "Sum",
    "Transpose",
    "Window",
    "affine_as_conv",
    "clip_as_relu",
    "conv_plus_conv",
    "extremum_before_clip",
    "laws_for",
    "pad_before_clip",
    "shift_first",
]
