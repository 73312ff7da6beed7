"""Digits to train and verify with: a small bundled set, the two that Keras downloads, or a user's own .npz file."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import sys
import urllib.error
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn import backends, files
from edgebn.datasets.npz import read_npz
from edgebn.errors import InputError, UsageError

BUNDLED = "mnist-mini"
"""The data set that comes with edgebn and is the default everywhere: no network, no waiting."""

NAMES = (BUNDLED, "mnist", "fashion-mnist")

_DIGITS = tuple("0123456789")
_CLASS_NAMES = {
    BUNDLED: _DIGITS,
    "mnist": _DIGITS,
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}
_MNIST_SHA256 = "796354bf1a5bdb3f752e23f487245288f2c35b1e0bc343e07448cffbb5f56624"

_BUNDLED_FILE = Path(__file__).with_name("mnist_mini.npz")
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_CLASSES = 10

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 (n, 28, 28) and labels uint8 (n,) in 0..9, to train and to test with.

    `sha256` is of the content (name, dtype, shape and bytes of each array), not of the file it came from. `class_names`
    are those of the labels; of a file that is not known there are none.
    """

    name: str
    sha256: str
    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    class_names: tuple[str, ...] = ()


def load_dataset(name_or_path: str) -> Dataset:
    """Load "mnist-mini" (bundled), "mnist" or "fashion-mnist" (downloaded once by Keras), or an .npz file.

    A file has the layout of `keras.datasets`: x_train, x_test uint8 (n, 28, 28) or (n, 28, 28, 1);
    y_train, y_test of any integer dtype, (n,) or (n, 1), in 0..9.

    Raises:
        UsageError: if it is neither the name of a data set nor a file.
        InputError: if the data can not be downloaded, read, or is not in that layout.
    """
    arrays = _arrays(name_or_path)
    checked = {
        f"{kind}_{part}": array
        for part in ("train", "test")
        for kind, array in zip("xy", _checked(name_or_path, part, arrays), strict=True)
    }
    sha256 = _content_sha256(checked)
    names = _CLASS_NAMES.get(name_or_path, _DIGITS if sha256 == _MNIST_SHA256 else ())
    return Dataset(Path(name_or_path).name, sha256, **checked, class_names=names)


def scaled(images: Images) -> NDArray[np.float32]:
    """Pixels 0..255 (uint8, any shape) as float32 in [0, 1]: pixel / 255."""
    return images.astype(np.float32) / np.float32(255)


def _arrays(name_or_path: str) -> dict[str, NDArray[Any]]:
    if name_or_path == BUNDLED:
        return read_npz(_BUNDLED_FILE, _ARRAYS)
    if name_or_path in NAMES:
        return _downloaded(name_or_path)
    if not files.is_file(Path(name_or_path)):
        raise UsageError(f"{name_or_path}: neither a data set ({', '.join(NAMES)}) nor a file; check --data")
    return read_npz(Path(name_or_path), _ARRAYS)


def _downloaded(name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a Keras data set, from Keras's cache if they are there."""
    keras = backends.keras()
    module = getattr(keras.datasets, name.replace("-", "_"))
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints its download there; stdout is for results
            (x_train, y_train), (x_test, y_test) = module.load_data()
    except (OSError, EOFError, ValueError, zlib.error, http.client.HTTPException) as error:
        raise InputError(_download_failure(name, error)) from error
    except Exception as error:
        # Keras turns a URLError into a bare Exception; what was not a URLError is a bug, and stays one.
        if not isinstance(error.__context__, urllib.error.URLError):
            raise
        raise InputError(_download_failure(name, error)) from error
    return dict(zip(_ARRAYS, (x_train, y_train, x_test, y_test), strict=True))


def _download_failure(name: str, error: Exception) -> str:
    return (
        f"{name}: could not be downloaded by Keras ({error}). Without a network, use the bundled digits "
        f"(--data {BUNDLED}), or download the .npz file elsewhere and pass it (--data FILE.npz)"
    )


def _checked(source: str, part: str, arrays: dict[str, NDArray[Any]]) -> tuple[Images, Labels]:
    """The images and labels of "train" or "test", in the one layout that edgebn uses."""
    images = _checked_images(f"{source}: x_{part}", arrays[f"x_{part}"])
    labels = _checked_labels(f"{source}: y_{part}", arrays[f"y_{part}"])
    if len(images) != len(labels):
        raise InputError(f"{source}: x_{part} has {len(images)} images, but y_{part} has {len(labels)} labels")
    return images, labels


def _checked_images(where: str, images: NDArray[Any]) -> Images:
    if images.dtype != np.uint8:
        raise InputError(f"{where} is {images.dtype}; images must be uint8, with pixels from 0 to 255")
    if images.shape[1:] not in {(28, 28), (28, 28, 1)}:
        raise InputError(f"{where} has the shape {images.shape}; images must be (n, 28, 28) or (n, 28, 28, 1)")
    if len(images) == 0:
        raise InputError(f"{where} is empty; at least one image is needed")
    return np.ascontiguousarray(images.reshape(len(images), 28, 28))


def _checked_labels(where: str, labels: NDArray[Any]) -> Labels:
    if labels.dtype.kind not in "iu":
        raise InputError(f"{where} is {labels.dtype}; labels must be integers from 0 to {_CLASSES - 1}")
    if labels.ndim == 0 or labels.shape[1:] not in {(), (1,)}:
        raise InputError(f"{where} has the shape {labels.shape}; labels must be (n,) or (n, 1)")
    if labels.size and (labels.min() < 0 or labels.max() >= _CLASSES):
        raise InputError(
            f"{where} has labels from {labels.min()} to {labels.max()}; they must lie between 0 and {_CLASSES - 1}"
        )
    return labels.reshape(-1).astype(np.uint8)


def _content_sha256(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in _ARRAYS:
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
