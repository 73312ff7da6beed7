"""How long verify takes beyond imports.

python tools/bench_verify.py [--data mnist.npz]
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from pathlib import Path

import edgebn
from edgebn import backends

MODELS = Path(__file__).parents[1] / "models"
RUNS = 3
DIGITS = 10_000
LEVELS = ("off", "basic", "extended", "all")
MOST_SECONDS = 20.0


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
    """Print it, and fail if it is too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist", help="MNIST as .npz in the layout of keras.datasets")
    arguments = parser.parse_args()
    backends.keras()
    backends.onnxruntime()
    importlib.import_module("edgebn.verification")
    times = [verify_seconds(arguments.data) for _ in range(RUNS)]
    taken = max(times)
    print(
        f"verify, CNN, {DIGITS:,} digits, all levels: {statistics.median(times):.1f} s beyond imports "
        f"({min(times):.1f}…{taken:.1f})"
    )
    if taken > MOST_SECONDS:
        raise SystemExit("too slow")


if __name__ == "__main__":
    main()
