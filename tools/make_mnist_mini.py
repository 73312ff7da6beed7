"""Make the digits bundled with edgebn from any MNIST .npz file. The same source gives the same bytes.

python tools/make_mnist_mini.py mnist.npz
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.datasets import load_dataset
from edgebn.files import write_bytes

TRAIN_PER_DIGIT = 500
TEST_PER_DIGIT = 100
SEED = 0
OUTPUT = Path(__file__).parents[1] / "edgebn" / "datasets" / "mnist_mini.npz"
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def balanced(labels: NDArray[np.uint8], per_digit: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of `per_digit` samples of each label, drawn without replacement, in their original order."""
    drawn = [rng.choice(np.flatnonzero(labels == digit), per_digit, replace=False) for digit in range(10)]
    return np.sort(np.concatenate(drawn))


def npz_bytes(arrays: dict[str, NDArray[Any]]) -> bytes:
    """The arrays as a deflated .npz; unlike numpy.savez_compressed, without the time of day."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", ZIP_EPOCH)
            archive.writestr(info, entry.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return content.getvalue()


def main() -> None:
    """Read the source, draw the digits, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="MNIST as .npz in the layout of keras.datasets")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    source = load_dataset(arguments.source)
    rng = np.random.default_rng(SEED)
    train = balanced(source.y_train, TRAIN_PER_DIGIT, rng)
    test = balanced(source.y_test, TEST_PER_DIGIT, rng)
    content = npz_bytes(
        {
            "x_train": source.x_train[train],
            "y_train": source.y_train[train],
            "x_test": source.x_test[test],
            "y_test": source.y_test[test],
        }
    )
    write_bytes(arguments.output, content)
    print(f"{arguments.output}: {len(content):,} bytes, {len(train)} training and {len(test)} test digits")


if __name__ == "__main__":
    main()
