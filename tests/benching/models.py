"""Small ONNX files of many kinds, and one round of a benchmark of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import parser

import edgebn
from edgebn.report import Benchmark

HEAD = '<ir_version: 8, opset_import: ["": 18]>'
RELU = "g (float[batch,4] x) => (float[batch,4] y) { y = Relu(x) }"


def save(path: Path, graph: str = RELU) -> Path:
    """An ONNX file from its textual form."""
    onnx.save(parser.parse_model(f"{HEAD} {graph}"), path)
    return path


def least(*paths: Path, **options: Any) -> Benchmark:
    """The least of measuring."""
    return edgebn.bench(*paths, **{"seconds": 0.0, **options})
