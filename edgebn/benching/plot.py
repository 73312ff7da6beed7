"""A benchmark as a picture, in SVG. Matplotlib is imported when the first one is drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from edgebn.errors import UsageError
from edgebn.measurements import Run
from edgebn.report import Benchmark

_STYLE = {
    "svg.hashsalt": "edgebn",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a file's name may have two dollars
}
_WIDTH = 9.0  # inches, with names of so many characters, and for each one more of them in both columns:
_CHARACTERS = 14
_CHARACTER = 0.08
_ROW = 0.32  # inches for each file in a panel, and as a frame around it:
_FRAME = 0.9

_LONGEST_LINE = 3.0
"""How far an axis goes, by the largest median: a machine that others use has percentiles far beyond."""


def check_plotting(path: Path) -> None:
    """Raise UsageError unless matplotlib is there, and the path that of an SVG."""
    if path.suffix.lower() != ".svg":
        raise UsageError(f"{path}: the plot is drawn as SVG; call it {path.with_suffix('.svg').name}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("--plot needs matplotlib, which is not installed; try: pip install matplotlib") from error


def drawn(record: Benchmark) -> bytes:
    """The latencies at each batch size and number of threads, session creation, size and memory; the same bytes always.

    A bar ends at the median; the line on it goes on to the 99th percentile, with a mark at the 95th. What lies beyond
    the axis is written at its end.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings = list(dict.fromkeys((run.batch_size, run.threads) for file in record.files for run in file.runs))
    rows = -(-(len(settings) + 3) // 2)
    stream = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure = Figure((_width(record), rows * (_FRAME + _ROW * len(record.files))), layout="constrained")
        panels = list(figure.subplots(rows, 2, squeeze=False).flat)
        for panel, setting in zip(panels, settings, strict=False):
            _latency_panel(panel, record, setting)
        _other_panels(panels[len(settings) :], record)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _width(record: Benchmark) -> float:
    """Inches, so that the names leave the panels, and what is written above and below them, as wide as they are."""
    return _WIDTH + 2.0 * _CHARACTER * max(0, max(map(len, _names(record))) - _CHARACTERS)


def _names(record: Benchmark) -> list[str]:
    """Those of the files, without their folders where all are different; else as they were given."""
    given = [file.onnx_model for file in record.files]
    short = [PurePath(each).name for each in given]
    return short if len(set(short)) == len(set(given)) else given


def _latency_panel(panel: Any, record: Benchmark, setting: tuple[int, int]) -> None:
    runs = [_at(file.runs, setting) for file in record.files]
    labels = ["" if run is None or run.ratio is None else f"× {run.ratio.median:.2f}" for run in runs]
    slowest = max(run.latency.median for run in runs if run is not None)
    unit, factor = ("ms", 1e3) if slowest >= 1e-3 else ("µs", 1e6)
    _bars(panel, record, [factor * run.latency.median if run else 0.0 for run in runs], labels)
    end = _LONGEST_LINE * factor * slowest
    for row, run in enumerate(runs):
        if run is not None:
            p95, p99 = factor * run.latency.p95, factor * run.latency.p99
            _percentiles(panel, row, factor * run.latency.median, p95, p99, end)
    batch_size, threads = setting
    panel.set_title(f"latency, batch {batch_size}, {threads} thread{'s' * (threads > 1)}", loc="left")
    panel.set_xlabel(f"{unit}: median, 95th and 99th percentile")


def _percentiles(panel: Any, row: int, *lengths: float) -> None:
    """The line behind a bar, no further than `end`, so that the bars can be read; what lies beyond is written there."""
    median, p95, p99, end = lengths
    panel.plot([median, min(p99, end)], [row, row], color="black", linewidth=0.8)
    if p95 <= end:
        panel.plot([p95], [row], color="black", marker="|")
    if p99 > end:
        beyond = ", ".join(f"{each:,.{0 if each >= 100.0 else 1}f}" for each in (p95, p99) if each > end)
        panel.text(end, row + 0.1, f"{beyond} →", ha="right", va="top", fontsize="small")


def _other_panels(panels: Sequence[Any], record: Benchmark) -> None:
    creation, size, memory, *empty = panels
    ratios = [f"× {file.creation_ratio.median:.2f}" for file in record.files]
    _bars(creation, record, [1e3 * file.creation.median for file in record.files], ratios)
    creation.set_title("session creation", loc="left")
    creation.set_xlabel("ms, median")
    _bars(size, record, [file.onnx_bytes / 1e3 for file in record.files])
    size.set_title("file size", loc="left")
    size.set_xlabel("kB")
    peaks = [
        max((run.peak_bytes for run in file.runs if run.peak_bytes is not None), default=None) for file in record.files
    ]
    known = ["unknown" if peak is None else f"{peak / 1e6:,.3g}" for peak in peaks]
    _bars(memory, record, [(peak or 0) / 1e6 for peak in peaks], known)
    memory.set_title("peak memory, largest batch", loc="left")
    memory.set_xlabel("MB beyond a file without weights")
    for panel in empty:
        panel.set_axis_off()


def _bars(panel: Any, record: Benchmark, lengths: Sequence[float], labels: Sequence[str] = ()) -> None:
    names = _names(record)
    shown = labels or [f"{length:,.3g}" for length in lengths]
    panel.barh(range(len(names)), lengths, color=[f"C{row % 10}" for row in range(len(names))], alpha=0.7)
    panel.set_yticks(range(len(names)), [f"{name}  {label}".rstrip() for name, label in zip(names, shown, strict=True)])
    panel.invert_yaxis()


def _at(runs: Sequence[Run], setting: tuple[int, int]) -> Run | None:
    return next((run for run in runs if (run.batch_size, run.threads) == setting), None)
