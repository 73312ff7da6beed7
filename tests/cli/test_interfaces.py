"""The options of fold-export that say what the file takes and gives."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests import command_line
from tests.conftest import Trained

PIXELS = ("--input", "uint8", "--scale", "1/255")


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_the_options_reach_the_file_and_its_verification(trained: Trained, tmp_path: Path) -> None:
    labels, path = tmp_path / "labels.txt", tmp_path / "model.onnx"
    labels.write_text("null\none, or two\r\n" + "\n".join("cdefghij") + "\n\n", "utf-8-sig")
    options = (*PIXELS, "--mean", "0.1307", "--std", "0.3081", "--output", "class", "--labels", str(labels))
    result = command_line.run("fold-export", trained.keras, "-o", path, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "operators: Cast Gemm Relu Gemm ArgMax (5; " in result.stdout
    assert " preprocessing " in result.stdout
    said = metadata(path)
    known = {"dtype": "uint8", "scale": 1 / 255, "mean": [0.1307], "std": [0.3081]}
    assert json.loads(said["edgebn.input"]) == known
    assert json.loads(said["edgebn.labels"]) == ["null", "one, or two", *"cdefghij"]
    verified = command_line.run("verify", trained.keras, path)
    assert (verified.exit_code, verified.stderr) == (0, "")


def test_labels_between_commas(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    result = command_line.run("fold-export", trained.keras, "-o", path, "--labels", "a, b,c,d,e,f,g,h,i,j")
    assert result.exit_code == 0
    assert json.loads(metadata(path)["edgebn.labels"]) == list("abcdefghij")


@pytest.mark.parametrize(("text", "scale"), [("1/127.5", 1 / 127.5), ("0.5/127.5", 0.5 / 127.5), ("0.25", 0.25)])
def test_a_fraction_may_have_decimal_points(text: str, scale: float, trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    result = command_line.run("fold-export", trained.keras, "-o", path, "--input", "uint8", "--scale", text)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(metadata(path)["edgebn.input"])["scale"] == scale


@pytest.mark.parametrize(
    ("options", "exit_code", "reason"),
    [
        (("--scale", "1/255"), 2, "say --input uint8 as well"),
        ((*PIXELS, "--mean", "a,b"), 2, "'a,b' is no number"),
        (("--input", "uint8", "--scale", "1/0"), 2, "'1/0' is no number"),
        (("--input", "uint8", "--scale", "1/0.0"), 2, "'1/0.0' is no number"),
        (("--input", "uint8", "--scale", "1/2/3"), 2, "'1/2/3' is no number"),
        (("--input", "uint8", "--scale", "1/"), 2, "'1/' is no number"),
        (("--input", "uint8", "--scale", "1,2,3"), 2, "is one number for all channels"),
        (("--input", "int8"), 2, "'int8' is not 'uint8'"),
        (("--layout", "nchw"), 2, "takes [batch, 784], which are no images"),
        (("--labels", "labels.txt"), 2, "no such file"),
        (("--labels", "a,b"), 2, "has 10 classes, but 2 labels were given"),
        (("--labels", "binary"), 3, "is not text in UTF-8"),
        (("--labels", "long"), 3, "which no list of labels is"),
    ],
)
def test_one_line_says_what_is_wrong(
    options: tuple[str, ...],
    exit_code: int,
    reason: str,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("binary").write_bytes(b"\xff\xfe\x00")
    Path("long").write_bytes(b"a" * ((1 << 20) + 1))
    result = command_line.run("fold-export", trained.keras, "-o", "model.onnx", *options)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("model.onnx").exists()


def test_a_file_that_lies_about_its_pixels_differs(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    assert command_line.run("fold-export", trained.keras, "-o", path, *PIXELS).exit_code == 0
    proto = onnx.load(path)
    (entry,) = (each for each in proto.metadata_props if each.key == "edgebn.input")
    entry.value = json.dumps({**json.loads(entry.value), "scale": 1 / 256})
    onnx.save(proto, path)
    result = command_line.run("verify", trained.keras, path)
    assert result.exit_code == 1
    assert "where: the first node that is not as edgebn writes it is dense/Gemm" in result.stdout
    entry.value = "{"
    onnx.save(proto, path)
    damaged = command_line.run("verify", trained.keras, path)
    assert (damaged.exit_code, damaged.stderr.count("\n")) == (3, 1)
