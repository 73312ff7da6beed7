"""The benchmark of the C builds and runs; what it measures is no test's matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.embedding.compiling import onnxruntime_header, tool
from tools import bench_embed

MLP = Path(__file__).parents[2] / "models" / "mlp" / "mlp.onnx"


def test_it_times_both(monkeypatch: pytest.MonkeyPatch) -> None:
    header = onnxruntime_header()
    if header is None:
        pytest.skip("no onnxruntime_c_api.h here: pip install --no-deps amd-quark")
    monkeypatch.setattr(bench_embed, "ROUNDS", 3)
    rounds = bench_embed.measure(MLP, tool("gcc"), ["-O1", "-Werror"], header)
    assert len(rounds) == 3
    assert min(min(each) for each in rounds) > 0.0
