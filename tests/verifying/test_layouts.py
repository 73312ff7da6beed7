"""Channels first in the one, last in the other: told by the shapes, if they fit in no other way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgebn
from edgebn import backends
from edgebn.interface import LAYOUT
from edgebn.loading import Tensor
from edgebn.verifying.data import open_data
from tests import keras_models
from tests.verifying.test_mismatch import written

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(5, 3, 3, 3))
FIRST, LAST = "3, 12, 10", "12, 10, 3"
MADE = {FIRST: "5, 12, 10", LAST: "12, 10, 5"}


def images(path: Path, taken: str, given: str, kernel: np.ndarray = KERNEL) -> Path:
    """A convolution and a softmax over its channels; `taken` and `given` are the layouts of input and output."""
    x = "image" if taken == FIRST else "x"
    before = "" if taken == FIRST else "x = Transpose<perm=[0,3,1,2]>(image)"
    after = "s = Softmax<axis=1>(z)" if given == FIRST else "t = Transpose<perm=[0,2,3,1]>(z) s = Softmax<axis=3>(t)"
    conv = f"z = Conv<pads=[1,1,1,1]>({x}, k)"
    return written(
        path, f"(float[n,{taken}] image) => (float[n,{MADE[given]}] s) {{ {before} {conv} {after} }}", k=kernel
    )


@pytest.mark.parametrize("made", [FIRST, LAST])
@pytest.mark.parametrize("given", [FIRST, LAST])
@pytest.mark.parametrize(("taken", "other"), [(FIRST, LAST), (LAST, FIRST)])
def test_two_files_of_other_layouts(taken: str, other: str, given: str, made: str, tmp_path: Path) -> None:
    right, same = images(tmp_path / "a.onnx", taken, given), images(tmp_path / "b.onnx", other, made)
    verdict = edgebn.verify(right, same)
    assert verdict.passed
    assert verdict.notes[0] == f"image: (None, {other}) in the file, (None, {taken}) in a.onnx; transposed"
    assert len(verdict.notes) == (1 if given == made else 2)
    wrong = KERNEL.copy()
    wrong[4, 2, 0, 1] *= 1.01
    assert not edgebn.verify(right, images(tmp_path / "c.onnx", other, made, wrong)).passed


@pytest.fixture(scope="module")
def model() -> Any:
    layers = keras_models.layers()
    image = backends.keras().Input((12, 10, 3), name="image")
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, name="conv")(image)))
    return keras_models.functional(image, layers.Dense(2, name="scores")(layers.GlobalAveragePooling2D()(y)))


def of_channels_first(model: Any, path: Path) -> Path:
    """A file that does not say so."""
    edgebn.fold_export(model, path, interface=edgebn.Interface(layout="nchw"))
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save(proto, path)
    return path


def test_a_keras_model_and_a_file_with_channels_first(model: Any, tmp_path: Path) -> None:
    path = of_channels_first(model, tmp_path / "model.onnx")
    verdict = edgebn.verify(model, path)
    assert verdict.passed
    assert verdict.notes == ("image: (None, 3, 12, 10) in the file, (None, 12, 10, 3) in model; transposed",)
    assert all(each.error is not None for each in verdict.comparisons)


def test_where_it_is_wrong_is_told_in_the_layout_of_the_file(model: Any, tmp_path: Path) -> None:
    path = of_channels_first(model, tmp_path / "model.onnx")
    proto = onnx.load(path)
    kernel = next(each for each in proto.graph.initializer if len(each.dims) == 4)
    array = numpy_helper.to_array(kernel).copy()
    array[1, 2, 0, 1] += 0.25
    kernel.CopyFrom(numpy_helper.from_array(array, kernel.name))
    onnx.save(proto, path)
    culprit = edgebn.verify(model, path).culprit
    assert culprit is not None
    assert culprit.startswith("the first node that is not as edgebn writes it is conv/Conv: input 1, ")
    assert " at [1, 2, 0, 1] instead of " in culprit


def test_a_layout_that_the_metadata_say_must_be_right(model: Any, tmp_path: Path) -> None:
    edgebn.fold_export(model, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    proto.metadata_props.add(key=LAYOUT, value="nchw")
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(edgebn.InputError, match="they are not the same model"):
        edgebn.verify(model, tmp_path / "model.onnx")


@pytest.mark.parametrize("shape", [(40, 12, 10, 3), (40, 3, 12, 10)])
def test_data_in_either_layout(shape: tuple[int, ...], model: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=RNG.normal(size=shape).astype(np.float32))
    path = of_channels_first(model, tmp_path / "model.onnx")
    verdict = edgebn.verify(model, path, data=tmp_path / "own.npz")
    assert verdict.passed
    assert {each.samples for each in verdict.comparisons if each.probe == "data"} >= {40}


def test_data_in_neither_layout_are_refused(model: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=np.ones((40, 12, 3, 10), np.float32))
    path = of_channels_first(model, tmp_path / "model.onnx")
    with pytest.raises(
        edgebn.InputError, match=r"the shape \(40, 12, 3, 10\), but the input image takes \[batch, 3, 12, 10\]"
    ):
        edgebn.verify(model, path, data=tmp_path / "own.npz")


@pytest.mark.parametrize("shape", [(4, 5, 3), (3, 4, 5)])
def test_data_are_transposed_with_their_sizes(shape: tuple[int, ...], tmp_path: Path) -> None:
    x, labels = RNG.normal(size=(6, *shape)), np.arange(6)
    np.savez(tmp_path / "own.npz", x=x, y=labels)
    data = open_data("model", (Tensor("x", (None, 3, None, None), "float64"),), tmp_path / "own.npz")
    assert data is not None
    (((given,), same),) = data.read()
    assert (given == (x if shape[0] == 3 else x.transpose(0, 3, 1, 2))).all()
    assert (same == labels).all()
    assert data.sizes == ((3, 4, 5),)


def test_data_for_a_file_whose_layout_was_asked_for(model: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=RNG.normal(size=(40, 12, 10, 3)).astype(np.float32))
    layout = edgebn.Interface(layout="nchw")
    edgebn.fold_export(model, tmp_path / "model.onnx", interface=layout)
    assert edgebn.verify(model, tmp_path / "model.onnx", data=tmp_path / "own.npz").passed
    report = edgebn.fold_export(
        model, tmp_path / "int8.onnx", interface=layout, precision="int8", data=tmp_path / "own.npz"
    )
    assert report.precision is not None
    assert (report.precision.samples, report.precision.calibrated_on) == (20, 20)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            "(float[n,20,4] x) => (float[n,20,4] y) { y = Neg(x) }",
            "(float[n,4,20] x) => (float[n,4,20] y) { y = Neg(x) }",
        ),
        (
            "(float[n,a,b,3] x) => (float[n,a,b,3] y) { y = Neg(x) }",
            "(float[n,3,a,b] x) => (float[n,3,a,b] y) { y = Neg(x) }",
        ),
        (
            "(float[n,4,5,6,2] x) => (float[n,4,5,6,2] y) { y = Neg(x) }",
            "(float[n,2,4,5,6] x) => (float[n,2,4,5,6] y) { y = Neg(x) }",
        ),
        (
            "(float[n,4,5,2] x, float[n,7] z) => (float[n,4,5,2] y, float[n,7] w) { y = Neg(x) w = Neg(z) }",
            "(float[n,2,4,5] x, float[n,7] z) => (float[n,2,4,5] y, float[n,7] w) { y = Neg(x) w = Neg(z) }",
        ),
    ],
)
def test_sequences_volumes_and_sizes_that_vary(ours: str, theirs: str, tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.onnx", ours), written(tmp_path / "b.onnx", theirs)
    for pair in ((first, second), (second, first)):
        verdict = edgebn.verify(*pair)
        assert verdict.passed
        assert len(verdict.notes) == 2


def test_where_the_shapes_do_not_tell_that_is_said(tmp_path: Path) -> None:
    head, kernel = "(float[n,3,3,3] x) => (float[n,3,1,1] y)", {"k": KERNEL[:3]}
    first = written(tmp_path / "a.onnx", f"{head} {{ y = Conv(x, k) }}", **kernel)
    second = written(tmp_path / "b.onnx", f"{head} {{ t = Transpose<perm=[0,3,1,2]>(x) y = Conv(t, k) }}", **kernel)
    assert edgebn.verify(first, first).notes == ()
    verdict = edgebn.verify(first, second)
    assert not verdict.passed
    assert verdict.notes[0].startswith(
        "x: channels first or last, the shapes (None, 3, 3, 3) do not tell; taken as in a.onnx"
    )
    assert LAYOUT in verdict.notes[0]


CUBE = "(float[n,8,8,3] image) => (float[n,8,8,8] y)"
TO_FIRST, TO_LAST = "Transpose<perm=[0,3,1,2]>", "Transpose<perm=[0,2,3,1]>"
GIVEN = {
    "first": "{ y = Conv<pads=[1,1,1,1]>(image, k) }",
    "last": f"{{ z = Conv<pads=[1,1,1,1]>(image, k) y = {TO_LAST}(z) }}",
    "width and height exchanged": "{ z = Conv<pads=[1,1,1,1]>(image, k) y = Transpose<perm=[0,1,3,2]>(z) }",
}


@pytest.mark.parametrize("given", GIVEN)
def test_an_output_whose_shape_does_not_tell_is_told_by_its_numbers(given: str, tmp_path: Path) -> None:
    kernel = np.random.default_rng(0).normal(size=(8, 3, 3, 3))
    ours = f"{CUBE} {{ x = {TO_FIRST}(image) z = Conv<pads=[1,1,1,1]>(x, k) y = {TO_LAST}(z) }}"
    theirs = f"{CUBE.replace('8,8,3', '3,8,8')} {GIVEN[given]}"
    right = written(tmp_path / "right.onnx", ours, k=kernel)
    verdict = edgebn.verify(right, written(tmp_path / "file.onnx", theirs, k=kernel))
    assert verdict.passed == (given in ("first", "last"))
    closer = "; transposed as the input is, for so it is closer to right.onnx"
    noted = any(note.startswith("y: ") and note.endswith(closer) for note in verdict.notes)
    assert noted == (given == "first") or not verdict.passed  # what is wrong may be closer either way
    kernel[4, 2, 0, 1] *= 1.01
    assert not edgebn.verify(right, written(tmp_path / "wrong.onnx", theirs, k=kernel)).passed
