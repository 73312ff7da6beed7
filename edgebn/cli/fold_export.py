"""edgebn fold-export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgebn.cli import interfaces, lower, options, tables

if TYPE_CHECKING:
    from edgebn.interface import Interface
    from edgebn.report import ExportReport, Fate


@click.command("fold-export")
@click.argument("model", type=options.PATH)
@click.option(
    "-o",
    "path",
    type=options.PATH,
    help="Where to write the ONNX file. [default: MODEL.onnx or MODEL.folded.onnx, in this folder]",
)
@options.opset
@click.option("--report", type=options.PATH, help="Where to write what was done, as JSON.")
@click.option(
    "--golden", type=click.IntRange(0, 1000), default=0, metavar="N", help="Write N golden data sets beside it."
)
@click.option(
    "--certificate", type=options.PATH, help="Verify as `edgebn verify` does, and write a certificate, as JSON."
)
@click.option("--tune", is_flag=True, help="Time the exact plans that differ in speed, and take the fastest.")
@click.option(
    "--precision",
    type=click.Choice(("fp32", "fp16", "int8")),
    default="fp32",
    show_default=True,
    help="Half the file by weights in fp16; or all in int8, calibrated on --data.",
)
@click.option("--data", metavar="NAME|FILE.npz", help="For int8 to calibrate on, and to compare on, as for verify.")
@click.option("--no-verify", is_flag=True, help="Write what was not compared with MODEL.")
@interfaces.options
@options.trust
def fold_export(
    model: Path,
    path: Path | None,
    opset: int | None,
    report: Path | None,
    golden: int,
    certificate: Path | None,
    tune: bool,
    precision: str,
    data: str | None,
    no_verify: bool,
    trust: bool,
    interface: Interface,
) -> None:
    """Fold every BatchNormalization of MODEL into its neighbours, and write it as ONNX.

    MODEL is a .keras or .h5 file, a SavedModel folder, or an .onnx file from any tool. Before anything is written, the
    result is compared with MODEL on a few random samples, and refused if it differs.
    """
    import edgebn

    stem = model.resolve().stem
    output = path or Path(f"{stem}.folded.onnx" if model.suffix == ".onnx" else f"{stem}.onnx")
    result = edgebn.fold_export(
        model,
        output,
        opset=opset,
        report=report,
        trust=trust,
        verify=not no_verify,
        golden=golden,
        certificate=certificate,
        tune=tune,
        precision=precision,
        data=data,
        interface=interface,
    )
    _show(result)
    if golden:
        click.echo(
            f"wrote {output.parent / 'test_data_set_0'} … {golden - 1}"
            if golden > 1
            else f"wrote {output.parent / 'test_data_set_0'}"
        )
    for written in (certificate, report):
        if written is not None:
            click.echo(f"wrote {written}")


def _show(result: ExportReport) -> None:
    fates: list[Fate] = [*result.folded, *result.kept]
    if fates:
        tables.show(
            f"{result.source}: {tables.count(result.folded)} of {tables.count(fates)} folded",
            ("BatchNormalization", "where it went", "by the laws"),
            [tables.fate_row(fate) for fate in fates],
        )
    else:
        click.echo(f"{result.source}: has no BatchNormalization to fold")
    for note in result.notes:
        click.echo(note)
    if result.tuning is not None:
        lower.show_tuning(result.tuning)
    click.echo(
        f"operators: {tables.operators(result.nodes)} ({len(result.nodes)}; {result.nodes_before} before folding)"
    )
    for role, named in (("input", result.inputs), ("output", result.outputs)):
        for name, shape in named.items():
            click.echo(f"{role}: {name} [{', '.join(map(str, shape))}]")
    if result.precision is not None:
        lower.show_precision(result.precision)
    click.echo(f"wrote {result.onnx_model} ({tables.size(result.onnx_bytes)}, opset {result.opset})")
