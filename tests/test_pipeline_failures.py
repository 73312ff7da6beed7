"""fold_export when something fails: what was there before stays."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import onnx
import pytest

import edgebn
from edgebn import backends
from tests import keras_models


def refuse(error: BaseException) -> Any:
    """A function that raises `error`, whatever it is given."""

    def raises(*_: Any, **__: Any) -> NoReturn:
        raise error

    return raises


def onnxruntime_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    (fail,) = [error for error in backends.onnxruntime_errors() if error.__name__ == "InvalidGraph"]
    monkeypatch.setattr(backends.onnxruntime(), "InferenceSession", refuse(fail("no such kernel")))


def checker_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx.checker, "check_model", refuse(onnx.checker.ValidationError("no such kernel")))


def inference_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx.checker, "check_model", refuse(onnx.shape_inference.InferenceError("no such kernel")))


def too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx.checker, "MAXIMUM_PROTOBUF", 100)


def disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse(OSError(errno.ENOSPC, "full")))


def user_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse(KeyboardInterrupt()))


FAILURES = [
    (onnxruntime_refuses, edgebn.ConversionError, "onnxruntime rejects the converted model; nothing written: no such"),
    (checker_refuses, edgebn.ConversionError, "onnx.checker rejects the converted model; nothing written: no such"),
    (inference_refuses, edgebn.ConversionError, "onnx.checker rejects the converted model; nothing written: no such"),
    (too_large, edgebn.ConversionError, "larger than 2 GB, the most that one ONNX file can hold; nothing written"),
    (disk_is_full, edgebn.OutputError, "no space left on the disk; nothing was written"),
    (user_interrupts, KeyboardInterrupt, None),
]


@pytest.mark.parametrize(("plant", "error", "message"), FAILURES)
def test_whatever_fails_the_file_stays_as_it_was(
    plant: Any, error: type[BaseException], message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "model.onnx", keras_models.textbook("mlp")
    path.write_bytes(b"earlier")
    plant(monkeypatch)
    with pytest.raises(error, match=message):
        edgebn.fold_export(model, path, report=tmp_path / "report.json")
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]
