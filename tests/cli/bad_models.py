"""Files and folders that are no model, or no longer one, or a dangerous one. Each maker says where it is."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from edgebn import backends
from tests import archives
from tests.conftest import Trained

Maker = Callable[[Path, Trained], Path]

PROOF = "code-from-the-file-ran"
"""The file that a dangerous model creates in its own folder when its code runs."""


class Payload:
    """Creates PROOF when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.proof = folder / PROOF

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.proof,)


def copy(folder: Path, trained: Trained) -> Path:
    return Path(shutil.copy(trained.keras, folder / "model.keras"))


def save_dense(path: Path, *more: Any) -> Path:
    """A small model in the format that the suffix says; without one, a SavedModel."""
    keras = backends.keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), *more])
    if path.suffix:
        model.save(path)
    else:
        model.export(path, verbose=False)
    return path


def save_lambda(path: Path) -> Path:
    """A model whose Lambda layer creates PROOF, when it is called, and doubles its input."""
    proof = str(path.parent / PROOF)
    # the code travels without this module's imports
    layer = backends.keras().layers.Lambda(lambda x: (open(proof, "w").close(), x * 2.0)[1])  # noqa: PTH123
    save_dense(path, layer)
    Path(proof).unlink()
    return path


def save_unknown_layer(path: Path) -> Path:
    keras = backends.keras()

    class OnlyHere(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    return save_dense(path, OnlyHere())


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def half(path: Path) -> Path:
    return write(path, path.read_bytes()[: path.stat().st_size // 2])


def weights_only(path: Path) -> Path:
    backends.keras().Sequential([backends.keras().Input((4,)), backends.keras().layers.Dense(3)]).save_weights(path)
    return path


def h5_with(path: Path, change: Callable[[h5py.File], Any]) -> Path:
    with h5py.File(save_dense(path), "r+") as file:
        change(file)
    return path


def damaged_saved_model(folder: Path, name: str, content: bytes | None) -> Path:
    path = save_dense(folder / "saved")
    (file,) = path.rglob(name)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    return path


def zip_of(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("_", "."), content)
    return path


def cyclic(file: h5py.File) -> None:
    """A group that holds itself; walking it without care does not end."""
    file["model_weights/again"] = file["model_weights"]
    del file.attrs["model_config"]


def pipe(folder: Path, _: Trained) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


# what the maker makes → exit code, and what the line must say
MODELS: Mapping[str, tuple[Maker, int, str]] = {
    "missing": (lambda folder, _: folder / "missing.keras", 2, "missing.keras: no such file or folder"),
    "missing folder": (lambda folder, _: folder / "no" / "model.keras", 2, "no such file or folder"),
    "below a file": (lambda folder, trained: copy(folder, trained) / "model.keras", 2, "no such file or folder"),
    "a name too long": (lambda folder, _: folder / ("x" * 300), 2, "can not be looked up (File name too long)"),
    "a pipe": (pipe, 3, "not a regular file"),
    "empty": (lambda folder, _: write(folder / "model.keras", b""), 3, "the file is empty"),
    "text": (lambda folder, _: write(folder / "model.keras", b"hello\nworld\n"), 3, "not a model file"),
    "picture": (lambda folder, _: write(folder / "model.h5", b"\x89PNG\r\n\x1a\n" + bytes(99)), 3, "not a model file"),
    "TensorFlow Lite": (
        lambda folder, _: write(folder / "model.keras", b"\x1c\0\0\0TFL3" + bytes(99)),
        3,
        "a TensorFlow Lite file",
    ),
    "other zip": (lambda folder, _: zip_of(folder / "model.keras", a_txt=b"a"), 3, "a zip file without config.json"),
    "arrays": (
        lambda folder, _: (np.savez(folder / "model.npz", a=np.zeros(1)), folder / "model.npz")[1],
        3,
        "a zip file without config.json",
    ),
    "truncated .keras": (lambda folder, trained: half(copy(folder, trained)), 3, "a truncated or damaged .keras file"),
    "truncated .h5": (lambda folder, _: half(save_dense(folder / "model.h5")), 3, "a truncated or damaged HDF5 file"),
    "truncated weights": (
        lambda folder, trained: archives.with_entry(copy(folder, trained), "model.weights.h5", b"\x89HDF\r\n\x1a\n"),
        3,
        "model.keras: Keras can not load it: ",
    ),
    "wrong checksum": (
        lambda folder, trained: archives.with_wrong_checksum(copy(folder, trained), "model.weights.h5"),
        3,
        "model.keras: Keras can not load it: Bad CRC-32",
    ),
    "no JSON": (
        lambda folder, trained: archives.with_entry(copy(folder, trained), "config.json", b"{"),
        3,
        "its configuration is not JSON",
    ),
    "another JSON": (
        lambda folder, trained: archives.with_entry(copy(folder, trained), "config.json", b"[]"),
        3,
        "model.keras: Keras can not load it: ",
    ),
    "encrypted": (
        lambda folder, trained: archives.encrypted(copy(folder, trained)),
        3,
        "is encrypted; decrypt the file",
    ),
    "encrypted as a whole": (
        lambda folder, _: write(folder / "model.keras", np.random.default_rng(0).bytes(5000)),
        3,
        "not a model file (damaged, encrypted or of another kind)",
    ),
    "pickle": (
        lambda folder, _: write(folder / "model.keras", pickle.dumps(Payload(folder))),
        3,
        "a Python pickle, which can run any code when opened, and which edgebn never opens",
    ),
    "old pickle": (
        lambda folder, _: write(folder / "model.h5", pickle.dumps(Payload(folder), protocol=0)),
        3,
        "not a model file",
    ),
    "Lambda in .keras": (lambda folder, _: save_lambda(folder / "model.keras"), 3, "holds a Lambda layer, "),
    "Lambda in .h5": (lambda folder, _: save_lambda(folder / "model.h5"), 3, "pass --trust"),
    "unknown layer": (
        lambda folder, _: save_unknown_layer(folder / "model.keras"),
        3,
        "Could not locate class 'OnlyHere'",
    ),
    "unknown layer in .h5": (lambda folder, _: save_unknown_layer(folder / "model.h5"), 3, "Unknown layer: 'OnlyHere'"),
    "weights only": (lambda folder, _: weights_only(folder / "model.weights.h5"), 3, "holds weights only, no model"),
    "HDF5 in a circle": (lambda folder, _: h5_with(folder / "model.h5", cyclic), 3, "holds weights only, no model"),
    "HDF5 with a number": (
        lambda folder, _: h5_with(folder / "model.h5", lambda file: file.attrs.create("model_config", 10**15)),
        3,
        "holds weights only, no model",
    ),
    "HDF5 with no text": (
        lambda folder, _: h5_with(
            folder / "model.h5", lambda file: file.attrs.create("model_config", b"\xff", dtype=h5py.string_dtype())
        ),
        3,
        "its configuration is not JSON",
    ),
    "a folder": (lambda folder, _: folder, 3, "a folder without saved_model.pb is not a SavedModel"),
    "damaged SavedModel": (
        lambda folder, _: damaged_saved_model(folder, "saved_model.pb", b"\xff\xff"),
        3,
        "its saved_model.pb is damaged",
    ),
    "SavedModel without weights": (
        lambda folder, _: damaged_saved_model(folder, "variables.data*", None),
        3,
        "saved: TensorFlow can not load it: ",
    ),
}

ONNX_MODELS: Mapping[str, tuple[Maker, int, str]] = {
    **{name: MODELS[name] for name in ("missing", "a name too long", "a pipe", "empty", "text", "pickle", "encrypted")},
    "Keras": (copy, 3, "model.keras: is a Keras model (keras), but an ONNX file is expected here; swap the two"),
    "HDF5": (
        lambda folder, _: save_dense(folder / "model.h5"),
        3,
        "is a Keras model (h5), but an ONNX file is expected",
    ),
    "SavedModel": (
        lambda folder, _: save_dense(folder / "saved"),
        3,
        "is a Keras model (saved_model), but an ONNX file",
    ),
    "truncated": (
        lambda folder, trained: write(folder / "model.onnx", trained.onnx.read_bytes()[:-1000]),
        3,
        "model.onnx: a truncated or damaged ONNX file",
    ),
    "cut to its head": (
        lambda folder, trained: write(folder / "model.onnx", trained.onnx.read_bytes()[:20]),
        3,
        "model.onnx: a truncated or damaged ONNX file",
    ),
}
