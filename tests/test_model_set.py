"""Models of keras.applications and of MLPerf Tiny: every BatchNormalization goes, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgebn import backends
from tests.model_set import APPLICATIONS, Measured, images, measured, run

SHARED = Path(__file__).parents[2] / "shared" / "models"
NORMS = {
    "DenseNet121": 121,
    "EfficientNetB0": 49,
    "EfficientNetV2B0": 59,
    "InceptionV3": 94,
    "MobileNet": 27,
    "MobileNetV2": 52,
    "MobileNetV3Small": 34,
    "NASNetMobile": 192,
    "ResNet50": 53,
    "ResNet50V2": 49,
    "Xception": 40,
}
MLPERF_TINY = {
    "mlperf_kws_dscnn": 9,
    "mlperf_resnet8": 7,
    "mlperf_streaming_wakeword": 4,
    "mlperf_toycar_ae": 9,
    "mlperf_vww_mobilenetv1": 27,
}
TOLERANCE = 1e-5  # of the output's scale, the goal; 3e-6 seen


def check(result: Measured, norms: int) -> None:
    report = result.report
    assert result.norms == result.gone == norms
    assert "BatchNormalization" not in report.nodes
    assert len(report.nodes) < report.nodes_before
    assert result.difference <= TOLERANCE
    assert result.error <= 3.0 * result.plain_error


@pytest.mark.parametrize("name", APPLICATIONS)
def test_application(name: str, tmp_path: Path) -> None:
    model = APPLICATIONS[name]()
    check(measured(model, model, tmp_path, images(name, model)), NORMS[name])


@pytest.mark.parametrize("name", MLPERF_TINY)
def test_mlperf_tiny(name: str, tmp_path: Path) -> None:
    path = SHARED / f"{name}.keras"
    if not path.is_file():
        pytest.skip(f"{path.name} is not on this machine; it is a trained model of MLPerf Tiny")
    model = backends.keras().saving.load_model(path, compile=False)
    given = np.load(path.with_suffix(".npz"))
    x = given["x0"].astype(np.float32)
    check(measured(model, path, tmp_path, x), MLPERF_TINY[name])
    folded = run((tmp_path / "folded.onnx").read_bytes(), x)
    assert np.abs(folded - given["y0"]).max() <= TOLERANCE * np.abs(given["y0"]).max()
