"""What takes seconds to make, made once: digits in a file, and a model that was trained on them and exported."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

import edgebn
from edgebn.report import ExportReport, TrainingRecord
from tests import digits


@dataclass(frozen=True)
class Trained:
    """A small MLP: its files, what `train` and `fold_export` returned, and the progress that was reported."""

    keras: Path
    onnx: Path
    record: TrainingRecord
    report: ExportReport
    progress: tuple[tuple[int, int, int, Mapping[str, float]], ...]


@pytest.fixture
def not_for_ever() -> Iterator[None]:
    """For inputs that have no end: to wait for it is a failure too."""

    def too_long(*_: Any) -> NoReturn:
        raise TimeoutError("still at it after a minute")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits.write(tmp_path_factory.mktemp("digits") / "digits.npz", digits.few())


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, digits_file: Path) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    keras, onnx = folder / "mlp.keras", folder / "mlp.onnx"
    progress: list[tuple[int, int, int, Mapping[str, float]]] = []
    record = edgebn.train(
        "mlp",
        keras,
        data=str(digits_file),
        epochs=2,
        batch_size=2,
        on_progress=lambda epoch, done, batches, logs: progress.append((epoch, done, batches, dict(logs))),
    )
    report = edgebn.fold_export(keras, onnx)
    return Trained(keras, onnx, record, report, tuple(progress))
