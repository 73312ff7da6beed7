"""A right file passes at the default settings, whatever the seed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import edgebn
from edgebn.loading import open_source
from edgebn.verifying.onnx_files import open_file
from edgebn.verifying.reference import keras_reference
from edgebn.verifying.verdict import judge_pair
from tests.model_set import APPLICATIONS
from tests.test_model_set import MLPERF_TINY, SHARED

MODELS = Path(__file__).parents[2] / "models"
SEEDS = int(os.environ.get("EDGEBN_SEEDS", "0"))
"""How many seeds to try on every model: 20 take an hour. By default two on the small models, one on one large one."""

SMALL: Mapping[str, Any] = {
    **{name: MODELS / name / f"{name}.keras" for name in ("mlp", "cnn")},
    **{name: SHARED / f"{name}.keras" for name in MLPERF_TINY},
}


@pytest.mark.parametrize("name", [*SMALL, *APPLICATIONS])
def test_no_false_alarm(name: str, tmp_path: Path) -> None:
    if not SEEDS and name in APPLICATIONS and name != "MobileNetV3Small":
        pytest.skip("large; with EDGEBN_SEEDS=20 all are tried")
    if name in MLPERF_TINY and not SMALL[name].is_file():
        pytest.skip(f"{name}.keras is not on this machine; it is a trained model of MLPerf Tiny")
    model = SMALL[name] if name in SMALL else APPLICATIONS[name]()
    edgebn.fold_export(model, tmp_path / "model.onnx")
    reference, file = keras_reference(open_source(model)), open_file(tmp_path / "model.onnx")
    seeds = range(SEEDS or (2 if name in SMALL else 1))
    alarms = {seed: verdict.used for seed in seeds if not (verdict := judge_pair(reference, file, seed=seed)).passed}
    assert alarms == {}
