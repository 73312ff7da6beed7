"""Late, quiet imports of the heavy packages. The only place that touches their start-up switches.

Importing TensorFlow takes seconds and writes to stderr from C++; both are kept away from users who do not need it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from edgebn.errors import UsageError


def keras() -> Any:
    """Keras on TensorFlow, imported on first use.

    Raises:
        UsageError: if TensorFlow is missing, or Keras already runs on another backend.
    """
    tensorflow()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"Keras runs on {keras.backend.backend()!r}; edgebn needs TensorFlow: set KERAS_BACKEND=tensorflow"
        )
    return keras


def tensorflow() -> Any:
    """TensorFlow, imported on first use without its start-up messages.

    Raises:
        UsageError: if TensorFlow is not installed.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with silenced():
            import tensorflow
    except ImportError as error:
        raise UsageError(f"TensorFlow can not be imported ({error}); try: pip install tensorflow") from error
    tensorflow.get_logger().setLevel(logging.ERROR)
    return tensorflow


def onnxruntime() -> Any:
    """Onnxruntime, imported on first use; only its errors are logged."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises for a model that it does not load or run."""
    onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    named = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    return (RuntimeError, ValueError, *(getattr(state, name) for name in named))


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Hold back what is written to stderr, C++ included; show it only if the block raises."""
    try:
        stderr = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # no real stderr: under a GUI, or captured by a test
        stderr = 2
    with tempfile.TemporaryFile() as held:
        saved = os.dup(stderr)
        sys.stderr.flush()
        os.dup2(held.fileno(), stderr)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, stderr)
            os.close(saved)
