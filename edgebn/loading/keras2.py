"""HDF5 files of Keras 2 whose configuration has keys that Keras 3 does not take, though they say nothing new.

Seen in the wild: `groups` of layers that have none, `time_major` of recurrent layers, the kernel's initializer and
regularizer of separable convolutions, which have two kernels, and `dtype` of initializers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgebn.loading.formats import dictionaries

_ONE_GROUP = {"groups": (1,)}
_RECURRENT = {"time_major": (False,)}
_SEPARABLE = {**_ONE_GROUP, "kernel_initializer": None, "kernel_regularizer": (None,), "kernel_constraint": (None,)}

_SUPERFLUOUS: Mapping[str, Mapping[str, tuple[Any, ...] | None]] = {
    "Conv1DTranspose": _ONE_GROUP,
    "Conv2DTranspose": _ONE_GROUP,
    "Conv3DTranspose": _ONE_GROUP,
    "DepthwiseConv1D": _ONE_GROUP,
    "DepthwiseConv2D": _ONE_GROUP,
    "GRU": _RECURRENT,
    "LSTM": _RECURRENT,
    "RNN": _RECURRENT,
    "SeparableConv1D": _SEPARABLE,
    "SeparableConv2D": _SEPARABLE,
    "SimpleRNN": _RECURRENT,
}
"""By layer, the keys that can be left out, and the values for which that changes nothing; None: for all values."""


def without_superfluous_keys(config: Any) -> Any:
    """A model's configuration (parsed JSON) without the keys that Keras 3 does not take and that change nothing.

    A key with another value stays, so that Keras refuses the file rather than loads another model.
    """
    copy = json.loads(json.dumps(config))
    for part in dictionaries(copy):
        options = part.get("config")
        if isinstance(options, dict):
            for key, values in _SUPERFLUOUS.get(str(part.get("class_name")), {}).items():
                if key in options and (values is None or options[key] in values):
                    del options[key]
        for key, value in part.items():
            if key.endswith("_initializer") and isinstance(value, dict) and isinstance(value.get("config"), dict):
                value["config"].pop("dtype", None)
    return copy
