"""edgebn embed, as a user calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgebn.cli.embed import TARGETS
from edgebn.embedding import targets
from tests import command_line

MLP = Path(__file__).parents[2] / "models" / "mlp" / "mlp.onnx"


def test_it_says_what_it_wrote(tmp_path: Path) -> None:
    result = command_line.run("embed", MLP, "--target", "python", "-o", tmp_path / "app")
    assert (result.exit_code, result.stderr) == (0, "")
    files = ("README.md", "golden.json", "mlp.onnx", "mlp.py")
    lines = result.stdout.splitlines()
    assert lines[:4] == [f"wrote {tmp_path / 'app' / name}" for name in files]
    assert lines[4].endswith("; its self-test runs the golden vectors beside the model")
    assert lines[5] == f"to build and run it: {tmp_path / 'app' / 'README.md'}"


def test_an_error_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlp.py").write_text("mine")
    result = command_line.run("embed", MLP, "--target", "python", "-o", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("edgebn: ")
    assert result.stderr.count("\n") == 1
    assert command_line.run("embed", MLP, "--target", "python", "-o", tmp_path, "--force").exit_code == 0


def test_the_command_names_every_target() -> None:
    assert set(TARGETS) == set(targets.TARGETS)


def test_it_needs_no_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys; from edgebn.cli import main\n"
        f"try: main(['embed', {str(MLP)!r}, '--target', 'c', '-o', {str(tmp_path / 'app')!r}])\n"
        "finally: print(*{'tensorflow', 'keras', 'tf2onnx', 'onnxruntime'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "onnxruntime"  # which recomputes the golden vectors
