"""A converted model on a few probes, before it is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from edgebn.errors import InputError
from edgebn.report import Comparison
from edgebn.verifying.interfaces import scored
from edgebn.verifying.judging import Expecting, Judge, judge_of_logits
from edgebn.verifying.logits import Beside, beside
from edgebn.verifying.onnx_files import OnnxFile, in_memory
from edgebn.verifying.probes import NORMAL, Plan, Probe, random_probe
from edgebn.verifying.reference import Reference
from edgebn.verifying.sessions import Runtime, open_runtime
from edgebn.verifying.setting import Setting, open_candidate, set_up
from edgebn.verifying.tally import Expected, Rule

_SAMPLES = 4
_NAMES = (NORMAL, "uniform", "large")
_LEVELS = ("off", "all")


@dataclass(frozen=True, eq=False)
class QuickCheck:
    """What `reference` gives on a few samples of a few probes, for files that should give the same.

    `first` is such a file: its graph says how the inputs may be drawn and, without a truth, how it rounds.
    """

    reference: Reference
    first: OnnxFile

    def failures(self, file: OnnxFile) -> list[Comparison]:
        """What `file` gets wrong, in onnxruntime without optimisations and with all. Raises InputError."""
        reference, file, rule = self._setting.reference, scored(file), Rule()
        candidate = open_candidate(reference, file, _runtimes(file))
        both = None if self._both is None else beside(reference, candidate)
        logits = None if both is None else judge_of_logits(both, self._expecting.reference, rule)
        judge = Judge(reference, candidate, rule, lambda _, __: None, beside=logits)
        for parts in self._expected:
            judge.take([parts])
        if judge.found.broken:
            raise InputError(judge.found.broken[0])
        found = [*judge.found.comparisons, *(() if logits is None else logits.found.comparisons)]
        return [each for each in found if not each.passed]

    def prepare(self) -> None:
        """Run the reference. Raises InputError if it can not be run on such inputs."""
        if not self._expected:
            raise InputError(f"{self.reference.name}: has no inputs")

    def differs(self, model: ir.Model) -> bool:
        """Whether a model in memory gives something else."""
        return bool(self.failures(in_memory(self.first.name, ir.to_proto(model).SerializeToString(), model)))

    @property
    def plan(self) -> Plan:
        """How the inputs are drawn."""
        return self._setting.plan

    @cached_property
    def _setting(self) -> Setting:
        return set_up(self.reference, scored(self.first), 0, _SAMPLES, _runtimes(scored(self.first)))

    @cached_property
    def _expected(self) -> list[tuple[Probe, tuple[Expected, ...]]]:
        return [(probe, self._expecting(probe)) for probe in self._probes()]

    @cached_property
    def _expecting(self) -> Expecting:
        if self._both is not None:
            return Expecting(self._both.reference, self._both.candidate)
        return Expecting(self._setting.reference, self._setting.candidate)

    @cached_property
    def _both(self) -> Beside | None:
        return beside(self._setting.reference, self._setting.candidate)

    def _probes(self) -> Iterator[Probe]:
        for name in _NAMES:
            probe = random_probe(self.plan, name)
            yield Probe(probe.name, probe.inputs, probe.batch_sizes[-1:])


def _runtimes(file: OnnxFile) -> list[Runtime]:
    return [open_runtime(file, level, 1) for level in _LEVELS]
