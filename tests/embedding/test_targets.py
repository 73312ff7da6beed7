"""What every target that can be built must do, on small models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from edgebn.embedding.targets import TARGETS
from tests.embedding.building import passes_its_own_test
from tests.embedding.test_names import embedded, two_layers

BUILT = [target for target in TARGETS if target != "web"]


@pytest.mark.parametrize("target", BUILT)
def test_a_wrong_golden_vector_fails_the_self_test(target: str, tmp_path: Path) -> None:
    folder = embedded(two_layers("x", "y"), target, tmp_path)
    if (folder / "golden.json").exists():
        golden = json.loads((folder / "golden.json").read_text())
        golden["outputs"][0][1][2] += 0.01
        (folder / "golden.json").write_text(json.dumps(golden))
    else:
        head, rest = (folder / "selftest.c").read_text().split("expected_y[SAMPLES][M_Y] = {\n    {\n        ")
        (folder / "selftest.c").write_text(f"{head}expected_y[SAMPLES][M_Y] = {{\n    {{\n        0.01f + {rest}")
    passes_its_own_test(folder, target, "m", ok=False)


@pytest.mark.parametrize("target", BUILT)
def test_an_output_that_is_an_input(target: str, tmp_path: Path) -> None:
    model = two_layers("x", "y")
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]))
    passes_its_own_test(embedded(model, target, tmp_path), target, "m")
