"""Several exact plans for one graph, timed on this machine."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgebn.benching.benchmark import machine
from edgebn.benching.contents import side_by_side
from edgebn.folding import Preference
from edgebn.measurements import MARGIN, Candidate, Tuning


def tuned(make: Callable[[Preference], ir.Model]) -> tuple[Preference, Tuning]:
    """The preference by which what `make` makes is fastest, and how all compare that are not the same graph.

    Nothing takes the place of the default unless it is faster in three of four rounds at least, by more than chance.

    Raises:
        InputError: if onnxruntime can not load or run one of them.
    """
    made: dict[bytes, tuple[Preference, int]] = {}
    for preference in Preference:
        model = make(preference)
        content = ir.to_proto(model).SerializeToString(deterministic=True)
        made.setdefault(content, (preference, len(model.graph)))
    timed = side_by_side(list(made))
    faster = [index for index, each in enumerate(timed) if each.ratio.upper_quartile < 1.0 - MARGIN]
    best = min(faster, key=lambda index: timed[index].ratio.median, default=0)
    candidates = tuple(
        Candidate(preference.value, nodes, each) for (preference, nodes), each in zip(made.values(), timed, strict=True)
    )
    chosen, _ = list(made.values())[best]
    return chosen, Tuning(chosen.value, candidates, machine())
