"""train: the same arguments give the same model, the record says how it came to be, and a failure changes nothing."""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import edgebn
from edgebn import backends
from edgebn.datasets import BUNDLED, load_dataset, scaled
from edgebn.errors import EdgebnError, InputError, OutputError, UsageError
from edgebn.training import fit
from edgebn.training.architectures import ARCHITECTURES
from tests import digits
from tests.conftest import Trained

FIELDS = (
    "schema architecture model model_sha256 data data_sha256 train_samples test_samples epochs batch_size seed history "
    "test_loss test_accuracy seconds versions"
)
OLD = b"what was there before"


def weights(path: Path) -> list[np.ndarray]:
    model = backends.keras().saving.load_model(path)
    return [np.asarray(weight) for weight in model.get_weights()]


def record_of(model: Path) -> Path:
    return model.with_suffix(".training.json")


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, digits_file: Path
) -> dict[str, Path]:
    """Three runs, of which the last differs by its seed alone."""
    folder = tmp_path_factory.mktemp("runs")
    seeds = {"first": 7, "again": 7, "other": 8}
    for name, seed in seeds.items():
        edgebn.train(request.param, folder / f"{name}.keras", data=str(digits_file), epochs=1, seed=seed)
    return {name: folder / f"{name}.keras" for name in seeds}


def test_the_same_seed_gives_the_same_bytes(runs: dict[str, Path]) -> None:
    assert runs["first"].read_bytes() == runs["again"].read_bytes()
    first, again = (json.loads(record_of(runs[name]).read_text()) for name in ("first", "again"))
    for record, name in ((first, "first"), (again, "again")):
        assert record.pop("model") == f"{name}.keras"
        assert record.pop("seconds") > 0.0
    assert first == again


def test_another_seed_gives_other_weights(runs: dict[str, Path]) -> None:
    kernel, other_kernel = weights(runs["first"])[0], weights(runs["other"])[0]
    assert kernel.shape == other_kernel.shape
    assert np.abs(kernel - other_kernel).mean() > 0.01


def test_the_file_does_not_know_the_day(runs: dict[str, Path]) -> None:
    with zipfile.ZipFile(runs["first"]) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        written = json.loads(archive.read("metadata.json"))
    assert written == {"keras_version": metadata.version("keras"), "edgebn": fit.said(())}


def test_the_record(trained: Trained, digits_file: Path) -> None:
    record = json.loads(record_of(trained.keras).read_text("utf-8"))
    assert list(record) == FIELDS.split()
    assert record == json.loads(trained.record.to_json())
    facts = {name: record[name] for name in FIELDS.split()[:11]}
    assert facts == {
        "schema": "edgebn/training-record/1",
        "architecture": "mlp",
        "model": "mlp.keras",
        "model_sha256": hashlib.sha256(trained.keras.read_bytes()).hexdigest(),
        "data": "digits.npz",
        "data_sha256": load_dataset(str(digits_file)).sha256,
        "train_samples": digits.TRAIN,
        "test_samples": digits.TEST,
        "epochs": 2,
        "batch_size": 2,
        "seed": 0,
    }
    assert record["versions"] == {
        package: metadata.version(package) for package in ("edgebn", "keras", "numpy", "tensorflow")
    }


def test_the_metrics_are_those_of_the_file(trained: Trained, digits_file: Path) -> None:
    dataset, record = load_dataset(str(digits_file)), trained.record
    model = backends.keras().saving.load_model(trained.keras)
    probabilities = np.asarray(model(scaled(dataset.x_test).reshape(-1, 784), training=False), np.float64)
    of_the_truth = probabilities[np.arange(len(probabilities)), dataset.y_test]
    assert record.test_accuracy == pytest.approx((probabilities.argmax(axis=1) == dataset.y_test).mean())
    assert record.test_loss == pytest.approx(-np.log(of_the_truth).mean(), rel=1e-4)
    assert record.test_accuracy > 0.5  # it has learned: chance gives 0.1
    assert [set(epoch) for epoch in record.history] == [{"loss", "accuracy"}] * 2
    assert record.history[1]["loss"] < record.history[0]["loss"]
    assert 0.0 < record.history[0]["accuracy"] < record.history[1]["accuracy"] <= 1.0
    assert 0.0 < record.seconds < 600.0


def test_progress_is_monotonic_and_ends_at_the_last_batch(trained: Trained) -> None:
    batches = digits.TRAIN // 2
    assert batches > fit.STEPS_PER_EXECUTION  # several reports for each epoch
    steps = [(epoch, done) for epoch, done, _, _ in trained.progress]
    assert steps == sorted(set(steps))
    assert {total for _, _, total, _ in trained.progress} == {batches}
    assert [done for epoch, done in steps if epoch == 0] == [fit.STEPS_PER_EXECUTION, batches]
    assert steps[-1] == (1, batches)
    for _, _, _, logs in trained.progress:
        assert logs["loss"] > 0.0
        assert 0.0 <= logs["accuracy"] <= 1.0


def test_a_batch_larger_than_the_data(tmp_path: Path, digits_file: Path) -> None:
    progress: list[tuple[int, int, int]] = []
    edgebn.train(
        "mlp",
        tmp_path / "model.keras",
        data=str(digits_file),
        epochs=1,
        batch_size=10_000,
        on_progress=lambda *step: progress.append(step[:3]),
    )
    assert progress == [(0, 1, 1)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_as_the_textbook_trains(architecture: str, digits_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {name: each.default for name, each in inspect.signature(edgebn.train).parameters.items()}
    assert defaults["data"] == BUNDLED
    assert (defaults["epochs"], defaults["batch_size"]) == (5, 32)

    seen: dict[str, Any] = {}

    def watch(_: Any, images: np.ndarray, labels: np.ndarray, *__: Any) -> NoReturn:
        seen.update(images=images, labels=labels)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "fit", watch)
    with pytest.raises(KeyboardInterrupt):
        edgebn.train(architecture, "model.keras", data=str(digits_file))
    dataset = load_dataset(str(digits_file))
    assert seen["images"].dtype == np.float32
    assert (seen["images"].min(), seen["images"].max()) == (0.0, 1.0)
    assert seen["images"].shape == (digits.TRAIN, *ARCHITECTURES[architecture].input_shape)
    np.testing.assert_array_equal(np.rint(seen["images"].ravel() * 255), dataset.x_train.ravel())
    np.testing.assert_array_equal(seen["labels"], dataset.y_train)


def test_the_optimiser_and_the_loss() -> None:
    keras = backends.keras()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(10, activation="softmax")])
    history = fit.fit(model, np.zeros((4, 2), np.float32), np.zeros(4, np.uint8), epochs=1, batch_size=2)
    assert type(model.optimizer) is keras.optimizers.Adam
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(0.001)
    assert model.loss == "sparse_categorical_crossentropy"
    assert [set(epoch) for epoch in history] == [{"loss", "accuracy"}]


REFUSED: dict[str, tuple[dict[str, Any], type[EdgebnError], str]] = {
    "architecture": ({"architecture": "rnn"}, UsageError, "rnn: no such architecture; choose one of mlp, cnn"),
    "no epochs": ({"epochs": 0}, UsageError, "epochs 0.*at least 1"),
    "negative epochs": ({"epochs": -1}, UsageError, "epochs -1.*at least 1"),
    "no batch": ({"batch_size": 0}, UsageError, "batch size 0.*at least 1"),
    "half an epoch": ({"epochs": 1.5}, UsageError, "epochs 1.5.*whole numbers"),
    "half a batch": ({"batch_size": 16.5}, UsageError, "batch size 16.5.*whole numbers"),
    "a seed that is no number": ({"seed": None}, UsageError, "seed None: must be a whole number"),
    "negative seed": ({"seed": -1}, UsageError, "seed -1: must be a whole number between 0 and 4294967295"),
    "large seed": ({"seed": 2**32}, UsageError, "seed 4294967296: must be a whole number between 0 and 4294967295"),
    "suffix": ({"out_path": "model.h5"}, UsageError, "model.h5: the name of a Keras model must end in .keras"),
    "no suffix": ({"out_path": "model"}, UsageError, "must end in .keras"),
    "no folder": ({"out_path": "no/model.keras"}, UsageError, "no: no such folder"),
    "a folder": ({"out_path": "folder.keras"}, UsageError, "folder.keras: is a folder"),
    "a folder for the record": ({"out_path": "taken.keras"}, UsageError, "taken.training.json: is a folder"),
    "data": ({"data": "nothing.npz"}, UsageError, "nothing.npz: neither a data set"),
    "damaged data": ({"data": "damaged.npz"}, InputError, "damaged.npz: not an .npz file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused_before_training(
    case: str, tmp_path: Path, digits_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, error, reason = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fit, "fit", refuse(AssertionError("training has begun")))
    Path("folder.keras").mkdir()
    Path("taken.training.json").mkdir()
    Path("damaged.npz").write_bytes(b"PK")
    before = sorted(tmp_path.rglob("*"))
    arguments: dict[str, Any] = {"architecture": "mlp", "out_path": "model.keras", "data": str(digits_file)}
    with pytest.raises(error, match=reason):
        edgebn.train(**arguments | changed)
    assert sorted(tmp_path.rglob("*")) == before


def refuse(error: BaseException) -> Callable[..., NoReturn]:
    def refuses(*_: Any, **__: Any) -> NoReturn:
        raise error

    return refuses


def full_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The disk is full once `after` files have been written."""
    fsync, written = os.fsync, []

    def fails_later(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fails_later)


def full_disk_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse(OSError(errno.ENOSPC, "No space left on device")))


Plant = Callable[[pytest.MonkeyPatch], None]
FAILURES: dict[str, tuple[Plant, type[EdgebnError]]] = {
    "full disk at the model": (lambda monkeypatch: full_disk(monkeypatch, after=0), OutputError),
    "full disk at the record": (lambda monkeypatch: full_disk(monkeypatch, after=1), OutputError),
    "full disk for temporary files": (full_disk_for_temporary_files, OutputError),
}


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("case", FAILURES)
def test_a_full_disk_changes_nothing(
    case: str, existing: bool, tmp_path: Path, digits_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, error = FAILURES[case]
    model = prepared(tmp_path, existing)
    plant(monkeypatch)
    with pytest.raises(error, match="no space left on the disk; nothing was written"):
        edgebn.train("mlp", model, data=str(digits_file), epochs=1)
    assert_as_prepared(tmp_path, existing)


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("in the caller's function")])
def test_an_interrupt_in_the_middle_of_training_changes_nothing(
    error: BaseException, existing: bool, tmp_path: Path, digits_file: Path
) -> None:
    model = prepared(tmp_path, existing)
    steps: list[int] = []

    def on_progress(_: int, done: int, batches: int, __: Any) -> None:
        steps.append(done)
        if done < batches:
            raise error

    with pytest.raises(type(error)):
        edgebn.train("mlp", model, data=str(digits_file), epochs=1, batch_size=2, on_progress=on_progress)
    assert steps == [fit.STEPS_PER_EXECUTION]
    assert_as_prepared(tmp_path, existing)


def prepared(folder: Path, existing: bool) -> Path:
    """Where to write the model; if `existing`, it and its record are there already."""
    model = folder / "model.keras"
    if existing:
        model.write_bytes(OLD)
        record_of(model).write_bytes(OLD)
    return model


def assert_as_prepared(folder: Path, existing: bool) -> None:
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert contents == ({"model.keras": OLD, "model.training.json": OLD} if existing else {})
