"""How fold-export shows what --tune and --precision found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgebn.cli import tables

if TYPE_CHECKING:
    from edgebn.measurements import OutputChange, Precision, Ratio, Tuning


def show_tuning(tuning: Tuning) -> None:
    """The candidates, with ratios to what is made without timing."""
    rows = [
        (
            each.preference,
            f"{each.nodes:,}",
            tables.duration(each.timed.latency.median),
            _ratio(each.timed.ratio),
            "chosen" if each.preference == tuning.chosen else "",
        )
        for each in tuning.candidates
    ]
    tables.show("exact plans, timed on one thread", ("plan", "nodes>", "latency>", "ratio (quartiles)>", ""), rows)


def show_precision(precision: Precision) -> None:
    """The file beside the float32 file, and what a user should be warned of."""
    float32, ours = precision.float32_timed, precision.timed
    tables.show(
        f"{precision.precision} beside float32",
        ("", "float32>", f"{precision.precision}>", "ratio (quartiles)>"),
        [
            (
                "size",
                tables.size(precision.float32_bytes),
                tables.size(precision.onnx_bytes),
                f"{precision.onnx_bytes / precision.float32_bytes:.2f}",
            ),
            (
                "latency",
                tables.duration(float32.latency.median),
                tables.duration(ours.latency.median),
                _ratio(ours.ratio),
            ),
        ],
    )
    for change in precision.outputs:
        click.echo(f"{_samples(precision)}, {change.output}: {_change(change)}")
    for name in precision.kept_in_float32:
        click.echo(f"{name} stays float32: float16 can not hold it")
    if precision.is_slower:
        click.echo(f"warning: {precision.precision} is slower than float32 on this machine")
    if precision.is_larger:
        click.echo(f"warning: {precision.precision} makes the file no smaller than float32 does")


def _samples(precision: Precision) -> str:
    """On what both were compared: `9,500 samples of mnist, calibrated on 500 others`."""
    where = "random numbers" if precision.data is None else precision.data
    compared = f"{precision.samples:,} {'sample' if precision.samples == 1 else 'samples'} of {where}"
    if not precision.calibrated_on:
        return compared
    return (
        f"{compared}, calibrated on {precision.calibrated_on:,} {'other' if precision.calibrated_on == 1 else 'others'}"
    )


def _change(change: OutputChange) -> str:
    distance = f"off by {tables.number(change.max_abs)} at most, of {tables.number(change.largest)}"
    parts = [distance] if change.output != "class" else []  # of which no number is nearer to another
    if change.accuracy is not None and change.float32_accuracy is not None:
        parts.append(f"accuracy {change.accuracy:.2%} (float32 {change.float32_accuracy:.2%})")
    if change.changed_labels is not None:
        parts.append(f"{change.changed_labels:,} changed labels")
    return ", ".join(parts)


def _ratio(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.lower_quartile:.2f}…{ratio.upper_quartile:.2f})"
