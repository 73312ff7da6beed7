"""The peak memory of loading and running a file, in a process of its own: one's peak would hide another's.

The kernel's high-water mark of resident memory, less what the process had when it had run a file without weights. Linux
forgets it when a process starts another program, unlike the maximum of getrusage, which a child has from its parent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import onnx

from edgebn.benching.inputs import draw
from edgebn.benching.sessions import open_session

_STATUS = Path("/proc/self/status")
_CHILD = "import sys; from edgebn.benching.memory import measure; measure(sys.argv[1], sys.argv[2])"
_CALLS = 3
_NOTHING = '<ir_version: 8, opset_import: ["": 13]> nothing (float[1] x) => (float[1] y) { y = Identity(x) }'


def peak_bytes(path: Path, batch_size: int, threads: int, extents: Mapping[str, int], seed: int) -> int | None:
    """The most that loading the file and running it takes, in bytes; None where the system does not tell it."""
    if not _STATUS.exists():
        return None
    call = json.dumps([str(path), batch_size, threads, dict(extents), seed])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "peak"
        command = [sys.executable, "-P", "-c", _CHILD, call, str(answer)]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603
        return int(answer.read_text()) if done.returncode == 0 else None


def measure(call: str, answer: str) -> None:
    """What the child does: load, run, and write its peak into the file `answer`."""
    path, batch_size, threads, extents, seed = json.loads(call)
    nothing = Path(answer).with_suffix(".onnx")
    onnx.save(onnx.parser.parse_model(_NOTHING), nothing)
    _run(nothing, 1, threads, {}, seed)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # start a new high-water mark
    before = _resident("VmRSS")
    _run(Path(path), batch_size, threads, extents, seed)
    Path(answer).write_text(str(_resident("VmHWM") - before))


def _run(path: Path, batch_size: int, threads: int, extents: Mapping[str, int], seed: int) -> None:
    session = open_session(path, threads)
    call = session.caller(draw(path, session.inputs, batch_size, extents, seed))
    for _ in range(_CALLS):
        call()


def _resident(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) << 10
