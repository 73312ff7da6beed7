"""The peak memory of loading and running a file, in a process of its own: one's peak would hide another's.

The kernel's high-water mark of resident memory, less what the process had when it had run a file without weights. Linux
forgets it when a process starts another program, unlike the maximum of getrusage, which a child has from its parent.

The process may take no more than there is, so that a batch too large is an error there, and not the end of another's
program: Linux grants memory that it does not have, and kills whom it likes when it is used.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import onnx

from edgebn.benching.inputs import draw
from edgebn.benching.sessions import open_session
from edgebn.errors import InputError

_STATUS = Path("/proc/self/status")
_FREE = Path("/proc/meminfo")
_STACK_BYTES = 8 << 20
_CHILD = "import sys; from edgebn.benching.memory import measure; measure(sys.argv[1], sys.argv[2])"
_CALLS = 3
_NOTHING = '<ir_version: 8, opset_import: ["": 13]> nothing (float[1] x) => (float[1] y) { y = Identity(x) }'


def peak_bytes(path: Path, batch_size: int, threads: int, extents: Mapping[str, int], seed: int) -> int | None:
    """The most that loading the file and running it takes, in bytes; None where the system does not tell it.

    Raises:
        InputError: if the file can not be loaded or run, or not with the memory that is free.
    """
    if not (_STATUS.exists() and _FREE.exists()):
        return None
    call = json.dumps([str(path), batch_size, threads, dict(extents), seed])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "peak"
        command = [sys.executable, "-P", "-c", _CHILD, call, str(answer)]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603
        found = json.loads(answer.read_text()) if answer.exists() else None
    if isinstance(found, str):
        raise InputError(found)
    if done.returncode == -signal.SIGKILL:
        raise InputError(_too_large(path, batch_size))
    return found


def available_bytes() -> int | None:
    """What programs can take before the system has no more; None where it does not tell."""
    return _kilobytes(_FREE, "MemAvailable") if _FREE.exists() else None


def measure(call: str, answer: str) -> None:
    """What the child does: load, run, and write its peak into the file `answer`, or what went wrong."""
    path, batch_size, threads, extents, seed = json.loads(call)
    Path(answer).write_text(json.dumps(_measured(Path(path), batch_size, threads, extents, seed, Path(answer))))


def _measured(
    path: Path, batch_size: int, threads: int, extents: Mapping[str, int], seed: int, beside: Path
) -> int | str:
    nothing = beside.with_suffix(".onnx")
    onnx.save(onnx.parser.parse_model(_NOTHING), nothing)
    _run(nothing, 1, threads, {}, seed)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # start a new high-water mark
    before = _kilobytes(_STATUS, "VmRSS")
    _take_no_more_than_there_is(threads)
    try:
        _run(path, batch_size, threads, extents, seed)
    except InputError as error:
        return str(error)
    except MemoryError:
        return _too_large(path, batch_size)
    return _kilobytes(_STATUS, "VmHWM") - before


def _take_no_more_than_there_is(threads: int) -> None:
    """Let every allocation fail that would take more than is free; the stacks of threads are hardly used."""
    import resource  # which only Unix has

    most = _kilobytes(_STATUS, "VmData") + _kilobytes(_FREE, "MemAvailable") + threads * _STACK_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _too_large(path: Path, batch_size: int) -> str:
    return f"{path}: batch {batch_size:,} takes more memory than is free; choose smaller --batch-sizes or --extent"


def _run(path: Path, batch_size: int, threads: int, extents: Mapping[str, int], seed: int) -> None:
    session = open_session(path, threads)
    call = session.caller(draw(path, session.inputs, batch_size, extents, seed))
    for _ in range(_CALLS):
        call()


def _kilobytes(path: Path, field: str) -> int:
    """A line like `VmRSS:  58136 kB`, in bytes."""
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) << 10
