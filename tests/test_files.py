"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from edgebn import files
from edgebn.errors import OutputError, UsageError

OLD, NEW = b"old", b"new content"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_write_bytes_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(OLD)
    files.write_bytes(path, NEW)
    assert contents(tmp_path) == {"model.onnx": NEW}


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(NEW)
    files.write_bytes(tmp_path / "ours", NEW)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError()])
def test_replacing_keeps_what_is_there_if_the_block_fails(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(OLD)

    def write_half() -> None:
        with files.replacing(path) as temporary:
            temporary.write_bytes(NEW[:3])
            assert temporary.parent == tmp_path
            assert temporary.suffix == ".onnx"
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert contents(tmp_path) == {"model.onnx": OLD}


def test_write_all_writes_all(tmp_path: Path) -> None:
    files.write_all({tmp_path / "a": NEW, tmp_path / "b": OLD})
    assert contents(tmp_path) == {"a": NEW, "b": OLD}


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize(("number", "reason"), [(errno.ENOSPC, "no space left"), (errno.EIO, "nothing was changed")])
def test_write_all_writes_nothing_if_one_fails(
    after: int, number: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(OLD)
    reached_the_disk: list[int] = []

    def fsync(descriptor: int) -> None:
        if len(reached_the_disk) == after:
            raise OSError(number, os.strerror(number))
        reached_the_disk.append(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match=reason) as caught:
        files.write_all({tmp_path / "a": NEW, tmp_path / "b": NEW})
    assert str(caught.value).startswith(f"{tmp_path / 'ab'[after]}: ")
    assert contents(tmp_path) == {"a": OLD}


def test_everything_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        order.append(f"{os.fstat(descriptor).st_size} bytes on the disk")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> Path:
        order.append("named")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    files.write_all({tmp_path / "a": NEW, tmp_path / "b": OLD})
    assert order == ["11 bytes on the disk", "3 bytes on the disk", "named", "named"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, reason in (("pipe", "is not a regular file"), ("folder", "is a folder"), ("no/file", "no such folder")):
        with pytest.raises(UsageError, match=reason):
            files.write_bytes(tmp_path / name, NEW)
    assert (tmp_path / "pipe").is_fifo()
    assert contents(tmp_path) == {}


def test_where_a_link_leads_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a").write_bytes(OLD)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "a")
    files.write_bytes(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "a").read_bytes() == NEW
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(UsageError, match="can not be written"):
        files.write_bytes(tmp_path / "circle", NEW)


def test_is_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert files.is_file(tmp_path / "file")
    assert not files.is_file(tmp_path)
    assert not files.is_file(tmp_path / ("x" * 300))


def test_the_hash_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "one" / "b").mkdir(parents=True)
    (tmp_path / "one" / "b" / "file").write_bytes(NEW)
    (tmp_path / "one" / "a").write_bytes(OLD)
    assert files.sha256(tmp_path / "one" / "a") == hashlib.sha256(OLD).hexdigest()
    first = files.sha256(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    assert files.sha256(tmp_path / "two") == first  # of the names inside, not of its own
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "c")
    assert files.sha256(tmp_path / "two") != first
