"""Ctrl-C, in a real process, while it loads TensorFlow and while it trains."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import command_line

OLD = b"what was there before"
SECONDS = 60.0
LINE = "edgebn: interrupted; nothing was written"
ERASE_LINE = "\x1b[2K"


@contextlib.contextmanager
def training(folder: Path, digits_file: Path, stderr: int) -> Iterator[subprocess.Popen[str]]:
    """A training that goes on and on; ended with the test in any case."""
    command = [*command_line.PROGRAMS["edgebn"], "train", "mlp", "--data", str(digits_file), "--epochs", "100000"]
    with subprocess.Popen(
        command, cwd=folder, env=os.environ | {"TERM": "xterm"}, stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("mlp.keras", "mlp.training.json"):
        (tmp_path / name).write_bytes(OLD)
    return tmp_path


def assert_unchanged(folder: Path) -> None:
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert contents == {"mlp.keras": OLD, "mlp.training.json": OLD}


def test_while_it_loads(folder: Path, digits_file: Path) -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("this system does not say what a process has loaded")
    with training(folder, digits_file, subprocess.PIPE) as process:
        loaded, deadline = Path(f"/proc/{process.pid}/maps"), time.monotonic() + SECONDS
        while "libtensorflow" not in loaded.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        shown = process.communicate(timeout=SECONDS)
    assert shown == ("", f"{LINE}\n")
    assert process.returncode == 130
    assert_unchanged(folder)


def test_while_it_trains(folder: Path, digits_file: Path) -> None:
    terminal, end = os.openpty()
    with training(folder, digits_file, end) as process:
        os.close(end)
        shown = read_until(terminal, "loss ")
        process.send_signal(signal.SIGINT)
        shown += read_until(terminal, None)
        assert process.wait(timeout=SECONDS) == 130
        assert process.stdout is not None
        assert process.stdout.read() == ""
    os.close(terminal)
    bar, _, last = shown.rpartition(ERASE_LINE)
    assert re.search(r"epoch \d+/100000.*loss \d\.\d{4}  accuracy \d+\.\d\d%", bar)
    assert last.split("\r\n") == [LINE, ""]  # the bar is erased: this line is all that stays
    assert_unchanged(folder)


def read_until(terminal: int, expected: str | None) -> str:
    """What the terminal shows until `expected` appears, or until the program closes it."""
    deadline, shown = time.monotonic() + SECONDS, ""
    while expected is None or expected not in shown:
        assert time.monotonic() < deadline
        try:
            read = os.read(terminal, 65536)
        except OSError:  # so Linux says that nobody has it open any more
            read = b""
        if not read:
            assert expected is None, shown
            return shown
        shown += read.decode(errors="replace")
    return shown
