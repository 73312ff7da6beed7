"""Writing an app: all files or none, and never over somebody's work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from edgebn import files
from edgebn.errors import OutputError, UsageError
from edgebn.version import __version__

RECORD = "edgebn.json"
"""The file that says which files edgebn wrote, and what they were."""

SCHEMA = "edgebn/embedded/1"


def write_folder(folder: Path, target: str, onnx_sha256: str, contents: Mapping[str, bytes], *, force: bool) -> None:
    """Write files, named relative to `folder`, and a record of them and of what edgebn wrote there before.

    Raises:
        UsageError: if a file is in the way that edgebn did not write, or that was changed since, unless `force`; or a
            link, which is never followed.
        OutputError: if writing fails; then no file is changed.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder; choose another with -o")
    for path in (folder / name for name in (*contents, RECORD)):
        if path.is_symlink():
            raise UsageError(f"{path}: is a link, and would be written through; remove it or choose another folder")
    written = _written(folder)
    if not force:
        _check_own(folder, written, contents)
    record = {
        "schema": SCHEMA,
        "edgebn": __version__,
        "target": target,
        "onnx_sha256": onnx_sha256,
        "files": dict(sorted({**(written or {}), **{name: _sha256(each) for name, each in contents.items()}}.items())),
    }
    everything = {**contents, RECORD: (json.dumps(record, indent=2) + "\n").encode()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: can not be made ({error.strerror or error}); choose another with -o") from error
    files.write_all({folder / name: content for name, content in everything.items()})


def _check_own(folder: Path, written: Mapping[str, str] | None, contents: Mapping[str, bytes]) -> None:
    if written is None:
        raise _in_the_way(folder / RECORD)
    for name, content in contents.items():
        path = folder / name
        if path.exists() and (
            not path.is_file() or _sha256(path.read_bytes()) not in {written.get(name), _sha256(content)}
        ):
            raise _in_the_way(path)


def _in_the_way(path: Path) -> UsageError:
    return UsageError(f"{path}: was not written by edgebn, or changed since; choose another folder, or --force")


def _written(folder: Path) -> dict[str, str] | None:
    """The SHA-256 of what edgebn wrote there before; None if what stands in the record's place is none."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        own = record["schema"] == SCHEMA
        return {str(name): str(sha256) for name, sha256 in record["files"].items()} if own else None
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
