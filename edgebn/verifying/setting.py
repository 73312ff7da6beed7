"""A reference and the file that is held against it, opened and matched, and what both are fed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgebn.errors import InputError
from edgebn.interface import LAYOUT
from edgebn.verifying import sessions
from edgebn.verifying.candidate import Candidate
from edgebn.verifying.data import Data, open_data
from edgebn.verifying.endings import thresholds
from edgebn.verifying.integers import accepted
from edgebn.verifying.layouts import Turns, closer, laid_out, layout_doubts, turned_alike, turned_notes, turns
from edgebn.verifying.matching import match
from edgebn.verifying.onnx_files import OnnxFile
from edgebn.verifying.probes import FEWEST, NORMAL, Plan, Sizes, random_probe
from edgebn.verifying.reference import Reference, of_whole_arrays
from edgebn.verifying.samples import fixed_batch, shares_axis
from edgebn.verifying.sessions import Runtime, open_runtimes
from edgebn.verifying.sizes import counts_samples, sizes_that_run

_WHOLES = "axis 0 does not count samples that are independent of each other; whole arrays were run"
_WORK = 500_000_000
"""Multiplications of all samples of one probe; large models get fewer samples."""
_FEW = 8


def open_candidate(reference: Reference, file: OnnxFile, runtimes: Sequence[Runtime] | None = None) -> Candidate:
    """Open `file` in all runtimes, or in those given, and match it to the reference. Raises InputError."""
    opened = open_runtimes(file) if runtimes is None else tuple(runtimes)
    if reference.is_of_whole_arrays:
        opened = tuple(map(sessions.of_whole_arrays, opened))
    return Candidate(file, opened, match(reference, opened[0]))


def plan_for(reference: Reference, candidate: Candidate, seed: int, most: int, sizes: Sizes = ()) -> Plan:
    """What to feed: at most `most` samples a probe, fewer if the model is large; of these sizes, if they are known."""
    inputs, names = reference.inputs, candidate.match.inputs
    found = candidate.file.anatomy.index_ranges
    ranges = {tensor.name: found[name] for tensor, name in zip(inputs, names, strict=True) if name in found}
    affordable = max(FEWEST, _WORK // max(1, candidate.file.anatomy.multiplications))
    batch = 1 if reference.is_of_whole_arrays else fixed_batch(inputs, candidate.runtimes[0].inputs)
    known = {**ranges, **reference.index_ranges}
    plan = _sized(reference, Plan(inputs, known, seed, affordable, fixed_batch=batch), most, sizes)
    rows = candidate.file.anatomy.tables
    tables = {tensor.name: rows[name] for tensor, name in zip(inputs, names, strict=True) if name in rows}
    integers = accepted(reference, plan, tables)
    behind = {name: integers[name][1] + 1 for name in tables.keys() & integers.keys()}
    return replace(plan, index_ranges={**known, **behind}, integers=integers)


def _sized(reference: Reference, plan: Plan, most: int, sizes: Sizes) -> Plan:
    """The plan with sizes that run, and at most `most` samples; it has those that are affordable at usual sizes."""
    if not plan.has_varying_extents:
        return replace(plan, samples=min(plan.samples, most))
    found = sizes_that_run(reference, replace(plan, given_sizes=sizes))
    return replace(plan, given_sizes=found, samples=min(plan.affordable(found), most))


@dataclass(frozen=True, eq=False)
class Setting:
    """A reference, the file that is held against it, and what both are fed; with real data, if there are.

    `notes` say what was made of the reference, so that both fit; `doubts` what else would fit as well.
    """

    reference: Reference
    candidate: Candidate
    plan: Plan
    data: Data | None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def set_up(
    reference: Reference,
    file: OnnxFile,
    seed: int,
    most: int,
    runtimes: Sequence[Runtime] | None = None,
    data: str | Path | None = None,
) -> Setting:
    """Open all that is needed, lay the reference out as the file is, and find out whether axis 0 counts samples.

    Where it does not, whole arrays are run.

    Raises:
        UsageError, InputError: as `open_data`, `open_candidate` and `sizes_that_run` do.
    """
    opened = open_runtimes(file) if runtimes is None else tuple(runtimes)
    turned = _turns(reference, file, opened, seed)
    usual = laid_out(reference, turned)
    wholes = of_whole_arrays(usual)
    read = partial(_data, data, bool(thresholds(file.model, file.name)))
    chosen = usual if shares_axis(usual.inputs) else wholes
    try:
        real = read(chosen)
    except InputError as error:
        if chosen is usual and _counts_samples(usual, open_candidate(usual, file, opened), seed):
            raise
        chosen, real = wholes, _data_of_wholes(wholes, data, error)
    setting = _planned(chosen, open_candidate(chosen, file, opened), real, seed, most)
    if chosen is usual and not counts_samples(chosen, setting.plan):
        setting = _planned(wholes, open_candidate(wholes, file, opened), read(wholes), seed, most)
    notes = (*turned_notes(reference, turned), *([_WHOLES] if setting.reference is wholes else []))
    doubts = layout_doubts(reference, opened[0], turned)
    return replace(setting, notes=tuple(notes), doubts=tuple(doubts))


def _turns(reference: Reference, file: OnnxFile, opened: Sequence[Runtime], seed: int) -> Turns:
    """Those that the shapes tell, and of outputs of which they do not tell it, what a few samples do."""
    found = turns(reference, opened[0], is_said=LAYOUT in file.model.metadata_props)
    other = turned_alike(reference, opened[0], found)
    if other.outputs == found.outputs:
        return found
    usual = laid_out(reference, found)
    try:
        candidate = open_candidate(usual, file, opened)
        inputs = random_probe(plan_for(usual, candidate, seed, _FEW), NORMAL).inputs
        actual = candidate.match.run(opened[0], inputs, fixed_batch(opened[0].inputs) or len(inputs[0]))
        return closer(found, other, usual.run(inputs), actual)
    except InputError:  # which is told when they are compared
        return found


def _counts_samples(reference: Reference, candidate: Candidate, seed: int) -> bool:
    """Whether axis 0 does so, whatever the data are; not where no size runs."""
    try:
        return counts_samples(reference, plan_for(reference, candidate, seed, _FEW))
    except InputError:
        return False


def _planned(reference: Reference, candidate: Candidate, data: Data | None, seed: int, most: int) -> Setting:
    plan = plan_for(reference, candidate, seed, most, () if data is None else data.sizes)
    return Setting(reference, candidate, plan, data)


def _data(given: str | Path | None, decides: bool, reference: Reference) -> Data | None:
    """Real data as the reference takes them, with labels of two classes if a single score decides."""
    whole, outputs = reference.is_of_whole_arrays, reference.outputs
    return open_data(reference.name, reference.inputs, given, outputs=outputs, decides=decides, of_whole=whole)


def _data_of_wholes(wholes: Reference, data: str | Path | None, error: InputError) -> Data | None:
    """The data as those of a model of whole arrays; if they do not fit that either, raise the first error."""
    try:
        return open_data(wholes.name, wholes.inputs, data, of_whole=True)
    except InputError:
        raise error from None
