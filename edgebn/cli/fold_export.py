"""edgebn fold-export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgebn.cli import options, tables

if TYPE_CHECKING:
    from edgebn.report import ExportReport, Fate


@click.command("fold-export")
@click.argument("model", type=options.MODEL)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where to write the ONNX file. [default: MODEL.onnx]"
)
@click.option("--opset", type=int, default=18, show_default=True, help="Version of the ONNX operator set, 13 to 18.")
@click.option("--report", type=click.Path(path_type=Path), help="Where to write what was done, as JSON.")
@options.trust
def fold_export(model: Path, output: Path | None, opset: int, report: Path | None, trust: bool) -> None:
    """Fold every BatchNormalization of MODEL into its neighbours, and write it as ONNX.

    MODEL is a .keras or .h5 file, or a SavedModel folder.
    """
    import edgebn

    output = output or Path(f"{model.stem}.onnx")
    result = edgebn.fold_export(model, output, opset=opset, report=report, trust=trust)
    _show(result)
    if report is not None:
        click.echo(f"wrote {report}")


def _show(result: ExportReport) -> None:
    fates: list[Fate] = [*result.folded, *result.kept]
    if fates:
        tables.show(
            f"{result.source}: {len(result.folded)} of {len(fates)} folded",
            ("BatchNormalization", "where it went", "by the laws"),
            [_row(fate) for fate in fates],
        )
    else:
        click.echo(f"{result.source}: has no BatchNormalization to fold")
    click.echo(f"operators: {' '.join(result.nodes)} ({len(result.nodes)}; {result.nodes_before} before folding)")
    for role, named in (("input", result.inputs), ("output", result.outputs)):
        for name, shape in named.items():
            click.echo(f"{role}: {name} [{', '.join(map(str, shape))}]")
    click.echo(f"wrote {result.onnx_model} ({tables.size(result.onnx_bytes)}, opset {result.opset})")


def _row(fate: Fate) -> tuple[str, str, str]:
    from edgebn.report import Folded

    name = ", ".join(fate.layers) or fate.node
    if isinstance(fate, Folded):
        return name, "\n".join(fate.into), "\n".join(f"{step.law} ({step.at})" for step in fate.route)
    return name, "kept", "\n".join(f"{stop.at}: {stop.reason}" for stop in fate.stops)
