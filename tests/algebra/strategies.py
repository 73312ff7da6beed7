"""A strategy for each row of the table of laws: cases to which it applies often, and some to which it must not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypothesis import strategies as st

from edgebn.algebra import Direction
from tests.algebra import strategies_moves as moves
from tests.algebra import strategies_weights as weights
from tests.algebra.drawing import Case

CasesOf = Callable[[Direction], st.SearchStrategy[Case]]


def _both_ways(name: str, cases: CasesOf) -> dict[str, st.SearchStrategy[Case]]:
    return {f"back through {name}": cases("backward"), f"on through {name}": cases("forward")}


def _absorbed(name: str, cases: CasesOf) -> dict[str, st.SearchStrategy[Case]]:
    return {f"into the previous {name}": cases("backward"), f"into the next {name}": cases("forward")}


CASES: Mapping[str, st.SearchStrategy[Case]] = {
    **_absorbed("MatMul", weights.matmuls),
    **_absorbed("Conv", weights.convs),
    "into the next Conv, behind a Pad by −t/s": weights.convs("forward", weights.with_one_root),
    "into the next Conv, behind an Add of t/s": weights.convs("forward", weights.with_roots),
    "into the next Conv, plus a constant map": weights.convs("forward"),
    **_absorbed("ConvTranspose", weights.conv_transposes),
    "into the next ConvTranspose, behind an Add of t/s": weights.conv_transposes("forward", weights.with_roots),
    "into the next ConvTranspose, plus a constant map": weights.conv_transposes("forward"),
    **_absorbed("affine", weights.pairs),
    **_both_ways("a clip", weights.clips),
    **_both_ways("PRelu", weights.prelus),
    **_both_ways("a maximum", moves.extremums),
    **_both_ways("a mean", moves.blends),
    **_both_ways("Pad", moves.pads),
    **_both_ways("Transpose", moves.transposes),
    **_both_ways("Reshape", moves.reshapes),
    **_both_ways("a selection", moves.selects),
    **_both_ways("Concat", moves.concats),
    **_both_ways("a sum", moves.sums),
    **_both_ways("a product", moves.products),
}
