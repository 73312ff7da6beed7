"""verify: an ONNX file against the model that it came from."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib import metadata
from itertools import chain
from pathlib import Path

from edgebn.report import Comparison, Verdict
from edgebn.verifying.boundaries import boundary_probe
from edgebn.verifying.candidate import Candidate
from edgebn.verifying.clip_sides import ClipSides, clip_sides
from edgebn.verifying.data import Data
from edgebn.verifying.interfaces import scored
from edgebn.verifying.judging import Expecting, Judge, OnSamples, judge_of_logits
from edgebn.verifying.logits import beside
from edgebn.verifying.masks import mask_probes
from edgebn.verifying.onnx_files import OnnxFile
from edgebn.verifying.probes import (
    DATA_NOT_FINITE,
    NORMAL,
    NOT_FINITE,
    SAMPLES,
    Plan,
    Probe,
    every_index,
    probes,
    random_probe,
)
from edgebn.verifying.reference import Reference
from edgebn.verifying.samples import Inputs, Outputs
from edgebn.verifying.sessions import Runtime
from edgebn.verifying.setting import Setting, set_up
from edgebn.verifying.sizes import other_sizes
from edgebn.verifying.tally import Expected, Rule

PACKAGES = ("edgebn", "numpy", "onnx", "onnxruntime")
_KERAS_PACKAGES = ("edgebn", "keras", "numpy", "onnx", "onnxruntime", "tensorflow")

_SHOWN = 5

Parts = Iterator[tuple[Probe, tuple[Expected, ...]]]


def judge_pair(
    reference: Reference,
    file: OnnxFile,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    rule: Rule | None = None,
    on_samples: OnSamples = lambda _, __: None,
    on_data: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Compare `file` with `reference` on everything. See `edgebn.verify`."""
    file, rule = scored(file), rule or Rule()
    setting = set_up(reference, file, seed, SAMPLES, data=data)
    reference, candidate, plan, real = setting.reference, setting.candidate, setting.plan, setting.data
    if real is not None:
        on_data(real.samples)
    both = beside(reference, candidate) if rule.name == "rounding" else None
    logits = None if both is None else judge_of_logits(both, both.reference, rule)
    judge = Judge(reference, candidate, rule, on_samples, beside=logits)
    expecting = Expecting(reference, candidate) if both is None else Expecting(both.reference, both.candidate)
    clips, others = _clip_sides(plan, reference, candidate)
    sides, sizes = (*clips.probes, *others.probes), _other_sizes(plan, reference)
    drawn = chain(probes(plan), mask_probes(plan), boundary_probe(plan, reference), sides, sizes)
    for parts in chain(_real(real, plan, expecting), ([(probe, expecting(probe))] for probe in drawn)):
        judge.take(parts)
    if plan.index_ranges:
        judge.take((part, expecting(part)) for part in every_index(plan))
    return _verdict(judge, setting, (clips.reached, clips.sides))


def _clip_sides(plan: Plan, reference: Reference, candidate: Candidate) -> tuple[ClipSides, ClipSides]:
    """Those of the file, and those of the reference if it is one as well: the other may lack what the one has."""

    def ours(runtime: Runtime, inputs: Inputs, batch: int) -> Outputs:
        return runtime.run(reference.take(inputs), batch, tuple(tensor.name for tensor in reference.inputs))

    def theirs(runtime: Runtime, inputs: Inputs, batch: int) -> Outputs:
        return runtime.run(inputs, batch, candidate.match.inputs)

    of_whole = reference.is_of_whole_arrays
    found = clip_sides(plan, candidate.file, theirs, of_whole=of_whole)
    if reference.file is None:
        return found, ClipSides()
    own = clip_sides(plan, reference.file, ours, of_whole=of_whole)
    return found, replace(own, probes=tuple(replace(each, name=f"{each.name} of the reference") for each in own.probes))


def _real(data: Data | None, plan: Plan, expecting: Expecting) -> Iterator[Parts]:
    if data is not None:
        for finite in (True, False):
            yield ((chunk, expecting(chunk)) for chunk in data.chunks(plan, finite=finite))


def _other_sizes(plan: Plan, reference: Reference) -> Iterator[Probe]:
    """Where an extent may vary, samples of other sizes that the reference takes."""
    for sizes in other_sizes(reference, plan) if plan.has_varying_extents else ():
        yield random_probe(plan, NORMAL, sizes, plan.affordable(sizes))


def _verdict(judge: Judge, setting: Setting, clip_sides: tuple[int, int]) -> Verdict:
    reference, candidate, found = judge.reference, judge.candidate, judge.found
    plan, data = setting.plan, setting.data
    required = [each for each in found.comparisons if each.required]
    logits = () if judge.beside is None else judge.beside.found.comparisons
    deciding = [*required, *(each for each in logits if each.required)]
    passed = all(each.passed for each in deciding) and len(found.finite) == len(reference.outputs)
    assumed = [*setting.notes, *(() if passed else setting.doubts)]
    notes = [*found.broken[:1], *assumed, *found.notes, *_notes(judge), *_plan_notes(plan)]
    rtol, atol = judge.rule.rtol, judge.rule.atol
    largest = max(each.difference.max_abs for each in required)
    packages = PACKAGES if reference.file is not None else _KERAS_PACKAGES
    return Verdict(
        passed=passed,
        reference=reference.name,
        reference_sha256=reference.sha256,
        onnx_model=candidate.file.name,
        onnx_sha256=candidate.file.sha256,
        rule=judge.rule.name,
        rtol=rtol,
        atol=atol,
        data=None if data is None else data.name,
        seed=plan.seed,
        max_abs=largest,
        smallest_atol=largest,
        smallest_rtol=found.smallest_rtol,
        used=max(each.used for each in deciding),
        clip_sides=clip_sides,
        decisions=tuple(found.decisions),
        runtimes=judge.runtime_differences(),
        comparisons=(*found.comparisons, *logits),
        notes=tuple(notes),
        culprit=None,
        cpu=cpu(),
        versions={package: metadata.version(package) for package in packages},
    )


def _notes(judge: Judge) -> Iterator[str]:
    found, outputs = judge.found, judge.reference.outputs
    for index, output in enumerate(outputs):
        if index not in found.finite:
            yield f"{output.name}: was finite on no probe, so that nothing could be compared"
        elif probes := _not_finite(found.comparisons, output.name):
            shown = ", ".join(probes[:_SHOWN]) + (" and others" if len(probes) > _SHOWN else "")
            name = judge.reference.name
            yield f"{output.name}: {name} itself is not finite everywhere on {shown}; nothing is required there"
    if others := [each.samples for each in found.comparisons if each.probe == DATA_NOT_FINITE]:
        yield f"{max(others):,} samples of the data hold NaN or infinity; what comes of them does not decide"
    suspects = {(each.output, each.optimisation) for each in found.comparisons if _is_suspect(each)}
    for name, level in sorted(suspects):
        yield f"{name}: onnx's {level} differs by more than rounding, which does not decide"


def _not_finite(comparisons: Iterable[Comparison], output: str) -> list[str]:
    """The probes, all of finite numbers, on which the reference gives others."""
    named = (each.probe for each in comparisons if each.output == output and each.required and each.not_finite)
    return list(dict.fromkeys(named))


def _plan_notes(plan: Plan) -> Iterator[str]:
    for name, rows in plan.index_ranges.items():
        if rows > plan.most_indices:
            yield f"{name}: {plan.most_indices:,} of the {rows:,} rows of its table were read; read more with --data"
    for name, limits in plan.integers.items():
        if limits[1] <= 1 and name not in plan.index_ranges:
            yield f"{name}: no integers above 1 could be tried, which the model does not take; give some with --data"


def _is_suspect(comparison: Comparison) -> bool:
    is_finite = comparison.probe not in {NOT_FINITE, DATA_NOT_FINITE} and comparison.not_finite == 0
    return comparison.threads == 0 and is_finite and not comparison.passed


def cpu() -> str:
    """The processor's name, as far as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
