"""Whatever a user gives that can not work: one line that says what and what to do, and nothing is changed."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from edgebn import pipeline
from edgebn.training import fit
from tests import archives, command_line, digits
from tests.cli.bad_models import MODELS, ONNX_MODELS, PROOF, Payload, save_lambda
from tests.conftest import Trained

OLD = b"what was there before"

pytestmark = pytest.mark.usefixtures("not_for_ever")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below the folder; None for what is no file."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call a command that must fail in one line with `exit_code` and `reason`, and leave every file as it is."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path, exit_code: int, reason: str) -> None:
        before = contents(tmp_path)
        capfd.readouterr()
        result = command_line.run(*arguments)
        written_by_libraries = capfd.readouterr()
        assert reason in result.stderr
        assert result.stderr.startswith("edgebn: ")
        assert result.stderr.endswith("\n")
        assert len(result.stderr.splitlines()) == 1
        assert (result.exit_code, result.stdout) == (exit_code, "")
        assert (written_by_libraries.out, written_by_libraries.err) == ("", "")
        assert contents(tmp_path) == before

    return call


@pytest.mark.parametrize("case", MODELS)
def test_fold_export_of_a_bad_model(case: str, trained: Trained, tmp_path: Path, refused: Callable[..., None]) -> None:
    make, exit_code, reason = MODELS[case]
    model, existing = make(tmp_path, trained), tmp_path / "existing.onnx"
    existing.write_bytes(OLD)
    refused("fold-export", model, "-o", "new.onnx", exit_code=exit_code, reason=reason)
    refused("fold-export", model, "-o", existing, "--report", "new.json", exit_code=exit_code, reason=reason)


@pytest.mark.parametrize("case", MODELS)
def test_verify_of_a_bad_model(case: str, trained: Trained, tmp_path: Path, refused: Callable[..., None]) -> None:
    make, exit_code, reason = MODELS[case]
    refused("verify", make(tmp_path, trained), trained.onnx, exit_code=exit_code, reason=reason)


@pytest.mark.parametrize("case", ONNX_MODELS)
def test_verify_of_a_bad_onnx_file(case: str, trained: Trained, tmp_path: Path, refused: Callable[..., None]) -> None:
    make, exit_code, reason = ONNX_MODELS[case]
    refused("verify", trained.keras, make(tmp_path, trained), exit_code=exit_code, reason=reason)


@pytest.mark.parametrize("case", ONNX_MODELS)
def test_bench_of_a_bad_onnx_file(case: str, trained: Trained, tmp_path: Path, refused: Callable[..., None]) -> None:
    make, exit_code, reason = ONNX_MODELS[case]
    path = make(tmp_path, trained)
    refused("bench", trained.onnx, path, exit_code=exit_code, reason=reason.removesuffix("; swap the two"))
    refused("bench", path, "-o", "new.json", exit_code=exit_code, reason=reason.removesuffix("; swap the two"))


def test_verify_with_both_swapped(trained: Trained, refused: Callable[..., None]) -> None:
    refused("verify", trained.onnx, trained.keras, exit_code=3, reason="swap the two")


def test_a_file_is_not_written_over_itself(trained: Trained, tmp_path: Path, refused: Callable[..., None]) -> None:
    shutil.copy(trained.onnx, tmp_path / "mlp.onnx")
    refused("fold-export", "mlp.onnx", "-o", "mlp.onnx", exit_code=2, reason="mlp.onnx: is read or written twice")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_runs_with_trust_and_never_without(suffix: str, tmp_path: Path, refused: Callable[..., None]) -> None:
    model, onnx, proof = save_lambda(tmp_path / f"model{suffix}"), tmp_path / "model.onnx", tmp_path / PROOF
    refused("fold-export", model, "-o", onnx, exit_code=3, reason="pass --trust")
    assert not proof.exists()
    assert command_line.run("fold-export", model, "-o", onnx, "--trust").exit_code == 0
    assert proof.exists()  # the code works: it is the refusal that kept it from running
    proof.unlink()
    refused("verify", model, onnx, exit_code=3, reason="pass --trust")
    assert not proof.exists()
    assert command_line.run("verify", model, onnx, "--trust").exit_code == 0


def encrypted_digits(folder: Path) -> Path:
    return archives.encrypted(digits.write(folder / "own.npz", digits.blank()))


def truncated_digits(folder: Path) -> Path:
    return archives.truncated(digits.write(folder / "own.npz", digits.blank()))


def written(folder: Path, content: bytes) -> Path:
    (folder / "own.npz").write_bytes(content)
    return folder / "own.npz"


DATA: dict[str, tuple[Callable[[Path], Path], int, str]] = {
    "missing": (lambda folder: folder / "own.npz", 2, "own.npz: neither a data set"),
    "a folder": (lambda folder: folder, 2, "neither a data set"),
    "a name too long": (lambda folder: folder / ("x" * 300), 2, "neither a data set"),
    "truncated": (truncated_digits, 3, "own.npz: not an .npz file, or a damaged one"),
    "encrypted": (encrypted_digits, 3, "own.npz: array 'x_train' is encrypted"),
    "text": (lambda folder: written(folder, b"hello\n"), 3, "own.npz: not an .npz file"),
    "pickle": (lambda folder: written(folder, pickle.dumps(Payload(folder))), 3, "own.npz: not an .npz file"),
    "other arrays": (lambda folder: digits.write(folder / "own.npz", {"z": OTHER}), 3, "own.npz: has no array '"),
}
OTHER = digits.blank()["y_test"]


@pytest.mark.parametrize("case", DATA)
def test_train_with_bad_data(case: str, tmp_path: Path, refused: Callable[..., None]) -> None:
    make, exit_code, reason = DATA[case]
    refused("train", "mlp", "--data", make(tmp_path), exit_code=exit_code, reason=reason)
    existing = tmp_path / "mlp.keras"
    existing.write_bytes(OLD)
    refused("train", "mlp", "--data", make(tmp_path), exit_code=exit_code, reason=reason)


@pytest.mark.parametrize("case", DATA)
def test_verify_with_bad_data(case: str, trained: Trained, tmp_path: Path, refused: Callable[..., None]) -> None:
    make, exit_code, reason = DATA[case]
    refused("verify", trained.keras, trained.onnx, "--data", make(tmp_path), exit_code=exit_code, reason=reason)


OUTPUTS: dict[str, tuple[str, str]] = {
    "no folder": ("no/model", "no: no such folder; create it or choose another output"),
    "below a file": ("file/model", "file: no such folder"),
    "a folder": ("folder", "is a folder; name a file to write"),
    "a name too long": ("x" * 300, "can not be written (File name too long); choose another output"),
    "a pipe": ("pipe", "is not a regular file; choose another output"),
}


def train_to(output: str, digits_file: Path) -> tuple[str | Path, ...]:
    return "train", "mlp", "--epochs", "1", "--data", digits_file, "-o", f"{output}.keras"


@pytest.fixture
def outputs(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    for suffix in (".keras", ".onnx", ".json", ".svg"):
        (tmp_path / f"folder{suffix}").mkdir()
        os.mkfifo(tmp_path / f"pipe{suffix}")


@pytest.mark.usefixtures("outputs")
@pytest.mark.parametrize("case", OUTPUTS)
def test_an_output_that_can_not_be(
    case: str, trained: Trained, digits_file: Path, refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the long work has begun")

    monkeypatch.setattr(pipeline, "open_graph", too_late)
    monkeypatch.setattr(fit, "load_dataset", too_late)
    output, reason = OUTPUTS[case]
    refused("fold-export", trained.keras, "-o", f"{output}.onnx", exit_code=2, reason=reason)
    refused("fold-export", trained.keras, "-o", "x.onnx", "--report", f"{output}.json", exit_code=2, reason=reason)
    refused(*train_to(output, digits_file), exit_code=2, reason=reason)
    refused("bench", trained.onnx, "-o", f"{output}.json", exit_code=2, reason=reason)
    refused("bench", trained.onnx, "--plot", f"{output}.svg", exit_code=2, reason=reason)


def test_a_read_only_folder(
    trained: Trained, digits_file: Path, refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # permissions do not bind root
    reason = "not writable; choose another output"
    refused("fold-export", trained.keras, "-o", "model.onnx", exit_code=2, reason=reason)
    refused(*train_to("model", digits_file), exit_code=2, reason=reason)


def test_a_model_that_may_not_be_read(
    trained: Trained, refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: Any, **__: Any) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    monkeypatch.setattr(Path, "open", denied)
    reason = "can not be read (Permission denied); check its permissions"
    refused("verify", trained.keras, trained.onnx, exit_code=3, reason=reason)


def test_a_folder_that_claims_to_be_writable(trained: Trained, digits_file: Path, refused: Callable[..., None]) -> None:
    if os.geteuid() != 0 or not Path("/proc").is_dir():
        pytest.skip("no folder here says that it is writable and is not: it takes root and /proc")
    for command in (("fold-export", trained.keras, "-o", "/proc/model.onnx"), train_to("/proc/model", digits_file)):
        refused(*command, exit_code=3, reason="could not be written (No such file or directory); nothing was changed")


@pytest.mark.parametrize(
    "arguments", [("-o", "model.keras"), ("-o", "x.onnx", "--report", "model.keras"), ("-o", "x", "--report", "x")]
)
def test_nothing_is_written_over_the_model_or_twice(
    arguments: tuple[str, ...], trained: Trained, tmp_path: Path, refused: Callable[..., None]
) -> None:
    model = shutil.copy(trained.keras, tmp_path / "model.keras")
    refused("fold-export", model, *arguments, exit_code=2, reason="is read or written twice by this command")


def test_an_opset_that_can_not_be(trained: Trained, refused: Callable[..., None]) -> None:
    refused("fold-export", trained.keras, "--opset", "99", exit_code=2, reason="opset 99: choose one from 13 to 18")


def test_digits_for_a_model_that_takes_none(tmp_path: Path, refused: Callable[..., None]) -> None:
    model, onnx = save_lambda(tmp_path / "model.keras"), tmp_path / "model.onnx"
    assert command_line.run("fold-export", model, "-o", onnx, "--trust").exit_code == 0
    reason = "model.keras: takes (None, 4), not images of 28 × 28 pixels; leave --data out"
    refused("verify", model, onnx, "--data", "mnist-mini", "--trust", exit_code=2, reason=reason)
