"""--tune: which plan is taken, by made-up times and by real ones, and that it gives the same function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

import edgebn
from edgebn import backends, tuning
from edgebn.benching import contents
from edgebn.folding import Preference
from edgebn.measurements import Latency, Ratio, Timed
from tests import command_line, keras_models
from tests.folding import graphs


def made(preference: Preference) -> ir.Model:
    """Three graphs: the fewest nodes are what is made anyway."""
    operators = {Preference.NORMALIZATIONS: "Sigmoid", Preference.UNFOLDED: "Tanh"}
    return graphs.model(f"(float[batch,4] x) => (float[batch,4] y) {{ y = {operators.get(preference, 'Relu')}(x) }}")


def taken(monkeypatch: pytest.MonkeyPatch, *ratios: tuple[float, float, float]) -> str:
    latency = Latency(1.0, 1.0, 1.0, 5, 5)

    def timed(made: Sequence[bytes]) -> list[Timed]:
        assert len(made) == 3
        return [Timed(latency, Ratio(median, lower, upper)) for lower, median, upper in ((1.0, 1.0, 1.0), *ratios)]

    monkeypatch.setattr(tuning, "side_by_side", timed)
    preference, found = tuning.tuned(made)
    assert found.chosen == preference.value
    assert [each.preference for each in found.candidates] == [
        each.value for each in (Preference.USUAL, Preference.NORMALIZATIONS, Preference.UNFOLDED)
    ]
    return preference.name


def test_the_fastest_is_taken_if_that_is_no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(monkeypatch, (0.8, 0.9, 0.95), (1.1, 1.2, 1.3)) == "NORMALIZATIONS"
    assert taken(monkeypatch, (0.8, 0.9, 0.95), (0.7, 0.8, 0.9)) == "UNFOLDED"
    assert taken(monkeypatch, (0.8, 0.9, 1.05), (0.97, 0.98, 0.99)) == "USUAL"
    assert taken(monkeypatch, (0.5, 0.8, 1.0), (0.89, 0.9, 0.91)) == "UNFOLDED"


def densely_connected() -> Any:
    keras = backends.keras()
    inputs = keras.Input((16, 16, 8))
    x = keras.layers.Conv2D(8, 3)(inputs)
    for _ in range(2):
        y = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        x = keras.layers.Concatenate()([x, keras.layers.Conv2D(8, 3, padding="same")(y)])
    return keras_models.functional(inputs, x)


def test_a_tuned_file_is_as_right_as_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "SECONDS", 0.0)
    model, path = densely_connected(), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path, tune=True)
    assert report.tuning is not None
    assert report.tuning.chosen in {each.preference for each in report.tuning.candidates}
    (nodes,) = (each.nodes for each in report.tuning.candidates if each.preference == report.tuning.chosen)
    assert nodes == len(report.nodes)
    assert edgebn.verify(model, path).passed


@pytest.mark.parametrize("preference", Preference)
def test_whatever_is_chosen_is_what_is_written(
    preference: Preference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = densely_connected(), tmp_path / "model.onnx"
    monkeypatch.setattr("edgebn.pipeline.tuned", lambda make: (preference, make(preference) and None))
    report = edgebn.fold_export(model, path, tune=True)
    assert edgebn.verify(model, path).passed
    kept = {Preference.NORMALIZATIONS: 2, Preference.UNFOLDED: 2}.get(preference, 0)
    assert (len(report.folded), len(report.kept)) == (2 - kept, kept)
    assert all("for speed" in stop.reason for fate in report.kept for stop in fate.stops)


def test_the_command_line_shows_the_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "SECONDS", 0.0)
    densely_connected().save(tmp_path / "model.keras")
    result = command_line.run("fold-export", tmp_path / "model.keras", "-o", tmp_path / "model.onnx", "--tune")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "exact plans, timed on one thread" in result.stdout
    assert result.stdout.count("chosen") == 1
