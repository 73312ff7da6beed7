"""Time `edgebn`'s training against plain Keras, interleaved in one run: the ratio of each pair, and its median.

python tools/bench_training.py mlp --data mnist.npz
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from edgebn import backends
from edgebn.datasets import BUNDLED, load_dataset, scaled
from edgebn.training.architectures import ARCHITECTURES
from edgebn.training.fit import fit


def plain(model: Any, images: Any, labels: Any, epochs: int) -> None:
    """What a textbook does."""
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, epochs=epochs, batch_size=32, verbose=0)


def main() -> None:
    """Train in turn, both ways, and print the seconds, accuracies and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architecture", choices=list(ARCHITECTURES))
    parser.add_argument("--data", default=BUNDLED)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    chosen, dataset = ARCHITECTURES[arguments.architecture], load_dataset(arguments.data)
    images, test = (scaled(part).reshape(-1, *chosen.input_shape) for part in (dataset.x_train, dataset.x_test))
    ratios = []
    for seed in range(arguments.repeats):
        seconds = []
        for way, train in (("plain", plain), ("edgebn", lambda *given: fit(*given, batch_size=32))):
            backends.keras().utils.set_random_seed(seed)
            model = chosen.build()
            started = time.perf_counter()
            train(model, images, dataset.y_train, arguments.epochs)
            seconds.append(time.perf_counter() - started)
            _, accuracy = model.evaluate(test, dataset.y_test, batch_size=500, verbose=0)
            print(f"{way:7} {seconds[-1]:7.2f} s  test accuracy {accuracy:.4f}", flush=True)
        ratios.append(seconds[0] / seconds[1])
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{arguments.architecture}: {statistics.median(ratios):.2f} times as fast as plain ({spread})")


if __name__ == "__main__":
    main()
