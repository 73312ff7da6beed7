"""Golden vectors and certificates: written with the file, replayed without TensorFlow, and missed when they lie."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgebn
from tests import command_line, keras_models
from tests.exporting import models
from tests.verifying.test_mismatch import written

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    options: dict[str, Any] = {"golden": 3, "certificate": folder / "cnn.certificate.json"}
    edgebn.fold_export(keras_models.textbook("cnn", "mixed"), folder / "cnn.onnx", **options)
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def tensor(path: Path) -> onnx.TensorProto:
    return onnx.TensorProto.FromString(path.read_bytes())


def test_the_form_is_that_of_onnx(exported: Path) -> None:
    names = sorted(path.relative_to(exported).as_posix() for path in exported.rglob("*.pb"))
    assert names == [f"test_data_set_{index}/{role}_0.pb" for index in range(3) for role in ("input", "output")]
    model, exact = keras_models.textbook("cnn", "mixed"), []
    for index in range(3):
        given, made = (tensor(exported / f"test_data_set_{index}/{role}_0.pb") for role in ("input", "output"))
        assert (given.name, made.name) == ("image", "probabilities")
        x, y = numpy_helper.to_array(given), numpy_helper.to_array(made)
        assert (x.shape, y.shape, x.dtype, y.dtype) == ((8, 28, 28, 1), (8, 10), np.float32, np.float32)
        exact.append(np.abs(y - keras_models.in_float64(model, x)).max())
    assert max(exact) <= 2.0**-24  # rounded once
    assert numpy_helper.to_array(tensor(exported / "test_data_set_0/input_0.pb")).min() == 0.0  # digits


def test_the_replay(folder: Path) -> None:
    replay = edgebn.replay(folder / "cnn.onnx")
    assert replay.passed
    assert (replay.certificate, replay.notes) == ("cnn.certificate.json", ())
    assert [each.data_set for each in replay.replayed] == [f"test_data_set_{index}" for index in range(3)]
    assert replay.seconds < 30.0
    result = command_line.run("verify", folder / "cnn.onnx")
    assert (result.exit_code, result.stderr) == (0, "")
    (row, *_) = (line.split() for line in result.stdout.splitlines() if "test_data_set_0" in line)
    assert {f"{replay.replayed[0].used:.0%}", "ok"} <= set(row)
    assert result.stdout.endswith("certificate: cnn.certificate.json\nPASS: equal up to rounding\n")
    assert json.loads(command_line.run("verify", folder / "cnn.onnx", "--json").stdout)["schema"] == "edgebn/replay/1"


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_committed_models_replay(name: str) -> None:
    replay = edgebn.replay(MODELS / name / f"{name}.onnx")
    assert replay.passed
    assert replay.certificate is None


def test_the_certificate_says_what_was_verified(exported: Path) -> None:
    known = json.loads((exported / "cnn.certificate.json").read_text("utf-8"))
    assert list(known) == (
        [
            "schema",
            "passed",
            "source",
            "source_sha256",
            "onnx_model",
            "onnx_sha256",
            "vectors",
            "external_data",
            "cpu",
            "versions",
            "verdict",
        ]
    )
    assert known["schema"] == "edgebn/certificate/1"
    assert known["passed"] is known["verdict"]["passed"] is True
    assert (known["onnx_model"], known["verdict"]["onnx_model"]) == ("cnn.onnx", "cnn.onnx")
    assert known["onnx_sha256"] == known["verdict"]["onnx_sha256"] == edgebn.replay(exported / "cnn.onnx").onnx_sha256
    assert len(known["vectors"]) == 6
    metadata = {entry.key: entry.value for entry in onnx.load(exported / "cnn.onnx").metadata_props}
    summary = json.loads(metadata["edgebn.certificate"])
    assert list(summary) == (
        [
            "schema",
            "passed",
            "graph_sha256",
            "source",
            "max_abs",
            "used",
            "changed_labels",
            "levels",
            "onnxruntime",
            "certificate",
        ]
    )
    assert summary["levels"] == ["off", "basic", "extended", "all"]


def scale_a_weight(folder: Path) -> None:
    model = onnx.load(folder / "cnn.onnx")
    kernel = next(each for each in model.graph.initializer if len(each.dims) == 2)
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float32(1.01), kernel.name))
    onnx.save(model, folder / "cnn.onnx")


def add_metadata(folder: Path) -> None:
    model = onnx.load(folder / "cnn.onnx")
    model.metadata_props.add(key="note", value="x")
    onnx.save(model, folder / "cnn.onnx")


def change_a_vector(folder: Path) -> None:
    path = folder / "test_data_set_1/output_0.pb"
    made = tensor(path)
    path.write_bytes(numpy_helper.from_array(numpy_helper.to_array(made)[::-1].copy(), made.name).SerializeToString())


LIES = {
    "a weight": (scale_a_weight, "cnn.onnx: was changed after it was certified"),
    "metadata": (add_metadata, "cnn.onnx: is not the file that cnn.certificate.json is of"),
    "a vector": (change_a_vector, "test_data_set_1/output_0.pb: is not the file that"),
    "a set too few": (
        lambda folder: shutil.rmtree(folder / "test_data_set_2"),
        "test_data_set_2/input_0.pb: is missing",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_no_longer_matches_is_said(lie: str, folder: Path) -> None:
    change, note = LIES[lie]
    change(folder)
    replay = edgebn.replay(folder / "cnn.onnx")
    assert not replay.passed
    assert any(each.startswith(note) for each in replay.notes)
    assert command_line.run("verify", folder / "cnn.onnx").exit_code == 1


def test_a_wrong_file_fails_without_a_certificate_too(folder: Path) -> None:
    (folder / "cnn.certificate.json").unlink()
    model = onnx.load(folder / "cnn.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "cnn.onnx")
    assert edgebn.replay(folder / "cnn.onnx").passed
    scale_a_weight(folder)
    replay = edgebn.replay(folder / "cnn.onnx")
    assert not replay.passed
    assert replay.notes == ()


DAMAGES = {
    "no vectors": (
        lambda folder: [shutil.rmtree(each) for each in folder.glob("test*")],
        edgebn.UsageError,
        "--golden",
    ),
    "junk": (
        lambda folder: (folder / "test_data_set_0/input_0.pb").write_bytes(b"\xff" * 9),
        edgebn.InputError,
        "tensor",
    ),
    "a tensor less": (
        lambda folder: (folder / "test_data_set_0/output_0.pb").unlink(),
        edgebn.InputError,
        "not of this",
    ),
    "certificate": (lambda folder: (folder / "cnn.certificate.json").write_text("{"), edgebn.InputError, "damaged"),
    "another": (lambda folder: (folder / "cnn.certificate.json").write_text("[]"), edgebn.InputError, "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_clear_error(damage: str, folder: Path) -> None:
    change, error, message = DAMAGES[damage]
    change(folder)
    with pytest.raises(error, match=message):
        edgebn.replay(folder / "cnn.onnx")


def test_sets_of_another_time_are_not_mixed_in(folder: Path) -> None:
    with pytest.raises(edgebn.UsageError, match="holds test_data_set_1 of another time"):
        edgebn.fold_export(keras_models.textbook("mlp"), folder / "mlp.onnx", golden=1)
    with pytest.raises(edgebn.UsageError, match="golden -1: must be"):
        edgebn.fold_export(keras_models.textbook("mlp"), folder / "mlp.onnx", golden=-1)


def test_several_tensors(tmp_path: Path) -> None:
    edgebn.fold_export(models.any_size(), tmp_path / "any.onnx", golden=2)
    assert edgebn.replay(tmp_path / "any.onnx").passed


def test_verify_says_so_too_if_the_file_is_not_the_certified_one(folder: Path) -> None:
    add_metadata(folder)
    verdict = edgebn.verify(keras_models.textbook("cnn", "mixed"), folder / "cnn.onnx")
    assert verdict.passed
    assert verdict.notes == ("cnn.onnx: is not the file that cnn.certificate.json is of",)


def test_verify_certifies_a_file_that_is_there(tmp_path: Path) -> None:
    model, path = keras_models.textbook("mlp"), tmp_path / "mlp.onnx"
    edgebn.fold_export(model, path, golden=1)
    before = path.read_bytes()
    edgebn.verify(model, path, certificate=tmp_path / "mlp.certificate.json")
    assert path.read_bytes() == before
    assert edgebn.replay(path).certificate == "mlp.certificate.json"


def test_a_changed_file_of_weights_is_not_what_was_certified(tmp_path: Path) -> None:
    path = written(tmp_path / "model.onnx", "(float[n,6] x) => (float[n,8] y) { y = MatMul(x, k) }", k=np.ones((6, 8)))
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights", size_threshold=0)
    certificate = tmp_path / "model.certificate.json"
    assert edgebn.verify(path, path, certificate=certificate).passed
    assert set(json.loads(certificate.read_text())["external_data"]) == {"weights"}
    assert edgebn.verify(path, path).notes == ()
    weights = bytearray((tmp_path / "weights").read_bytes())
    weights[2] ^= 1
    (tmp_path / "weights").write_bytes(weights)
    (note,) = edgebn.verify(path, path).notes
    assert note == "weights: is not the file with weights that model.certificate.json is of"


def link_outside(file: Path) -> None:
    (file.parents[2] / "elsewhere.pb").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(file.parents[2] / "elsewhere.pb")


def no_samples(file: Path) -> None:
    file.write_bytes(numpy_helper.from_array(np.zeros((0, 3), np.float32), "x").SerializeToString())


def unknown_dtype(file: Path) -> None:
    file.write_bytes(onnx.TensorProto(dims=[1], data_type=999, raw_data=b"\0").SerializeToString())


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("spoil", [link_outside, no_samples, unknown_dtype, pipe])
def test_what_is_no_vector_is_one_clear_error(spoil: Callable[[Path], None], folder: Path) -> None:
    spoil(folder / "test_data_set_0" / "input_0.pb")
    with pytest.raises(edgebn.InputError, match=r"input_0\.pb: "):
        edgebn.replay(folder / "cnn.onnx")


def test_vectors_of_another_certificate_are_kept(folder: Path) -> None:
    with pytest.raises(edgebn.UsageError, match=r"cnn\.certificate\.json names the golden vectors"):
        edgebn.fold_export(folder / "cnn.onnx", folder / "other.onnx", golden=3)


def renamed(folder: Path) -> Path:
    (folder / "cnn.certificate.json").rename(folder / "proof.json")
    return folder / "proof.json"


def test_a_certificate_of_another_name_is_read_where_it_is_named(folder: Path) -> None:
    proof = renamed(folder)
    assert edgebn.replay(folder / "cnn.onnx").certificate is None
    add_metadata(folder)
    assert edgebn.replay(folder / "cnn.onnx").passed
    replay = edgebn.replay(folder / "cnn.onnx", proof)
    assert (replay.passed, replay.certificate) == (False, "proof.json")
    assert replay.notes == ("cnn.onnx: is not the file that proof.json is of",)
    result = command_line.run("verify", folder / "cnn.onnx", "--certificate", proof)
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.endswith("FAIL: gives its golden vectors, but is not as certified\n")
    assert proof.is_file()
    with pytest.raises(edgebn.UsageError, match=r"missing\.json: no such file; name the certificate of cnn\.onnx"):
        edgebn.replay(folder / "cnn.onnx", folder / "missing.json")


def test_a_certificate_of_another_name_is_found_by_the_files_metadata(tmp_path: Path) -> None:
    edgebn.fold_export(keras_models.textbook("mlp"), tmp_path / "m.onnx", golden=1, certificate=tmp_path / "proof.json")
    assert edgebn.replay(tmp_path / "m.onnx").certificate == "proof.json"
    add = onnx.load(tmp_path / "m.onnx")
    add.metadata_props.add(key="note", value="x")
    onnx.save(add, tmp_path / "m.onnx")
    assert edgebn.replay(tmp_path / "m.onnx").notes == ("m.onnx: is not the file that proof.json is of",)


@pytest.mark.parametrize("name", ["../proof.json", "/proof.json", "..", "", 5])
def test_no_path_in_the_metadata_is_followed(name: Any, folder: Path) -> None:
    renamed(folder).rename(folder.parent / "proof.json")
    model = onnx.load(folder / "cnn.onnx")
    entry = next(each for each in model.metadata_props if each.key == "edgebn.certificate")
    entry.value = json.dumps({**json.loads(entry.value), "certificate": name})
    onnx.save(model, folder / "cnn.onnx")
    assert edgebn.replay(folder / "cnn.onnx").certificate is None


@pytest.mark.parametrize("entry", ["{", "[]", "{}", "5", "null", '{"passed": true}'])
def test_a_damaged_summary_is_said(entry: str, folder: Path) -> None:
    (folder / "cnn.certificate.json").unlink()
    model = onnx.load(folder / "cnn.onnx")
    next(each for each in model.metadata_props if each.key == "edgebn.certificate").value = entry
    onnx.save(model, folder / "cnn.onnx")
    assert edgebn.replay(folder / "cnn.onnx").notes == ("cnn.onnx: the certificate in its metadata is damaged",)


def test_what_is_certified_gives_its_golden_vectors(folder: Path) -> None:
    """A certificate names vectors by their hashes: that must not be of vectors that the file does not give."""
    change_a_vector(folder)
    model, proof = keras_models.textbook("cnn", "mixed"), folder / "proof.json"
    verdict = edgebn.verify(model, folder / "cnn.onnx", certificate=proof)
    assert not verdict.passed
    assert any(each.startswith("test_data_set_1: probabilities is off by ") for each in verdict.notes)
    assert "test_data_set_1/output_0.pb: is not the file that cnn.certificate.json is of" in verdict.notes
    assert json.loads(proof.read_text())["passed"] is False


def test_what_was_changed_since_is_said_of_a_new_certificate_too(folder: Path) -> None:
    add_metadata(folder)
    model, path = keras_models.textbook("cnn", "mixed"), folder / "cnn.onnx"
    verdict = edgebn.verify(model, path, certificate=folder / "proof.json")
    assert verdict.passed
    assert verdict.notes == ("cnn.onnx: is not the file that cnn.certificate.json is of",)
    assert edgebn.verify(model, path, certificate=folder / "cnn.certificate.json").notes == ()


def test_nothing_is_certified_that_is_not_verified(tmp_path: Path) -> None:
    with pytest.raises(edgebn.UsageError, match=r"a certificate says what was verified; leave --no-verify out"):
        edgebn.fold_export(
            keras_models.textbook("mlp"), tmp_path / "m.onnx", verify=False, certificate=tmp_path / "proof.json"
        )
    assert list(tmp_path.iterdir()) == []


def test_which_of_both_is_wrong(folder: Path) -> None:
    change_a_vector(folder)
    result = command_line.run("verify", folder / "cnn.onnx", "--junit", folder / "v.xml")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-2:] == [
        "FAIL: gives other outputs than its golden vectors say",
        f"wrote {folder / 'v.xml'}",
    ]
    assert 'tests="4" failures="2"' in (folder / "v.xml").read_text()  # three sets, one of them wrong, and the hash


@pytest.mark.parametrize(
    "option", [("--seed", "0"), ("--trust",), ("--data", "mnist"), ("--rtol", "1"), ("--atol", "1")]
)
def test_options_without_an_effect_are_refused(option: tuple[str, ...], folder: Path) -> None:
    result = command_line.run("verify", folder / "cnn.onnx", *option)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{option[0]} needs two models: MODEL and ONNX_MODEL." in result.stderr
