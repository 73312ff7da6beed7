"""Reading and writing files: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgebn.errors import OutputError, UsageError

_CHUNK = 1 << 20


def check_writable(path: Path) -> None:
    """Raise UsageError unless a file can be made at `path`. Call it before long work, not after."""
    folder = path.parent
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file to write")
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; create it or choose another output with -o")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}: not writable; choose another output with -o")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); rename it to `path` if the block succeeds.

    On any exception, Ctrl-C included, the temporary file is removed and `path` stays as it was.

    Raises:
        UsageError: if the folder does not exist or is not writable.
        OutputError: if writing fails, for example on a full disk.
    """
    check_writable(path)
    try:
        handle, name = tempfile.mkstemp(suffix=path.suffix, prefix=f".{path.stem}-", dir=path.parent)
    except OSError as error:
        raise OutputError(_write_failure(path, error)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(_write_failure(path, error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file; of a folder, over the relative names and contents of its files, sorted."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _write_failure(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"{path}: no space left on the disk; nothing was written. Free some space or choose another output"
    return f"{path}: could not be written ({error.strerror or error}); nothing was changed"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
