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


def write_folder(folder: Path, target: str, onnx_sha256: str, contents: Mapping[str, bytes], *, force: bool) -> None:
    """Write files, named relative to `folder`, and a record of them.

    Raises:
        UsageError: if a file is in the way that edgebn did not write, or that was changed since, unless `force`.
        OutputError: if writing fails; then no file is changed.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder; choose another with -o")
    if not force:
        _check_own(folder, contents)
    record = {
        "schema": "edgebn/embedded/1",
        "edgebn": __version__,
        "target": target,
        "onnx_sha256": onnx_sha256,
        "files": {name: _sha256(content) for name, content in sorted(contents.items())},
    }
    everything = {**contents, RECORD: (json.dumps(record, indent=2) + "\n").encode()}
    try:
        for name in everything:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: can not be made ({error.strerror or error}); choose another with -o") from error
    files.write_all({folder / name: content for name, content in everything.items()})


def _check_own(folder: Path, contents: Mapping[str, bytes]) -> None:
    written = _written(folder)
    for name, content in contents.items():
        path = folder / name
        if path.exists() and (
            not path.is_file() or _sha256(path.read_bytes()) not in {written.get(name), _sha256(content)}
        ):
            raise UsageError(f"{path}: was not written by edgebn, or changed since; choose another folder, or --force")


def _written(folder: Path) -> dict[str, str]:
    """The SHA-256 of what edgebn wrote there before."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        return {str(name): str(sha256) for name, sha256 in record["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
