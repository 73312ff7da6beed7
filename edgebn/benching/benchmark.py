"""bench: ONNX files side by side in one interleaved run."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from edgebn import files
from edgebn.benching.inputs import draw, fixed_batch, symbols
from edgebn.benching.memory import available_bytes, peak_bytes
from edgebn.benching.plot import check_plotting, drawn
from edgebn.benching.sessions import open_session
from edgebn.benching.timing import Call, Samples, interleaved
from edgebn.errors import InputError, UsageError
from edgebn.loading import ONNX_WANTED, kind_of
from edgebn.loading.onnx_files import parts_of
from edgebn.measurements import BenchedFile, Run
from edgebn.report import Benchmark

MAX_BATCH_SIZE = 1_000_000
MAX_THREADS = 1024
MAX_SECONDS = 3600
_CREATION_SHARE = 0.2
_PACKAGES = ("edgebn", "numpy", "onnxruntime")


@dataclass(frozen=True)
class Setting:
    """How the files are run: samples in a call, and threads."""

    batch_size: int
    threads: int


def bench(
    *paths: str | Path,
    batch_sizes: Sequence[int] = (1, 64),
    threads: Sequence[int] = (1,),
    extents: Mapping[str, int] | None = None,
    seconds: float = 10.0,
    seed: int = 0,
    output: str | Path | None = None,
    plot: str | Path | None = None,
) -> Benchmark:
    """Measure ONNX files side by side: latency, throughput, session creation, size and peak memory.

    All files are called in turn, in an order that is shuffled anew each round, so that whatever else the machine does
    meets all of them alike. Ratios are to the first file, of neighbouring blocks of calls: the median over all rounds.

    Args:
        paths: the ONNX files, of any origin.
        batch_sizes: samples in a call. A file whose first axis is fixed is run at that size alone.
        threads: how many threads onnxruntime may use inside of an operator.
        extents: symbolic extents other than the batch's, by name; an axis without a name is `INPUT.AXIS`. Default: 32.
        seconds: about how long to measure, in all; each call five times at least.
        seed: of the random inputs and of the order.
        output: where to write the returned record as JSON, if anywhere.
        plot: where to draw it as SVG, if anywhere. Needs matplotlib.

    Raises:
        UsageError: if there is nothing to read at a path, nowhere to write, or a number makes no sense.
        InputError: if a file is no ONNX model, or onnxruntime can not load it or run it in the memory that is free.
        OutputError: if writing fails.
    """
    models, extents = [Path(path) for path in paths], dict(extents or {})
    targets = [None if path is None else Path(path) for path in (output, plot)]
    if plot is not None:
        check_plotting(Path(plot))
    _check(models, batch_sizes, threads, seconds, targets)
    settings = _settings(models, batch_sizes, threads, extents)
    sizes = [_size(path) for path in models]
    peaks = [_peaks(path, own, extents, seed) for path, own in zip(models, settings, strict=True)]
    _check_memory(peaks)
    creations = _creations(models, threads[0], _CREATION_SHARE * seconds, seed)
    timings = _timings(models, settings, extents, (1.0 - _CREATION_SHARE) * seconds, seed)
    record = Benchmark(
        files=tuple(
            BenchedFile(
                onnx_model=str(path),
                onnx_sha256=files.sha256(path),
                onnx_bytes=size,
                creation=creation.latency(),
                creation_ratio=creation.ratio_to(creations[0]),
                runs=tuple(
                    _run(setting, timed, timings[0].get(setting), peak[setting]) for setting, timed in timing.items()
                ),
            )
            for path, size, peak, creation, timing in zip(models, sizes, peaks, creations, timings, strict=True)
        ),
        extents=extents,
        seconds=seconds,
        seed=seed,
        machine=machine(),
        versions={package: metadata.version(package) for package in _PACKAGES},
    )
    _write(record, *targets)
    return record


def machine() -> dict[str, str]:
    """What a time depends on: the processor, its cores, and the system."""
    return {"cpu": _cpu(), "cores": str(os.cpu_count()), "system": platform.platform()}


def _check(
    models: Sequence[Path],
    batch_sizes: Sequence[int],
    threads: Sequence[int],
    seconds: float,
    targets: Iterable[Path | None],
) -> None:
    """Refuse what makes no sense before anything is measured."""
    if not models:
        raise UsageError("nothing to measure; name one ONNX file or more")
    for name, counts, highest in (("batch size", batch_sizes, MAX_BATCH_SIZE), ("threads", threads, MAX_THREADS)):
        if not counts or any(type(each) is not int or not 1 <= each <= highest for each in counts):
            raise UsageError(f"{name} {', '.join(map(str, counts))}: choose from 1 to {highest:,}")
    if not 0.0 <= seconds <= MAX_SECONDS:
        raise UsageError(f"{seconds:g} seconds: choose from 0, for the least, to {MAX_SECONDS:,}")
    given = {path.resolve() for path in models}
    for target in (each for each in targets if each is not None):
        files.check_writable(target)
        if target.resolve() in given:
            raise UsageError(f"{target}: is read or written twice by this command; choose another output")
        given.add(target.resolve())
    for path in models:
        if (kind := kind_of(path, ONNX_WANTED)) != "onnx":
            raise InputError(f"{path}: is a Keras model ({kind}), but an ONNX file is expected here; export it first")


def _size(path: Path) -> int:
    """Bytes of the file and of those beside it that hold its data."""
    return sum(each.stat().st_size for each in {path.resolve(), *parts_of(path)})


def _settings(
    models: Sequence[Path], batch_sizes: Sequence[int], threads: Sequence[int], extents: Mapping[str, int]
) -> list[list[Setting]]:
    """How each file is run: at all batch sizes, or at the one that it is fixed to."""
    sessions = [open_session(path, threads[0]) for path in models]
    known = set().union(*(symbols(session.inputs) for session in sessions))
    if unknown := sorted(extents.keys() - known):
        raise UsageError(f"{', '.join(unknown)}: no such extent; the files have {', '.join(sorted(known)) or 'none'}")
    fixed = [fixed_batch(session.inputs, session.first_extents, extents) for session in sessions]
    return [
        [
            Setting(size, count)
            for size in dict.fromkeys(batch_sizes if own is None else (own,))
            for count in dict.fromkeys(threads)
        ]
        for own in fixed
    ]


def _peaks(path: Path, settings: Sequence[Setting], extents: Mapping[str, int], seed: int) -> dict[Setting, int | None]:
    """The peak memory at each setting, measured before this process runs what it may have no memory for."""
    return {each: peak_bytes(path, each.batch_size, each.threads, extents, seed) for each in settings}


def _check_memory(peaks: Iterable[Mapping[Setting, int | None]]) -> None:
    """Raise UsageError if all files do not fit side by side; a session keeps what its largest batch took."""
    sessions: dict[tuple[int, int], int] = {}
    for index, peak in enumerate(peaks):
        for setting, taken in peak.items():
            session = (index, setting.threads)
            sessions[session] = max(sessions.get(session, 0), taken or 0)
    needed, free = sum(sessions.values()), available_bytes()
    if free is not None and needed > free:
        raise UsageError(
            f"side by side the files take {needed >> 20:,} MiB of memory, and {free >> 20:,} MiB are free; "
            "choose fewer files or threads, or smaller batches"
        )


def _creations(models: Sequence[Path], threads: int, seconds: float, seed: int) -> list[Samples]:
    """Samples of making a session of each file."""
    return interleaved([[partial(open_session, path, threads) for path in models]], seconds=seconds, seed=seed)[0]


def _timings(
    models: Sequence[Path],
    settings: Sequence[Sequence[Setting]],
    extents: Mapping[str, int],
    seconds: float,
    seed: int,
) -> list[dict[Setting, Samples]]:
    """Samples of each file at each of its settings; what has one setting is a group of the loop."""
    groups: dict[Setting, dict[int, Call]] = {}
    for index, (path, own) in enumerate(zip(models, settings, strict=True)):
        sessions = {threads: open_session(path, threads) for threads in dict.fromkeys(each.threads for each in own)}
        for setting in own:
            session = sessions[setting.threads]
            feed = draw(path, session.inputs, setting.batch_size, extents, seed)
            groups.setdefault(setting, {})[index] = session.caller(feed)
    samples = interleaved([list(calls.values()) for calls in groups.values()], seconds=seconds, seed=seed)
    timings: list[dict[Setting, Samples]] = [{} for _ in models]
    for (setting, calls), timed in zip(groups.items(), samples, strict=True):
        for index, each in zip(calls, timed, strict=True):
            timings[index][setting] = each
    return timings


def _run(setting: Setting, timed: Samples, reference: Samples | None, peak: int | None) -> Run:
    latency = timed.latency()
    return Run(
        batch_size=setting.batch_size,
        threads=setting.threads,
        latency=latency,
        throughput=setting.batch_size / latency.median,
        ratio=None if reference is None else timed.ratio_to(reference),
        peak_bytes=peak,
    )


def _write(record: Benchmark, output: Path | None, plot: Path | None) -> None:
    contents = {} if output is None else {output: record.to_json().encode()}
    if plot is not None:
        contents[plot] = drawn(record)
    files.write_all(contents)


def _cpu() -> str:
    """The processor's name, as Linux or Python knows it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
