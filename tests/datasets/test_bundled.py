"""The digits that come with edgebn, and the tool that made them."""

from __future__ import annotations

import hashlib
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebn.datasets import BUNDLED, load_dataset, scaled
from tests import digits

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "edgebn" / "datasets" / "mnist_mini.npz"
FULL_MNIST = REPOSITORY.parent / "shared" / "data" / "mnist.npz"
TOOL = REPOSITORY / "tools" / "make_mnist_mini.py"
MOST_BYTES = 1_200_000


def test_balanced_and_of_the_promised_size() -> None:
    dataset = load_dataset(BUNDLED)
    assert dataset.name == "mnist-mini"
    for images, labels, per_digit in (
        (dataset.x_train, dataset.y_train, 500),
        (dataset.x_test, dataset.y_test, 100),
    ):
        assert images.shape == (10 * per_digit, 28, 28)
        assert images.dtype == labels.dtype == np.uint8
        assert np.bincount(labels).tolist() == [per_digit] * 10


def test_real_digits() -> None:
    dataset = load_dataset(BUNDLED)
    for images in (dataset.x_train, dataset.x_test):
        assert abs(images.mean() - 33.3) < 1.0  # the mean of MNIST's pixels: 33.3184
        assert len(np.unique(images, axis=0)) == len(images)
    # each digit has the label of the nearest mean of a class: 0.83 seen on these; by chance it would be 0.1
    train, test = (scaled(part).reshape(-1, 784) for part in (dataset.x_train, dataset.x_test))
    means = np.stack([train[dataset.y_train == digit].mean(axis=0) for digit in range(10)])
    nearest = np.linalg.norm(test[:, None] - means, axis=2).argmin(axis=1)
    assert (nearest == dataset.y_test).mean() > 0.75


def test_no_test_digit_is_trained_on() -> None:
    dataset = load_dataset(BUNDLED)
    trained_on = {image.tobytes() for image in dataset.x_train}
    assert not any(image.tobytes() in trained_on for image in dataset.x_test)


def test_small_enough_and_with_its_licence_beside_it() -> None:
    assert FILE.stat().st_size <= MOST_BYTES
    card = FILE.with_suffix(".md").read_text("utf-8")
    assert "CC BY-SA 3.0" in card
    assert "Yann LeCun" in card


def test_the_hash_is_of_the_content() -> None:
    dataset = load_dataset(BUNDLED)
    digest = hashlib.sha256()
    for name in ("x_train", "y_train", "x_test", "y_test"):
        array = getattr(dataset, name)
        digest.update(f"{name} uint8 {array.shape}\n".encode() + array.tobytes())
    assert dataset.sha256 == digest.hexdigest()


def test_pixels_are_scaled_from_0_to_1() -> None:
    pixels = scaled(np.array([[0, 51, 255]], np.uint8))
    assert pixels.dtype == np.float32
    assert pixels.tolist() == [[0.0, np.float32(0.2), 1.0]]


def test_the_same_source_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = many_digits(tmp_path / "source.npz")
    first, second = (made_from(source, tmp_path / f"{name}.npz", monkeypatch) for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    made = load_dataset(str(first))
    assert np.bincount(made.y_train).tolist() == [500] * 10
    assert np.bincount(made.y_test).tolist() == [100] * 10


def test_images_keep_their_labels_and_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = many_digits(tmp_path / "source.npz")
    made, original = load_dataset(str(made_from(source, tmp_path / "made.npz", monkeypatch))), load_dataset(str(source))
    rows = number_of(made.x_train)
    assert (np.diff(rows) > 0).all()
    assert (original.y_train[rows] == made.y_train).all()


def test_full_mnist_gives_the_bundled_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not FULL_MNIST.is_file():
        pytest.skip("the full MNIST is not on this machine")
    made = made_from(FULL_MNIST, tmp_path / "made.npz", monkeypatch)
    assert made.read_bytes() == FILE.read_bytes()


def made_from(source: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `python tools/make_mnist_mini.py SOURCE -o OUTPUT` writes."""
    monkeypatch.setattr(sys, "argv", [str(TOOL), str(source), "-o", str(output)])
    runpy.run_path(str(TOOL), run_name="__main__")
    return output


def many_digits(path: Path) -> Path:
    """More images than are drawn, each of which shows its row as a number; labels in a random order."""
    rng = np.random.default_rng(0)
    arrays: digits.Arrays = {}
    for part, per_digit in (("train", 520), ("test", 110)):
        arrays[f"y_{part}"] = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), per_digit))
        arrays[f"x_{part}"] = numbered(10 * per_digit)
    return digits.write(path, arrays, compressed=True)


def numbered(count: int) -> np.ndarray:
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(count), 256)
    return images


def number_of(images: np.ndarray) -> np.ndarray:
    return images[:, 0, 0].astype(int) * 256 + images[:, 0, 1]
