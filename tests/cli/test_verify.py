"""edgebn verify."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgebn.cli import tables
from edgebn.cli.verify import _progress
from tests import command_line, digits
from tests.conftest import Trained

README = Path(__file__).parents[2] / "README.md"


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


PROBES = ("data", "normal", "uniform", "signed", "constants", "single elements", "border", "large", "tiny")


def rows(table: str) -> dict[str, list[str]]:
    """The table's cells by the name of the probe."""
    cells = (re.split(r"\s{2,}", line.strip()) for line in table.splitlines())
    return {each[0]: each[1:] for each in cells if each[0] in PROBES}


def test_equal(trained: Trained, digits_file: Path) -> None:
    result = command_line.run("verify", trained.keras, trained.onnx, "--data", digits_file)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert lines[0] == "mlp.onnx against mlp.keras"
    assert lines[-1] == "PASS: equal up to rounding"
    (decisions,) = (line for line in lines if line.startswith("60 samples of digits.npz, probabilities: "))
    accuracy = f"accuracy {trained.record.test_accuracy:.2%} (model {trained.record.test_accuracy:.2%})"
    assert decisions.endswith(f"{accuracy}, 0 changed labels")
    assert "the inputs reach 128 of 128 sides of clips (ReLU and the like)" in lines
    assert any(line.startswith("smallest tolerance that would pass: --atol ") for line in lines)
    assert any(line.startswith("onnxruntime against itself without optimisations: basic 0; ") for line in lines)
    assert any(line.startswith("logits of probabilities, before softmax or sigmoid: agree as well, ") for line in lines)
    table = rows(result.stdout)
    assert list(table) == list(PROBES)
    assert table["data"][:2] == [str(digits.TEST), "1, 256"]
    assert {cells[-1] for cells in table.values()} == {"ok"}
    for _, _, difference, error, own, used, _ in table.values():
        assert max(map(float, (difference, error, own))) < 1e-4
        assert used.endswith("%")


def test_different(trained: Trained, wrong: Path, digits_file: Path) -> None:
    result = command_line.run("verify", trained.keras, wrong, "--data", digits_file)
    assert (result.exit_code, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert lines[-1] == "FAIL: the two compute different functions"
    assert rows(result.stdout)["data"][-1] == "DIFFERS"
    (where,) = (line for line in lines if line.startswith("where: "))
    assert where.startswith("where: the first node that is not as edgebn writes it is probabilities/Gemm: input 1, ")


def test_numpys_rule(trained: Trained, wrong: Path, digits_file: Path) -> None:
    given = ("verify", trained.keras, wrong, "--data", digits_file)
    atol = json.loads(command_line.run(*given, "--json").stdout)["smallest_atol"]
    assert command_line.run(*given, "--atol", repr(atol)).exit_code == 0
    assert command_line.run(*given, "--atol", repr(0.99 * atol)).exit_code == 1
    shown = json.loads(command_line.run(*given, "--atol", repr(atol), "--json").stdout)
    assert (shown["rule"], shown["atol"], shown["rtol"]) == ("numpy", atol, None)


def test_json(trained: Trained, digits_file: Path) -> None:
    result = command_line.run("verify", trained.keras, trained.onnx, "--data", digits_file, "--json", "--seed", "3")
    assert (result.exit_code, result.stderr) == (0, "")
    verdict = json.loads(result.stdout)
    names = ("schema", "passed", "reference", "onnx_model", "onnx_sha256", "data", "seed")
    expected = ["edgebn/verdict/2", True, "mlp.keras", "mlp.onnx", trained.report.onnx_sha256, "digits.npz", 3]
    assert [verdict[name] for name in names] == expected
    required = [each for each in verdict["comparisons"] if each["required"]]
    outputs = [each for each in required if each["output"] == "probabilities"]
    assert {each["output"] for each in required} == {"probabilities", "logits of probabilities"}
    assert verdict["max_abs"] == max(each["difference"]["max_abs"] for each in outputs)


def test_json_of_a_difference(trained: Trained, wrong: Path, digits_file: Path) -> None:
    result = command_line.run("verify", trained.keras, wrong, "--data", digits_file, "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    verdict = json.loads(result.stdout)
    assert verdict["passed"] is False
    assert not all(each["passed"] for each in verdict["comparisons"])
    assert "probabilities/Gemm" in verdict["culprit"]


def test_junit(trained: Trained, wrong: Path, tmp_path: Path, digits_file: Path) -> None:
    for file, fails in ((trained.onnx, False), (wrong, True)):
        result = command_line.run("verify", trained.keras, file, "--data", digits_file, "--junit", tmp_path / "v.xml")
        assert result.exit_code == int(fails)
        (suite,) = ElementTree.parse(tmp_path / "v.xml").getroot()
        cases = suite.findall("testcase")
        assert len(cases) == int(suite.attrib["tests"]) > 100
        failures = [case for case in cases if case.find("failure") is not None]
        assert len(failures) == int(suite.attrib["failures"])
        assert bool(failures) == fails


def test_the_bundled_digits_by_default(trained: Trained) -> None:
    result = command_line.run("verify", trained.keras, trained.onnx)
    assert result.exit_code == 0
    assert "\n1,000 samples of mnist-mini, probabilities: accuracy " in result.stdout


@pytest.mark.parametrize("option", ["--certificate", "--junit"])
@pytest.mark.parametrize("over", ["keras", "onnx"])
def test_no_result_lies_over_a_model(option: str, over: str, trained: Trained) -> None:
    target: Path = getattr(trained, over)
    content = target.read_bytes()
    result = command_line.run("verify", trained.keras, trained.onnx, option, target)
    assert (result.exit_code, result.stdout, target.read_bytes() == content) == (2, "", True)
    assert f"{target.name}: is read or written twice" in result.stderr


def test_no_result_lies_over_the_data(trained: Trained, digits_file: Path) -> None:
    given = ("verify", trained.keras, trained.onnx, "--data", digits_file)
    assert command_line.run(*given, "--junit", digits_file).exit_code == 2
    assert command_line.run(*given, "--certificate", digits_file).exit_code == 2


def test_the_results_are_two_files(trained: Trained, tmp_path: Path) -> None:
    both = tmp_path / "both"
    result = command_line.run("verify", trained.keras, trained.onnx, "--certificate", both, "--junit", both)
    assert (result.exit_code, both.exists()) == (2, False)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (1.21e-7, "1.3e-07"), (1.2e-7, "1.2e-07"), (9.96e-3, "1.0e-02"), (0.25, "2.5e-01")]
)
def test_a_tolerance_is_rounded_up(value: float, shown: str) -> None:
    assert tables.rounded_up(value) == shown
    assert float(shown) >= value


def test_no_old_verdict_stays_where_there_is_none(trained: Trained, tmp_path: Path) -> None:
    target, damaged = tmp_path / "v.xml", tmp_path / "damaged.onnx"
    target.write_text("<testsuites/>")
    damaged.write_bytes(trained.onnx.read_bytes()[:1000])
    assert command_line.run("verify", trained.keras, damaged, "--junit", target).exit_code == 3
    (suite,) = ElementTree.parse(target).getroot()
    assert suite.attrib["errors"] == "1"
    assert suite.find("testcase/error") is not None


def test_the_bar_knows_how_much_there_is_of_real_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    with _progress() as (on_data, on_samples):
        on_data(2_000_000)
        on_samples("data", 1_000_000)
        time.sleep(0.3)
        halfway = capsys.readouterr().err
        on_samples("normal", 32)
        time.sleep(0.3)
        other = capsys.readouterr().err
    assert re.search(r"data .*50%.*1,000,000", re.sub(r"\x1b\[[0-9;?]*\w", "", halfway))
    assert "normal" in other
    assert "%" not in re.sub(r"\x1b\[[0-9;?]*\w", "", other).splitlines()[-1]


@pytest.mark.parametrize("fails", [False, True])
def test_the_workflow_of_the_readme(
    fails: bool, trained: Trained, wrong: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command, in a folder with the two files; what it uploads is there if it fails as well."""
    workflow = re.search(r"```yaml\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert workflow is not None
    (line,) = re.findall(r"- run: edgebn (verify .*?) *#", workflow[1])
    command, target = line.split(" > ")
    shutil.copy(trained.keras, tmp_path / "model.keras")
    shutil.copy(wrong if fails else trained.onnx, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    result = command_line.run(*command.split())
    assert (result.exit_code, result.stderr) == (int(fails), "")
    Path(target).write_text(result.stdout)
    assert sorted(path.name for path in tmp_path.glob("verdict.*")) == ["verdict.json", "verdict.xml"]
    assert json.loads(Path("verdict.json").read_text())["passed"] is not fails
    (suite,) = ElementTree.parse("verdict.xml").getroot()
    assert (int(suite.attrib["failures"]) > 0) == fails
