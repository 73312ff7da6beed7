"""The trained models of MLPerf Tiny in C: what they compute, and what they need."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgebn
from edgebn.embedding.application import open_application
from tests.embedding.compiling import FAST, call, compile_c

SHARED = Path(__file__).parents[3] / "shared" / "models"
NEEDS = {
    "mlperf_kws_dscnn": (90_416, 64_000),
    "mlperf_resnet8": (310_824, 131_072),
    "mlperf_streaming_wakeword": (185_836, 26_624),
    "mlperf_toycar_ae": (1_063_456, 1_056),
    "mlperf_vww_mobilenetv1": (843_400, 221_184),
}
"""Bytes of constants, and of scratch beside inputs and outputs."""

TOLERANCE = 1e-5  # of the largest output, or of 1: 3e-6 seen


@pytest.mark.parametrize("name", NEEDS)
def test_the_c_computes_what_onnxruntime_does(name: str, tmp_path: Path) -> None:
    path = SHARED / f"{name}.keras"
    if not path.is_file():
        pytest.skip(f"{path.name} is not on this machine; it is a trained model of MLPerf Tiny")
    model = tmp_path / f"{name}.onnx"
    edgebn.fold_export(path, model, verify=False)
    edgebn.embed(model, "c", tmp_path / "app")
    library = tmp_path / "model.so"
    compile_c("gcc", *FAST, "-shared", "-fPIC", "-o", library, tmp_path / "app" / f"{name}.c")
    app, loaded = open_application(model), ctypes.CDLL(str(library))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    samples = np.load(path.with_suffix(".npz"))["x0"].astype(np.float32)
    worst = 0.0
    for sample in samples[:8]:
        (expected,) = session.run(None, {app.inputs[0].name: sample[None]})
        (found,) = call(loaded, app, [sample])
        worst = max(worst, np.abs(found - expected[0]).max() / max(1.0, np.abs(expected).max()))
    assert worst <= TOLERANCE
    header = (tmp_path / "app" / f"{name}.h").read_text().replace(",", "")
    flash, scratch = (int(re.search(rf"{word} +(\d+) bytes", header)[1]) for word in ("flash", "RAM"))
    assert (flash, scratch) == NEEDS[name]
