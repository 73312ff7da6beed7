"""Fold models of other people, and print what became of each as a table: nodes, differences, errors, seconds.

python tools/fold_models.py [--models FOLDER]

FOLDER may hold trained Keras models, each NAME.keras with its inputs x0 in NAME.npz.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgebn import backends
from tests.model_set import APPLICATIONS, images, measured

HEAD = """| model | BatchNorms | gone | nodes before | after | ONNX − Keras | error folded | unfolded | Keras | s |
|---|---|---|---|---|---|---|---|---|---|"""


def models(folder: Path | None) -> Iterator[tuple[str, Any, Any, np.ndarray]]:
    """Name, model, what to export, and inputs: those of keras.applications, then those of the folder."""
    for name, build in APPLICATIONS.items():
        model = build()
        yield name, model, model, images(name, model)
    for path in sorted(folder.glob("*.keras")) if folder else ():
        model = backends.keras().saving.load_model(path, compile=False)
        yield path.stem, model, path, np.load(path.with_suffix(".npz"))["x0"].astype(np.float32)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="a folder of .keras files, each with an .npz beside it")
    arguments = parser.parse_args()
    print(HEAD)
    ratios: dict[str, list[float]] = {"unfolded in onnxruntime": [], "Keras": []}
    with tempfile.TemporaryDirectory() as folder:
        for name, model, source, x in models(arguments.models):
            result = measured(model, source, Path(folder), x)
            for other, error in zip(ratios, (result.plain_error, result.keras_error), strict=True):
                ratios[other].append(result.error / error)
            nodes = f"{result.report.nodes_before} | {len(result.report.nodes)}"
            print(
                f"| {name} | {result.norms} | {result.gone} | {nodes} "
                f"| {result.difference:.1e} | {result.error:.1e} | {result.plain_error:.1e} | {result.keras_error:.1e} "
                f"| {result.seconds:.1f} |",
                flush=True,
            )
    for other, values in ratios.items():
        print(f"\nerror of folded to {other}: median {statistics.median(values):.2f}, largest {max(values):.2f}")


if __name__ == "__main__":
    main()
