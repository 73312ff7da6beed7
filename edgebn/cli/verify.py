"""edgebn verify."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from edgebn.cli import junit, options, tables

if TYPE_CHECKING:
    from edgebn.report import Comparison, Decisions, Replay, Verdict
    from edgebn.verifying.judging import OnSamples

DIFFERS = 1


@click.command()
@click.argument("model", type=options.PATH)
@click.argument("onnx_model", metavar="[ONNX_MODEL]", type=options.PATH, required=False)
@click.option(
    "--data",
    metavar="NAME|FILE.npz",
    help="Digits as for train, or an .npz file with an array for each input and, if known, labels.",
)
@options.seed("the random inputs")
@click.option("--rtol", type=click.FloatRange(0.0), help="Pass by numpy's rule, with this tolerance by MODEL's result.")
@click.option("--atol", type=click.FloatRange(0.0), help="Pass by numpy's rule, with this absolute tolerance.")
@click.option(
    "--certificate",
    type=options.PATH,
    help="Where to write a certificate, as JSON; with one ONNX file alone, where to read it.",
)
@click.option("--junit", "junit_path", type=options.PATH, help="Where to write the verdict as JUnit XML.")
@click.option("--json", "as_json", is_flag=True, help="Print every number as JSON.")
@options.trust
def verify(
    model: Path,
    onnx_model: Path | None,
    data: str | None,
    seed: int,
    rtol: float | None,
    atol: float | None,
    certificate: Path | None,
    junit_path: Path | None,
    as_json: bool,
    trust: bool,
) -> None:
    """Prove that ONNX_MODEL computes what MODEL computes: a Keras model, or another ONNX file.

    Runs both on CPU on real data, if there are, and on inputs that hurt, at every level of onnxruntime's optimisations.
    With one ONNX file alone, replays the golden vectors that lie beside it, without TensorFlow. Exit code 0: equal up
    to rounding; 1: not.
    """
    import edgebn

    if junit_path is not None:
        _check_writable(junit_path, [model, onnx_model], certificate, data)
    result: Verdict | Replay
    with _error_in(junit_path, (onnx_model or model).name):
        if onnx_model is None:
            _refuse_with_one_model()
            result = edgebn.replay(model, certificate)
        else:
            with _progress() as (on_data, on_samples):
                result = edgebn.verify(
                    model,
                    onnx_model,
                    data=data,
                    seed=seed,
                    rtol=rtol,
                    atol=atol,
                    certificate=certificate,
                    trust=trust,
                    on_samples=on_samples,
                    on_data=on_data,
                )
    if junit_path is not None:
        junit.write(junit_path, result)
    if as_json:
        click.echo(result.to_json(), nl=False)
    else:
        _show(result)
        for path in (certificate if onnx_model is not None else None, junit_path):
            if path is not None:
                click.echo(f"wrote {path}")
    if not result.passed:
        sys.exit(DIFFERS)


def _refuse_with_one_model() -> None:
    """Raise a usage error if an option is given that golden vectors have no use for."""
    context = click.get_current_context()
    for name in ("data", "seed", "rtol", "atol", "trust"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name} needs two models: MODEL and ONNX_MODEL.")


def _check_writable(path: Path, models: Iterable[Path | None], certificate: Path | None, data: str | None) -> None:
    """Raise UsageError unless the verdict can be written to `path`, and nothing else is there that is needed."""
    from edgebn import files
    from edgebn.loading.overwriting import check_distinct

    files.check_writable(path)
    check_distinct(models, [path, certificate], data)


@contextlib.contextmanager
def _error_in(junit_path: Path | None, name: str) -> Iterator[None]:
    """Write an error that stops the command to the JUnit file as well, if there is to be one."""
    from edgebn.errors import EdgebnError

    try:
        yield
    except EdgebnError as error:
        if junit_path is not None:
            junit.write_error(junit_path, name, str(error))
        raise


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], OnSamples]]:
    """A line on stderr that says which probe runs and how many of its samples are done: on a terminal only.

    Of real data it is known how many there are; all other probes are short.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    console = Console(stderr=True)
    description, hidden = TextColumn("{task.description}"), not console.is_terminal
    with Progress(description, *columns, console=console, transient=True, disable=hidden) as progress:
        tasks = {"": progress.add_task("opening", total=None)}

        def on_data(count: int) -> None:
            progress.update(tasks[""], visible=False)
            tasks["data"] = progress.add_task("data", total=count)

        def on_samples(probe: str, samples: int) -> None:
            progress.update(tasks.get(probe, tasks[""]), description=probe, completed=samples, visible=True)
            if probe != "data" and "data" in tasks:
                progress.remove_task(tasks.pop("data"))

        yield on_data, on_samples


def _show(result: Verdict | Replay) -> None:
    from edgebn.report import Replay

    if isinstance(result, Replay):
        _show_replay(result)
    else:
        _show_verdict(result)
    for note in result.notes:
        click.echo(note)
    click.echo(f"{'PASS' if result.passed else 'FAIL'}: {_conclusion(result)}")


def _conclusion(result: Verdict | Replay) -> str:
    """The verdict in words: what is right, or else what of several things is not."""
    from edgebn.report import Replay

    if isinstance(result, Replay):
        right, wrong = "equal up to rounding", "gives other outputs than its golden vectors say"
        agree, noted = all(each.passed for each in result.replayed), "gives its golden vectors, but is not as certified"
    else:
        rounding = result.rule == "rounding"
        right = "equal up to rounding" if rounding else "equal within the given tolerance"
        wrong = "the two compute different functions" if rounding else "the two differ by more than the given tolerance"
        agree = all(each.passed for each in result.comparisons if each.required)
        noted = "equal as far as compared, but not all that has to be, as said above"
    return right if result.passed else noted if agree else wrong


def _show_replay(replay: Replay) -> None:
    rows = [
        (
            each.data_set,
            each.output,
            f"{each.samples:,}",
            tables.number(each.difference.max_abs),
            _share(each.used),
            "ok" if each.passed else "DIFFERS",
        )
        for each in replay.replayed
    ]
    tables.show(
        f"{replay.onnx_model} on its golden vectors",
        ("data set", "output", "samples>", "difference>", "used>", ""),
        rows,
    )
    click.echo("used: of what rounding may do, by the channel that uses most of it")
    if replay.certificate is not None:
        click.echo(f"certificate: {replay.certificate}")


def _show_verdict(verdict: Verdict) -> None:
    outputs = [each for each in verdict.comparisons if not each.is_of_logits]
    _show_comparisons(f"{verdict.onnx_model} against {verdict.reference}", outputs)
    click.echo("error: of ONNX from the model in float64; its own: that of the model; used: of what rounding may do")
    _show_logits([each for each in verdict.comparisons if each.is_of_logits])
    _show_outputs(verdict)
    _show_runtimes(verdict)
    for decisions in verdict.decisions:
        _show_decisions(verdict, decisions)
    if verdict.clip_sides[1]:
        reached, sides = verdict.clip_sides
        click.echo(f"the inputs reach {reached:,} of {sides:,} sides of clips (ReLU and the like)")
    rtol = "" if verdict.smallest_rtol == float("inf") else f" or --rtol {tables.rounded_up(verdict.smallest_rtol)}"
    click.echo(f"smallest tolerance that would pass: --atol {tables.rounded_up(verdict.smallest_atol)}{rtol}")
    if verdict.culprit is not None:
        click.echo(f"where: {verdict.culprit}")


def _show_comparisons(title: str, comparisons: list[Comparison]) -> None:
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in comparisons:
        if comparison.threads:
            groups.setdefault((comparison.probe, comparison.output), []).append(comparison)
    several = len({each.output for each in comparisons}) > 1
    columns = ("samples>", "batches", "difference>", "error>", "its own>", "used>", "")
    tables.show(
        title,
        ("inputs", *(["output"] if several else []), *columns),
        [_row(each, several) for each in groups.values()],
    )


def _show_logits(comparisons: list[Comparison]) -> None:
    """A line for each output whose logits agree, a table for the others."""
    for name in dict.fromkeys(each.output for each in comparisons):
        of_name = [each for each in comparisons if each.output == name]
        if all(each.passed for each in of_name if each.required):
            used = max(each.used for each in of_name if each.required)
            click.echo(f"{name}, before softmax or sigmoid: agree as well, {_share(used)} used")
        else:
            _show_comparisons(f"{name}, before softmax or sigmoid", of_name)


def _row(comparisons: list[Comparison], several_outputs: bool) -> tuple[str, ...]:
    worst = max(comparisons, key=lambda each: each.used)
    return (
        worst.probe,
        *([worst.output] if several_outputs else []),
        f"{max(each.samples for each in comparisons):,}",
        ", ".join(dict.fromkeys(str(each.batch_size) for each in comparisons)),
        tables.number(max(each.difference.max_abs for each in comparisons)),
        "-" if worst.error is None else tables.number(worst.error.max_abs),
        "-" if worst.reference_error is None else tables.number(worst.reference_error.max_abs),
        _share(worst.used) if worst.required else "",
        "ok" if all(each.passed for each in comparisons) else "DIFFERS" if worst.required else "not required",
    )


def _share(used: float) -> str:
    return f"{used:.0%}" if used < 100.0 else f"{used:.1e}×"


def _show_outputs(verdict: Verdict) -> None:
    """Of each output the three distances, the largest of all that is required."""
    rows = []
    for name in dict.fromkeys(each.output for each in verdict.comparisons):
        required = [each for each in verdict.comparisons if each.output == name and each.required]
        for what, distances in (
            ("ONNX from the model", [each.difference for each in required]),
            ("ONNX from the model in float64", [each.error for each in required]),
            ("the model from itself in float64", [each.reference_error for each in required]),
        ):
            known = [each for each in distances if each is not None]
            if known:
                largest = (max(getattr(each, field) for each in known) for field in ("max_abs", "relative", "ulps"))
                rows.append((name, what, *map(tables.number, largest)))
    tables.show("largest distances", ("output", "", "max abs>", "by its scale>", "ulps>"), rows)


def _show_runtimes(verdict: Verdict) -> None:
    """How far each level of optimisation is from none, if any is."""
    levels: dict[str, float] = {}
    for each in verdict.runtimes:
        name = f"{each.optimisation}, {each.threads} threads" if each.threads > 1 else each.optimisation
        levels[name] = max(levels.get(name, 0.0), each.difference.max_abs)
    shown = "; ".join(f"{name} {tables.number(difference)}" for name, difference in levels.items())
    click.echo(f"onnxruntime against itself without optimisations: {shown}")


def _show_decisions(verdict: Verdict, decisions: Decisions) -> None:
    accuracy = ""
    if decisions.reference_accuracy is not None and decisions.onnx_accuracy is not None:
        accuracy = f"accuracy {decisions.onnx_accuracy:.2%} (model {decisions.reference_accuracy:.2%}), "
    ties = f", {decisions.ties} of them ties within rounding" if decisions.changed else ""
    click.echo(
        f"{decisions.samples:,} samples of {verdict.data}, {decisions.output}: {accuracy}"
        f"{decisions.changed} changed labels{ties}"
    )
    for change in decisions.changes[:5]:
        label = "" if change.label is None else f", right is {change.label}"
        kind = "a tie" if change.tie else "real"
        click.echo(
            f"  sample {change.sample}: {change.onnx_label} instead of {change.reference_label}{label}, "
            f"margin {tables.number(change.margin)}: {kind}"
        )
