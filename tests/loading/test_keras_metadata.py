"""What a trained file says of itself comes into the ONNX file that is made of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import onnx
import pytest

import edgebn
from edgebn.interface import LABELS, PIXEL_FORMAT, PIXEL_RANGE
from edgebn.loading.keras_metadata import METADATA_FILE, METADATA_KEY, read_metadata

MODELS = Path(__file__).parents[2] / "models"
SAID = {LABELS: json.dumps(list("0123456789")), PIXEL_FORMAT: "Gray8", PIXEL_RANGE: "Normalized_0_1"}


def exported(folder: Path, name: str, **options: object) -> dict[str, str]:
    edgebn.fold_export(MODELS / name, folder / "m.onnx", interface=edgebn.Interface(**options))
    said = {entry.key: entry.value for entry in onnx.load(folder / "m.onnx").metadata_props}
    return {key: said[key] for key in SAID if key in said}


def archive(path: Path, content: str) -> Path:
    with zipfile.ZipFile(path, "w") as target:
        target.writestr(METADATA_FILE, content)
    return path


def test_a_committed_model() -> None:
    assert read_metadata(MODELS / "cnn" / "cnn.keras") == read_metadata(str(MODELS / "mlp" / "mlp.keras")) == SAID


@pytest.mark.parametrize("name", ["mlp/mlp.keras", "mlp/mlp.onnx"])
def test_it_comes_into_the_onnx_file_unless_said_otherwise(name: str, tmp_path: Path) -> None:
    assert exported(tmp_path, name) == SAID
    assert exported(tmp_path, name, labels=tuple("abcdefghij")) == {**SAID, LABELS: json.dumps(list("abcdefghij"))}
    assert exported(tmp_path, name, input="uint8", scale=1 / 255) == {LABELS: SAID[LABELS]}  # rows of numbers


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"edgebn": 1}', '{"edgebn": []}', '{"edgebn": {"edgebn.labels": 1, "other": "x"}}']
)
def test_what_is_not_said_as_edgebn_does_is_left(content: str, tmp_path: Path) -> None:
    assert read_metadata(archive(tmp_path / "m.keras", content)) == {}


def test_no_keras_file(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_text("no zip")
    assert read_metadata(tmp_path / "m.h5") == read_metadata(tmp_path / "nothing") == read_metadata(object()) == {}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as target:
        target.writestr("config.json", "{}")
    assert read_metadata(tmp_path / "m.keras") == {}


def test_unknown_names_are_left(tmp_path: Path) -> None:
    content = json.dumps({METADATA_KEY: {PIXEL_RANGE: "Normalized_0_1", "edgebn.source": "x"}})
    assert read_metadata(archive(tmp_path / "m.keras", content)) == {PIXEL_RANGE: "Normalized_0_1"}
