"""The C of every operator it claims, against the ONNX project's own tests of these operators."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgebn.embedding.application import Application
from edgebn.embedding.c.rules import RULES
from edgebn.errors import InputError
from tests.embedding.compiling import call, compile_c, opened, tool, write_library
from tests.embedding.node_cases import Case, converted_cases, node_cases

# float32, sums of up to some thousand terms: 2e-6 seen, of numbers around 1
TOLERANCE = 1e-5

ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 5e-5}
"""A case whose expected numbers have four digits."""

REFUSED = {
    "Resize interpolates between neighbours": 24,
    "Resize does not repeat every element equally often": 11,
    "Pow has an exponent that is none of": 8,
    "Dropout is in training mode": 3,
    "Pad pads otherwise than by constant numbers": 3,
    "BatchNormalization has a second output in use": 2,
    "ConvTranspose has groups": 2,
    "Gemm has computed weights": 1,
}
"""What the C target refuses although its operator is claimed, and in how many cases."""

ELSEWHERE = {"Cast"}
"""Of pixels, which is none of ONNX's cases: see test_pixels.py."""


def is_meant(case: Case) -> bool:
    """Whether the case is of float32 numbers, of which some are fed and some come out."""
    arrays = (*case.inputs, *case.outputs)
    if not all(value.type.HasField("tensor_type") for value in case.model.graph.input):
        return False  # a sequence
    kinds = {np.dtype(np.float32), *([np.dtype(np.int64)] if case.model.graph.node[-1].op_type == "ArgMax" else [])}
    return bool(case.inputs) and all(array.dtype in kinds and array.size for array in arrays)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case for case in (*node_cases(), *converted_cases()) if is_meant(case)]


def test_onnx_own_tests(cases: list[Case], tmp_path: Path) -> None:
    tool("gcc")
    ready: list[tuple[Case, Application]] = []
    refused: Counter[str] = Counter()
    for number, case in enumerate(cases):
        try:
            app = opened(case.model, tmp_path, f"m{number}")
            write_library(app, tmp_path)
            ready.append((case, app))
        except InputError as error:
            said = re.sub(r" \(.*?\)", "", str(error))
            refused[next((each for each in REFUSED if each in said), said)] += 1
    assert refused == REFUSED
    library = tmp_path / "all.so"
    compile_c("gcc", "-O1", "-shared", "-fPIC", "-o", library, *(tmp_path / f"{app.identifier}.c" for _, app in ready))
    loaded = ctypes.CDLL(str(library))
    for case, app in ready:
        for array, expected in zip(call(loaded, app, case.inputs), case.outputs, strict=True):
            tolerance = ROUNDED.get(case.name, TOLERANCE)
            np.testing.assert_allclose(
                array.reshape(expected.shape), expected, rtol=tolerance, atol=tolerance, err_msg=case.name
            )
    assert len(ready) >= 430


def test_every_claimed_operator_has_a_case(cases: list[Case]) -> None:
    tested = {node.op_type for case in cases for node in case.model.graph.node}
    assert set(RULES) - tested == ELSEWHERE
