"""Every operator of ONNX, between BatchNormalizations, Transposes and constants: it still computes the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgebn import backends
from tests.folding import graphs, onnx_cases

PARTS = 6
CLOSE = 3e-5
"""Of an output's largest value: sums of at most a thousand terms, three normalizations; 1e-6 seen."""


def outcome(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray] | str:
    """What onnxruntime makes of the model; or why it does not run it."""
    onnxruntime = backends.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    content = model.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return session.run(None, feeds)
    except Exception as error:  # of a dozen kinds, which onnxruntime keeps to itself
        return f"does not run: {error}"


def difference(expected: np.ndarray, actual: np.ndarray) -> str | None:
    if not isinstance(expected, np.ndarray):
        return None
    if (expected.shape, expected.dtype) != (actual.shape, actual.dtype):
        return f"{actual.dtype}{actual.shape} instead of {expected.dtype}{expected.shape}"
    if expected.dtype.kind != "f":
        return None if (expected == actual).all() else "other values"
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
    same = np.allclose(actual, expected, rtol=CLOSE, atol=CLOSE * scale, equal_nan=True)
    return None if same else f"off by {np.nanmax(np.abs(actual - expected)) / scale:.1e}"


def fault(model: onnx.ModelProto, feeds: dict[str, np.ndarray], before: list[np.ndarray]) -> str | None:
    """What is wrong with the model, whose outputs are `before`, once it is folded."""
    folded, _ = graphs.folded(ir.from_proto(model))
    after = outcome(ir.to_proto(folded), feeds)
    if isinstance(after, str):
        return after
    differences = (difference(expected, actual) for expected, actual in zip(before, after, strict=True))
    return next((each for each in differences if each is not None), None)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("place", onnx_cases.PLACES, ids=lambda place: place.__name__)
def test_among_other_nodes(place: onnx_cases.Place, part: int) -> None:
    faults = {}
    for seed, case in enumerate(onnx_cases.cases()[part::PARTS]):
        placed = onnx_cases.placed(case, place, seed)
        before = outcome(*placed) if placed is not None else ""
        if placed is not None and not isinstance(before, str):
            faults[case.name] = fault(*placed, before)
    assert {name: each for name, each in faults.items() if each is not None} == {}
    assert len(faults) > 80
