"""What Keras says that the model computes: in float32 as it is, and in float64, the truth that measures both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn import backends
from edgebn.errors import InputError
from edgebn.loading import Source
from edgebn.loading.precision import in_precision
from edgebn.verifying.compare import max_abs

Inputs = tuple[NDArray[Any], ...]
Outputs = tuple[NDArray[Any], ...]
Run = Callable[[Inputs], Outputs]

_BATCH = 256
_HALF_ULP = 2.0**-24
_ROUNDED_TWINS = 2


def keras_run(source: Source) -> Run:
    """A function that runs `source` on arrays of samples, in batches."""
    tensorflow = backends.tensorflow()
    traced = tensorflow.function(source.call, autograph=False, reduce_retracing=True)

    def run(inputs: Inputs) -> Outputs:
        parts = []
        for start in range(0, len(inputs[0]), _BATCH):
            tensors = (tensorflow.constant(array[start : start + _BATCH]) for array in inputs)
            results = [np.asarray(result) for result in traced(*tensors)]
            if any(result.ndim == 0 for result in results):
                raise InputError(f"{source.name}: an output has no batch axis, so that samples can not be told apart")
            parts.append(results)
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    return run


@dataclass(frozen=True, eq=False)
class Truth:
    """The model with every layer in float64, weights and all."""

    twin: Any
    run: Run

    def sensitivity(self, inputs: Inputs, outputs: Outputs) -> tuple[float, ...]:
        """How far each of `outputs`, those for `inputs`, moves when every weight is rounded once: the largest change.

        Each weight is multiplied by 1 ± 2⁻²⁴, half a unit in the last place of float32, with signs from a fixed seed.
        """
        weights = self.twin.get_weights()
        rng = np.random.default_rng(0)
        largest = [0.0] * len(outputs)
        try:
            for _ in range(_ROUNDED_TWINS):
                self.twin.set_weights([_rounded(weight, rng) for weight in weights])
                changes = map(max_abs, self.run(inputs), outputs)
                largest = [max(pair) for pair in zip(largest, changes, strict=True)]
        finally:
            self.twin.set_weights(weights)
        return tuple(largest)


def float64_truth(source: Source) -> Truth | None:
    """`source` in float64; None where the model can not be rebuilt so."""
    twin = in_precision(source, "float64")
    return None if twin is None else Truth(twin.model, keras_run(twin))


def _rounded(weight: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    if weight.dtype.kind != "f":
        return weight
    return weight * (1.0 + _HALF_ULP * rng.choice((-1.0, 1.0), weight.shape))
