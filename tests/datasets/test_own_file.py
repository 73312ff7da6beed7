"""A user's own .npz file: the layouts that are taken, and every check that refuses another, with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgebn.datasets import load_dataset
from edgebn.errors import InputError, UsageError
from tests import digits


def numbered() -> digits.Arrays:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (count, 28, 28)).astype(np.uint8) for name, count in SIZES.items()}
    return digits.blank(**images)


SIZES = {"x_train": 3, "x_test": 2}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("channel", [(), (1,)])
@pytest.mark.parametrize(
    ("label_dtype", "label_channel"), [("uint8", ()), ("int64", (1,)), ("int8", ()), (">u4", (1,)), ("uint64", ())]
)
def test_layouts(
    compressed: bool, channel: tuple[int, ...], label_dtype: str, label_channel: tuple[int, ...], tmp_path: Path
) -> None:
    arrays = numbered()
    shaped = {
        name: array.reshape(*array.shape, *channel)
        if name.startswith("x")
        else array.astype(label_dtype).reshape(-1, *label_channel)
        for name, array in arrays.items()
    }
    dataset = load_dataset(str(digits.write(tmp_path / "own.npz", shaped, compressed)))
    for name, expected in arrays.items():
        loaded = getattr(dataset, name)
        assert loaded.dtype == np.uint8
        np.testing.assert_array_equal(loaded, expected)
    assert dataset.name == "own.npz"


def test_fortran_order(tmp_path: Path) -> None:
    arrays = numbered()
    turned = arrays | {"x_train": np.asfortranarray(arrays["x_train"])}
    dataset = load_dataset(str(digits.write(tmp_path / "own.npz", turned)))
    np.testing.assert_array_equal(dataset.x_train, arrays["x_train"])
    assert dataset.x_train.flags.c_contiguous


def test_arrays_that_nobody_asks_for_are_left_alone(tmp_path: Path) -> None:
    arrays = digits.blank(extra=np.array([{}], object))
    dataset = load_dataset(str(digits.write(tmp_path / "own.npz", arrays)))
    assert dataset.y_train.tolist() == [0, 9, 5]


def test_the_hash_sees_content_and_not_layout(tmp_path: Path) -> None:
    arrays = numbered()
    other_layout = arrays | {"y_test": arrays["y_test"].astype(np.int32), "x_test": arrays["x_test"][..., None]}
    one_pixel = arrays | {"x_test": arrays["x_test"] ^ np.eye(28, dtype=np.uint8)}
    first, same, other = (
        load_dataset(str(digits.write(tmp_path / f"{index}.npz", each))).sha256
        for index, each in enumerate((arrays, other_layout, one_pixel))
    )
    assert first == same
    assert first != other


IMAGES, LABELS = np.zeros((3, 28, 28), np.uint8), np.array([0, 1, 2], np.uint8)
REFUSED = {
    "float images": ({"x_train": IMAGES.astype(np.float32)}, "x_train is float32; images must be uint8"),
    "signed images": ({"x_test": np.zeros((2, 28, 28), np.int8)}, "x_test is int8; images must be uint8"),
    "flat images": ({"x_train": IMAGES.reshape(3, 784)}, r"x_train has the shape \(3, 784\)"),
    "larger images": ({"x_test": np.zeros((2, 32, 32), np.uint8)}, r"x_test has the shape \(2, 32, 32\)"),
    "colour images": ({"x_train": np.zeros((3, 28, 28, 3), np.uint8)}, r"x_train has the shape \(3, 28, 28, 3\)"),
    "channels first": ({"x_train": np.zeros((3, 1, 28, 28), np.uint8)}, r"x_train has the shape \(3, 1, 28, 28\)"),
    "one number": ({"x_train": np.array(0, np.uint8)}, r"x_train has the shape \(\)"),
    "no images": ({"x_train": IMAGES[:0], "y_train": LABELS[:0]}, "x_train is empty"),
    "no test images": ({"x_test": IMAGES[:0], "y_test": LABELS[:0]}, "x_test is empty"),
    "float labels": ({"y_train": LABELS.astype(np.float64)}, "y_train is float64; labels must be integers"),
    "truth values": ({"y_train": LABELS.astype(bool)}, "y_train is bool; labels must be integers"),
    "words": ({"y_train": LABELS.astype(str)}, "y_train is <U3; labels must be integers"),
    "times": ({"y_train": LABELS.astype("timedelta64[s]")}, r"y_train is timedelta64\[s\]; labels must be integers"),
    "one-hot labels": ({"y_train": np.eye(3, 10, dtype=np.uint8)}, r"y_train has the shape \(3, 10\)"),
    "one label": ({"y_test": np.array(0)}, r"y_test has the shape \(\)"),
    "eleven classes": ({"y_train": LABELS * 5}, "y_train has labels from 0 to 10; they must lie between 0 and 9"),
    "negative labels": ({"y_test": np.array([-1, 0])}, "y_test has labels from -1 to 0"),
    "labels that would wrap to 0": ({"y_test": np.array([256, 0])}, "y_test has labels from 0 to 256"),
    "a label too few": ({"y_train": LABELS[:2]}, "x_train has 3 images, but y_train has 2 labels"),
    "no labels": ({"y_test": LABELS[:0]}, "x_test has 2 images, but y_test has 0 labels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_layout_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    changed, reason = REFUSED[case]
    path = digits.write(tmp_path / "own.npz", digits.blank(**changed))
    with pytest.raises(InputError, match=reason) as caught:
        load_dataset(str(path))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_a_missing_array_is_named_with_those_that_are_there(name: str, tmp_path: Path) -> None:
    arrays = digits.blank(other=np.zeros(1))
    del arrays[name]
    path = digits.write(tmp_path / "own.npz", arrays)
    with pytest.raises(InputError, match=rf"has no array '{name}'; it holds other\.npy, .*\.npy"):
        load_dataset(str(path))


@pytest.mark.parametrize("name", ["mnist_mini", "no/such/file.npz", "", "folder", "x" * 5000])
def test_neither_a_name_nor_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(UsageError, match=r"neither a data set.*mnist-mini, mnist, fashion-mnist.*--data"):
        load_dataset(name)
