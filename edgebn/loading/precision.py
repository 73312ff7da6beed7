"""The same model computing in another precision: layer by layer from its configuration, with the same weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn import backends
from edgebn.loading import Source, open_source

_NO_TWIN = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, NotImplementedError)
_DYNAMIC_EXTENT = 32


def in_precision(source: Source, dtype: str) -> Source | None:
    """`source` with every layer's variables and arithmetic in `dtype`; None where it can not be rebuilt so."""
    if source.model is None:
        return None
    keras, tensorflow = backends.keras(), backends.tensorflow()

    def converted(layer: Any) -> Any:
        config = _with_dtype(layer.get_config(), dtype)
        return type(layer).from_config({**config, "dtype": dtype} if "dtype" in config else config)

    try:
        with backends.silenced():
            model = keras.models.clone_model(source.model, clone_function=converted, recursive=True)
            model.set_weights(source.model.get_weights())
            for layer in model._flatten_layers():
                if hasattr(layer, "finalize_state"):  # Normalization derives more from its weights
                    layer.finalize_state()
            twin = open_source(model)
            if not _runs(twin) and _runs(source):
                return None
    except (*_NO_TWIN, tensorflow.errors.OpError):
        return None
    return replace(twin, name=source.name, sha256=source.sha256)


def _runs(source: Source) -> bool:
    """Whether it runs on zeros; what may vary is 32 long, which not every model takes."""
    try:
        source.call(*(_zeros(tensor) for tensor in source.inputs))
    except (*_NO_TWIN, backends.tensorflow().errors.OpError):
        return False
    return True


def computes_in(source: Source) -> str | None:
    """The precision that some layer computes in and that is not float32; None if all are float32."""
    dtypes = {getattr(layer, "compute_dtype", None) for layer in source.layers.values()}
    return next((dtype for dtype in ("float16", "bfloat16", "float64") if dtype in dtypes), None)


def _zeros(tensor: Any) -> NDArray[Any]:
    shape = [_DYNAMIC_EXTENT if extent is None else extent for extent in tensor.shape[1:]]
    return np.zeros((1, *shape), tensor.dtype)


def _with_dtype(config: Any, dtype: str) -> Any:
    """A layer's configuration with every dtype policy inside of it, those of inner layers included, as `dtype`."""
    if isinstance(config, list | tuple):
        return type(config)(_with_dtype(part, dtype) for part in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return {**config, "config": {"name": dtype}}
    return {name: _with_dtype(part, dtype) for name, part in config.items()}
