"""Small graphs that are unlike what exporters write, in C against onnxruntime on the same file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgebn.embedding.c.memory import ALIGNMENT
from edgebn.embedding.c.program import compile_graph
from edgebn.errors import InputError
from tests.embedding.compiling import opened, run_c, write_library

RNG = np.random.default_rng(0)


def node(operator: str, inputs: Sequence[str], outputs: str = "y", **attributes: object) -> onnx.NodeProto:
    """A node; names of one letter each."""
    return helper.make_node(operator, list(inputs), list(outputs), **attributes)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    **constants: Any,
) -> onnx.ModelProto:
    given, made = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()]
        for values in (inputs, outputs)
    )
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    built = helper.make_graph(list(nodes), "g", given, made, stored)
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def of_opset(version: int, model: onnx.ModelProto) -> onnx.ModelProto:
    model.opset_import[0].version = version
    return model


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


CASES: dict[str, Callable[[], onnx.ModelProto]] = {
    "rows, then images normalised": lambda: graph(
        [
            node("LayerNormalization", "xgb", "r", epsilon=0.01),
            node("Relu", "r", "s"),
            node("LayerNormalization", "sh", axis=1),
        ],
        {"x": (1, 4, 6)},
        {"y": (1, 4, 6)},
        g=floats(6),
        b=floats(6),
        h=floats(4, 6),
    ),
    "normalised as of opset 18": lambda: of_opset(
        18, graph([node("LayerNormalization", "xgb")], {"x": (1, 6)}, {"y": (1, 6)}, g=floats(6), b=floats(6))
    ),
    "one channel, curved before and behind a pool of single positions": lambda: graph(
        [
            node("Conv", "xw", "c", pads=[1, 0, 0, 1], strides=[2, 2]),
            node("HardSwish", "c", "h"),
            node("AveragePool", "h", "p", kernel_shape=[1, 1]),
            node("HardSwish", "p"),
        ],
        {"x": [1, 8, 8, 10]},
        {"y": [1, 1, 4, 6]},
        w=floats(1, 8, 3, 1),
    ),
    "a flattened image times a vector": lambda: graph(
        [node("Conv", "xw", "c"), node("Flatten", "c", "f"), node("MatMul", "fb")],
        {"x": [1, 2, 5, 5]},
        {"y": [1]},
        w=floats(2, 2, 3, 3),
        b=floats(18),
    ),
    "a flattened image times matrices": lambda: graph(
        [node("Conv", "xw", "c"), node("Flatten", "c", "f"), node("MatMul", "fb")],
        {"x": [1, 2, 5, 5]},
        {"y": [4, 1, 5]},
        w=floats(2, 2, 3, 3),
        b=floats(4, 18, 5),
    ),
    "a depthwise kernel as large as its image": lambda: graph(
        [node("Conv", "xw", pads=[1, 1, 1, 1], group=4)], {"x": [1, 4, 3, 3]}, {"y": [1, 4, 3, 3]}, w=floats(4, 1, 3, 3)
    ),
    "a depthwise kernel larger than its image": lambda: graph(
        [node("Conv", "xw", pads=[1, 1, 1, 1], group=4)], {"x": [1, 4, 1, 1]}, {"y": [1, 4, 1, 1]}, w=floats(4, 1, 3, 3)
    ),
    "a kernel of one that sees a column's every second pixel": lambda: graph(
        [node("Conv", "xw", strides=[2, 1])], {"x": [1, 3, 5, 1]}, {"y": [1, 2, 3, 1]}, w=floats(2, 3, 1, 1)
    ),
    "groups of one pixel": lambda: graph(
        [node("Conv", "xw", group=2)], {"x": [1, 6, 1, 1]}, {"y": [1, 4, 1, 1]}, w=floats(4, 3, 1, 1)
    ),
    "a kernel of one that sees the padding alone": lambda: graph(
        [node("Conv", "xw", pads=[1, 1], strides=[3])], {"x": [1, 3, 1]}, {"y": [1, 2, 1]}, w=floats(2, 3, 1)
    ),
    "a concatenation with nothing": lambda: graph(
        [node("Concat", "exe", axis=1)], {"x": [1, 4]}, {"y": [1, 4]}, e=np.zeros((1, 0), np.float32)
    ),
    "a pad of nothing": lambda: graph(
        [node("Relu", "x", "r"), node("Pad", "rp", "q"), node("Sigmoid", "q")],
        {"x": [1, 6]},
        {"y": [1, 6]},
        p=integers(0, 0, 0, 0),
    ),
    "a pad by minus infinity": lambda: graph(
        [node("Pad", "xpv", "z"), node("MaxPool", "z", kernel_shape=[3, 3], strides=[2, 2])],
        {"x": [1, 2, 6, 6]},
        {"y": [1, 2, 3, 3]},
        p=integers(0, 0, 1, 1, 0, 0, 1, 1),
        v=np.float32(-np.inf),
    ),
    "infinite constants": lambda: graph(
        [node("Add", "xi", "z"), node("Clip", "zab")],
        {"x": [1, 4]},
        {"y": [1, 4]},
        i=np.array([np.inf, -np.inf, 1, 2], np.float32),
        a=np.float32(-5),
        b=np.float32(5),
    ),
    "a constant that is no number": lambda: graph(
        [node("Concat", "xn", "z", axis=1), node("Slice", "zsea")],
        {"x": [1, 4]},
        {"y": [1, 4]},
        n=np.array([[np.nan]], np.float32),
        s=integers(0),
        e=integers(4),
        a=integers(1),
    ),
    "a mean in three outer loops": lambda: graph(
        [node("ReduceMean", "x", axes=[1, 3])], {"x": [2, 3, 4, 5, 6]}, {"y": [2, 1, 4, 1, 6]}
    ),
    "a softmax in three outer loops": lambda: graph(
        [node("Slice", "xsea", "z"), node("Softmax", "z", axis=0)],
        {"x": [2, 3, 4, 5]},
        {"y": [2, 2, 3, 4]},
        s=integers(0, 0, 0),
        e=integers(2, 3, 4),
        a=integers(1, 2, 3),
    ),
    **{
        f"a mean of windows padded by {side}, padding counted": lambda side=side: graph(  # type: ignore[misc]
            [node("AveragePool", "x", kernel_shape=[5, 4], strides=[2, 2], auto_pad=side, count_include_pad=1)],
            {"x": [1, 2, 8, 9]},
            {"y": [1, 2, 4, 5]},
        )
        for side in ("SAME_UPPER", "SAME_LOWER")
    },
    "an output that is an input": lambda: graph(
        [node("Relu", "x")], {"x": ["n", 4], "z": [4]}, {"y": ["n", 4], "x": ["n", 4]}
    ),
    "seven loops": lambda: graph(
        [node("Slice", "xsea", "c"), node("Transpose", "c", "t", perm=[6, 5, 4, 3, 2, 1, 0]), node("Add", "tz")],
        {"x": [3] * 7, "z": [2] * 7},
        {"y": [2] * 7},
        s=integers(*[0] * 7),
        e=integers(*[2] * 7),
        a=integers(*range(7)),
    ),
    "bounds of a number that are computed": lambda: graph(
        [node("Mul", "ht", "u"), node("Clip", "xau")],
        {"x": [], "h": []},
        {"y": []},
        t=np.float32(2),
        a=np.float32(-5),
    ),
}


def expected(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))


@pytest.mark.parametrize("case", CASES)
def test_a_graph(case: str, tmp_path: Path) -> None:
    model = CASES[case]()
    app = opened(model, tmp_path)
    given = {port.name: floats(*port.tensor_shape) for port in app.inputs}
    for found, array in zip(run_c(app, list(given.values()), tmp_path), expected(model, given), strict=True):
        np.testing.assert_allclose(found.reshape(array.shape), array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "images"), [(7, 7, 2), (7, 9, 3), (9, 7, 3)])
def test_a_residual_sum_lies_in_the_place_of_what_is_added(
    height: int, width: int, images: int, tmp_path: Path
) -> None:
    """Of 9 columns or rows the tiles overlap, and what is added would be read twice: it keeps a place of its own."""
    at = {"pads": [1, 1, 1, 1]}
    nodes = [node("Conv", "xw", "a", **at), node("Conv", "av", "b", **at), node("Conv", "bv", "c", **at)]
    nodes += [node("Add", "ac", "d"), node("Relu", "d", "e"), node("Conv", "ev", **at)]
    shape = [1, 16, height, width]
    model = graph(nodes, {"x": [1, 3, height, width]}, {"y": shape}, w=floats(16, 3, 3, 3), v=floats(16, 16, 3, 3) / 12)
    app = opened(model, tmp_path)
    program = compile_graph(opened(model, tmp_path).model, app.path, ["x", "y"])
    size = -(-prod(shape) // ALIGNMENT) * ALIGNMENT
    assert size * (images - 1) < program.scratch <= size * images
    given = floats(1, 3, height, width)
    (found,) = run_c(app, [given], tmp_path)
    np.testing.assert_allclose(found, expected(model, {"x": given})[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_the_largest_of_minus_infinities(fused: bool, tmp_path: Path) -> None:
    pool = node("MaxPool", "z" if fused else "x", kernel_shape=[2, 2], strides=[2, 2])
    nodes = [node("Conv", "xw", "z"), pool] if fused else [pool]
    weights = {"w": np.ones((8, 1, 1, 1), np.float32)} if fused else {}
    model = graph(nodes, {"x": [1, 1, 2, 4]}, {"y": [1, 8 if fused else 1, 1, 2]}, **weights)
    given = floats(1, 1, 2, 4)
    given[..., :2] = -np.inf
    (found,) = run_c(opened(model, tmp_path), [given], tmp_path)
    np.testing.assert_array_equal(found, expected(model, {"x": given})[0])


EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "Erf": np.vectorize(math.erf),
    "Exp": np.exp,
    "Log": np.log,
    "Softplus": lambda x: np.logaddexp(0, x),
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}


@pytest.mark.parametrize("operator", EXACT)
def test_numbers_of_any_size_stay_exact(operator: str, tmp_path: Path) -> None:
    sizes = np.concatenate([np.geomspace(1e-37, 1e37, 5000), np.geomspace(1e-3, 80, 5000)])
    given = np.concatenate([sizes, -sizes]).astype(np.float32)
    (found,) = run_c(opened(graph([node(operator, "x")], {"x": [20000]}, {"y": [20000]}), tmp_path), [given], tmp_path)
    with np.errstate(all="ignore"):
        exact = EXACT[operator](given.astype(np.float64))
        rounded = exact.astype(np.float32)
    meant = np.isnan(exact) | np.isinf(rounded) | (np.abs(exact) > 1e-37)
    np.testing.assert_allclose(found[meant], rounded[meant], rtol=5e-7)


SPECIAL = np.array([0, np.inf, -np.inf, np.nan, -1, 1, 88.5, 89, 1e-40, 3e38], np.float32)


@pytest.mark.parametrize("operator", ["Erf", "Exp", "Log", "Softplus", "Sqrt", "Tanh"])
def test_what_is_infinite_or_no_number(operator: str, tmp_path: Path) -> None:
    model = graph([node(operator, "x")], {"x": [10]}, {"y": [10]})
    (found,) = run_c(opened(model, tmp_path), [SPECIAL], tmp_path)
    with np.errstate(all="ignore"):
        exact = EXACT[operator](SPECIAL.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(found, exact, rtol=1e-6)


@pytest.mark.parametrize("operator", ["Max", "Min"])
def test_what_is_no_number_stays_so(operator: str, tmp_path: Path) -> None:
    model = graph([node(operator, "ab")], {"a": [1, 3], "b": [1, 3]}, {"y": [1, 3]})
    given = [np.array([[1, np.nan, 2]], np.float32), np.array([[np.nan, 1, 3]], np.float32)]
    (found,) = run_c(opened(model, tmp_path), given, tmp_path)
    np.testing.assert_array_equal(found, expected(model, dict(zip("ab", given, strict=True)))[0])


@pytest.mark.parametrize("bounds", ["", "a", " b", "ab"])
def test_a_clip_of_infinities(bounds: str, tmp_path: Path) -> None:
    inputs = ["x", *(each.strip() for each in bounds)]
    known = {"a": np.float32(-1), "b": np.float32(1)}
    model = graph(
        [node("Clip", inputs)], {"x": [10]}, {"y": [10]}, **{each: known[each] for each in inputs[1:] if each}
    )
    (found,) = run_c(opened(model, tmp_path), [SPECIAL], tmp_path)
    np.testing.assert_array_equal(found, expected(model, {"x": SPECIAL})[0])


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "statistics of the batch": (
        lambda: graph(
            [node("BatchNormalization", "xgbmv", "yqr", training_mode=1)],
            {"x": [2, 3, 4]},
            {"y": [2, 3, 4]},
            **dict.fromkeys("gbmv", np.ones(3, np.float32)),
        ),
        "has computed statistics",
    ),
    "an output twice": (
        lambda: helper.make_model(
            helper.make_graph(
                [node("Relu", "x")],
                "g",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])] * 2,
            )
        ),
        "gives y twice",
    ),
    "rows that are not the batch": (
        lambda: graph([node("Reshape", "xs")], {"x": ["n", 8, 4]}, {"y": ["m", 4]}, s=integers(-1, 4)),
        "output y is of shape [8, 4] for one sample, but the file says [m, 4]",
    ),
    "a wrong shape": (
        lambda: graph([node("Relu", "x")], {"x": ["n", 8]}, {"y": ["n", 4]}),
        "output y is of shape [1, 8] for one sample, but the file says [n, 4]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str, tmp_path: Path) -> None:
    build, message = REFUSED[case]
    with pytest.raises(InputError) as caught:
        write_library(opened(build(), tmp_path), tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
