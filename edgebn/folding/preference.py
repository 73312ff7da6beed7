"""Which of several exact plans to make, where they differ in speed and a machine has to say by how much."""

from __future__ import annotations

from enum import Enum


class Preference(Enum):
    """All give the same function. Which is fastest depends on the runtime, the processor and the extents.

    USUAL is the default. It has a clip of images that is bounded on one side as a Relu, behind a sign and a shift for
    each channel, where that is one node more: they are a convolution, which runtimes compute together with the Relu and
    in their own layout, unlike Max and Min. Of a DenseNet121 that takes a fifth of the time away. FEWEST_NODES has Max
    and Min. NORMALIZATIONS leaves a normalization of images in place, as one node, where folding it would make a Max or
    Min for each channel of what follows. UNFOLDED changes nothing.
    """

    USUAL = "usual"
    FEWEST_NODES = "fewest nodes"
    NORMALIZATIONS = "normalization instead of Max and Min"
    UNFOLDED = "unfolded"
