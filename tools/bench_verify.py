"""How long verify takes beyond imports.

python tools/bench_verify.py [--data mnist.npz]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import edgebn
from edgebn import backends

MODELS = Path(__file__).parents[1] / "models"
MOST_SECONDS = 20.0


def main() -> None:
    """Print it, and fail if it is too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist", help="MNIST as .npz in the layout of keras.datasets")
    arguments = parser.parse_args()
    backends.keras()
    backends.onnxruntime()
    cnn = MODELS / "cnn"
    started = time.perf_counter()
    edgebn.verify(cnn / "cnn.keras", cnn / "cnn.onnx", data=arguments.data)
    taken = time.perf_counter() - started
    print(f"verify, CNN, 10,000 digits, all levels: {taken:.1f} s beyond imports")
    if taken > MOST_SECONDS:
        raise SystemExit("too slow")


if __name__ == "__main__":
    main()
