"""edgebn embed."""

from __future__ import annotations

from pathlib import Path

import click

from edgebn.cli import options, tables

TARGETS = ("c", "wasm", "web", "c-ort", "python", "node")


@click.command()
@click.argument("model", metavar="MODEL.onnx", type=options.PATH)
@click.option("--target", type=click.Choice(TARGETS), required=True, help="The kind of app.")
@click.option("-o", "--output", metavar="DIR", type=options.PATH, required=True, help="The folder to write.")
@click.option("--force", is_flag=True, help="Overwrite files that edgebn did not write, or that were changed since.")
def embed(model: Path, target: str, output: Path, force: bool) -> None:
    """Write a small app that runs MODEL.onnx, with its golden vectors as a self-test.

    c is plain C99 without any library; wasm and web are pages where one draws a digit, on that C or on onnxruntime-web;
    c-ort, python and node run the file on onnxruntime. The app's README has the commands to build and run it.
    """
    import edgebn

    result = edgebn.embed(model, target, output, force=force)
    for name in result.files:
        click.echo(f"wrote {Path(result.folder) / name}")
    click.echo(f"{tables.size(result.total_bytes)}; its self-test runs {result.golden_origin}")
    click.echo(f"to build and run it: {Path(result.folder) / 'README.md'}")
