"""edgebn verify."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgebn.cli import options, tables

if TYPE_CHECKING:
    from edgebn.report import Comparison, Verdict

DIFFERS = 1


@click.command()
@click.argument("model", type=options.PATH)
@click.argument("onnx_model", metavar="ONNX_MODEL", type=options.PATH)
@options.data
@options.seed("the random inputs")
@click.option("--json", "as_json", is_flag=True, help="Print every number as JSON.")
@options.trust
def verify(model: Path, onnx_model: Path, data: str | None, seed: int, as_json: bool, trust: bool) -> None:
    """Prove that ONNX_MODEL computes what the Keras MODEL computes.

    Runs both on CPU on real test digits, if the model takes them, and on random inputs of both signs, in batches of 1
    and more, with onnxruntime's optimisations off and on. Exit code 0: equal up to rounding; 1: not.
    """
    import edgebn

    verdict = edgebn.verify(model, onnx_model, data=data, seed=seed, trust=trust)
    if as_json:
        click.echo(verdict.to_json(), nl=False)
    else:
        _show(verdict)
    if not verdict.passed:
        sys.exit(DIFFERS)


def _show(verdict: Verdict) -> None:
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in verdict.comparisons:
        groups.setdefault((comparison.probe, comparison.output), []).append(comparison)
    levels = ", ".join(dict.fromkeys(each.optimisation for each in verdict.comparisons))
    several = len({each.output for each in verdict.comparisons}) > 1
    tables.show(
        f"{verdict.onnx_model} against {verdict.keras_model} (onnxruntime's optimisations: {levels})",
        ("inputs", *(["output"] if several else []), "samples>", "batches", "ONNX-Keras>", "error>", "allowed>", ""),
        [_row(comparisons, several) for comparisons in groups.values()],
    )
    click.echo("ONNX-Keras: max abs difference; error: of ONNX from the model in float64, where that can be had")
    if verdict.data is not None:
        digits = max(each.max_abs for each in verdict.comparisons if each.probe == "digits")
        click.echo(
            f"{verdict.labelled_samples:,} test digits of {verdict.data}: "
            f"max abs difference {tables.number(digits)}, {verdict.changed_labels} changed labels"
        )
    click.echo("PASS: equal up to rounding" if verdict.passed else "FAIL: the two compute different functions")


def _row(comparisons: list[Comparison], several_outputs: bool) -> tuple[str, ...]:
    worst = max(comparisons, key=lambda each: _error(each) / each.tolerance if each.tolerance else _error(each))
    return (
        worst.probe,
        *([worst.output] if several_outputs else []),
        f"{max(each.samples for each in comparisons):,}",
        ", ".join(dict.fromkeys(str(each.batch_size) for each in comparisons)),
        tables.number(max(each.max_abs for each in comparisons)),
        tables.number(_error(worst)),
        tables.number(worst.tolerance),
        "ok" if all(each.passed for each in comparisons) else "DIFFERS",
    )


def _error(comparison: Comparison) -> float:
    return comparison.max_abs if comparison.onnx_error is None else comparison.onnx_error
