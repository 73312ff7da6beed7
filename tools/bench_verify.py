"""How long verify takes beyond imports, and what fold-export's comparison costs by the conversion alone.

python tools/bench_verify.py [--data mnist.npz]
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgebn
from edgebn import backends
from edgebn.graphs import open_graph

MODELS = Path(__file__).parents[1] / "models"
RUNS = 3
DIGITS = 10_000
LEVELS = ("off", "basic", "extended", "all")
MOST_SECONDS = 20.0
MOST_BY_CONVERSION = 2.0


def seconds(call: Callable[[], Any]) -> float:
    """Of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def verify_seconds(data: str) -> float:
    """Of the CNN on all digits, by a verdict that is asked whether it did all that it should."""
    cnn = MODELS / "cnn"
    started = time.perf_counter()
    verdict = edgebn.verify(cnn / "cnn.keras", cnn / "cnn.onnx", data=data)
    taken = time.perf_counter() - started
    on_digits = {each.optimisation: each.samples for each in verdict.comparisons if each.probe == "data"}
    if not verdict.passed or on_digits != dict.fromkeys(LEVELS, DIGITS):
        raise SystemExit(f"did not pass on {DIGITS:,} digits at all levels, but at {on_digits}; check --data")
    return taken


def main() -> None:
    """Print both, and fail if one is too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist", help="MNIST as .npz in the layout of keras.datasets")
    arguments = parser.parse_args()
    keras = backends.keras()
    backends.onnxruntime()
    importlib.import_module("edgebn.verification")
    times = [verify_seconds(arguments.data) for _ in range(RUNS)]
    taken = max(times)
    print(
        f"verify, CNN, {DIGITS:,} digits, all levels: {statistics.median(times):.1f} s beyond imports "
        f"({min(times):.1f}…{taken:.1f})"
    )
    model = keras.applications.DenseNet121(weights=None, input_shape=(32, 32, 3), classes=10)
    with tempfile.TemporaryDirectory() as folder:
        path, ratios = Path(folder) / "model.onnx", []
        for _ in range(RUNS):
            converted = seconds(lambda: open_graph(model))
            ratios.append(seconds(lambda: edgebn.fold_export(model, path)) / converted)
    ratio = statistics.median(ratios)
    print(
        f"fold-export of DenseNet121, verified: {ratio:.2f} times the conversion ({min(ratios):.2f}…{max(ratios):.2f})"
    )
    if taken > MOST_SECONDS or ratio > MOST_BY_CONVERSION:
        raise SystemExit("too slow")


if __name__ == "__main__":
    main()
