"""Golden vectors: inputs and what they should give, as ONNX's backend tests keep them, and their replay.

`test_data_set_0/input_0.pb, output_0.pb` and so on lie beside the file; each is a serialized TensorProto.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from edgebn import files
from edgebn.errors import InputError, UsageError
from edgebn.loading import Tensor, kind_of
from edgebn.report import Replay, Replayed
from edgebn.verifying import compare
from edgebn.verifying.candidate import Candidate
from edgebn.verifying.certificate import certificate_beside, certificate_notes, certificate_of, named_vectors
from edgebn.verifying.data import Data
from edgebn.verifying.onnx_files import OnnxFile, open_file
from edgebn.verifying.probes import Plan, Probe, random_probe
from edgebn.verifying.reference import Reference, largest_moves
from edgebn.verifying.rounding import moves, twins
from edgebn.verifying.samples import Inputs, Outputs
from edgebn.verifying.sessions import Runtime, open_runtime
from edgebn.verifying.vectors import VECTOR, data_sets, number
from edgebn.verifying.verdict import PACKAGES, cpu

MOST = 1000
"""Data sets that are written at most."""

_SAMPLES = 8
_CLEAR = 1e-3
"""By what share of the largest score the first must be ahead of the second for a class to be the same everywhere."""
_NAMES = ("normal", "uniform", "signed", "constants", "single elements", "border", "large", "tiny")
_MOST_BYTES = 1 << 30

Arrays = list[tuple[str, NDArray[Any]]]


def golden_vectors(
    reference: Reference, candidate: Candidate, plan: Plan, data: Data | None, count: int
) -> dict[str, bytes]:
    """`count` data sets as files, by their paths relative to the model's folder.

    The first holds real data, if there are; the others random and patterned samples in turn. Outputs are what the
    reference gives in float64, rounded to float32 once; where that can not be had, what it gives.
    """
    written = {}
    names = [candidate.runtimes[0].outputs[position].name for position in candidate.match.outputs]
    if reference.gives_class:
        names = ["class"]
    for index, inputs in enumerate(_samples(plan, data, count)):
        if reference.is_of_whole_arrays:
            inputs = tuple(array[:1] for array in inputs)
        outputs = _outputs(reference, inputs)
        if reference.gives_class:
            inputs, outputs = _decided(inputs, outputs)
        for role, tensors, arrays in (
            ("input", candidate.match.inputs, inputs),
            ("output", names, outputs),
        ):
            for position, (name, array) in enumerate(zip(tensors, arrays, strict=True)):
                array = array[0] if reference.is_of_whole_arrays else array
                content = numpy_helper.from_array(array, name).SerializeToString(deterministic=True)
                written[f"test_data_set_{index}/{role}_{position}.pb"] = content
    return written


def check_golden(folder: Path, count: Any) -> None:
    """Raise UsageError unless `count` data sets can be written, and none would be left over from another time."""
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST:
        raise UsageError(f"golden {count!r}: must be an integer from 0 to {MOST}")
    others = [each.name for each in data_sets(folder) if number(each) >= count] if count else []
    if others:
        raise UsageError(f"{folder}: holds {others[0]} of another time; remove it, or choose another folder")


def check_not_of_another(onnx_path: Path, count: int) -> None:
    """Raise UsageError if vectors would be replaced that the certificate of another file in the folder names."""
    if not count:
        return
    for path in sorted(onnx_path.parent.glob("*.certificate.json")):
        if path != certificate_of(onnx_path) and named_vectors(path):
            raise UsageError(
                f"{onnx_path.parent}: {path.name} names the golden vectors that lie there; choose another folder"
            )


def replay(onnx_path: str | Path, certificate: str | Path | None = None) -> Replay:
    """Run an ONNX file on the golden vectors beside it, and check it against its certificate, if there is one.

    TensorFlow is neither needed nor imported. An output passes if it is no further from the recorded one than 84
    roundings of the channel's largest value, plus 32 times what the channel moves when every weight, or every result,
    is rounded once.

    Args:
        onnx_path: the file; `test_data_set_*` lie in its folder.
        certificate: where its certificate lies; by default beside it, as MODEL.certificate.json or by the name in the
            file's metadata.

    Raises:
        UsageError: if there is no such file, no such certificate, or no golden vectors beside it.
        InputError: if a file is damaged, or the vectors are not of this model.
    """
    started = time.perf_counter()
    path = Path(onnx_path)
    if (kind := kind_of(path)) != "onnx":
        raise InputError(f"{path}: is a Keras model ({kind}); name the ONNX file to compare it with as well")
    if certificate is not None and not files.is_file(Path(certificate)):
        raise UsageError(f"{certificate}: no such file; name the certificate of {path.name}, or leave it out")
    file = open_file(path)
    replayed = _replay(file, path)
    if not replayed:
        raise UsageError(
            f"{path}: has no golden vectors (test_data_set_0) beside it; name the model to compare it with, or write "
            "the file with --golden"
        )
    known = certificate_beside(path) if certificate is None else Path(certificate)
    notes = certificate_notes(path, known)
    return Replay(
        passed=all(each.passed for each in replayed) and not notes,
        onnx_model=path.name,
        onnx_sha256=file.sha256,
        certificate=None if known is None else known.name,
        replayed=tuple(replayed),
        notes=tuple(notes),
        seconds=time.perf_counter() - started,
        cpu=cpu(),
        versions={package: metadata.version(package) for package in PACKAGES},
    )


def replay_vectors(path: Path) -> list[Replayed]:
    """What the file at `path` gives on the golden vectors beside it, if there are some. Raises InputError."""
    return _replay(open_file(path), path)


def _replay(file: OnnxFile, path: Path) -> list[Replayed]:
    folders = data_sets(path.parent)
    runtime = open_runtime(file, "all", 1) if folders else None
    return [each for folder in folders if runtime is not None for each in _replayed(file, runtime, folder)]


def _samples(plan: Plan, data: Data | None, count: int) -> Iterator[Inputs]:
    names = [*(["data"] if data is not None else []), *_NAMES]
    several = plan.whole_batches(_SAMPLES)
    for index in range(count):
        name, turn = names[index % len(names)], index // len(names)
        if name == "data" and data is not None:
            chunk = next(iter(data.chunks(plan)), None)
            inputs = _turned(chunk, turn * several, several) if chunk is not None else None
            if inputs is not None:
                yield inputs
                continue
        seeded = replace(plan, seed=plan.seed + turn, samples=several)
        yield random_probe(seeded, "normal" if name == "data" else name).inputs


def _turned(chunk: Probe, start: int, count: int) -> Inputs | None:
    """`count` samples from `start` on; None if there are not so many."""
    inputs = tuple(array[start : start + count] for array in chunk.inputs)
    return inputs if len(inputs[0]) == count else None


def _outputs(reference: Reference, inputs: Inputs) -> Outputs:
    plain = reference.run(inputs)
    if reference.truth is None:
        return plain
    pairs = zip(reference.truth.run(inputs), plain, strict=True)
    return tuple(
        exact.astype(np.float32) if _is_truth(exact, other, reference.trusted) else other for exact, other in pairs
    )


def _decided(inputs: Inputs, outputs: Outputs) -> tuple[Inputs, Outputs]:
    """As many samples, of which no rounding changes the class, with their classes; the others are replaced by those."""
    (scores,) = outputs
    first, second = (np.partition(scores, -place, axis=1)[:, -place] for place in (1, 2))
    clear = np.flatnonzero(first - second > _CLEAR * compare.scale(scores))
    chosen = np.resize(clear, len(scores)) if len(clear) else np.arange(len(scores))
    return tuple(array[chosen] for array in inputs), (scores[chosen].argmax(axis=1),)


def _is_truth(exact: NDArray[Any], other: NDArray[Any], trusted: float) -> bool:
    return other.dtype.kind == "f" and compare.max_abs(exact, other) <= trusted * compare.scale(exact)


def _replayed(file: OnnxFile, runtime: Runtime, folder: Path) -> Iterator[Replayed]:
    given = _ordered(folder, _arrays(folder, "input"), runtime.inputs)
    wanted = _ordered(folder, _arrays(folder, "output"), runtime.outputs)
    results = _once(runtime, given)
    known: Sequence[NDArray[np.float64]] | None = None
    for index, (actual, expected) in enumerate(zip(results, map(np.atleast_1d, wanted), strict=True)):
        if actual.shape != expected.shape:
            raise InputError(
                f"{folder.name}: output_{index}.pb has the shape {expected.shape}, the result {actual.shape}"
            )
        errors = compare.channels(compare.absolute(actual, expected))
        scales = compare.channels(compare.magnitudes(expected))
        floor = 1.0 if runtime.outputs[index].name in file.anatomy.rounds_at_one else 0.0
        allowed = compare.tolerance(np.maximum(scales, floor), None, np.zeros(()))
        if (errors > allowed).any():  # only then is it worth to know how sensitive the model is
            known = known or _moves(file, given, results)
            allowed = compare.tolerance(np.maximum(scales, floor), None, known[index])
        shares = compare.share(errors, allowed)
        worst = int(shares.argmax())
        yield Replayed(
            data_set=folder.name,
            output=runtime.outputs[index].name,
            samples=len(actual),
            difference=compare.distance(errors, scales),
            tolerance=float(allowed[worst]),
            used=float(shares[worst]),
            passed=bool(shares[worst] <= 1.0),
        )


def _moves(file: OnnxFile, inputs: Inputs, outputs: Outputs) -> tuple[NDArray[np.float64], ...]:
    weights = largest_moves(outputs, [_once(open_runtime(twin, "off", 1), inputs) for twin in file.rounded()])
    up, down = (_once(open_runtime(twin, "off", 1), inputs) for twin in twins(file))
    return tuple(map(np.maximum, weights, map(moves, up, down)))


def _once(runtime: Runtime, inputs: Inputs) -> Outputs:
    """The outputs of a single run; numbers without axes as arrays of one."""
    feed = {tensor.name: array for tensor, array in zip(runtime.inputs, inputs, strict=True)}
    return tuple(np.atleast_1d(result) for result in runtime.call(feed))


def _arrays(folder: Path, role: str) -> Arrays:
    found = (file for file in folder.iterdir() if file.name.startswith(f"{role}_") and VECTOR.fullmatch(file.name))
    return [_array(file) for file in sorted(found, key=lambda file: int(file.stem.split("_")[1]))]


def _array(file: Path) -> tuple[str, NDArray[Any]]:
    if not file.is_file() or not file.resolve().is_relative_to(file.parent.parent.resolve()):
        raise InputError(f"{file}: is no regular file in the model's folder; refused")
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputError(f"{file}: larger than {_MOST_BYTES >> 20} MiB; such vectors are not supported")
        tensor = onnx.TensorProto.FromString(file.read_bytes())
        if onnx.external_data_helper.uses_external_data(tensor):
            raise InputError(f"{file}: its data lie in another file, which is not supported")
        array = numpy_helper.to_array(tensor)
    except OSError as error:
        raise InputError(f"{file}: can not be read ({error.strerror or error})") from error
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file}: is not a serialized tensor ({error}); copy it again") from error
    if array.ndim > 0 and len(array) == 0:
        raise InputError(f"{file}: holds no samples; write the vectors anew")
    return tensor.name, array


def _ordered(folder: Path, arrays: Arrays, tensors: Sequence[Tensor]) -> tuple[NDArray[Any], ...]:
    """By name if all names agree, else by position."""
    by_name = dict(arrays)
    names = [tensor.name for tensor in tensors]
    if len(arrays) != len(tensors):
        raise InputError(f"{folder}: has {len(arrays)} tensors for {', '.join(names)}; it is not of this model")
    chosen = [by_name[name] for name in names] if set(by_name) == set(names) else [array for _, array in arrays]
    for tensor, array in zip(tensors, chosen, strict=True):
        if array.dtype != np.dtype(tensor.dtype):
            raise InputError(f"{folder}: {tensor.name} is {array.dtype}, in the model {tensor.dtype}")
    return tuple(chosen)
