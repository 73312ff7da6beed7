"""edgebn inspect: what it says, as a table and as JSON, and that it writes and imports nothing that it need not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper, parser

from edgebn import cli

GRAPH = """<ir_version: 8, opset_import: ["": 18]> g (float[n,3,8,8] x) => (float[n,2,6,6] y, float[n,2,6,6] z) {
    c = Conv(x, kernel) b = BatchNormalization(c, scale, bias, mean, variance) y = Relu(b)
    c2 = Conv(x, kernel) s = Sigmoid(c2) k = BatchNormalization(s, scale, bias, mean, variance) z = Sigmoid(k)
}"""
WEIGHTS = {
    "kernel": np.ones((2, 3, 3, 3)),
    "scale": np.array([-3.0, 0.0]),
    "bias": np.array([0.5, 0.0]),
    "mean": np.zeros(2),
    "variance": np.array([1e-15, 4.0]),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    proto = parser.parse_model(GRAPH)
    for name, array in WEIGHTS.items():
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    for node, name in zip(proto.graph.node, ["conv", "norm", "relu", "conv2", "sigmoid", "stuck", "end"], strict=True):
        node.name = name
    onnx.save(proto, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_says_where_each_goes_or_why_not(path: Path) -> None:
    before = sorted(path.parent.iterdir())
    result = CliRunner().invoke(cli.main, ["inspect", str(path)])
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "model.onnx: 1 of 2 can be folded" in lines
    assert "norm conv into the previous Conv (conv)" in lines
    assert "stuck kept sigmoid: nothing passes Sigmoid" in lines
    assert "end: nothing passes Sigmoid" in lines
    assert "norm 2 1 1e-15 949 conv 1 1" in lines
    assert lines[-1].startswith("nodes: 7 as exported, ")
    assert sorted(path.parent.iterdir()) == before


def test_json_is_the_dataclass(path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["inspect", str(path), "--json"])
    written = json.loads(result.stdout)
    assert list(written) == [
        *("schema", "source", "source_sha256", "opset", "nodes_before", "nodes_after", "folded", "kept", "notes")
    ]
    assert written["schema"] == "edgebn/inspection/1"
    assert [list(fate) for fate in written["folded"]] == [["node", "layers", "health", "route"]]
    assert [list(fate) for fate in written["kept"]] == [["node", "layers", "health", "stops", "route"]]
    assert written["kept"][0]["stops"][0] == {"at": "sigmoid", "reason": "nothing passes Sigmoid"}
    assert written["folded"][0]["health"] == {
        "channels": 2,
        "dead_channels": 1,
        "smallest_variance": pytest.approx(1e-15),
        "largest_scale": pytest.approx(3.0 / np.sqrt(1e-15 + 1e-5)),
        "amplifies": "conv",
        "negative_scales": 1,
        "zero_scales": 1,
    }


@pytest.mark.parametrize("command", ["inspect", "fold-export"])
def test_an_onnx_file_needs_no_tensorflow(command: str, path: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(tensorflow=None, keras=None, tf2onnx=None)\n"
        f"from edgebn.cli import main; main([{command!r}, {str(path)!r}])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "stuck" in result.stdout


def test_a_model_without_any_says_so(tmp_path: Path) -> None:
    proto = parser.parse_model('<ir_version: 8, opset_import: ["": 18]> g (float[n] x) => (float[n] y) { y = Relu(x) }')
    onnx.save(proto, tmp_path / "model.onnx")
    result = CliRunner().invoke(cli.main, ["inspect", str(tmp_path / "model.onnx")])
    assert (result.exit_code, result.stdout) == (0, "model.onnx: has no BatchNormalization to fold (1 nodes)\n")
