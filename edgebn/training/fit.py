"""Training a model, writing it, and a record of how it came to be."""

from __future__ import annotations

import hashlib
import io
import json
import math
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from importlib import metadata
from numbers import Integral
from pathlib import Path
from typing import Any

from edgebn import backends, files
from edgebn.datasets import BUNDLED, load_dataset, scaled
from edgebn.errors import UsageError
from edgebn.interface import LABELS, PIXEL_FORMAT, PIXEL_RANGE
from edgebn.loading.keras_metadata import METADATA_FILE, METADATA_KEY
from edgebn.report import TrainingRecord
from edgebn.training.architectures import ARCHITECTURES

STEPS_PER_EXECUTION = 125
"""Batches between two returns to Python. Of 32 digits each, they make the MLP train twice as fast as one by one."""

OnProgress = Callable[[int, int, int, Mapping[str, float]], None]
"""Called with the epoch (from 0), how many batches of it are done, of how many, and the running loss and accuracy."""

_PACKAGES = ("edgebn", "keras", "numpy", "tensorflow")
_LARGEST_SEED = 2**32 - 1
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def train(
    architecture: str,
    out_path: str | Path,
    *,
    data: str = BUNDLED,
    epochs: int = 5,
    batch_size: int = 32,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> TrainingRecord:
    """Train "mlp" or "cnn" on digits with Adam, and write the model and, beside it, its record.

    The same arguments give the same weights, and the same file, on the same machine. Python's, NumPy's and TensorFlow's
    global random generators are seeded by this call.

    Args:
        architecture: "mlp" or "cnn".
        out_path: where to write the model, ending in `.keras`. The record goes to the same name with `.training.json`.
        data: "mnist-mini", "mnist", "fashion-mnist", or an .npz file in the layout of `keras.datasets`.
        epochs: passes over the training images.
        batch_size: images in one gradient step.
        seed: of the weights and the order of the images, 0 to 2³² − 1.
        on_progress: called now and then while training.

    Raises:
        UsageError: if an argument is out of range or there is no way to write to `out_path`.
        InputError: if the data can not be had or have another layout.
        OutputError: if writing fails.
    """
    out_path = Path(out_path)
    record_path = out_path.with_suffix(".training.json")
    _check(architecture, out_path, epochs, batch_size, seed)
    files.check_writable(out_path)
    files.check_writable(record_path)
    dataset = load_dataset(data)
    keras = backends.keras()
    keras.utils.set_random_seed(seed)
    chosen = ARCHITECTURES[architecture]
    model = chosen.build()
    x_train, x_test = (scaled(images).reshape(-1, *chosen.input_shape) for images in (dataset.x_train, dataset.x_test))
    started = time.perf_counter()
    history = fit(model, x_train, dataset.y_train, epochs, batch_size, on_progress)
    seconds = time.perf_counter() - started
    test_loss, test_accuracy = model.evaluate(x_test, dataset.y_test, batch_size=500, verbose=0)
    content = model_bytes(model, said(labels=dataset.class_names))
    record = TrainingRecord(
        architecture=architecture,
        model=out_path.name,
        model_sha256=hashlib.sha256(content).hexdigest(),
        data=dataset.name,
        data_sha256=dataset.sha256,
        train_samples=len(x_train),
        test_samples=len(x_test),
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        history=history,
        test_loss=float(test_loss),
        test_accuracy=float(test_accuracy),
        seconds=seconds,
        versions={package: metadata.version(package) for package in _PACKAGES},
    )
    files.write_all({out_path: content, record_path: record.to_json().encode()})
    return record


def fit(
    model: Any, images: Any, labels: Any, epochs: int, batch_size: int, on_progress: OnProgress | None = None
) -> tuple[dict[str, float], ...]:
    """Compile the model and train it; returns loss and accuracy of each epoch. images: (n, …), labels: (n,)."""
    keras = backends.keras()
    model.compile(
        optimizer=keras.optimizers.Adam(name="adam"),  # or the second model of a process would say "adam_1"
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    batches = math.ceil(len(images) / batch_size)
    callbacks = [] if on_progress is None else [_progress_callback(keras, on_progress, batches)]
    history = model.fit(images, labels, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=callbacks).history
    return tuple({name: float(values[epoch]) for name, values in history.items()} for epoch in range(epochs))


def said(labels: tuple[str, ...]) -> dict[str, str]:
    """What a model that was trained here takes and gives, under the names that an ONNX file will say it by."""
    pixels = {PIXEL_FORMAT: "Gray8", PIXEL_RANGE: "Normalized_0_1"}
    return {**pixels, LABELS: json.dumps(labels)} if labels else pixels


def model_bytes(model: Any, metadata: Mapping[str, str]) -> bytes:
    """The model as the content of a `.keras` file in which nothing depends on the day: same model, same bytes.

    `metadata` go into the file as well, where Keras takes no notice of them.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_saved(model))) as source, zipfile.ZipFile(content, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            data = _timeless(data) if entry.filename.endswith(".json") else data
            if entry.filename == METADATA_FILE:
                data = json.dumps({**json.loads(data), METADATA_KEY: metadata}).encode()
            target.writestr(zipfile.ZipInfo(entry.filename, _ZIP_EPOCH), data)
    return content.getvalue()


def _saved(model: Any) -> bytes:
    """The `.keras` file as Keras writes it, which it does to a path only."""
    path = Path("model.keras")
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / path
            model.save(path)
            return path.read_bytes()
    except OSError as error:
        raise files.write_failure(path, error) from error


def _timeless(content: bytes) -> bytes:
    """The JSON without the date, and with shared objects counted where Keras writes their addresses in memory."""
    numbers: dict[int, int] = {}

    def normalised(part: dict[str, Any]) -> dict[str, Any]:
        part.pop("date_saved", None)
        if "shared_object_id" in part:
            part["shared_object_id"] = numbers.setdefault(part["shared_object_id"], len(numbers))
        return part

    return json.dumps(json.loads(content, object_hook=normalised)).encode()


def _check(architecture: str, out_path: Path, epochs: int, batch_size: int, seed: int) -> None:
    if architecture not in ARCHITECTURES:
        raise UsageError(f"{architecture}: no such architecture; choose one of {', '.join(ARCHITECTURES)}")
    if out_path.suffix != ".keras":
        raise UsageError(f"{out_path}: the name of a Keras model must end in .keras")
    if not (_is_integer(epochs) and _is_integer(batch_size) and epochs >= 1 and batch_size >= 1):
        raise UsageError(f"epochs {epochs}, batch size {batch_size}: both must be whole numbers of at least 1")
    if not (_is_integer(seed) and 0 <= seed <= _LARGEST_SEED):
        raise UsageError(f"seed {seed}: must be a whole number between 0 and {_LARGEST_SEED}")


def _is_integer(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def _progress_callback(keras: Any, on_progress: OnProgress, batches: int) -> Any:
    class Progress(keras.callbacks.Callback):  # type: ignore[misc]
        epoch = 0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002, Keras's signature
            self.epoch = epoch

        def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
            done = min(batch + 1, batches)  # Keras counts the last execution as a full one
            on_progress(self.epoch, done, batches, logs)

    return Progress()
