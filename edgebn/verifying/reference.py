"""What Keras says that the model computes: in float32 as it is, and in float64, the truth that measures both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn import backends
from edgebn.loading import Source, open_source

Outputs = tuple[NDArray[Any], ...]
Run = Callable[[tuple[NDArray[Any], ...]], Outputs]

_BATCH = 256
_NO_TWIN = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, NotImplementedError)


def keras_run(source: Source) -> Run:
    """A function that runs `source` on arrays of samples, in batches."""
    tensorflow = backends.tensorflow()
    traced = tensorflow.function(source.call, autograph=False, reduce_retracing=True)

    def run(inputs: tuple[NDArray[Any], ...]) -> Outputs:
        parts = []
        for start in range(0, len(inputs[0]), _BATCH):
            tensors = (tensorflow.constant(array[start : start + _BATCH]) for array in inputs)
            parts.append([np.asarray(result) for result in traced(*tensors)])
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    return run


def float64_run(source: Source) -> Run | None:
    """The same with every layer in float64, weights and all; None where the model can not be rebuilt so."""
    twin = None if source.model is None else _float64_twin(source.model)
    return None if twin is None else keras_run(open_source(twin))


def _float64_twin(model: Any) -> Any | None:
    keras, tensorflow = backends.keras(), backends.tensorflow()

    def doubled(layer: Any) -> Any:
        config = _in_float64(layer.get_config())
        return type(layer).from_config({**config, "dtype": "float64"} if "dtype" in config else config)

    try:
        with backends.silenced():
            twin = keras.models.clone_model(model, clone_function=doubled, recursive=True)
            twin.set_weights(model.get_weights())
            twin(keras.tree.map_structure(_zeros, twin.inputs), training=False)
    except (*_NO_TWIN, tensorflow.errors.OpError):
        return None
    return twin


def _zeros(tensor: Any) -> NDArray[Any]:
    return np.zeros([extent or 1 for extent in tensor.shape], tensor.dtype)


def _in_float64(config: Any) -> Any:
    """A layer's configuration with every dtype policy inside of it, those of inner layers included, as float64."""
    if isinstance(config, list | tuple):
        return type(config)(_in_float64(part) for part in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return {**config, "config": {"name": "float64"}}
    return {name: _in_float64(part) for name, part in config.items()}
