"""The C of another generator, emx-onnx-cgen, of the same files: where it has code, both compute the same."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgebn.embedding.application import Application, open_application
from edgebn.embedding.c.rules import RULES
from edgebn.errors import InputError
from tests.embedding.compiling import call, compile_c, opened, tool, write_library
from tests.embedding.node_cases import Case, node_cases
from tests.embedding.test_node_cases import ELSEWHERE, is_meant

emx = pytest.importorskip("emx_onnx_cgen", reason="no emx-onnx-cgen here: pip install emx-onnx-cgen")

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5
NOT_MET = {"Pow"}
"""Of which we have no code for the first cases."""
CASES_OF_AN_OPERATOR = 2


@cache
def compiler() -> Any:
    from emx_onnx_cgen.compiler import Compiler, CompilerOptions

    return Compiler(CompilerOptions(large_temp_threshold_bytes=0, large_weight_threshold=1 << 30))


def written_by_emx(model: onnx.ModelProto, name: str, folder: Path) -> Path | None:
    """Its C, all in one file of which only the function `name` is seen; None if it has none for the model."""
    try:
        text = compiler().compile(model)
    except Exception:  # of many kinds
        return None
    hidden = re.sub(r"^(?:extern )?const (EMX_UNUSED )?", r"static const \1", text, flags=re.MULTILINE)
    path = folder / f"{name}.c"
    path.write_text(f"#define model {name}\n#define model_load {name}_load\n{hidden}")
    return path


def compile_theirs(library: Path, sources: Sequence[Path]) -> None:
    """Its C needs libm, and is not free of warnings."""
    command = [tool("gcc"), "-O1", "-w", "-shared", "-fPIC", "-o", library, *sources, "-lm"]
    subprocess.run(command, check=True, timeout=300)


def call_theirs(library: ctypes.CDLL, name: str, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
    pointers = [np.ascontiguousarray(each) for each in inputs]
    getattr(library, name)(*(each.ctypes.data_as(ctypes.c_void_p) for each in (*pointers, *outputs)))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_models(name: str, tmp_path: Path) -> None:
    app = open_application(ROOT / "models" / name / f"{name}.onnx")
    fixed = onnx.load(app.path)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    write_library(app, tmp_path)
    compile_c("gcc", "-O2", "-shared", "-fPIC", "-o", tmp_path / "ours.so", tmp_path / f"{name}.c")
    source = written_by_emx(fixed, "theirs", tmp_path)
    assert source is not None
    compile_theirs(tmp_path / "theirs.so", [source])
    ours, theirs = (ctypes.CDLL(str(tmp_path / f"{each}.so")) for each in ("ours", "theirs"))
    session = onnxruntime.InferenceSession(app.content, providers=["CPUExecutionProvider"])
    for sample in app.golden.inputs[0]:
        (found,) = call(ours, app, [sample])
        other = np.full_like(found, np.nan)
        call_theirs(theirs, "theirs", [sample], [other])
        (expected,) = session.run(None, {app.inputs[0].name: sample.reshape(app.inputs[0].tensor_shape)})
        assert np.abs(found - other).max() <= 2e-6
        assert np.abs(found - expected).max() <= 2e-6


def chosen() -> Iterator[Case]:
    """A few cases of each operator, of fixed shapes and more than one number."""
    met: Counter[str] = Counter()
    for case in node_cases():
        operators = {node.op_type for node in case.model.graph.node}
        small = any(array.ndim == 0 for array in (*case.inputs, *case.outputs))
        if is_meant(case) and not small and any(met[each] < CASES_OF_AN_OPERATOR for each in operators):
            met.update(operators)
            yield case


def both(number: int, case: Case, folder: Path) -> tuple[Case, Application, Path] | None:
    """The case with our C and theirs in the folder; None if one of them has none, or theirs takes other arguments."""
    source = written_by_emx(case.model, f"theirs{number}", folder)
    parameters = "" if source is None else re.search(r"void model\(([^)]*)\)", source.read_text())[1]
    if parameters.count(",") + 1 != len(case.inputs) + len(case.outputs):
        return None
    app = opened(case.model, folder, f"ours{number}")
    try:
        write_library(app, folder)
    except InputError:
        return None
    return case, app, source


def test_operators(tmp_path: Path) -> None:
    """Both generators against each other, on the ONNX project's inputs."""
    ready = [each for number, case in enumerate(chosen()) if (each := both(number, case, tmp_path)) is not None]
    sources = [tmp_path / f"{app.identifier}.c" for _, app, _ in ready]
    compile_c("gcc", "-O1", "-shared", "-fPIC", "-o", tmp_path / "ours.so", *sources)
    compile_theirs(tmp_path / "theirs.so", [source for _, _, source in ready])
    ours, theirs = (ctypes.CDLL(str(tmp_path / f"{each}.so")) for each in ("ours", "theirs"))
    for case, app, source in ready:
        found = call(ours, app, case.inputs)
        others = [np.empty(each.shape, each.dtype) for each in case.outputs]
        call_theirs(theirs, source.stem, case.inputs, others)
        for one, other in zip(found, others, strict=True):
            np.testing.assert_allclose(one.reshape(other.shape), other, TOLERANCE, TOLERANCE, err_msg=case.name)
    met = {node.op_type for case, _, _ in ready for node in case.model.graph.node}
    assert set(RULES) - met == ELSEWHERE | NOT_MET
