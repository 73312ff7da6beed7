"""Tensors in files of their own, as the ONNX backend tests have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from edgebn.errors import InputError

MAX_BYTES = 1 << 30
"""The largest file that is read, 1 GiB."""


def read_tensor(path: Path) -> np.ndarray[Any, Any]:
    """The array in a file that holds a serialized TensorProto.

    Raises:
        InputError: if it is missing, damaged, too large, or keeps its data in another file.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES >> 30} GiB; such tensors are not supported")
        tensor = onnx.TensorProto.FromString(path.read_bytes())
        if tensor.external_data:
            raise InputError(f"{path}: keeps its data in another file; write it as a whole")
        return numpy_helper.to_array(tensor)
    except OSError as error:
        raise InputError(
            f"{path}: can not be read ({error.strerror or error}); make the golden vectors anew"
        ) from error
    except (DecodeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not a tensor; make the golden vectors anew") from error
