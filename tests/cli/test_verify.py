"""edgebn verify."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests import command_line, digits
from tests.conftest import Trained


@pytest.fixture(scope="module")
def wrong(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model with one weight changed by a hundredth, the least of which a test should take notice."""
    model = onnx.load(trained.onnx)
    weight = next(each for each in model.graph.initializer if list(each.dims) == [64, 10])
    values = numpy_helper.to_array(weight).copy()
    values[np.unravel_index(np.abs(values).argmax(), values.shape)] *= 1.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    path = tmp_path_factory.mktemp("wrong") / "wrong.onnx"
    onnx.save(model, path)
    return path


def rows(table: str) -> dict[str, list[str]]:
    """The table's cells by the name of the probe."""
    cells = (re.split(r"\s{2,}", line.strip()) for line in table.splitlines())
    probes = ("digits", "normal", "uniform", "small", "large", "zeros")
    return {each[0]: each[1:] for each in cells if each[0] in probes}


def test_equal(trained: Trained, digits_file: Path) -> None:
    result = command_line.run("verify", trained.keras, trained.onnx, "--data", digits_file)
    assert (result.exit_code, result.stderr) == (0, "")
    title, *_, summary, verdict = result.stdout.splitlines()
    assert title.rstrip() == "mlp.onnx against mlp.keras (onnxruntime's optimisations: off, all)"
    assert re.fullmatch(
        r"60 test digits of digits\.npz: max abs difference (0|\d\.\de-\d\d), 0 changed labels", summary
    )
    assert verdict == "PASS: equal up to rounding"
    table = rows(result.stdout)
    assert list(table) == ["digits", "normal", "uniform", "small", "large", "zeros"]
    assert table["digits"][:2] == [str(digits.TEST), "1, 256"]
    assert {cells[-1] for cells in table.values()} == {"ok"}
    for _, _, difference, error, allowed, _ in table.values():
        assert float(error) <= float(allowed) < 1e-3
        assert float(difference) <= 2.0 * float(allowed)


def test_different(trained: Trained, wrong: Path, digits_file: Path) -> None:
    result = command_line.run("verify", trained.keras, wrong, "--data", digits_file)
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.splitlines()[-1] == "FAIL: the two compute different functions"
    table = rows(result.stdout)
    assert table["digits"][-1] == "DIFFERS"
    assert float(table["digits"][3]) > float(table["digits"][4])


def test_json(trained: Trained, digits_file: Path) -> None:
    result = command_line.run("verify", trained.keras, trained.onnx, "--data", digits_file, "--json", "--seed", "3")
    assert (result.exit_code, result.stderr) == (0, "")
    verdict = json.loads(result.stdout)
    assert " ".join(verdict) == (
        "schema passed keras_model onnx_model onnx_sha256 data seed max_abs changed_labels labelled_samples "
        "comparisons versions"
    )
    assert " ".join(verdict["comparisons"][0]) == (
        "output probe optimisation batch_size samples max_abs keras_error onnx_error sensitivity scale tolerance "
        "changed_labels passed"
    )
    names = ("schema", "passed", "keras_model", "onnx_model", "onnx_sha256", "data", "seed", "labelled_samples")
    assert [verdict[name] for name in names] == [
        "edgebn/verdict/1",
        True,
        "mlp.keras",
        "mlp.onnx",
        trained.report.onnx_sha256,
        "digits.npz",
        3,
        digits.TEST,
    ]
    assert verdict["max_abs"] == max(each["max_abs"] for each in verdict["comparisons"])
    assert {each["optimisation"] for each in verdict["comparisons"]} == {"off", "all"}


def test_json_of_a_difference(trained: Trained, wrong: Path, digits_file: Path) -> None:
    result = command_line.run("verify", trained.keras, wrong, "--data", digits_file, "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    verdict = json.loads(result.stdout)
    assert verdict["passed"] is False
    assert not all(each["passed"] for each in verdict["comparisons"])


def test_the_bundled_digits_by_default(trained: Trained) -> None:
    result = command_line.run("verify", trained.keras, trained.onnx)
    assert result.exit_code == 0
    assert "\n1,000 test digits of mnist-mini: max abs difference " in result.stdout
