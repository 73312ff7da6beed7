"""What a file is, is told by its content; what would run code or reach other files is refused before it is opened."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebn import backends
from edgebn.errors import InputError
from edgebn.loading import formats, open_source
from edgebn.loading.formats import check_safe, kind_of
from tests import archives
from tests.conftest import Trained

MALFORMED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dense() -> Any:
    keras = backends.keras()
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    model = dense()
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.export(folder / "saved_model", verbose=False)
    return {
        "keras": folder / "model.keras",
        "h5": folder / "model.h5",
        "saved_model": folder / "saved_model",
        "onnx": trained.onnx,
    }


@pytest.mark.parametrize("kind", ["keras", "h5", "saved_model", "onnx"])
@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.onnx", "model"])
def test_the_name_does_not_matter(kind: str, name: str, models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / name
    path.symlink_to(models[kind])
    assert kind_of(path) == kind


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_model_opens_under_any_name(kind: str, models: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(models[kind], tmp_path / "model.bin"))
    source = open_source(path)
    assert source.name == "model.bin"
    assert [tensor.shape for tensor in source.outputs] == [(None, 3)]
    assert [each.name for each in tmp_path.iterdir()] == ["model.bin"]


@pytest.mark.parametrize("kind", ["keras", "h5", "saved_model"])
def test_a_plain_model_is_safe(kind: str, models: dict[str, Path]) -> None:
    assert check_safe(models[kind], kind_of(models[kind])) is None


def refusal(path: Path, kind: formats.Kind | None = None) -> str:
    with pytest.raises(InputError) as caught:
        check_safe(path, kind or kind_of(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"class_name": "Lambda"}, "holds a Lambda layer, which runs code from the file"),
        ({"class_name": "__lambda__"}, "holds a lambda layer, which runs code"),
        ({"class_name": "TFSMLayer"}, "holds a TFSMLayer layer, which runs code"),
        ({"class_name": "TorchModuleWrapper"}, "holds a TorchModuleWrapper layer, which runs code"),
        (
            {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
            "StringLookup reads its vocabulary from another file",
        ),
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 200])
def test_a_dangerous_layer_however_deep(
    part: dict[str, Any], reason: str, depth: int, models: dict[str, Path], tmp_path: Path
) -> None:
    config = '{"config": [' * depth + json.dumps(part) + "]}" * depth
    path = archives.with_entry(Path(shutil.copy(models["keras"], tmp_path)), "config.json", config.encode())
    assert reason in refusal(path)
    path = Path(shutil.copy(models["h5"], tmp_path))
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = config
    assert reason in refusal(path)


def test_nesting_without_end_is_no_crash(models: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(models["keras"], tmp_path))
    archives.with_entry(path, "config.json", b"[" * 200_000)
    assert "its configuration is not JSON" in refusal(path)


def test_a_vocabulary_inside_of_the_file_is_safe(models: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(models["keras"], tmp_path))
    archives.with_entry(path, "config.json", b'{"class_name": "StringLookup", "config": {"vocabulary": ["a"]}}')
    assert check_safe(path, "keras") is None


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out"])
def test_an_entry_that_leads_out_of_the_archive(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(models["keras"], tmp_path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"")
    with pytest.raises(InputError, match="leads out of the archive"):
        kind_of(path)


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_model_that_unpacks_to_too_much(kind: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_WEIGHT_BYTES", 20)
    with pytest.raises(InputError, match="unpacks to more than"):
        open_source(models[kind])


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_configuration_that_is_too_large(kind: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_CONFIG_BYTES", 20)
    assert "its configuration is larger than" in refusal(models[kind])


def external_link(file: h5py.File, other: Path) -> None:
    file["model_weights/linked"] = h5py.ExternalLink(str(other), "/secret")


def external_data(file: h5py.File, other: Path) -> None:
    file.create_dataset("model_weights/external", (4,), "u1", external=[(str(other), 0, 4)])


def virtual_data(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource(str(other), "secret", (4,), "u1")
    file.create_virtual_dataset("model_weights/virtual", layout)


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (external_link, "/model_weights/linked is a link to another file"),
        (external_data, "/model_weights/external lies in another file"),
        (virtual_data, "/model_weights/virtual lies in another file"),
    ],
)
def test_hdf5_that_reaches_other_files(
    plant: Callable[[h5py.File, Path], None], reason: str, models: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.arange(4, dtype=np.uint8)
    path = Path(shutil.copy(models["h5"], tmp_path))
    with h5py.File(path, "r+") as file:
        plant(file, other)
    assert reason in refusal(path)


@pytest.mark.usefixtures("not_for_ever")
def test_a_group_inside_of_itself_is_walked_once(models: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(models["h5"], tmp_path))
    with h5py.File(path, "r+") as file:
        file["model_weights/again"] = file["model_weights"]
        file["model_weights/soft"] = h5py.SoftLink("/nowhere")
    assert check_safe(path, "h5") is None


@MALFORMED
@given(data=st.data())
def test_a_damaged_keras_file_is_refused_or_opened(
    data: st.DataObject, models: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(data.draw(archives.damages(models["keras"].read_bytes())))
    assert_refused_or_opened(path)


@MALFORMED
@given(entry=st.sampled_from(["config.json", "metadata.json"]), data=st.data())
def test_a_damaged_configuration_is_refused_or_opened(
    entry: str, data: st.DataObject, models: dict[str, Path], tmp_path: Path
) -> None:
    path = Path(shutil.copy(models["keras"], tmp_path / "model.keras"))
    with zipfile.ZipFile(path) as archive:
        content = archive.read(entry)
    archives.with_entry(path, entry, data.draw(archives.damages(content)))
    assert_refused_or_opened(path)


def assert_refused_or_opened(path: Path) -> None:
    """Anything but an InputError is a traceback for the user, and fails the test."""
    try:
        source = open_source(path)
    except InputError:
        return
    assert source.name == "model.keras"
