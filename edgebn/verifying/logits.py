"""Logits are compared beside the outputs made of them: where softmax or sigmoid saturates, a fault shows nowhere else.

softmax(z) = softmax(z + c) for every number c, and else both are injective: two models give the same probabilities on
all inputs only if they give the same logits, up to such a c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.report import LOGITS
from edgebn.verifying.candidate import Candidate
from edgebn.verifying.endings import Ending, endings, with_logits
from edgebn.verifying.matching import Match
from edgebn.verifying.reference import Reference
from edgebn.verifying.sessions import open_runtime

LEVELS = ("off", "all")
"""Those at which logits are compared; outputs are compared at all."""


@dataclass(frozen=True, eq=False)
class Beside:
    """A reference and a file that give their outputs, and behind them the logits of those in `axes`.

    `axes` are those along which a softmax runs, from the end; None for a sigmoid.
    """

    reference: Reference
    candidate: Candidate
    axes: tuple[int | None, ...]

    @property
    def logits_alone(self) -> tuple[Reference, Candidate]:
        """Both, as if they gave nothing else."""
        count = len(self.axes)
        match = replace(self.candidate.match, outputs=self.candidate.match.outputs[-count:])
        return replace(self.reference, outputs=self.reference.outputs[-count:]), replace(self.candidate, match=match)


def beside(reference: Reference, candidate: Candidate) -> Beside | None:
    """Both with the logits that both show; None if there are none."""
    chosen = _chosen(candidate)
    logits = reference.logits({place: ending.kind for place, ending in chosen.items()}) if chosen else None
    if logits is None:
        return None
    outputs, inputs = reference.outputs, candidate.match.inputs
    positions = [candidate.match.outputs[place] for place in logits.kinds]
    file = with_logits(candidate.file, positions)
    first = len(candidate.runtimes[0].outputs)
    named = [replace(outputs[place], name=f"{LOGITS}{outputs[place].name}") for place in logits.kinds]
    return Beside(
        replace(
            reference,
            outputs=(*outputs, *named),
            run=logits.run,
            truth=logits.truth,
            file=logits.file,
            give=logits.give,
        ),
        Candidate(
            file,
            tuple(open_runtime(file, level, 1, of_whole=reference.is_of_whole_arrays) for level in LEVELS),
            Match(inputs, (*candidate.match.outputs, *range(first, first + len(positions)))),
        ),
        tuple(chosen[place].axis for place in logits.kinds),
    )


def aligned(actual: NDArray[Any], reference: NDArray[Any], axis: int) -> NDArray[Any]:
    """`actual` shifted along `axis`, by what most of its elements there are off; as it is where it lies flat."""
    if actual.ndim < 2:
        return actual
    with np.errstate(invalid="ignore"):
        difference = np.asarray(actual, np.float64) - reference
    known = np.where(np.isfinite(difference), difference, 0.0)
    return np.asarray(actual - np.median(known, axis=axis, keepdims=True))


def _chosen(candidate: Candidate) -> dict[int, Ending]:
    """How the file ends, by the place of the reference's output."""
    found = endings(candidate.file.model)
    places = enumerate(candidate.match.outputs)
    return {place: found[position] for place, position in places if position in found}
