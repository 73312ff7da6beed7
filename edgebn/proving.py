"""What fold_export does before it writes: it refuses what is wrong, and makes golden vectors and a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import onnx
import onnx_ir as ir

from edgebn.errors import ConversionError, InputError
from edgebn.folding import Preference
from edgebn.graphs import Graph
from edgebn.locating import locate
from edgebn.references import keras_behind, onnx_behind
from edgebn.report import Comparison, Verdict
from edgebn.verifying.before_writing import QuickCheck
from edgebn.verifying.certificate import KEY, certify, graph_hash, summary
from edgebn.verifying.golden import golden_vectors
from edgebn.verifying.interfaces import scored
from edgebn.verifying.onnx_files import in_memory, open_file
from edgebn.verifying.probes import SAMPLES
from edgebn.verifying.reference import Reference
from edgebn.verifying.sessions import open_runtime
from edgebn.verifying.setting import set_up
from edgebn.verifying.verdict import judge_pair


class Suspect:
    """A converted model that is not yet written, and the model that it should be."""

    def __init__(
        self, graph: Graph, model_or_path: Any, content: bytes, folded: ir.Model, preference: Preference
    ) -> None:
        self._graph = graph
        self._preference = preference
        self._file = in_memory(graph.name, content, folded)
        self._plain = in_memory(graph.name, ir.to_proto(graph.model).SerializeToString(), graph.model)
        self._path = Path(model_or_path) if graph.source is None else Path()

    def check(self) -> tuple[str, ...]:
        """Compare on a few samples. A truth costs time, and is only asked for in doubt.

        Returns a note where the model itself can not be run on such samples, so that there is nothing to compare with.

        Raises:
            ConversionError: if it computes something else, or can not run where the model can.
        """
        check = QuickCheck(self._reference(with_truth=False), self._plain)
        try:
            check.prepare()
        except InputError as error:
            return (f"not compared with the model, which can not be run on random samples: {error}",)
        failures = self._failures(check)
        if failures and self._graph.source is not None:
            check = QuickCheck(self._reference(), self._plain)
            failures = self._failures(check)
        if failures:
            self._refuse(check, _worst(failures))
        return ()

    def verdict(self, name: str) -> Verdict:
        """Compare on everything, as `edgebn.verify` does; `name` is that of the file to be. Raises ConversionError."""
        reference = self._reference()
        verdict = judge_pair(reference, replace(self._file, name=name))
        if not verdict.passed:
            failures = [each for each in verdict.comparisons if each.required and not each.passed]
            self._refuse(QuickCheck(reference, self._plain), _worst(failures or verdict.comparisons))
        return verdict

    def golden_vectors(self, count: int) -> dict[str, bytes]:
        """The contents of `count` data sets by relative path."""
        reference = self._reference()
        file = scored(self._file)
        setting = set_up(reference, file, 0, SAMPLES, [open_runtime(file, "off", 1)])
        return golden_vectors(setting.reference, setting.candidate, setting.plan, setting.data, count)

    def _reference(self, *, with_truth: bool = True) -> Reference:
        if self._graph.source is not None:
            return keras_behind(self._graph.source, self._file.model.metadata_props, with_truth=with_truth)
        return onnx_behind(open_file(self._path), self._file.model.metadata_props)

    def _failures(self, check: QuickCheck) -> list[Comparison]:
        try:
            return check.failures(self._file)
        except InputError as error:
            raise ConversionError(f"{error}; the model itself can; nothing written") from error

    def _refuse(self, check: QuickCheck, worst: Comparison) -> NoReturn:
        which = "other" if worst.is_of_logits else "another"
        raise ConversionError(
            f"{self._graph.name}: the converted model computes {which} {worst.output} than the model, off by "
            f"{worst.difference.max_abs:.1e} where {worst.tolerance:.1e} would be rounding; nothing written: "
            f"{locate(self._graph, check, self._preference)}"
        )


def _worst(comparisons: Sequence[Comparison]) -> Comparison:
    """That of an output, if one is among them; the logits of one only show what it hides."""
    return max(comparisons, key=lambda each: (not each.is_of_logits, each.used))


def certified(proto: onnx.ModelProto, verdict: Verdict, certificate: str) -> bytes:
    """The file's content with the summary of its verdict, and the name of the certificate, in the metadata."""
    proto.metadata_props.add(key=KEY, value=summary(verdict, graph_hash(proto), certificate))
    return bytes(proto.SerializeToString(deterministic=True))


def certificate(verdict: Verdict, onnx_sha256: str, vectors: dict[str, bytes]) -> bytes:
    """The certificate of the file with that hash, as JSON."""
    return certify(replace(verdict, onnx_sha256=onnx_sha256), vectors).to_json().encode()
