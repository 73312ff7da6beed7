"""The three commands in processes of their own, as a user calls them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import command_line

# what a test before this one has switched off, a user would see
QUIET = ("TF_", "KERAS_", "CUDA_", "ABSL_", "PYTHONWARNINGS")


@pytest.mark.parametrize("program", command_line.PROGRAMS)
def test_train_fold_export_verify(program: str, digits_file: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(QUIET)}
    commands = (
        ("train", "mlp", "--data", str(digits_file), "--epochs", "1", "--batch-size", "4"),
        ("fold-export", "mlp.keras", "--report", "mlp.report.json"),
        ("verify", "mlp.keras", "mlp.onnx", "--data", str(digits_file)),
    )
    shown = ""
    for command in commands:
        result = command_line.process(program, *command, folder=tmp_path, environment=environment)
        assert result.stderr == ""
        assert result.exit_code == 0
        shown += result.stdout
    for expected in ("test accuracy", "into the previous MatMul (dense/Gemm)", "PASS: equal up to rounding"):
        assert expected in shown
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(files) == ["mlp.keras", "mlp.onnx", "mlp.report.json", "mlp.training.json"]
