"""edgebn bench: what it shows of files, as tables, JSON, record and picture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests import command_line
from tests.benching.models import save
from tests.conftest import Trained

TIME = r"\d+(\.\d+)? (µs|ms|s)"
RATIO = r"\d+\.\d{3}  +\d+\.\d{3} to \d+\.\d{3}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(Path("first.onnx"))
    save(Path("second.onnx"), "g (float[5,4] x) => (float[5,4] y) { y = Relu(x) }")
    return tmp_path


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip("─ ")]


def test_tables(folder: Path) -> None:
    result = command_line.run("bench", "first.onnx", "second.onnx", "--batch-sizes", "5,64", "--seconds", "0")
    assert (result.exit_code, result.stderr) == (0, "")
    same, heading, first, second, alone, _, only, file, _, one, two, machine = lines(result.stdout)
    assert (same, alone, file) == ("batch 5, 1 thread", "batch 64, 1 thread", "file")
    assert heading.split() == ["median", "p95", "p99", "ratio", "half", "within", "samples/s", "peak", "memory"]
    times = rf" +{TIME} +{TIME} +{TIME}"
    ends = r" +[\d,]+ +([\d,.]+ kB|unknown)"
    assert re.fullmatch(rf" first\.onnx{times} +1{ends}", first)
    assert re.fullmatch(rf" second\.onnx{times} +{RATIO}{ends}", second)
    assert re.fullmatch(rf" first\.onnx{times} +1{ends}", only)
    assert re.fullmatch(rf" first\.onnx +{TIME} +{TIME} +1 +0\.1 kB", one)
    assert re.fullmatch(rf" second\.onnx +{TIME} +{TIME} +{RATIO} +0\.1 kB", two)
    assert re.fullmatch(r".+, onnxruntime \d+\.\d+\.\d+, seed 0", machine)
    assert sorted(path.name for path in folder.iterdir()) == ["first.onnx", "second.onnx"]


def test_json_is_the_dataclass_and_the_record_is_the_same(folder: Path) -> None:
    result = command_line.run(
        *("bench", "first.onnx", "second.onnx", "--json", "-o", "record.json", "--plot", "plot.svg", "--seconds", "0"),
        *("--extent", "batch=3", "--threads", "1,2", "--seed", "7"),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert (folder / "record.json").read_text() == result.stdout
    assert (folder / "plot.svg").read_text().startswith("<?xml")
    record = json.loads(result.stdout)
    assert " ".join(record) == "schema files extents seconds seed machine versions"
    assert " ".join(record["files"][0]) == "onnx_model onnx_sha256 onnx_bytes creation creation_ratio runs"
    assert " ".join(record["files"][0]["creation"]) == "median p95 p99 rounds samples"
    assert " ".join(record["files"][0]["runs"][0]) == "batch_size threads latency throughput ratio peak_bytes"
    assert " ".join(record["files"][0]["creation_ratio"]) == "median lower_quartile upper_quartile"
    assert [record[name] for name in ("schema", "extents", "seconds", "seed")] == [
        "edgebn/benchmark/1",
        {"batch": 3},
        0.0,
        7,
    ]
    assert [[(run["batch_size"], run["threads"]) for run in file["runs"]] for file in record["files"]] == [
        [(3, 1), (3, 2)],
        [(5, 1), (5, 2)],
    ]
    assert [run["ratio"] for run in record["files"][1]["runs"]] == [None, None]


def test_what_is_written_is_told(folder: Path) -> None:
    result = command_line.run(
        "bench", "first.onnx", "--batch-sizes", "1", "--seconds", "0", "-o", "record.json", "--plot", "plot.svg"
    )
    assert lines(result.stdout)[-2:] == ["wrote record.json", "wrote plot.svg"]
    assert {path.name for path in folder.iterdir()} >= {"record.json", "plot.svg"}


def test_the_file_that_fold_export_writes(trained: Trained, folder: Path) -> None:
    assert folder.is_dir()
    result = command_line.run("bench", trained.onnx, "--seconds", "0")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "batch 64, 1 thread" in lines(result.stdout)
