"""edgebn inspect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgebn.cli import options, tables

if TYPE_CHECKING:
    from edgebn.report import Fate, Inspection


@click.command()
@click.argument("model", type=options.PATH)
@options.opset
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON.")
@options.trust
def inspect(model: Path, opset: int | None, as_json: bool, trust: bool) -> None:
    """Say what fold-export would do with every BatchNormalization of MODEL, and why. Writes nothing.

    MODEL is a .keras or .h5 file, a SavedModel folder, or an .onnx file from any tool.
    """
    import edgebn

    result = edgebn.inspect(model, opset=opset, trust=trust)
    if as_json:
        click.echo(result.to_json(), nl=False)
    else:
        _show(result)


def _show(result: Inspection) -> None:
    fates: list[Fate] = [*result.folded, *result.kept]
    if not fates:
        click.echo(f"{result.source}: has no BatchNormalization to fold ({result.nodes_after} nodes)")
        return
    tables.show(
        f"{result.source}: {tables.count(result.folded)} of {tables.count(fates)} can be folded",
        ("BatchNormalization or affine", "where it goes", "by the laws, or why not"),
        [tables.fate_row(fate) for fate in fates],
    )
    tables.show(
        "health",
        ("", "channels>", "dead>", "smallest variance>", "largest scale>", "amplifies", "negative>", "zero>"),
        [_health_row(fate) for fate in fates],
    )
    for note in result.notes:
        click.echo(note)
    click.echo(f"nodes: {result.nodes_before} as exported, {result.nodes_after} after folding")


def _health_row(fate: Fate) -> tuple[str, ...]:
    health = fate.health
    return (
        ", ".join(fate.layers) or fate.node,
        str(health.channels),
        str(health.dead_channels),
        "unknown" if health.smallest_variance is None else f"{health.smallest_variance:.2g}",
        f"{health.largest_scale:.3g}",
        health.amplifies,
        str(health.negative_scales),
        str(health.zero_scales),
    )
