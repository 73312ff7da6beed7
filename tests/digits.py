"""Small sets of digits in the layout of `keras.datasets`, and .npz files of them, sound or not."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgebn.datasets import BUNDLED, load_dataset

TRAIN, TEST = 300, 60
Arrays = dict[str, np.ndarray]


def few() -> Arrays:
    """Real digits: the first of those that are bundled."""
    bundled = load_dataset(BUNDLED)
    return {
        "x_train": bundled.x_train[:TRAIN],
        "y_train": bundled.y_train[:TRAIN],
        "x_test": bundled.x_test[:TEST],
        "y_test": bundled.y_test[:TEST],
    }


def blank(**changed: np.ndarray) -> Arrays:
    """Three and two black images, in the right layout but for the arrays that are `changed`."""
    arrays = {
        "x_train": np.zeros((3, 28, 28), np.uint8),
        "y_train": np.array([0, 9, 5], np.uint8),
        "x_test": np.zeros((2, 28, 28), np.uint8),
        "y_test": np.array([1, 2], np.uint8),
    }
    return arrays | changed


def write(path: Path, arrays: Mapping[str, np.ndarray], compressed: bool = False) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def write_entries(path: Path, **changed: bytes) -> Path:
    """The file of `blank()`, in which some entries have these bytes in place of an array."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in blank().items():
            archive.writestr(f"{name}.npy", changed.get(name, npy(array)))
    return path


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array)
    return content.getvalue()


def npy_with_header(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An array as a file may announce it, sense or nonsense."""
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data
