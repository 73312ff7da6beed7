"""Reading named arrays from an .npz file that nobody vouches for: no pickle, and no size taken on trust."""

from __future__ import annotations

import math
import tokenize
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgebn import files
from edgebn.errors import InputError

MAX_BYTES = 1 << 30
"""The largest file and the largest array that are read: 1 GiB, some 1.3 million digits."""

_ENCRYPTED = 0x1
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGED_HEADER = (TypeError, OverflowError, MemoryError, RecursionError, SyntaxError, tokenize.TokenError)
"""What NumPy raises for a header that makes no sense, besides ValueError."""


def read_npz(path: Path, names: Iterable[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Read the arrays called `names`, of whatever shape and dtype, from the .npz file `path`.

    Raises:
        InputError: if the file or an array is missing, damaged, encrypted, pickled, or larger than MAX_BYTES.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB; pass a smaller data set")
        with zipfile.ZipFile(path) as archive:
            return {name: _read_entry(archive, name, path) for name in names}
    except OSError as error:
        raise InputError(f"{path}: can not be read ({error.strerror or error})") from error
    except files.DAMAGED_ZIP as error:
        raise InputError(f"{path}: not an .npz file, or a damaged one ({error}); write it with numpy.savez") from error


@dataclass(frozen=True)
class Rows:
    """An array in an .npz file that is read a few rows at a time: its shape and dtype are known before."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def chunks(self, rows: int) -> Iterator[np.ndarray[Any, Any]]:
        """The array from its beginning, `rows` rows at a time. Raises InputError if the file is damaged."""
        bytes_per_row = math.prod(self.shape[1:]) * self.dtype.itemsize
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.name}.npy") as stream:
                _read_header(stream)
                for start in range(0, self.shape[0], rows):
                    count = min(rows, self.shape[0] - start)
                    content = stream.read(count * bytes_per_row)
                    yield np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])
        except files.DAMAGED_ZIP as error:
            raise InputError(
                f"{self.path}: array {self.name!r} can not be read ({error}); write the file anew"
            ) from error


def open_rows(path: Path) -> dict[str, Rows]:
    """All arrays of an .npz file that can be read by rows, however large the file; nothing but headers is read.

    Raises:
        InputError: if the file is damaged, or an array is encrypted, pickled, in Fortran's order or without rows.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            return {name: _rows(archive, name, path) for name in names}
    except OSError as error:
        raise InputError(f"{path}: can not be read ({error.strerror or error})") from error
    except files.DAMAGED_ZIP as error:
        raise InputError(f"{path}: not an .npz file, or a damaged one ({error}); write it with numpy.savez") from error


def _rows(archive: zipfile.ZipFile, name: str, path: Path) -> Rows:
    entry = archive.getinfo(f"{name}.npy")
    if entry.flag_bits & _ENCRYPTED:
        raise InputError(f"{path}: array {name!r} is encrypted; write the file without a password")
    try:
        with warnings.catch_warnings(action="ignore"), archive.open(entry) as stream:
            shape, fortran, dtype = _read_header(stream, entry.file_size)
    except (*files.DAMAGED_ZIP, *_DAMAGED_HEADER) as error:
        raise InputError(f"{path}: array {name!r} can not be read ({error}); write the file anew") from error
    if not shape or (fortran and len(shape) > 1):
        raise InputError(
            f"{path}: array {name!r} has no rows to read one after the other; write numpy.ascontiguousarray"
        )
    return Rows(path, name, shape, dtype)


def _read_entry(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray[Any, Any]:
    try:
        entry = archive.getinfo(f"{name}.npy")
    except KeyError:
        present = ", ".join(sorted(archive.namelist())[:8]) or "nothing"
        raise InputError(f"{path}: has no array {name!r}; it holds {present}") from None
    if entry.flag_bits & _ENCRYPTED:
        raise InputError(f"{path}: array {name!r} is encrypted; write the file without a password")
    if entry.file_size > MAX_BYTES:
        raise InputError(f"{path}: array {name!r} is larger than {MAX_BYTES >> 20} MiB; pass a smaller data set")
    try:
        with warnings.catch_warnings(action="ignore"):  # a header as Python 2 wrote it is welcome
            with archive.open(entry) as stream:
                _read_header(stream, entry.file_size)
            with archive.open(entry) as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
    except (*files.DAMAGED_ZIP, *_DAMAGED_HEADER) as error:
        raise InputError(f"{path}: array {name!r} can not be read ({error}); write the file anew") from error


def _read_header(stream: IO[bytes], entry_bytes: int | None = None) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and dtype. Raises ValueError unless the entry holds just that array."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"format version {version} is not that of a plain array")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError("it is pickled, and edgebn never unpickles")
    announced = stream.tell() + math.prod(shape) * dtype.itemsize
    if entry_bytes is not None and announced != entry_bytes:
        raise ValueError(f"its header announces {announced} bytes, the file holds {entry_bytes}")
    return shape, fortran, dtype
