"""The file against its reference, run by run: every probe, by every runtime, at every batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.report import Comparison, Decisions, Distance, RuntimeDifference
from edgebn.verifying import compare
from edgebn.verifying.candidate import Candidate
from edgebn.verifying.decisions import DecisionsTally, has_labels
from edgebn.verifying.endings import thresholds
from edgebn.verifying.logits import Beside, aligned
from edgebn.verifying.probes import DATA, Probe
from edgebn.verifying.reference import Reference, largest_moves
from edgebn.verifying.rounding import OwnRounding
from edgebn.verifying.samples import Inputs, Outputs, fixed_batch
from edgebn.verifying.sessions import EvaluatorError, RunError, Runtime, open_runtime
from edgebn.verifying.tally import Expected, ExpectedTally, Rule, Tally
from edgebn.verifying.tipping import tipping

OnSamples = Callable[[str, int], None]
"""Called with the probe's name and how many samples are done."""

_EVALUATED = 2


class Expecting:
    """What is expected of samples: by the reference, by its truth, and with what sensitivity to rounding."""

    def __init__(self, reference: Reference, candidate: Candidate) -> None:
        self.reference = reference
        self._twins: list[Runtime] = []
        self._base: Callable[[Runtime, Inputs], Outputs] = lambda runtime, inputs: reference.give(
            runtime.run(reference.take(inputs), _batch(inputs))
        )
        if reference.truth is None:
            file = reference.file or candidate.file
            whole = reference.is_of_whole_arrays
            self._twins = [open_runtime(each, "off", 1, of_whole=whole) for each in (file, *file.rounded())]
            if reference.file is None:
                self._base = lambda runtime, inputs: candidate.match.run(runtime, inputs, _batch(inputs))
        self._fixed = fixed_batch(*(twin.inputs for twin in self._twins))
        self._tips = tipping(reference, candidate)

    def __call__(self, probe: Probe) -> tuple[Expected, ...]:
        """One for each output."""
        inputs, outputs = probe.inputs, self.reference.run(probe.inputs)
        exact: tuple[NDArray[Any] | None, ...]
        if self.reference.truth is not None:
            exact = self.reference.truth.run(inputs)
            known = tuple(map(_where_finite, exact, outputs))
            moves = self.reference.truth.sensitivity(inputs, known)
        else:
            exact = (None,) * len(outputs)
            moves = self._moves(inputs, outputs)
        slacks = (tips(inputs, output) for tips, output in zip(self._tips, outputs, strict=True))
        return tuple(map(Expected, outputs, exact, moves, slacks))

    def _moves(self, inputs: Inputs, outputs: Outputs) -> tuple[NDArray[np.float64], ...]:
        try:
            base, *moved = (self._run(twin, inputs) for twin in self._twins)
        except RunError:
            if self.reference.file is not None:
                raise
            return tuple(np.zeros_like(compare.channels(compare.magnitudes(output))) for output in outputs)
        return largest_moves(base, moved)

    def _run(self, twin: Runtime, inputs: Inputs) -> Outputs:
        if self._fixed is None:
            return self._base(twin, inputs)
        starts = range(0, len(inputs[0]), self._fixed)
        parts = [self._base(twin, tuple(array[start : start + self._fixed] for array in inputs)) for start in starts]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _precisions(reference: Reference, candidate: Candidate) -> list[compare.Precision]:
    """In what roundings each output is counted: the file's where there is a truth, else the coarser of both."""
    anatomy = candidate.file.anatomy
    names = [candidate.runtimes[0].outputs[position].name for position in candidate.match.outputs]
    found = []
    for tensor, name in zip(reference.outputs, names, strict=True):
        dtypes = set(anatomy.dtypes[name])
        if reference.file is not None:
            dtypes |= reference.file.anatomy.dtypes.get(tensor.name, frozenset())  # scores of a class have other names
        elif reference.truth is None:
            dtypes.add(tensor.dtype)
        found.append(compare.coarsest(dtypes))
    return found


def _where_finite(exact: NDArray[Any], reference: NDArray[Any]) -> NDArray[Any]:
    """`exact`, and NaN where the reference is not finite."""
    return compare.excusing(exact, reference, None)


def _batch(inputs: Inputs) -> int:
    return len(inputs[0])


def judge_of_logits(both: Beside, expected: Reference, rule: Rule) -> Judge:
    """The judge of those logits of both that are among what is expected, the outputs of `expected`."""
    names = {tensor.name: place for place, tensor in enumerate(expected.outputs)}
    reference, candidate = both.logits_alone
    known = [index for index, tensor in enumerate(reference.outputs) if tensor.name in names]
    reference = replace(reference, outputs=tuple(reference.outputs[index] for index in known))
    match = replace(candidate.match, outputs=tuple(candidate.match.outputs[index] for index in known))
    axes = {place: axis for place, index in enumerate(known) if (axis := both.axes[index]) is not None}
    places = [names[tensor.name] for tensor in reference.outputs]
    return Judge(reference, replace(candidate, match=match), rule, lambda _, __: None, places=places, axes=axes)


@dataclass(eq=False)
class Judged:
    """All that was found, while it is found. `broken` says of what runs there is no result to compare, and why."""

    comparisons: list[Comparison] = field(default_factory=list)
    decisions: list[Decisions] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    smallest_rtol: float = 0.0
    between: dict[tuple[int, str, int], Distance] = field(default_factory=dict)
    finite: set[int] = field(default_factory=set)


class Judge:
    """Takes in probes, one after the other, each in parts that stream by.

    `places` are those of its outputs among all that is expected; `axes` those along which outputs may be shifted, by
    their number. What `beside` judges is taken in as well.
    """

    def __init__(
        self,
        reference: Reference,
        candidate: Candidate,
        rule: Rule,
        on_samples: OnSamples,
        *,
        places: Sequence[int] | None = None,
        axes: Mapping[int, int] | None = None,
        beside: Judge | None = None,
    ) -> None:
        self.reference, self.candidate, self.rule = reference, candidate, rule
        self.places = range(len(reference.outputs)) if places is None else places
        self.axes, self.beside = axes or {}, beside
        self.found = Judged()
        self._on_samples = on_samples
        self._failed_evaluator = False
        self._fixed = fixed_batch(reference.inputs, candidate.runtimes[0].inputs) or 1
        rounded = candidate.file.anatomy.rounds_at_one
        names = [candidate.runtimes[0].outputs[position].name for position in candidate.match.outputs]
        self._floors = [1.0 if name in rounded else 0.0 for name in names]
        found = thresholds(candidate.file.model, candidate.file.name)
        places_in_file = enumerate(candidate.match.outputs)
        self.thresholds = {index: found[place] for index, place in places_in_file if place in found}
        self._precisions = _precisions(reference, candidate)
        self.own_rounding = OwnRounding(candidate)

    def take(self, parts: Iterable[tuple[Probe, tuple[Expected, ...]]]) -> None:
        """Run and compare one probe."""
        iterator = iter(parts)
        first = next(iterator, None)
        if first is None:
            return
        trials = [_Trial(judge, first[0]) for judge in (self, self.beside) if judge is not None]
        done = 0
        for probe, expected in chain([first], iterator):
            for trial in trials:
                trial.add(probe, expected, is_first=probe is first[0])
            done += probe.samples
            self._on_samples(probe.name, done)
        for trial in trials:
            trial.close()

    def runs(self, probe: Probe) -> Iterator[tuple[Runtime, int]]:
        """Which runtimes run at which batch sizes: on two threads and in onnx's evaluator the largest is enough."""
        for runtime in self.candidate.runtimes:
            if runtime.threads == 0 and (self._failed_evaluator or probe.name == DATA):
                continue
            sizes = probe.batch_sizes if runtime.threads == 1 else probe.batch_sizes[-1:]
            yield from ((runtime, size) for size in sizes)

    def limit(self, runtime: Runtime, probe: Probe, batch_size: int) -> int:
        """How many of the samples to run: in onnx's evaluator few, but all whole arrays, whose outputs may lie flat."""
        if runtime.threads or self.reference.is_of_whole_arrays:
            return probe.limit(batch_size)
        return min(probe.samples, max(_EVALUATED, self._fixed))

    def run(self, runtime: Runtime, probe: Probe, batch_size: int) -> Outputs | None:
        """The outputs, in the reference's order; None if the file does not run."""
        limit = self.limit(runtime, probe, batch_size)
        try:
            return self.candidate.match.run(runtime, probe.first(limit), batch_size)
        except EvaluatorError as error:
            self._failed_evaluator = True
            self.found.notes.append(f"onnx's reference evaluator can not run it: {error}")
        except RunError as error:
            self.found.broken.append(str(error))
        return None

    def expected_tallies(self) -> list[ExpectedTally]:
        """Empty ones, for one probe."""
        pairs = zip(self._floors, self._precisions, strict=True)
        return [ExpectedTally(self.reference.trusted, floor, precision) for floor, precision in pairs]

    def has_shape(self, runtime: Runtime, index: int, actual: NDArray[Any], expected: NDArray[Any]) -> bool:
        """Whether an output has the shape of the reference's.

        If not, onnx's evaluator is not asked again: what it says does not decide.
        """
        if actual.shape == expected.shape:
            return True
        name = self.reference.outputs[index].name
        if runtime.threads == 0:
            self._failed_evaluator = True
            self.found.notes.append(f"{name}: onnx's {runtime.level} gives another shape, {actual.shape}")
        else:
            self.found.broken.append(
                f"{self.reference.name}: its output {name} has the shape {expected.shape}, that of the ONNX file "
                f"{actual.shape}; they are not the same model"
            )
        return False

    def runtime_differences(self) -> tuple[RuntimeDifference, ...]:
        """Of every runtime but the first."""
        return tuple(
            RuntimeDifference(self.reference.outputs[index].name, level, threads, found)
            for (index, level, threads), found in sorted(self.found.between.items(), key=lambda item: item[0][0])
        )


class _Trial:
    """One probe."""

    def __init__(self, judge: Judge, probe: Probe) -> None:
        self._judge, self._probe = judge, probe
        self._expected = judge.expected_tallies()
        self._tallies: dict[tuple[Runtime, int, int], Tally] = {}
        self._decisions: dict[int, DecisionsTally] = {}

    def add(self, probe: Probe, expected: tuple[Expected, ...], *, is_first: bool) -> None:
        expected = tuple(expected[place] for place in self._judge.places)
        for tally, each in zip(self._expected, expected, strict=True):
            tally.add(each)
        baseline: Outputs | None = None
        largest = max(probe.batch_sizes)
        for runtime, batch_size in self._judge.runs(probe):
            if not is_first and batch_size != largest:
                continue
            results = self._judge.run(runtime, probe, batch_size)
            if results is None:
                self._fail(probe, runtime, batch_size, range(len(expected)))
                continue
            for index, actual in enumerate(results):
                self._add_one(probe, runtime, batch_size, index, actual, expected[index])
            if any(a.shape != each.reference[: len(a)].shape for a, each in zip(results, expected, strict=True)):
                continue
            if runtime is self._judge.candidate.runtimes[0] and batch_size == largest:
                baseline = results
            elif baseline is not None and batch_size == largest and probe.required:
                self._between(runtime, results, baseline)
        self._reconsider(probe)

    def _reconsider(self, probe: Probe) -> None:
        """If something fails so far, find out how the file itself rounds on these samples: that costs as much again."""
        failing = (tally.may_be_rounding(self._expected[index]) for (_, _, index), tally in self._tallies.items())
        if probe.required and any(failing):
            for expected, moves in zip(self._expected, self._judge.own_rounding(probe.inputs), strict=True):
                expected.add_rounding(moves)

    def _add_one(
        self, probe: Probe, runtime: Runtime, batch_size: int, index: int, actual: NDArray[Any], expected: Expected
    ) -> None:
        fed = self._judge.limit(runtime, probe, batch_size)
        reference = expected.reference if fed >= probe.samples else expected.reference[:fed]
        if not self._judge.has_shape(runtime, index, actual, reference):
            self._fail(probe, runtime, batch_size, [index])
            return
        if index in self._judge.axes:
            actual = aligned(actual, reference, self._judge.axes[index])
        self._tally(runtime, batch_size, index).add(actual, expected, fed)
        decides = runtime is self._judge.candidate.usual and batch_size == max(probe.batch_sizes)
        threshold = self._judge.thresholds.get(index)
        if probe.name == DATA and decides and has_labels(actual.shape, threshold):
            name = self._judge.reference.outputs[index].name
            decisions = self._decisions.setdefault(index, DecisionsTally(name, threshold))
            decisions.add(actual, expected, self._expected[index], probe.labels)

    def _fail(self, probe: Probe, runtime: Runtime, batch_size: int, outputs: Iterable[int]) -> None:
        """Take in that there is nothing to compare; of onnx's evaluator that says nothing about the file."""
        for index in outputs if runtime.threads else ():
            self._tally(runtime, batch_size, index).fail(self._judge.limit(runtime, probe, batch_size))
            self._judge.found.finite.add(index)

    def _tally(self, runtime: Runtime, batch_size: int, index: int) -> Tally:
        return self._tallies.setdefault((runtime, batch_size, index), Tally(self._judge.rule))

    def _between(self, runtime: Runtime, results: Outputs, baseline: Outputs) -> None:
        for index, (actual, other) in enumerate(zip(results, baseline, strict=True)):
            if actual.shape[1:] != other.shape[1:]:  # as onnx's evaluator may have it
                continue
            errors = compare.channels(compare.absolute(actual, other[: len(actual)]))
            scales = compare.channels(compare.magnitudes(other))
            found, key = compare.distance(errors, scales), (index, runtime.level, runtime.threads)
            before = self._judge.found.between.get(key, found)
            self._judge.found.between[key] = Distance(
                max(before.max_abs, found.max_abs), max(before.relative, found.relative), max(before.ulps, found.ulps)
            )

    def close(self) -> None:
        judged = self._judge.found
        for (runtime, batch_size, index), tally in self._tallies.items():
            expected = self._expected[index]
            required = self._probe.required and runtime.threads > 0
            judged.comparisons.append(
                tally.comparison(
                    expected,
                    output=self._judge.reference.outputs[index].name,
                    probe=self._probe.name,
                    optimisation=runtime.level,
                    threads=runtime.threads,
                    batch_size=batch_size,
                    required=required,
                )
            )
            if required:
                judged.smallest_rtol = max(judged.smallest_rtol, tally.smallest_rtol)
            if required and expected.not_finite < expected.elements:
                judged.finite.add(index)
        judged.decisions.extend(each.decisions() for each in self._decisions.values())
