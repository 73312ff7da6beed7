"""edgebn bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebn.cli import options, tables

if TYPE_CHECKING:
    from edgebn.measurements import BenchedFile, Ratio, Run
    from edgebn.report import Benchmark


class _Counts(click.ParamType[Any]):
    """Whole numbers with commas between them: `1,64`."""

    name = "N,N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            return tuple(int(each) for each in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list like 1,64.", param, ctx)


class _Extent(click.ParamType[Any]):
    """A symbolic extent and its value: `sequence=128`."""

    name = "NAME=N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        name, separator, extent = str(value).rpartition("=")
        if not (name and separator and extent.isdecimal() and 0 < int(extent) < 10**9):
            self.fail(f"{value!r} is not like sequence=128.", param, ctx)
        return name, int(extent)


@click.command()
@click.argument("onnx_models", metavar="ONNX_MODEL...", nargs=-1, required=True, type=options.PATH)
@click.option("--batch-sizes", type=_Counts(), default="1,64", show_default=True, help="Samples in a call.")
@click.option("--threads", type=_Counts(), default="1", show_default=True, help="Threads inside of an operator.")
@click.option(
    "--extent",
    "extents",
    type=_Extent(),
    multiple=True,
    help="A symbolic extent but the batch's, by its name or INPUT.AXIS; may be repeated.  [default: 32]",
)
@click.option(
    "--seconds",
    type=float,
    default=10.0,
    show_default=True,
    help="About how long to measure, in all; five calls at least.",
)
@options.seed("the random inputs and of the order")
@click.option("--json", "as_json", is_flag=True, help="Print every number as JSON.")
@click.option("-o", "--output", type=options.PATH, help="Where to write the record, as JSON.")
@click.option("--plot", type=options.PATH, help="Where to draw it, as SVG. Needs matplotlib.")
def bench(onnx_models: tuple[Path, ...], extents: tuple[tuple[str, int], ...], as_json: bool, **given: Any) -> None:
    """Measure ONNX files side by side in onnxruntime on CPU.

    Latency, throughput, session creation, file size and peak memory, of all files in turn in one run, on random inputs
    of the file's own shapes. Ratios are to the first file, by neighbouring calls; half of them lie in the range shown.
    """
    import edgebn

    result = edgebn.bench(*onnx_models, extents=dict(extents), **given)
    if as_json:
        click.echo(result.to_json(), nl=False)
        return
    _show(result)
    for path in (given["output"], given["plot"]):
        if path is not None:
            click.echo(f"wrote {path}")


def _show(result: Benchmark) -> None:
    settings = list(dict.fromkeys((run.batch_size, run.threads) for file in result.files for run in file.runs))
    for batch_size, threads in settings:
        runs = {
            file.onnx_model: run
            for file in result.files
            for run in file.runs
            if (run.batch_size, run.threads) == (batch_size, threads)
        }
        tables.show(
            f"batch {batch_size}, {threads} thread{'s' * (threads > 1)}",
            ("", "median>", "p95>", "p99>", "ratio>", "half within", "samples/s>", "peak memory>"),
            [_run_row(name, run) for name, run in runs.items()],
        )
    tables.show(
        "file",
        ("", "session creation>", "p95>", "ratio>", "half within", "size>"),
        [_file_row(file) for file in result.files],
    )
    click.echo(f"{result.machine['cpu']}, onnxruntime {result.versions['onnxruntime']}, seed {result.seed}")


def _run_row(name: str, run: Run) -> tuple[str, ...]:
    memory = "unknown" if run.peak_bytes is None else tables.size(run.peak_bytes)
    latency = run.latency
    times = (tables.duration(each) for each in (latency.median, latency.p95, latency.p99))
    return (name, *times, *_ratio_cells(run.ratio), f"{run.throughput:,.0f}", memory)


def _file_row(file: BenchedFile) -> tuple[str, ...]:
    times = (tables.duration(each) for each in (file.creation.median, file.creation.p95))
    return (file.onnx_model, *times, *_ratio_cells(file.creation_ratio), tables.size(file.onnx_bytes))


def _ratio_cells(ratio: Ratio | None) -> tuple[str, str]:
    if ratio is None:
        return "", ""
    if ratio.lower_quartile == ratio.upper_quartile == 1.0:  # the first file, to itself
        return "1", ""
    return f"{ratio.median:.3f}", f"{ratio.lower_quartile:.3f} to {ratio.upper_quartile:.3f}"
