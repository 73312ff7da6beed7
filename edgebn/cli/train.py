"""edgebn train."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgebn.cli import options

if TYPE_CHECKING:
    from edgebn.training.fit import OnProgress


@click.command()
@click.argument("architecture", type=click.Choice(["mlp", "cnn"]))
@click.option("-o", "--output", type=options.PATH, help="Where to write the model. [default: ARCHITECTURE.keras]")
@options.data
@click.option("--epochs", type=click.IntRange(1, 10**6), default=5, show_default=True, help="Passes over the images.")
@click.option(
    "--batch-size", type=click.IntRange(1, 10**6), default=32, show_default=True, help="Images in a gradient step."
)
@options.seed("the weights and of the order of the images")
def train(architecture: str, output: Path | None, data: str | None, epochs: int, batch_size: int, seed: int) -> None:
    """Train one of the two textbook models on digits.

    mlp is Dense, BatchNormalization, ReLU, Dense; cnn is Conv2D with ReLU, BatchNormalization, MaxPooling, Dense.
    Writes the model and, beside it, a record of the training as JSON.
    """
    import edgebn

    output = output or Path(f"{architecture}.keras")
    given = {} if data is None else {"data": data}
    with _progress(epochs) as on_progress:
        record = edgebn.train(
            architecture, output, epochs=epochs, batch_size=batch_size, seed=seed, on_progress=on_progress, **given
        )
    click.echo(
        f"test accuracy {record.test_accuracy:.2%} on {record.test_samples:,} digits of {record.data}, "
        f"trained on {record.train_samples:,} in {record.seconds:.1f} s"
    )
    click.echo(f"wrote {output} and {output.with_suffix('.training.json')}")


@contextlib.contextmanager
def _progress(epochs: int) -> Iterator[OnProgress]:
    """A progress bar on stderr with the epoch, the loss and the accuracy: on a terminal, and gone if training fails."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[metrics]}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("loading", total=None, metrics="")

        def on_progress(epoch: int, done: int, batches: int, logs: Mapping[str, float]) -> None:
            metrics = f"loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.2%}"
            progress.update(
                task,
                description=f"epoch {epoch + 1}/{epochs}",
                total=epochs * batches,
                completed=epoch * batches + done,
                metrics=metrics,
            )

        yield on_progress
        progress.live.transient = False
