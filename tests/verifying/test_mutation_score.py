"""Of the faults that are planted in files, verify finds all that change an output by more than float32 rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

import edgebn
from edgebn import backends
from edgebn.loading import open_source
from edgebn.verifying import compare
from edgebn.verifying.clip_sides import clip_sides_probe
from edgebn.verifying.judging import Expecting, Judge, open_candidate, plan_for
from edgebn.verifying.onnx_files import OnnxFile, in_memory
from edgebn.verifying.probes import Probe, probes
from edgebn.verifying.reference import Reference, keras_reference
from edgebn.verifying.sessions import Runtime, open_runtime
from edgebn.verifying.tally import Expected, Rule
from tests.verifying.mutations import Mutation, copied, keras_faults, mutations

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "models"
MODELS = {
    "mlp": ROOT / "models" / "mlp" / "mlp.keras",
    "cnn": ROOT / "models" / "cnn" / "cnn.keras",
    **{name: SHARED / f"mlperf_{name}.keras" for name in ("kws_dscnn", "resnet8", "toycar_ae")},
}
FEWEST = {"mlp": 30, "cnn": 30, "kws_dscnn": 100, "resnet8": 100, "toycar_ae": 100}
ROUNDINGS = 64.0
"""A change is more than rounding if it is so many times what float32 does to that channel anyway.

That is the largest of: how far the right file is off, how far Keras is, how far the right file moves when every weight
is the next larger float, and one rounding of the channel's largest value. It is no bound of verify's.
"""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, its right file, and what is expected of it on every probe of verify."""

    reference: Reference
    right: onnx.ModelProto
    expected: list[tuple[Probe, tuple[Expected, ...]]]
    runtimes: tuple[Runtime, ...]

    @cached_property
    def next_larger(self) -> Runtime:
        """The right file with every weight moved by one unit in the last place."""
        model = copied(self.right)
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(np.nextafter(array, np.float32(np.inf)), tensor.name))
        return open_runtime(file_of(model), "off", 1)

    def passes(self, file: OnnxFile) -> bool:
        """Whether verify would call the file right; one that does not run is not."""
        try:
            runtimes = [open_runtime(file, level, 1) for level in ("off", "all")]
            judge = Judge(self.reference, open_candidate(self.reference, file, runtimes), Rule(), lambda _, __: None)
            for parts in self.expected:
                judge.take([parts])
                if not all(each.passed for each in judge.found.comparisons if each.required):
                    return False
        except edgebn.InputError:
            return False
        return True

    def is_more_than_rounding(self, file: OnnxFile) -> bool:
        """Whether some channel changes by more than float32 rounding does, by what the right file itself is off."""
        wrong = open_runtime(file, "off", 1)
        for probe, expected in self.expected:
            if not probe.required:
                continue
            runs = (each.run(probe.inputs, probe.samples) for each in (self.runtimes[0], wrong, self.next_larger))
            for ours, theirs, larger, each in zip(*runs, expected, strict=True):
                assert each.exact is not None
                change = compare.channels(compare.absolute(ours, theirs))
                errors = [compare.channels(compare.absolute(x, each.exact)) for x in (ours, each.reference)]
                errors.append(compare.channels(compare.absolute(ours, larger)))
                scale = compare.channels(compare.magnitudes(each.exact))
                if (change > ROUNDINGS * np.maximum.reduce([*errors, compare.EPSILON * scale]) + 1e-37).any():
                    return True
        return False


def file_of(model: onnx.ModelProto) -> OnnxFile:
    return in_memory("wrong.onnx", model.SerializeToString(), ir.from_proto(model))


def subject(name: str, folder: Path) -> Subject:
    source = open_source(MODELS[name])
    edgebn.fold_export(source.model, folder / "right.onnx")
    right = onnx.load(folder / "right.onnx")
    reference, file = keras_reference(source), file_of(right)
    runtimes = tuple(open_runtime(file, level, 1) for level in ("off", "all"))
    candidate = open_candidate(reference, file, runtimes)
    plan = plan_for(reference, candidate, 0, 32)
    clips, _, _ = clip_sides_probe(plan, file, candidate.match.inputs)
    expecting = Expecting(reference, candidate)
    all_probes = [*probes(plan), *([] if clips is None else [clips])]
    return Subject(reference, right, [(probe, expecting(probe)) for probe in all_probes], runtimes)


def all_mutations(name: str, right: onnx.ModelProto, folder: Path) -> Iterator[Mutation]:
    yield from mutations(right)

    def build() -> Any:
        return backends.keras().saving.load_model(MODELS[name], compile=False)

    for what, model in keras_faults(build):
        edgebn.fold_export(model, folder / "wrong.onnx", verify=False)
        yield Mutation(what, onnx.load(folder / "wrong.onnx"))


@pytest.mark.parametrize("name", MODELS)
def test_only_what_is_below_rounding_passes(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if not MODELS[name].is_file():
        pytest.skip(f"{MODELS[name].name} is not on this machine; it is a trained model of MLPerf Tiny")
    subjected = subject(name, tmp_path)
    assert subjected.passes(file_of(subjected.right))
    verdicts = {}
    for mutation in all_mutations(name, subjected.right, tmp_path):
        file = file_of(mutation.model)
        caught = not subjected.passes(file)
        verdicts[mutation.name] = "caught" if caught else "missed" if subjected.is_more_than_rounding(file) else "below"
    for fault, verdict in verdicts.items():
        print(f"{name}: {fault}: {verdict}")
        record_property(fault, verdict)
    assert [fault for fault, verdict in verdicts.items() if verdict == "missed"] == []
    assert list(verdicts.values()).count("caught") >= FEWEST[name]
