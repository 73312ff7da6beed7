"""verify: an ONNX file against the Keras model that it came from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgebn import files
from edgebn.datasets import BUNDLED, Dataset, load_dataset
from edgebn.errors import InputError, UsageError
from edgebn.loading import Source, Tensor, kind_of, open_source
from edgebn.loading.precision import computes_in
from edgebn.report import Comparison, Verdict
from edgebn.verifying import compare
from edgebn.verifying.probes import DIGITS, Probe, probes, takes_digits
from edgebn.verifying.reference import Outputs, float64_truth, keras_run
from edgebn.verifying.sessions import Session, open_sessions

_EXPORTED_AS = {"float16": "float32", "bfloat16": "float32"}
_PACKAGES = ("edgebn", "keras", "numpy", "onnxruntime", "tensorflow")


def verify(
    model_or_path: Any, onnx_path: str | Path, *, data: str | None = None, seed: int = 0, trust: bool = False
) -> Verdict:
    """Run the Keras model and the ONNX file on CPU on the same inputs, and compare every output.

    The inputs are real test digits, where the model takes such images, and seeded random arrays of both signs, in
    batches of 1 and more; onnxruntime runs with its optimisations off and on. Where the model can be rebuilt in
    float64, that is the truth: the file passes if it is no further from the truth than four times what Keras in float32
    is, plus 32 times what the output moves when every weight is rounded once, plus 16 roundings of the output's largest
    value. Where it can not, Keras is the measure, with 84 roundings (1e-5), and the sensitivity is the ONNX file's own.

    Args:
        model_or_path: a `keras.Model`, a `.keras` or `.h5` file, or a SavedModel folder.
        onnx_path: the file to verify, as it lies on the disk.
        data: digits to compare on, as for `train`; by default those that come with edgebn, if the model takes them.
        seed: of the random inputs.
        trust: allow layers that run code which the model file brings along (Lambda).

    Raises:
        UsageError: if a path leads nowhere, or digits are asked for that the model does not take.
        InputError: if a file can not be opened, or inputs and outputs of both can not be matched.
    """
    onnx_path = Path(onnx_path)
    if (kind := kind_of(onnx_path)) != "onnx":
        raise InputError(f"{onnx_path}: is a Keras model ({kind}), but an ONNX file is expected here; swap the two")
    source = open_source(model_or_path, trust=trust)
    sessions = open_sessions(onnx_path)
    dataset = _dataset(source, data)
    comparisons = tuple(_comparisons(source, sessions, dataset, seed))
    labelled = [each for each in comparisons if each.probe == DIGITS and each.changed_labels is not None]
    return Verdict(
        passed=all(each.passed for each in comparisons),
        keras_model=source.name,
        onnx_model=onnx_path.name,
        onnx_sha256=files.sha256(onnx_path),
        data=None if dataset is None else dataset.name,
        seed=seed,
        max_abs=max(each.max_abs for each in comparisons),
        changed_labels=max((each.changed_labels or 0 for each in labelled), default=0),
        labelled_samples=max((each.samples for each in labelled), default=0),
        comparisons=comparisons,
        versions={package: metadata.version(package) for package in _PACKAGES},
    )


def _dataset(source: Source, data: str | None) -> Dataset | None:
    if takes_digits(source.inputs):
        return load_dataset(BUNDLED if data is None else data)
    if data is None:
        return None
    shapes = ", ".join(str(tensor.shape) for tensor in source.inputs)
    raise UsageError(f"{source.name}: takes {shapes}, not images of 28 × 28 pixels; leave --data out")


@dataclass(frozen=True, eq=False)
class _Expected:
    """What an output should be for all samples of a probe: by Keras and, where that can be had, in float64.

    `sensitivity` is how far it moves when every weight is rounded once; `trusted`, how far by the output's scale Keras
    may be from the values in float64 for these to count as the truth.
    """

    output: Tensor
    keras: np.ndarray
    exact: np.ndarray | None
    sensitivity: float
    trusted: float


def _comparisons(
    source: Source, sessions: tuple[Session, ...], dataset: Dataset | None, seed: int
) -> Iterator[Comparison]:
    in_float32, in_float64 = keras_run(source), float64_truth(source)
    input_order = _matched(source, "input", source.inputs, sessions[0].inputs)
    output_order = _matched(source, "output", source.outputs, sessions[0].outputs)
    names = tuple(sessions[0].inputs[index].name for index in input_order)
    rounded = sessions[0].rounded() if in_float64 is None else None
    trusted = [compare.DISTRUST if computes_in(source) is None else 1.0] * len(source.outputs)
    for probe in probes(source.inputs, dataset, seed, _fixed_batch(sessions[0])):

        def given(session: Session, batch_size: int, probe: Probe = probe) -> Outputs:
            limit = probe.limit(batch_size)
            results = session.run(tuple(array[:limit] for array in probe.inputs), names, batch_size)
            return tuple(results[index] for index in output_order)

        keras, largest = in_float32(probe.inputs), max(probe.batch_sizes)
        if in_float64 is not None:
            exact = in_float64.run(probe.inputs)
            sensitivity = in_float64.sensitivity(probe.inputs, exact)
            expected = tuple(map(_Expected, source.outputs, keras, exact, sensitivity, trusted))
        elif rounded is not None:
            pairs = zip(given(rounded, largest), given(sessions[0], largest), strict=True)
            moved = (compare.max_abs(*pair) for pair in pairs)
            expected = tuple(map(_Expected, source.outputs, keras, [None] * len(keras), moved, trusted))
        for session in sessions:
            for batch_size in probe.batch_sizes:
                for output, actual in zip(expected, given(session, batch_size), strict=True):
                    yield _compared(source, probe, session.level, batch_size, output, actual)


def _compared(
    source: Source, probe: Probe, level: str, batch_size: int, expected: _Expected, actual: np.ndarray
) -> Comparison:
    """One output at one level and batch size. The scale and Keras's own error are taken over all samples."""
    limit, exact = probe.limit(batch_size), expected.exact
    keras = expected.keras[:limit]
    _check_shape(source, expected.output, actual, keras)
    scale = compare.scale(expected.keras if exact is None else exact)
    keras_error = None if exact is None else compare.max_abs(expected.keras, exact)
    sensitivity = expected.sensitivity
    if keras_error is not None and keras_error > expected.trusted * scale:
        exact, scale = None, compare.scale(expected.keras)
        most = 0.0 if keras_error == math.inf else compare.DISTRUST * scale  # an overflow in float32 is no rounding
        keras_error, sensitivity = None, min(sensitivity, most / compare.SENSITIVITY_FACTOR)
    difference = compare.max_abs(actual, keras)
    error = None if exact is None else compare.max_abs(actual, exact[:limit])
    allowed = compare.tolerance(scale, keras_error, sensitivity)
    return Comparison(
        output=expected.output.name,
        probe=probe.name,
        optimisation=level,
        batch_size=batch_size,
        samples=len(actual),
        max_abs=difference,
        keras_error=keras_error,
        onnx_error=error,
        sensitivity=sensitivity,
        scale=scale,
        tolerance=allowed,
        changed_labels=compare.changed_labels(actual, keras),
        passed=(difference if error is None else error) <= allowed,
    )


def _check_shape(source: Source, output: Tensor, actual: np.ndarray, expected: np.ndarray) -> None:
    if actual.shape != expected.shape:
        raise InputError(
            f"{source.name}: its output {output.name} has the shape {expected.shape}, that of the ONNX file "
            f"{actual.shape}; they are not the same model"
        )


def _matched(source: Source, role: str, wanted: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> tuple[int, ...]:
    """For each of Keras's tensors the position of the ONNX file's: by name if all names agree, else by position."""
    if len(wanted) != len(found):
        raise InputError(
            f"{source.name}: has {len(wanted)} {role}s, the ONNX file {len(found)}; they are not the same model"
        )
    positions = {tensor.name: index for index, tensor in enumerate(found)}
    if all(tensor.name in positions for tensor in wanted):
        order = tuple(positions[tensor.name] for tensor in wanted)
    else:
        order = tuple(range(len(wanted)))
    for tensor, index in zip(wanted, order, strict=True):
        if not _agrees(tensor, found[index]):
            raise InputError(
                f"{source.name}: its {role} {tensor.name} is {tensor.dtype} {tensor.shape}, that of the ONNX file "
                f"{found[index].dtype} {found[index].shape}; they are not the same model"
            )
    return order


def _agrees(tensor: Tensor, other: Tensor) -> bool:
    same_rank = len(tensor.shape) == len(other.shape)
    return (
        same_rank
        and other.dtype in {tensor.dtype, _EXPORTED_AS.get(tensor.dtype)}
        and all(a is None or b is None or a == b for a, b in zip(tensor.shape, other.shape, strict=True))
    )


def _fixed_batch(session: Session) -> int | None:
    extents = [tensor.shape[0] for tensor in session.inputs if tensor.shape]
    return next((extent for extent in extents if extent is not None), None)
