"""Time edgebn's files beside every other route from a Keras model to a CPU, in one interleaved run for each model.

python tools/bench.py [--models FOLDER] [--only NAME]... [--seconds 30] [--cpu-time] [--readme README.md]

The routes are in bench_routes.py and need `pip install -c constraints.txt -e .[bench]`. One thread. Ratios are to the
Keras export in onnxruntime, of neighbouring blocks of calls: their median, and ± half of the range in which half of
them lie. Each file is loaded anew for every quarter of the time. A route that fails on a model, or that gives something
else than Keras, is shown as failed, with the reason below. FOLDER may hold Keras models, each NAME.keras. With
--readme, a summary takes the place of what is between its markers.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgebn import backends, files
from edgebn.benching.benchmark import machine
from edgebn.benching.timing import Call, Clock, Samples, interleaved
from edgebn.measurements import Latency, Ratio
from tests.model_set import APPLICATIONS
from tools.bench_routes import EDGEBN, EXPORT, ROUTES, Made, Route, quiet

ROOT = Path(__file__).parents[1]
BATCH_SIZES = (1, 64)
IN_ONNXRUNTIME = ("onnxsim", "onnxslim", "onnxoptimizer", "onnxscript", "onnxruntime saved")
LARGE = ("MobileNetV2", "ResNet50V2", "DenseNet121")
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
WRONG = 1e-3  # of the output's largest value: another function, not another order of sums
CREATION_SHARE = 0.2
OPENINGS = 4
CLOCKS = {False: "Time", True: "CPU time"}


@dataclass
class Measured:
    """What became of a route on a model: `failed` says why it did not go on."""

    bytes: int | None = None
    norms: int | None = None
    operators: tuple[str, ...] = ()
    creation: Latency | None = None
    creation_ratio: Ratio | None = None
    latencies: dict[int, Latency] = field(default_factory=dict)
    ratios: dict[int, Ratio] = field(default_factory=dict)
    failed: str = ""


@dataclass(frozen=True, eq=False)
class Ready:
    """A route that gives what Keras gives at one batch size: how to load it anew, and how to call what was loaded."""

    create: Call
    caller: Callable[[Any], Call]


def models(folder: Path | None) -> Mapping[str, Callable[[], Any]]:
    """How to get each model, by its name: those of this project, those of the folder, and large ones."""
    paths = [*(ROOT / "models" / name / f"{name}.keras" for name in ("mlp", "cnn"))]
    paths += sorted(folder.glob("*.keras")) if folder else []
    loaded = {path.stem: partial(load, path) for path in paths}
    return {**loaded, **{name: APPLICATIONS[name] for name in LARGE}}


def load(path: Path) -> Any:
    """The Keras model of a file."""
    return backends.keras().saving.load_model(path, compile=False)


def measure(
    model: Any, folder: Path, seconds: float, seed: int, clock: Clock = time.perf_counter
) -> dict[str, Measured]:
    """Build all routes of a model, and time them in turn."""
    made = Made(model, folder / "export.onnx", folder)
    results = {name: Measured() for name in ROUTES}
    ready: dict[int, dict[str, Ready]] = {}
    for batch_size in BATCH_SIZES:
        x = np.random.default_rng(seed).standard_normal((batch_size, *model.input_shape[1:]), np.float32)
        expected = np.asarray(model(x, training=False))
        ready[batch_size] = prepared(made, x, expected, results)
    create = {name: each.create for name, each in ready[BATCH_SIZES[0]].items()}
    groups = {
        batch_size: {name: each for name, each in routes.items() if not results[name].failed}
        for batch_size, routes in ready.items()
    }
    with quiet():
        (creations,) = interleaved([[*create.values()]], seconds=CREATION_SHARE * seconds, seed=seed, clock=clock)
        share = (1.0 - CREATION_SHARE) / OPENINGS
        routes = [[*group.values()] for group in groups.values()]
        runs = [timed_anew(routes, share * seconds, seed + opening, clock) for opening in range(OPENINGS)]
    for name, samples in zip(create, creations, strict=True):
        results[name].creation = samples.latency()
        results[name].creation_ratio = samples.ratio_to(creations[0])
    for index, (batch_size, group) in enumerate(groups.items()):
        blocks = [Samples.of_runs(parts) for parts in zip(*(run[index] for run in runs), strict=True)]
        for name, samples in zip(group, blocks, strict=True):
            results[name].latencies[batch_size] = samples.latency()
            results[name].ratios[batch_size] = samples.ratio_to(blocks[0])
    return results


def timed_anew(groups: Sequence[Sequence[Ready]], seconds: float, seed: int, clock: Clock) -> list[list[Samples]]:
    """Time all routes, each loaded anew: where its weights come to lie in memory makes a percent or two."""
    calls = [[each.caller(each.create()) for each in group] for group in groups]
    return interleaved(calls, seconds=seconds, seed=seed, clock=clock)


def prepared(made: Made, x: np.ndarray, expected: np.ndarray, results: Mapping[str, Measured]) -> dict[str, Ready]:
    """The routes that work; `results` gets the sizes of their files, and why the others failed."""
    ready = {}
    for name, route in ROUTES.items():
        try:
            with quiet():
                path = route.build(made, len(x))
                each = opened(route, path, x, expected)
                describe(results[name], path)
            ready[name] = each
        except Exception as error:  # of any tool: shown in the table
            if name == EXPORT:
                raise  # there is nothing to compare with
            results[name].failed = reason(error)
    return ready


def opened(route: Route, path: Path, x: np.ndarray, expected: np.ndarray) -> Ready:
    """Load the file and check that it computes what Keras computes."""
    create = partial(route.load, path, x.shape)

    def caller(loaded: Any) -> Call:
        return route.caller(loaded, x)

    (result,) = caller(create())()  # type: ignore[misc]
    difference = float(np.abs(np.asarray(result) - expected).max() / np.abs(expected).max())
    if not difference < WRONG:
        raise ValueError(f"gives something else than Keras: off by {difference:.1e} of the largest value")
    return Ready(create, caller)


def describe(measured: Measured, path: Path) -> None:
    """Size, and of an ONNX file its operators and what is left of the BatchNormalizations."""
    if measured.bytes is None:
        measured.bytes = path.stat().st_size
        if path.suffix == ".onnx":
            graph = onnx.load(path).graph
            measured.operators = tuple(node.op_type for node in graph.node)
            measured.norms = norms_left(graph)


def norms_left(graph: onnx.GraphProto) -> int:
    """BatchNormalizations, and multiplications with a constant for each channel, to which exporters take them apart.

    So are convolutions of one weight for each channel, to which onnxruntime turns them for its blocked layout.
    """
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    constants = (node for node in graph.node if node.op_type == "Constant")
    weights |= {node.output[0]: tuple(each.t.dims) for node in constants for each in node.attribute}
    return sum(is_norm(node, weights) for node in graph.node)


def is_norm(node: onnx.NodeProto, weights: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether one of the three."""
    shapes = [weights[name] for name in node.input if name in weights]
    if node.op_type == "Mul":
        return any(math.prod(shape) > 1 for shape in shapes)
    if node.op_type == "Conv" and node.domain == "com.microsoft.nchwc":
        return shapes[0][1:] == (1, 1, 1)
    return node.op_type == "BatchNormalization"


def reason(error: Exception) -> str:
    """One line."""
    package = str(error.name).split(".")[0] if isinstance(error, ImportError) else "edgebn"
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def tables(record: Mapping[str, Mapping[str, Measured]], versions: Mapping[str, str], clock: str) -> str:
    """The record in Markdown; `clock` says what was measured."""
    parts = []
    for batch_size in BATCH_SIZES:
        title = f"Latency at batch {batch_size}, as a ratio to the Keras export in onnxruntime:"
        parts.append(table(title, record, partial(latency_cell, batch_size)))
    parts.append(table("Session creation:", record, creation_cell))
    parts.append(table("File size:", record, size_cell))
    parts.append(
        table(
            "BatchNormalizations left in the file, as such or as a multiplication for each channel:", record, norms_cell
        )
    )
    failures = [
        f"- {route} on {model}: {measured.failed}"
        for model, routes in record.items()
        for route, measured in routes.items()
        if measured.failed
    ]
    if failures:
        parts.append("\n".join(["Failed:", "", *failures]))
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts.append(f"{clock} on one thread of {machine()['cpu']}; {used}.")
    return "\n\n".join(parts)


def summary(record: Mapping[str, Mapping[str, Measured]], versions: Mapping[str, str], clock: str) -> str:
    """What a reader of README wants to know: one table."""
    heads = ("", "Keras export", "best other", "LiteRT", "edgebn", "BatchNorms left: export", "edgebn")
    rows = [heads, ("---", *["--:"] * (len(heads) - 1))]
    for model, routes in record.items():
        export, own = routes[EXPORT], routes[EDGEBN]
        if export.failed or own.failed:
            rows.append((model, *["failed"] * (len(heads) - 1)))
            continue
        others = [routes[name] for name in ROUTES if name in IN_ONNXRUNTIME and not routes[name].failed]
        best = {size: min((each.ratios[size].median for each in others), default=1.0) for size in BATCH_SIZES}
        times = " / ".join(f"{1e6 * export.latencies[size].median:,.0f} µs" for size in BATCH_SIZES)
        norms = [str(each.norms) for each in (export, own)]
        rows.append((model, times, pair(best), ratios(routes["LiteRT"]), f"**{ratios(own)}**", *norms))
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join(
        [
            "Latency at batch 1 / 64: of the Keras export in onnxruntime, and of the others the ratio to it. The best",
            "other is onnxsim, onnxslim, onnxoptimizer, onnxscript or onnxruntime's saved model, whichever is fastest.",
            "",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"{clock} on one thread of {machine()['cpu']}; {used}.",
        ]
    )


def ratios(measured: Measured) -> str:
    """Of all batch sizes."""
    return "failed" if measured.failed else pair({size: each.median for size, each in measured.ratios.items()})


def pair(values: Mapping[int, float]) -> str:
    """`0.60 / 0.37`."""
    return " / ".join(f"{values[size]:.2f}" for size in BATCH_SIZES)


def table(
    title: str, record: Mapping[str, Mapping[str, Measured]], cell: Callable[[str, Mapping[str, Measured]], str]
) -> str:
    """A row for each model, a column for each route."""
    rows = [["", *ROUTES], ["---", *["--:"] * len(ROUTES)]]
    for model, routes in record.items():
        failed = {name: "failed" for name in ROUTES if routes[name].failed}
        rows.append([model, *(failed.get(name) or cell(name, routes) for name in ROUTES)])
    return "\n".join([title, "", *(f"| {' | '.join(row)} |" for row in rows)])


def latency_cell(batch_size: int, route: str, routes: Mapping[str, Measured]) -> str:
    """The time of the Keras export, and the others' ratios to it."""
    measured = routes[route]
    return time_or_ratio(route, measured.latencies[batch_size], measured.ratios[batch_size])


def creation_cell(route: str, routes: Mapping[str, Measured]) -> str:
    """As `latency_cell`."""
    measured = routes[route]
    assert measured.creation is not None
    assert measured.creation_ratio is not None
    return time_or_ratio(route, measured.creation, measured.creation_ratio)


def time_or_ratio(route: str, latency: Latency, ratio: Ratio) -> str:
    """`31 µs`, or `0.60 ± 0.01`; edgebn's in bold."""
    if route == EXPORT:
        return f"{1e6 * latency.median:,.0f} µs"
    text = f"{ratio.median:.2f} ± {(ratio.upper_quartile - ratio.lower_quartile) / 2.0:.2f}"
    return f"**{text}**" if route == EDGEBN else text


def size_cell(route: str, routes: Mapping[str, Measured]) -> str:
    """Bytes of the Keras export, and the others' ratios to it. OpenVINO reads the Keras export."""
    own, export = routes[route].bytes, routes[EXPORT].bytes
    assert own is not None
    assert export is not None
    return f"{own / 1000:,.1f} kB" if route == EXPORT else f"{own / export:.4f}"


def norms_cell(route: str, routes: Mapping[str, Measured]) -> str:
    """How many, where that can be told."""
    norms = routes[route].norms
    return "" if norms is None or route == "OpenVINO" else str(norms)


def with_tables(text: str, content: str) -> str:
    """The text with what is between the markers replaced."""
    head, found, rest = text.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not (found and closed):
        raise SystemExit(f"the file needs the lines {BEGIN} and {END}, between which the tables go")
    return f"{head}{BEGIN}\n\n{content}\n\n{END}{tail}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="a folder of .keras files")
    parser.add_argument("--only", action="append", help="a model by name; may be repeated")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each model, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU time, for a machine that others use too")
    parser.add_argument("-o", "--output", type=Path, help="where to write every number, as JSON")
    parser.add_argument("--readme", type=Path, help="a file with markers, to write the tables into")
    given = parser.parse_args(arguments)
    chosen = models(given.models)
    if unknown := set(given.only or ()) - chosen.keys():
        parser.error(f"no such model: {', '.join(sorted(unknown))}; there are {', '.join(chosen)}")
    if given.readme is not None:
        with_tables(given.readme.read_text("utf-8"), "")  # fails now, not after an hour
    clock = time.process_time if given.cpu_time else time.perf_counter
    record = {}
    for name, make in chosen.items():
        if given.only and name not in given.only:
            continue
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's code
            record[name] = measure(make(), Path(folder), given.seconds, given.seed, clock)
        backends.keras().utils.clear_session()
        print(f"{name}: measured", file=sys.stderr)
        versions = installed()
        if given.output is not None:
            files.write_bytes(given.output, as_json(record, versions, given))
    content = tables(record, versions, CLOCKS[given.cpu_time])
    print(content)
    if given.readme is not None:
        short = summary(record, versions, CLOCKS[given.cpu_time])
        files.write_bytes(given.readme, with_tables(given.readme.read_text("utf-8"), short).encode())


def installed() -> dict[str, str]:
    """The versions of the packages that the routes use, where they are there."""
    names = dict.fromkeys(package for route in ROUTES.values() for package in route.packages)
    found = {each.name.lower() for each in metadata.distributions() if each.name}
    return {name: metadata.version(name) for name in names if name in found}


def as_json(
    record: Mapping[str, Mapping[str, Measured]], versions: Mapping[str, str], given: argparse.Namespace
) -> bytes:
    """Every number, with what it depends on."""
    results = {model: {route: asdict(each) for route, each in routes.items()} for model, routes in record.items()}
    options = {name: getattr(given, name) for name in ("seed", "seconds", "cpu_time")}
    whole = {**options, "machine": machine(), "versions": dict(versions), "models": results}
    return json.dumps(whole, indent=1).encode() + b"\n"


if __name__ == "__main__":
    main()
