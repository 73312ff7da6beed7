"""Inputs by a file's own shapes and types, and which of its extents is the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgebn.benching.inputs import Input, draw, fixed_batch, symbols
from edgebn.errors import InputError, UsageError

HERE = Path("model.onnx")
NONE: frozenset[int] = frozenset()


def test_the_batch_is_each_first_axis_and_what_has_its_symbol() -> None:
    inputs = [
        Input("a", "float32", ("batch", 3)),
        Input("b", "float32", ("b.0", "batch", "width")),
        Input("c", "float32", (2, "width")),
        Input("d", "float32", ()),
    ]
    values = draw(HERE, inputs, 7, {}, 0)
    assert {name: array.shape for name, array in values.items()} == {
        "a": (7, 3),
        "b": (7, 7, 32),
        "c": (2, 32),
        "d": (),
    }
    values = draw(HERE, inputs, 7, {"width": 5, "b.0": 4}, 0)
    assert {name: array.shape for name, array in values.items()} == {"a": (7, 3), "b": (4, 7, 5), "c": (2, 5), "d": ()}
    assert fixed_batch(inputs, NONE, {}) is None
    assert symbols(inputs) == {"batch", "b.0", "width"}


@pytest.mark.parametrize(
    ("shapes", "outputs", "extents", "expected"),
    [
        ([(4, 3)], {4}, {}, 4),
        ([(4, 3)], set(), {}, 4),
        ([(4, 3), (4,)], {4}, {}, 4),
        ([(4, 3), (3, 4)], set(), {}, 1),
        ([(4, 3)], {3}, {}, 1),
        ([(0, 3)], {0}, {}, 1),
        ([()], set(), {}, 1),
        ([], set(), {}, 1),
        ([("n", 3)], set(), {"n": 6}, 6),
        ([("n", 3), (6, 3)], set(), {"n": 6}, 6),
        ([("n", 3), ("m",)], set(), {"n": 6}, None),
    ],
)
def test_the_batch_of_a_file_that_allows_one(
    shapes: list[tuple[int | str, ...]], outputs: set[int], extents: dict[str, int], expected: int | None
) -> None:
    inputs = [Input(str(index), "float32", shape) for index, shape in enumerate(shapes)]
    assert fixed_batch(inputs, frozenset(outputs), extents) == expected


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint16", "bool"]
)
def test_values_of_every_type(dtype: str) -> None:
    (array,) = draw(HERE, [Input("x", dtype, ("n", 100))], 50, {}, 0).values()
    assert array.dtype == dtype
    assert np.isfinite(array).all()
    values = set(np.unique(array).tolist())
    if dtype == "uint8":
        assert {0, 255} <= values
    elif array.dtype.kind == "f":
        assert array.min() < -2.0 < 2.0 < array.max()
    else:
        assert values == {0, 1}  # an index into whatever it is


def test_the_seed_is_all_that_the_values_depend_on() -> None:
    inputs = [Input("x", "float32", ("n", 9))]
    assert np.array_equal(draw(HERE, inputs, 3, {}, 5)["x"], draw(HERE, inputs, 3, {}, 5)["x"])
    assert not np.array_equal(draw(HERE, inputs, 3, {}, 5)["x"], draw(HERE, inputs, 3, {}, 6)["x"])


def test_from_what_onnxruntime_says() -> None:
    assert Input.of(HERE, "x", "tensor(float)", ["n", 3, None, ""]) == Input("x", "float32", ("n", 3, "x.2", "x.3"))
    assert Input.of(HERE, "x", "tensor(double)", []) == Input("x", "float64", ())
    assert draw(HERE, [Input.of(HERE, "x", "tensor(string)", [2])], 1, {}, 0)["x"].tolist() == ["a", "a"]


@pytest.mark.parametrize("onnx_type", ["seq(tensor(float))", "map(int64,tensor(float))", "tensor(bfloat16)"])
def test_what_no_random_values_can_be_made_for(onnx_type: str) -> None:
    with pytest.raises(InputError, match=r"model\.onnx: its input x is a .*, for which no random values can be made"):
        Input.of(HERE, "x", onnx_type, ["n"])


def test_more_than_the_memory_is_not_asked_for() -> None:
    with pytest.raises(UsageError, match="take too much memory; choose smaller batches"):
        draw(HERE, [Input("x", "float32", ("n", "x.1"))], 10**6, {"x.1": 10**9}, 0)
