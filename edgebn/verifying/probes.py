"""Inputs to compare on: real test digits where the model takes them, and random arrays of both signs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.datasets import Dataset, scaled
from edgebn.loading import Tensor

Inputs = tuple[NDArray[Any], ...]

SAMPLES = 32
DIGITS = "digits"
NORMAL = "normal"
_DYNAMIC_EXTENT = 32
_SMALL_BATCHES = (1, 7, 32)
_SMALL_RUNS = 4


@dataclass(frozen=True, eq=False)
class Probe:
    """Samples for every input of a model, in order, and the batch sizes at which to run them."""

    name: str
    inputs: Inputs
    batch_sizes: tuple[int, ...]

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.inputs[0])

    def limit(self, batch_size: int) -> int:
        """How many samples to run at `batch_size`: all at the largest, and a few batches at the smaller ones."""
        return self.samples if batch_size == max(self.batch_sizes) else min(self.samples, _SMALL_RUNS * batch_size)


def probes(inputs: Sequence[Tensor], dataset: Dataset | None, seed: int, fixed_batch: int | None) -> Iterator[Probe]:
    """The probes for a model with these `inputs`; `fixed_batch`: the one batch size that the ONNX file allows."""
    batches = _SMALL_BATCHES if fixed_batch is None else (fixed_batch,)
    if dataset is not None:
        images = scaled(dataset.x_test).reshape(-1, *(extent for extent in inputs[0].shape[1:] if extent is not None))
        usable = len(images) - len(images) % (fixed_batch or 1)
        if usable:
            yield Probe(DIGITS, (images[:usable],), (1, 256) if fixed_batch is None else (fixed_batch,))
    rng = np.random.default_rng(seed)
    samples = SAMPLES if fixed_batch is None else fixed_batch * max(1, SAMPLES // fixed_batch)
    kinds = {
        NORMAL: lambda shape: rng.standard_normal(shape),
        "uniform": lambda shape: rng.uniform(-1.0, 1.0, shape),
        "small": lambda shape: rng.standard_normal(shape) / 8.0,
        "large": lambda shape: 8.0 * rng.standard_normal(shape),
        "zeros": np.zeros,
    }
    for name, draw in kinds.items():
        yield Probe(name, tuple(_drawn(tensor, samples, draw, rng) for tensor in inputs), batches)


def takes_digits(inputs: Sequence[Tensor]) -> bool:
    """Whether the model has one float input for images of 28 × 28 pixels, flat or not, with one channel."""
    shapes = {(784,), (28, 28), (28, 28, 1), (1, 28, 28)}
    return len(inputs) == 1 and inputs[0].shape[1:] in shapes and inputs[0].dtype == "float32"


def _drawn(tensor: Tensor, samples: int, draw: Any, rng: np.random.Generator) -> NDArray[Any]:
    shape = (samples, *(_DYNAMIC_EXTENT if extent is None else extent for extent in tensor.shape[1:]))
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return np.asarray(draw(shape), dtype)
    highest = 256 if dtype == np.uint8 else 2  # of other integers only 0 and 1 are known to be in range
    return rng.integers(0, highest, shape).astype(dtype)
