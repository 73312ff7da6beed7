"""Reading and writing files: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import lzma
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgebn.errors import OutputError, UsageError

DAMAGED_ZIP = (
    *(OSError, EOFError, ValueError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)
"""What the zipfile module raises for an archive whose bytes make no sense."""

_CHUNK = 1 << 20


def check_writable(path: Path) -> None:
    """Raise UsageError unless a file can be made at `path`. Call it before long work, not after."""
    try:
        folder = _target(path).parent
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; name a file to write")
        if path.exists() and not path.is_file():  # renaming a file to /dev/null would take it from everybody
            raise UsageError(f"{path}: is not a regular file; choose another output")
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder; create it or choose another output")
    except OSError as error:
        raise UsageError(f"{path}: can not be written ({error.strerror}); choose another output") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}: not writable; choose another output")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); rename it to `path` if the block succeeds.

    If `path` is a link, the file that it leads to is replaced, and it stays a link.

    On any exception, Ctrl-C included, the temporary file is removed and `path` stays as it was.

    Raises:
        UsageError: if the folder does not exist or is not writable.
        OutputError: if writing fails, for example on a full disk.
    """
    check_writable(path)
    target = _target(path)
    try:
        handle, name = tempfile.mkstemp(suffix=path.suffix, prefix=f".{path.stem}-", dir=target.parent)
    except OSError as error:
        raise write_failure(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise write_failure(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises as `replacing` does."""
    write_all({path: content})


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Write all files or none: no path is touched before all of `contents` is written. Raises as `replacing` does."""
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            with stack.enter_context(replacing(path)).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())


@contextlib.contextmanager
def folder_made(folder: Path) -> Iterator[None]:
    """Make the folder if it is not there; if the block fails, it is gone again, unless something is in it.

    Raises:
        OutputError: if it can not be made.
    """
    if folder.is_dir():
        yield
        return
    try:
        folder.mkdir()
    except OSError as error:
        raise write_failure(folder, error) from error
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def is_file(path: Path) -> bool:
    """Whether there is a regular file; no, too, for a name that the system does not even look up."""
    try:
        return path.is_file()
    except OSError:
        return False


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


def write_failure(path: Path, error: OSError) -> OutputError:
    """The error that says why `path` could not be written."""
    if error.errno == errno.ENOSPC:
        return OutputError(
            f"{path}: no space left on the disk; nothing was written. Free some space or choose another output"
        )
    return OutputError(f"{path}: could not be written ({error.strerror or error}); nothing was changed")


def _target(path: Path) -> Path:
    """The path itself, or where it leads if it is a link; OSError for a link that leads to itself."""
    try:
        return path.resolve() if path.is_symlink() else path
    except RuntimeError as error:  # Python 3.12 and before
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
