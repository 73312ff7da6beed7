"""verify: any model against an ONNX file; where it went wrong, if it did; and the certificate, if it is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebn import files
from edgebn.errors import ConversionError, InputError, UsageError
from edgebn.graphs import open_graph
from edgebn.interface import recorded
from edgebn.loading import ONNX_WANTED, kind_of, open_source
from edgebn.loading.overwriting import check_distinct
from edgebn.locating import explain
from edgebn.references import keras_behind, onnx_behind
from edgebn.report import Verdict
from edgebn.verifying.certificate import certificate_beside, certificate_notes, certify
from edgebn.verifying.golden import replay_vectors
from edgebn.verifying.interfaces import both_scored
from edgebn.verifying.judging import OnSamples
from edgebn.verifying.layouts import laid_out, turns
from edgebn.verifying.onnx_files import OnnxFile, open_file
from edgebn.verifying.reference import Reference
from edgebn.verifying.sessions import open_runtime
from edgebn.verifying.tally import Rule
from edgebn.verifying.vectors import vector_files
from edgebn.verifying.verdict import judge_pair

_LARGEST_SEED = 2**32 - 1


def verify(
    model_or_path: Any,
    onnx_path: str | Path,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    certificate: str | Path | None = None,
    trust: bool = False,
    on_samples: OnSamples | None = None,
    on_data: Callable[[int], None] | None = None,
) -> Verdict:
    """Run a model and the ONNX file that should be the same on CPU on the same inputs, and compare every output.

    The inputs are real data, where there are, and seeded probes: normal, uniform, large and tiny numbers, single
    elements, borders, every index of an embedding, what drives clips to both sides; in batches of 1, 2, 7 and 32, and
    at two sizes where an extent may vary, found by what the model takes, or those of the data. Where axis 0 does not
    count independent samples, a sample is all that one run takes. Inputs and outputs are matched by name, else by
    position, else by shape; with channels first in one and last in the other where that alone fits.

    The file runs in onnxruntime at every level of optimisation, on one thread and on two, and small models in onnx's
    reference evaluator too, which does not decide.

    A Keras model is also evaluated in float64; that is the truth. A channel passes if ONNX is no further from it than
    four times what Keras in float32 is, plus 12 to 32 times what the channel moves when every weight, or every result,
    is rounded once, plus 16 roundings of the channel's largest value. Where there is no truth, as between two ONNX
    files, the model is the measure, with 84 roundings (1e-5). The logits of an output that ends in softmax or sigmoid
    are compared as well, where both show them. With `rtol` or `atol` numpy's rule, |a − b| ≤ atol + rtol·|b|, of the
    outputs takes its place.

    Args:
        model_or_path: a `keras.Model`, a `.keras` or `.h5` file, a SavedModel folder, or another ONNX file.
        onnx_path: the file to verify, as it lies on the disk.
        data: real data: digits, by name or file, as for `train`, or an .npz file with an array for each input, laid
            out as the model or the file takes it, and, if known, labels. By default the digits that come with edgebn,
            if the model takes them.
        seed: of the random inputs.
        rtol: of numpy's rule, relative to the model's own result.
        atol: of numpy's rule.
        certificate: where to write a certificate as JSON; golden vectors beside the file are replayed for it.
        trust: allow layers that run code which the model file brings along (Lambda).
        on_samples: called with the name of a probe and how many of its samples are done; that of real data is `data`.
        on_data: called before with how many samples of real data there are, if any.

    Raises:
        UsageError: if a path leads nowhere, an argument is out of range, or digits are asked for that the model does
            not take.
        InputError: if a file can not be opened, or inputs and outputs of both can not be matched.
        OutputError: if the certificate can not be written.
    """
    check_seed(seed)
    if data is not None and not isinstance(data, str | Path):
        raise UsageError(f"data: {type(data).__name__} is neither the name of a data set nor a path")
    rule = _rule(rtol, atol)
    target = None if certificate is None else Path(certificate)
    if target is not None:
        files.check_writable(target)
        check_distinct([model_or_path, onnx_path], [target], data)
    reference, file = _open(model_or_path, onnx_path, trust=trust)
    verdict = judge_pair(
        reference,
        file,
        data=data,
        seed=seed,
        rule=rule,
        on_samples=on_samples or _ignore,
        on_data=on_data or _ignore,
    )
    if not verdict.passed:
        verdict = replace(verdict, culprit=_culprit(model_or_path, reference, file, trust=trust))
    path = Path(onnx_path)
    if target is None:
        return replace(verdict, notes=(*verdict.notes, *certificate_notes(path, certificate_beside(path))))
    verdict = _with_vectors(verdict, path, target)
    contents = {each.relative_to(path.parent).as_posix(): each.read_bytes() for each in vector_files(path.parent)}
    files.write_bytes(target, certify(verdict, contents, path).to_json().encode())
    return verdict


def _with_vectors(verdict: Verdict, path: Path, target: Path) -> Verdict:
    """The verdict on the file and its golden vectors, as they go into one certificate, which replaces `target`."""
    differing = [each for each in replay_vectors(path) if not each.passed]
    said = (
        f"{each.data_set}: {each.output} is off by {each.difference.max_abs:.1e} from the golden vector"
        for each in differing
    )
    before = certificate_beside(path)
    stale = certificate_notes(path, None if before is None or before.resolve() == target.resolve() else before)
    return replace(verdict, passed=verdict.passed and not differing, notes=(*verdict.notes, *said, *stale))


def check_seed(seed: Any) -> None:
    """Raise UsageError unless it is a seed."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= _LARGEST_SEED:
        raise UsageError(f"seed {seed!r}: must be an integer from 0 to {_LARGEST_SEED}")


def _rule(rtol: Any, atol: Any) -> Rule:
    for name, value in (("rtol", rtol), ("atol", atol)):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and 0.0 <= value < math.inf):
            raise UsageError(f"{name} {value!r}: must be a finite number that is not negative")
    return Rule(rtol, atol)


def _open(model_or_path: Any, onnx_path: Any, *, trust: bool) -> tuple[Reference, OnnxFile]:
    if not isinstance(onnx_path, str | Path):
        raise UsageError(f"{type(onnx_path).__name__}: not the path of an ONNX file")
    path = Path(onnx_path)
    if (kind := kind_of(path, ONNX_WANTED)) != "onnx":
        raise InputError(f"{path}: is a Keras model ({kind}), but an ONNX file is expected here; swap the two")
    file = open_file(path)
    if _is_onnx(model_or_path):
        other, file = both_scored(open_file(Path(model_or_path)), file)
        return onnx_behind(other, file.model.metadata_props), file
    return keras_behind(open_source(model_or_path, trust=trust), file.model.metadata_props), file


def _is_onnx(model_or_path: Any) -> bool:
    return isinstance(model_or_path, str | Path) and kind_of(Path(model_or_path)) == "onnx"


def _culprit(model_or_path: Any, reference: Reference, file: OnnxFile, *, trust: bool) -> str | None:
    """Where the file went wrong, by what edgebn makes of the model itself."""
    try:
        interface = recorded(file.model.metadata_props, file.name)
        if not interface.changes_input:
            turned = turns(reference, open_runtime(file, "off", 1))
            interface = replace(interface, layout=turned.layout)
            reference = reference if turned.layout is None else laid_out(reference, turned)
        return explain(open_graph(model_or_path, trust=trust, interface=interface), reference, file)
    except (
        ConversionError,
        InputError,
        UsageError,
    ):  # what has no ONNX form of ours says nothing of where another's went wrong
        return None


def _ignore(*_: str | int) -> None:
    """Nobody wants to know how far it is."""
