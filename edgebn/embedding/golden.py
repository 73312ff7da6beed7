"""Golden vectors: inputs and the outputs that belong to them, by which an app tests itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgebn import backends
from edgebn.embedding.ports import FLOAT, Port
from edgebn.errors import ConversionError, InputError
from edgebn.loading.tensor_files import read_tensor

Array = np.ndarray[Any, Any]

MOST_SAMPLES = 10
MADE_SAMPLES = 3
TOLERANCE = 1e-5
"""Of the largest golden number, or of 1 if that is larger: float32 sums differ by their order, at most some 1e-6."""


@dataclass(frozen=True, eq=False)
class Golden:
    """For each input and each output an array (samples, *shape), where they come from, and tolerances."""

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    origin: str

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.inputs[0])

    @property
    def tolerances(self) -> list[float]:
        """The largest difference that is rounding, for each output; of integers none is."""
        return [
            float(TOLERANCE * max(1.0, np.abs(each).max(initial=0.0))) if each.dtype == np.float32 else 0.0
            for each in self.outputs
        ]


def golden_vectors(path: Path, content: bytes, inputs: Sequence[Port], outputs: Sequence[Port]) -> Golden:
    """Those in the folders test_data_set_0, 1 … beside the model; if there are none, what onnxruntime makes of noise.

    Raises:
        InputError: if a file of theirs is damaged, of another shape than the model's tensors, or belongs to another
            model: then onnxruntime computes something else.
        ConversionError: if onnxruntime can not run the model.
    """
    folders = sorted(path.parent.glob("test_data_set_*"), key=lambda each: (len(each.name), each.name))
    found = _found(folders, inputs, outputs) if folders else None
    rng = np.random.default_rng(0)
    given = found[0] if found else tuple(_noise(rng, port) for port in inputs)
    computed = _computed(path, content, inputs, outputs, given)
    if found is None:
        golden = Golden(given, computed, "noise of seed 0 against what onnxruntime makes of it")
    else:
        golden = Golden(*found, "the golden vectors beside the model")
    if not all(np.isfinite(array).all() for array in (*golden.inputs, *golden.outputs)):
        raise InputError(f"{path}: not every golden number is finite; an app can not be tested by that")
    _check_fit(folders, golden, computed, outputs)
    return golden


def _noise(rng: np.random.Generator, port: Port) -> Array:
    shape = (MADE_SAMPLES, *port.shape)
    return rng.random(shape, np.float32) if port.type == FLOAT else rng.integers(0, 256, shape, np.uint8)


def _check_fit(folders: Sequence[Path], golden: Golden, computed: Sequence[Array], outputs: Sequence[Port]) -> None:
    for port, array, expected, tolerance in zip(outputs, computed, golden.outputs, golden.tolerances, strict=True):
        difference = np.abs(array - expected).max(initial=0.0)
        if not difference <= tolerance:
            raise InputError(
                f"{folders[0].parent}: its golden vectors, {folders[0].name} and so on, are of another model: "
                f"{port.name} differs by {difference:.1e} from what onnxruntime computes; move them away, or make them "
                "anew"
            )


def _found(
    folders: Sequence[Path], inputs: Sequence[Port], outputs: Sequence[Port]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    sets = [[_samples(folder, "input", inputs), _samples(folder, "output", outputs)] for folder in folders]
    given, expected = (
        tuple(np.concatenate(arrays)[:MOST_SAMPLES] for arrays in zip(*(each[side] for each in sets), strict=True))
        for side in (0, 1)
    )
    if len({len(each) for each in (*given, *expected)}) > 1:
        raise InputError(f"{folders[0]}: its inputs and outputs are not of equally many samples; make them anew")
    return given, expected


def as_json(golden: Golden) -> bytes:
    """The vectors as JSON: for each input and output, and each sample, a flat list of numbers; and the tolerances."""
    inputs, outputs = (
        ",\n".join(f"  [\n{_rows(array)}\n  ]" for array in arrays) for arrays in (golden.inputs, golden.outputs)
    )
    tolerances = ", ".join(f"{tolerance:.3g}" for tolerance in golden.tolerances)
    return f"""{{
 "origin": "{golden.origin}",
 "inputs": [
{inputs}
 ],
 "outputs": [
{outputs}
 ],
 "tolerances": [{tolerances}]
}}
""".encode()


def _rows(array: Array) -> str:
    return ",\n".join(f"   [{', '.join(map(str, sample.reshape(-1)))}]" for sample in array)


def _samples(folder: Path, role: str, ports: Sequence[Port]) -> list[Array]:
    found = []
    for index, port in enumerate(ports):
        file = folder / f"{role}_{index}.pb"
        array = read_tensor(file)
        samples = array if port.batched else array[np.newaxis]
        if samples.shape[1:] != port.shape or not samples.size:
            raise InputError(
                f"{file}: of shape {list(array.shape)}, but {role} {port.name} takes {list(port.shape)} for each sample"
            )
        if not np.can_cast(samples.dtype, port.type.name, "same_kind"):
            raise InputError(f"{file}: of {samples.dtype}, but {role} {port.name} is {port.type.name}")
        found.append(samples.astype(port.type.name))
    return found


def _computed(
    path: Path, content: bytes, inputs: Sequence[Port], outputs: Sequence[Port], given: Sequence[Array]
) -> tuple[Array, ...]:
    """What onnxruntime makes of each sample: for each output an array (samples, *shape)."""
    onnxruntime = backends.onnxruntime()
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        rows = [
            session.run(
                [port.name for port in outputs],
                {
                    port.name: np.asarray(one).reshape(port.tensor_shape)
                    for port, one in zip(inputs, sample, strict=True)
                },
            )
            for sample in zip(*given, strict=True)
        ]
    except backends.onnxruntime_errors() as error:
        raise ConversionError(f"{path}: onnxruntime can not run it: {' '.join(str(error).split())[:300]}") from error
    return tuple(_stacked(path, port, column) for port, column in zip(outputs, zip(*rows, strict=True), strict=True))


def _stacked(path: Path, port: Port, column: Sequence[Array]) -> Array:
    if any(array.size != port.size for array in column):
        raise InputError(
            f"{path}: output {port.name} is of shape {list(column[0].shape)} for one sample, but the file says "
            f"{list(port.tensor_shape)}; only its first extent may be open, and must be the batch"
        )
    return np.stack([np.asarray(array, port.type.name).reshape(port.shape) for array in column])
