"""Real data to compare on, read a thousand samples at a time: digits, or what the caller's .npz file holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn import files
from edgebn.datasets import BUNDLED, NAMES, Images, load_dataset, scaled
from edgebn.datasets.npz import Rows, open_rows
from edgebn.errors import InputError, UsageError
from edgebn.interface import describe
from edgebn.loading import Tensor
from edgebn.verifying.layouts import possible
from edgebn.verifying.probes import DATA, DATA_NOT_FINITE, Plan, Probe, Sizes
from edgebn.verifying.samples import Inputs, transposed

_CHUNK = 1024
_LABELS = ("y_test", "y", "labels")
_ROWS_RANK = 2


@dataclass(frozen=True, eq=False)
class Data:
    """`samples` samples; `read` yields some of them after the other, each time it is called, with labels if known.

    `sizes` are the shapes of a sample, for each input, where the model does not say them.
    """

    name: str
    samples: int
    read: Callable[[], Iterator[tuple[Inputs, NDArray[Any] | None]]]
    sizes: Sizes = ()

    def chunks(self, plan: Plan, *, finite: bool = True) -> Iterator[Probe]:
        """All samples of finite numbers as probes, or all others; what does not fill a batch of a fixed size is left.

        The others are not required to be equal: of NaN Keras's relu makes 0 in float32, and NaN in float64.
        """
        name = DATA if finite else DATA_NOT_FINITE
        for inputs, labels in self.read():
            rows = np.flatnonzero(_are_finite(inputs) == finite)
            if count := len(rows) - len(rows) % (plan.fixed_batch or 1):
                chosen = slice(0, count) if len(rows) == len(inputs[0]) else rows[:count]
                given = tuple(array[chosen] for array in inputs)
                known = None if labels is None else labels[chosen]
                yield Probe(name, given, plan.data_batch_sizes, required=finite, labels=known)


def open_data(
    model: str,
    inputs: Sequence[Tensor],
    given: str | Path | None,
    *,
    outputs: Sequence[Tensor] = (),
    decides: bool = False,
    of_whole: bool = False,
) -> Data | None:
    """The data that the caller names; the bundled digits if none are, and the model takes such.

    A file has an array for each input: under the input's name, or as `x_test`, `x`, `x0`, `x1`…; and labels as
    `y_test`, `y` or `labels`, if any: indices of classes, whole numbers of whatever dtype, or one-hot rows, and of
    classes that `outputs` have: two if a single score `decides`. Channels may be first or last, where the shape tells
    which. Digits, uint8, are divided by 255 unless the model takes raw pixels. Where a sample is all `of_whole` arrays
    that one run takes, an array may also be that of a single run, without an axis for samples.

    Raises:
        UsageError: if it is neither the name of a data set nor a file, or the model does not take digits.
        InputError: if the data can not be read or are not of the model's shapes, or the labels are none or of no class.
    """
    digits = takes_digits(inputs)
    if given is None:
        return _named_digits(BUNDLED, inputs[0]) if digits else None
    if str(given) not in NAMES:
        return _from_file(Path(given), inputs, digits, _classes(outputs, decides=decides), of_whole)
    if not digits:
        shapes = ", ".join(str(tensor.shape) for tensor in inputs)
        raise UsageError(f"{model}: takes {shapes}, not images of 28 × 28 pixels; leave --data out, or give a file")
    return _named_digits(str(given), inputs[0])


def _are_finite(inputs: Inputs) -> NDArray[np.bool_]:
    """Whether each sample is made of finite numbers."""
    floats = (array for array in inputs if array.dtype.kind == "f")
    rows = (np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in floats)
    return np.asarray(np.logical_and.reduce([np.ones(len(inputs[0]), bool), *rows]))


def takes_digits(inputs: Sequence[Tensor]) -> bool:
    """Whether the model has one input for images of 28 × 28 pixels, flat or not, with one channel: float or raw."""
    shapes = {(784,), (28, 28), (28, 28, 1), (1, 28, 28)}
    return len(inputs) == 1 and inputs[0].shape[1:] in shapes and inputs[0].dtype in {"float32", "uint8"}


def _classes(outputs: Sequence[Tensor], *, decides: bool) -> int | None:
    """How many classes the rows of scores have, the most if outputs differ; None where one does not say."""
    if decides and [tensor.shape[1:] for tensor in outputs] == [(1,)]:
        return 2
    rows = [tensor for tensor in outputs if len(tensor.shape) == _ROWS_RANK and tensor.shape[1] != 1]
    known = [tensor.shape[1] for tensor in rows if "float" in tensor.dtype]
    counts = [count for count in known if count is not None]
    return max(counts) if counts and len(counts) == len(rows) else None


def _named_digits(name: str, tensor: Tensor) -> Data:
    dataset = load_dataset(name)

    def read() -> Iterator[tuple[Inputs, NDArray[Any] | None]]:
        for start in range(0, len(dataset.x_test), _CHUNK):
            chosen = slice(start, start + _CHUNK)
            yield (_pixels(dataset.x_test[chosen], tensor),), dataset.y_test[chosen]

    return Data(dataset.name, len(dataset.x_test), read)


def _pixels(images: Images, tensor: Tensor) -> NDArray[Any]:
    pixels = images if tensor.dtype == "uint8" else scaled(images)
    return pixels.reshape(len(images), *(extent or 1 for extent in tensor.shape[1:]))


def _from_file(path: Path, inputs: Sequence[Tensor], digits: bool, classes: int | None, of_whole: bool) -> Data:
    if not files.is_file(path):
        raise UsageError(f"{path}: neither a data set ({', '.join(NAMES)}) nor a file; check --data")
    arrays = open_rows(path)
    chosen = [_array_for(path, arrays, tensor, index, len(inputs)) for index, tensor in enumerate(inputs)]
    if of_whole and all(len(rows.shape) < len(tensor.shape) for rows, tensor in zip(chosen, inputs, strict=True)):
        return _of_one_run(path, chosen, inputs)
    labels = _labels_in(arrays, chosen)
    samples = chosen[0].shape[0]
    others = [*chosen, *([] if labels is None else [labels])]
    if samples == 0 or any(rows.shape[0] != samples for rows in others):
        counts = ", ".join(f"{rows.name} {rows.shape[0]}" for rows in others)
        raise InputError(f"{path}: the arrays need the same number of samples, and one at least; they have {counts}")
    pairs = zip(chosen, inputs, strict=True)
    turned = [_turn(rows, tensor, digits=digits, of_whole=of_whole) for rows, tensor in pairs]
    if labels is not None:
        _check_range(labels, classes)

    def read() -> Iterator[tuple[Inputs, NDArray[Any] | None]]:
        parts = [rows.chunks(_CHUNK) for rows in others]
        for given in zip(*parts, strict=True):
            pairs = zip(transposed(given[: len(inputs)], turned), inputs, strict=True)
            yield (
                tuple(_pixels(x, tensor) if digits and x.dtype == np.uint8 else _as(x, tensor) for x, tensor in pairs),
                None if labels is None else _indices(given[-1], labels),
            )

    sizes = () if digits else tuple(_by(rows.shape, axes)[1:] for rows, axes in zip(chosen, turned, strict=True))
    return Data(path.name, samples, read, sizes)


def _of_one_run(path: Path, chosen: Sequence[Rows], inputs: Sequence[Tensor]) -> Data:
    """Whole arrays, one for each input."""
    for rows, tensor in zip(chosen, inputs, strict=True):
        _turn(replace(rows, shape=(1, *rows.shape)), tensor, digits=False, of_whole=True)

    def read() -> Iterator[tuple[Inputs, NDArray[Any] | None]]:
        arrays = (np.concatenate(list(rows.chunks(_CHUNK)))[np.newaxis] for rows in chosen)
        yield tuple(_as(array, tensor) for array, tensor in zip(arrays, inputs, strict=True)), None

    return Data(path.name, 1, read, tuple(rows.shape for rows in chosen))


def _array_for(path: Path, arrays: dict[str, Rows], tensor: Tensor, index: int, count: int) -> Rows:
    names = [tensor.name, f"x{index}", *(["x_test", "x"] if count == 1 else [])]
    for name in names:
        if name in arrays:
            return arrays[name]
    held = ", ".join(sorted(arrays)[:8]) or "nothing"
    wanted = " or ".join(map(repr, dict.fromkeys([tensor.name, names[-1]])))
    raise InputError(f"{path}: has no array {wanted} for the input {tensor.name}; it holds {held}")


def _labels_in(arrays: dict[str, Rows], inputs: Sequence[Rows]) -> Rows | None:
    """The first array that is called as labels are, and is no input; InputError if it can not hold labels."""
    taken = {rows.name for rows in inputs}
    rows = next((arrays[name] for name in _LABELS if name in arrays and name not in taken), None)
    if rows is not None and (rows.dtype.kind not in "biuf" or len(rows.shape) > _ROWS_RANK):
        raise _no_labels(rows)
    return rows


def _indices(given: NDArray[Any], rows: Rows) -> NDArray[np.int64]:
    """The index of the class of each sample: what is given, or where the 1 of a one-hot row stands."""
    if given.ndim == _ROWS_RANK and given.shape[1] > 1:
        if not (((given == 0) | (given == 1)).all() and (np.count_nonzero(given, axis=1) == 1).all()):
            raise _no_labels(rows)
        return np.asarray(given.argmax(axis=1), np.int64)
    if given.dtype.kind == "f" and not (np.isfinite(given).all() and (given == np.rint(given)).all()):
        raise _no_labels(rows)
    return given.reshape(-1).astype(np.int64)


def _check_range(rows: Rows, classes: int | None) -> None:
    """Refuse what is the index of no class; where their number is not known, what is below 0."""
    ends = [(int(part.min()), int(part.max())) for part in (_indices(given, rows) for given in rows.chunks(_CHUNK))]
    least, most = min(low for low, _ in ends), max(high for _, high in ends)
    if least < 0 or (classes is not None and most >= classes):
        wanted = "counted from 0" if classes is None else f"0 to {classes - 1} for the {classes} classes of the output"
        raise InputError(
            f"{rows.path}: the labels {rows.name} are from {least} to {most}, but must be {wanted}; "
            "write them as such, or leave them out"
        )


def _no_labels(rows: Rows) -> InputError:
    return InputError(
        f"{rows.path}: the labels {rows.name}, {rows.dtype} {rows.shape}, are neither one index of a class "
        "a sample nor one-hot rows; write them as such, or leave them out"
    )


def _turn(rows: Rows, tensor: Tensor, *, digits: bool, of_whole: bool) -> tuple[int, ...]:
    """The axes by which it is to be transposed, () if it is to stay. Raises InputError if it fits in no way."""
    if rows.dtype.kind not in "fiub" or (np.dtype(tensor.dtype).kind in "iub" and rows.dtype.kind == "f"):
        raise InputError(f"{rows.path}: {rows.name} is {rows.dtype}, the input {tensor.name} {tensor.dtype}")
    if digits and rows.shape[1:] in {(28, 28), (28, 28, 1)}:
        return ()
    turns = possible(tensor) if len(rows.shape) == len(tensor.shape) and not of_whole else []
    for axes in ((), *turns):
        if _fits(_by(rows.shape, axes), tensor):
            return axes
    wanted = describe(tensor.shape)
    raise InputError(f"{rows.path}: {rows.name} has the shape {rows.shape}, but the input {tensor.name} takes {wanted}")


def _by(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in axes) if axes else shape


def _fits(shape: tuple[int, ...], tensor: Tensor) -> bool:
    """Whether these are samples of the input."""
    wanted, found = tensor.shape[1:], shape[1:]
    return len(wanted) == len(found) and all(a in {None, b} for a, b in zip(wanted, found, strict=True))


def _as(array: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """In the input's dtype and shape; what varies is as long as in the array."""
    same_rank = array.ndim == len(tensor.shape)
    found = array.shape[1:] if same_rank else tuple(extent or 1 for extent in tensor.shape[1:])
    return array.astype(tensor.dtype).reshape(len(array), *found)
