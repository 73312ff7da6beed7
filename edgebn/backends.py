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
from pathlib import Path
from typing import IO, Any

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
        UsageError: if TensorFlow is not installed, or finds no space for temporary files.
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
    except OSError as error:  # it wants a folder for temporary files, and tries to write there
        raise UsageError(
            f"TensorFlow can not start ({error.strerror or error}); free some space on the disk, or set TMPDIR"
        ) from error
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


def onnxruntime_quantization() -> Any:
    """Onnxruntime's quantizer, imported on first use."""
    onnxruntime()
    from onnxruntime import quantization

    return quantization


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Hold back what is logged below an error, as by onnxruntime's quantizer, which uses the root logger."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Hold back what is written to stderr, C++ included. What the block raises gets it as a note, for its traceback."""
    with _held() as held:
        try:
            with _redirected(held.fileno()):
                yield
        except BaseException as error:
            held.seek(0)
            if text := held.read().decode(errors="replace").strip():
                error.add_note(text)
            raise


def _held() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # a full disk is reported by who writes a result, not by who is silent
        return Path(os.devnull).open("rb+", buffering=0)


@contextlib.contextmanager
def _redirected(target: int) -> Iterator[None]:
    saved = {descriptor: os.dup(descriptor) for descriptor in _stderr_descriptors()}
    _flush_stderr()
    for descriptor in saved:
        os.dup2(target, descriptor)
    try:
        yield
    finally:
        _flush_stderr()
        for descriptor, copy in saved.items():
            os.dup2(copy, descriptor)
            os.close(copy)


def _stderr_descriptors() -> set[int]:
    """Where C++ writes and where Python does: two places if sys.stderr was replaced, none if there is no console."""
    found = set()
    with contextlib.suppress(OSError):
        os.fstat(2)
        found.add(2)
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found.add(sys.stderr.fileno())
    return found


def _flush_stderr() -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
