"""Of the faults that are planted in files, verify finds all that change an output by more than float32 rounding.

    python -m pytest tests/verifying/test_mutation_score.py -n 0 -s

lists every fault and what became of it. What is more than rounding an oracle decides that shares nothing with verify.
With EDGEBN_MUTATIONS=all every fault is planted in the models of MLPerf Tiny too, which takes some minutes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgebn
from edgebn import backends
from edgebn.datasets import load_dataset
from edgebn.graphs import open_graph
from edgebn.loading import open_source
from edgebn.verifying.clip_sides import clip_sides
from edgebn.verifying.judging import Expecting, Judge, judge_of_logits
from edgebn.verifying.logits import Beside, beside
from edgebn.verifying.onnx_files import OnnxFile, in_memory
from edgebn.verifying.probes import Probe, probes
from edgebn.verifying.reference import Reference, keras_reference
from edgebn.verifying.sessions import open_runtime
from edgebn.verifying.setting import open_candidate, plan_for
from edgebn.verifying.tally import Expected, Rule
from tests.verifying import networks
from tests.verifying.mutations import Mutation, mutations, norm_faults
from tests.verifying.oracle import Oracle, batches, outputs

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "models"


def stored(path: Path) -> Callable[[], Any]:
    return lambda: backends.keras().saving.load_model(path, compile=False)


MODELS: dict[str, Path | Callable[[], Any]] = {
    "mlp": ROOT / "models" / "mlp" / "mlp.keras",
    "cnn": ROOT / "models" / "cnn" / "cnn.keras",
    "residual": networks.residual,
    "sequence": networks.sequence,
    "gates": networks.gates,
    **{name: SHARED / f"mlperf_{name}.keras" for name in ("kws_dscnn", "resnet8", "toycar_ae")},
}
FEWEST = {"mlp": 40, "cnn": 45, "residual": 90, "sequence": 60, "gates": 35}
"""How many are caught at least. All these models are at hand wherever the tests are."""

STEP = 1 if os.environ.get("EDGEBN_MUTATIONS") == "all" else 6
"""Of the faults in the models of MLPerf Tiny one in so many is planted."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, and what is expected of a right file on every probe of verify."""

    reference: Reference
    both: Beside | None
    expected: list[tuple[Probe, tuple[Expected, ...]]]

    def passes(self, file: OnnxFile) -> bool:
        """Whether verify would call the file right; one that does not run is not."""
        try:
            runtimes = [open_runtime(file, level, 1) for level in ("off", "all")]
            judge = self._judge(file, runtimes)
            for parts in self.expected:
                judge.take([parts])
                judges = (judge,) if judge.beside is None else (judge, judge.beside)
                if not all(each.passed for one in judges for each in one.found.comparisons if each.required):
                    return False
        except edgebn.InputError:
            return False
        return True

    def _judge(self, file: OnnxFile, runtimes: list[Any]) -> Judge:
        candidate = open_candidate(self.reference, file, runtimes)
        both = None if self.both is None else beside(self.reference, candidate)
        rule = Rule()
        logits = None if both is None or self.both is None else judge_of_logits(both, self.both.reference, rule)
        return Judge(self.reference, candidate, rule, lambda _, __: None, beside=logits)


def file_of(model: onnx.ModelProto) -> OnnxFile:
    return in_memory("wrong.onnx", model.SerializeToString(), ir.from_proto(model))


def subject(model: Any, right: onnx.ModelProto) -> Subject:
    reference, file = keras_reference(open_source(model)), file_of(right)
    candidate = open_candidate(reference, file, [open_runtime(file, level, 1) for level in ("off", "all")])
    plan, both = plan_for(reference, candidate, 0, 32), beside(reference, candidate)
    clips = clip_sides(plan, file, lambda runtime, *given: runtime.run(*given, candidate.match.inputs))
    expecting = Expecting(reference, candidate) if both is None else Expecting(both.reference, both.candidate)
    all_probes = [*probes(plan), *clips.probes]
    return Subject(reference, both, [(probe, expecting(probe)) for probe in all_probes])


def oracle(reference: Reference, right: onnx.ModelProto, digits: bool) -> Oracle:
    """Checked against Keras, so that it knows what it speaks of."""
    images = load_dataset("mnist-mini").x_train[:8] / 255.0 if digits else None
    known = Oracle(right, batches(tuple(extent or 0 for extent in reference.inputs[0].shape[1:]), images))
    for batch in known.batches:
        (expected,) = reference.run((batch.astype(np.float32),))
        (found,) = outputs(right, batch.astype(np.float32).astype(np.float64))
        assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    return known


def score(faults: Iterator[Mutation], subjected: Subject, known: Oracle) -> dict[str, str]:
    """What became of each fault: caught, missed, or below rounding."""
    verdicts = {}
    for fault in faults:
        caught = not subjected.passes(file_of(fault.model))
        missed = not caught and known.is_more_than_rounding(fault.model)
        verdicts[fault.name] = "caught" if caught else "MISSED" if missed else "below rounding"
    return verdicts


@pytest.mark.parametrize("name", MODELS)
def test_only_what_is_below_rounding_passes(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    given = MODELS[name]
    if isinstance(given, Path) and not given.is_file():
        pytest.skip(f"{given.name} is not on this machine; it is a trained model of MLPerf Tiny")
    model = stored(given)() if isinstance(given, Path) else given()
    edgebn.fold_export(model, tmp_path / "right.onnx")
    folded, plain = onnx.load(tmp_path / "right.onnx"), ir.to_proto(open_graph(model).model)
    subjected = subject(model, folded)
    known = oracle(subjected.reference, folded, digits=name in {"mlp", "cnn"})
    for right in (folded, plain):
        assert subjected.passes(file_of(right))
        assert not known.is_more_than_rounding(right)
    faults = chain(mutations(folded), norm_faults(plain, model.layers))
    verdicts = score(islice(faults, 0, None, 1 if name in FEWEST else STEP), subjected, known)
    table = "\n".join(f"{name:10} {verdict:15} {fault}" for fault, verdict in verdicts.items())
    counts = Counter(verdicts.values())
    print(f"\n{table}\n{name}: {len(verdicts)} faults, {dict(counts)}")
    for fault, verdict in verdicts.items():
        record_property(fault, verdict)
    assert counts["MISSED"] == 0, table
    assert counts["caught"] >= FEWEST.get(name, 200 // STEP)


def test_there_are_enough_of_them_on_every_machine() -> None:
    assert sum(FEWEST.values()) >= 200
