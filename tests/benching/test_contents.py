"""The sizes at which models in memory are timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebn.benching import contents
from edgebn.errors import InputError
from tests.benching.models import save

PRODUCT = "g (float[batch,h,w] x, float[64,8] k) => (float[batch,h,8] y) { y = MatMul(x, k) }"


def test_the_sizes_that_are_given_come_first_and_then_what_runs(tmp_path: Path) -> None:
    session = contents._session(tmp_path / "model.onnx", save(tmp_path / "source.onnx", PRODUCT).read_bytes())
    assert contents._extents_that_run(session, ()) == {"h": 64, "w": 64}
    assert contents._extents_that_run(session, ((3, 64), (8,))) == {"h": 3, "w": 64}


def test_what_runs_at_no_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "SECONDS", 0.0)
    path = save(tmp_path / "source.onnx", PRODUCT.replace("64", "63"))
    with pytest.raises(InputError, match="the model can not be timed: onnxruntime runs it on none of the sizes tried"):
        contents.side_by_side([path.read_bytes()])
