"""edgebn fold-export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgebn import backends
from tests import command_line
from tests.conftest import Trained
from tests.folding.faults import FAULTS

TABLE = """\
mlp.keras: 1 of 1 folded

 BatchNormalization    where it went   by the laws
 ───────────────────────────────────────────────────────────────────────────
 batch_normalization   dense/Gemm      into the previous MatMul (dense/Gemm)

operators: Gemm Relu Gemm Softmax (4; {before} before folding)
input: image [batch, 784]
output: probabilities [batch, 10]
wrote mlp.onnx ({kilobytes:.1f} kB, opset 18)
"""


def stripped(text: str) -> str:
    """Without the spaces that fill a table's lines."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_says_where_each_batch_normalization_went(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command_line.run("fold-export", trained.keras)
    assert (result.exit_code, result.stderr) == (0, "")
    kilobytes = trained.onnx.stat().st_size / 1000
    assert stripped(result.stdout) == TABLE.format(before=trained.report.nodes_before, kilobytes=kilobytes)
    assert (tmp_path / "mlp.onnx").read_bytes() == trained.onnx.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.onnx"]


def test_the_options_reach_the_export(trained: Trained, tmp_path: Path) -> None:
    output, report = tmp_path / "model.onnx", tmp_path / "report.json"
    result = command_line.run("fold-export", trained.keras, "-o", output, "--opset", "13", "--report", report)
    assert result.exit_code == 0
    kilobytes = output.stat().st_size / 1000
    assert result.stdout.endswith(f"wrote {output} ({kilobytes:.1f} kB, opset 13)\nwrote {report}\n")
    assert [(each.domain, each.version) for each in onnx.load(output).opset_import] == [("", 13)]
    written = json.loads(report.read_text())
    assert written["schema"] == "edgebn/export-report/1"
    assert (written["opset"], written["onnx_model"]) == (13, str(output))
    assert [fold["layers"] for fold in written["folded"]] == [["batch_normalization"]]


def test_says_what_is_kept_and_why(tmp_path: Path) -> None:
    keras = backends.keras()
    inputs = keras.Input((4,), name="x")
    norm = keras.layers.BatchNormalization(name="kept_one")(inputs)
    keras.Model(inputs, keras.layers.Activation("tanh")(norm)).save(tmp_path / "model.keras")
    result = command_line.run("fold-export", tmp_path / "model.keras", "-o", tmp_path / "model.onnx")
    assert result.exit_code == 0
    assert "model.keras: 0 of 1 folded" in result.stdout
    (row,) = (line for line in result.stdout.splitlines() if "kept_one  " in line)
    name, fate, reason = row.split(maxsplit=2)
    assert (name, fate) == ("kept_one", "kept")
    assert ": " in reason  # the node or tensor, and the reason


def test_says_so_if_there_is_nothing_to_fold(tmp_path: Path) -> None:
    save_plain(tmp_path / "plain.keras")
    result = command_line.run("fold-export", tmp_path / "plain.keras", "-o", tmp_path / "plain.onnx")
    assert result.exit_code == 0
    assert result.stdout.startswith("plain.keras: has no BatchNormalization to fold\noperators: Gemm (1; ")


@pytest.mark.parametrize("kind", ["h5", "folder"])
def test_other_kinds_of_models(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / ("plain.h5" if kind == "h5" else "plain")
    save_plain(source)
    result = command_line.run("fold-export", source)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "operators: Gemm (1; " in result.stdout
    assert (tmp_path / "plain.onnx").is_file()


def save_plain(path: Path) -> None:
    keras = backends.keras()
    model: Any = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    if path.suffix:
        model.save(path)
    else:
        model.export(path, verbose=False)


def test_golden_vectors_and_a_certificate(trained: Trained, tmp_path: Path) -> None:
    output, certificate = tmp_path / "model.onnx", tmp_path / "model.certificate.json"
    result = command_line.run("fold-export", trained.keras, "-o", output, "--golden", "2", "--certificate", certificate)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith(f"wrote {tmp_path / 'test_data_set_0'} … 1\nwrote {certificate}\n")
    assert json.loads(certificate.read_text("utf-8"))["passed"] is True
    assert command_line.run("verify", output).exit_code == 0


def test_what_differs_is_refused_unless_it_is_not_verified(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(fault for fault in FAULTS if fault.name == "into the previous MatMul: more_scale").plant(monkeypatch)
    output = tmp_path / "model.onnx"
    result = command_line.run("fold-export", trained.keras, "-o", output)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "nothing written: the fold that changes the function is that of batch_normalization" in result.stderr
    assert not output.exists()
    assert command_line.run("fold-export", trained.keras, "-o", output, "--no-verify").exit_code == 0
    assert output.exists()
