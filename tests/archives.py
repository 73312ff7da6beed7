"""Zip files, such as .npz and .keras, damaged in the ways in which files get damaged."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hypothesis import strategies as st

_LOCAL_HEADER, _CENTRAL_HEADER = b"PK\x03\x04", b"PK\x01\x02"
_FLAGS = {_LOCAL_HEADER: 6, _CENTRAL_HEADER: 8}
_ENCRYPTED = 0x1


def encrypted(path: Path) -> Path:
    """Set the bit that says "encrypted" for every entry, as an archiver with a password does."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        central = archive.start_dir
    for entry in entries:
        content[entry.header_offset + _FLAGS[_LOCAL_HEADER]] |= _ENCRYPTED
        central = content.index(_CENTRAL_HEADER, central)
        content[central + _FLAGS[_CENTRAL_HEADER]] |= _ENCRYPTED
        central += 1
    path.write_bytes(content)
    return path


def truncated(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def with_wrong_checksum(path: Path, name: str) -> Path:
    """Change one byte in the middle of an entry that is stored as it is."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(name)
    content[entry.header_offset + 30 + len(name) + entry.compress_size // 2] ^= 0xFF
    path.write_bytes(content)
    return path


def with_entry(path: Path, name: str, content: bytes) -> Path:
    """Replace one entry, and leave the archive sound."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, present in (entries | {name: content}).items():
            archive.writestr(entry, present)
    return path


def damages(content: bytes) -> st.SearchStrategy[bytes]:
    """`content` with a few bytes changed, half of them near the end, where a zip file has its directory, or cut off."""
    anywhere = st.integers(0, len(content) - 1)
    directory = st.integers(max(0, len(content) - 600), len(content) - 1)
    changes = st.lists(st.tuples(anywhere | directory, st.integers(0, 255)), min_size=1, max_size=4)
    return st.one_of(changes.map(lambda each: _changed(content, each)), anywhere.map(lambda end: content[:end]))


def _changed(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    result = bytearray(content)
    for position, value in changes:
        result[position] = value
    return bytes(result)
