"""The picture: what is on it, and that it is the same for the same numbers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgebn.benching.plot import drawn
from edgebn.errors import UsageError
from edgebn.measurements import BenchedFile, Latency, Ratio, Run
from edgebn.report import Benchmark
from tests.benching.models import least, save


def record(*names: str, batch_sizes: tuple[int, ...] = (1, 64)) -> Benchmark:
    latency = Latency(2e-5, 3e-5, 4e-5, 5, 100)
    runs = tuple(Run(size, 1, latency, size / 2e-5, Ratio(0.5, 0.4, 0.6), None) for size in batch_sizes)
    files = tuple(
        BenchedFile(f"folder/{name}", "", 1000, latency, Ratio(0.25, 0.2, 0.3), runs if name == names[0] else runs[:1])
        for name in names
    )
    return Benchmark(files, {}, 1.0, 0, {}, {})


def comments(picture: bytes) -> list[str]:
    """The texts, which matplotlib draws as paths and writes beside them as comments."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.fromstring(picture, parser)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return [str(each.text).strip() for each in root.iter(ElementTree.Comment)]  # type: ignore[arg-type]


def test_what_is_on_it() -> None:
    texts = comments(drawn(record("first.onnx", "second.onnx")))
    for title in ("latency, batch 1, 1 thread", "latency, batch 64, 1 thread", "session creation", "file size"):
        assert title in texts
    for name in ("first.onnx", "second.onnx"):
        assert sum(text.startswith(name) for text in texts) == 5
        assert texts.count(f"{name}  × 0.25") == texts.count(f"{name}  1") == 1
    assert texts.count("first.onnx  × 0.50") == 2
    assert texts.count("second.onnx  × 0.50") == texts.count("second.onnx") == 1  # it has no batch of 64


def test_a_percentile_that_is_far_away_leaves_the_bars_readable() -> None:
    plain = record("a.onnx", "b.onnx", batch_sizes=(1,))
    last = plain.files[1]
    far = replace(last.runs[0], latency=replace(last.runs[0].latency, p99=12.34e-3))
    texts = comments(drawn(replace(plain, files=(plain.files[0], replace(last, runs=(far,))))))
    assert "12,340 →" in texts
    assert "60" in texts  # the axis ends there, in µs, and not at 12,340
    assert "µs: median, 95th and 99th percentile" in texts
    assert "10000" not in texts


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    both = record("before/a.onnx", "after/a.onnx", batch_sizes=(1,))
    texts = comments(drawn(both))
    assert {text.split("  ")[0] for text in texts if ".onnx" in text} == {"folder/before/a.onnx", "folder/after/a.onnx"}
    texts = comments(drawn(record("before/a.onnx", "after/b.onnx", batch_sizes=(1,))))
    assert {text.split("  ")[0] for text in texts if ".onnx" in text} == {"a.onnx", "b.onnx"}


def width(picture: bytes) -> float:
    return float(ElementTree.fromstring(picture).attrib["width"].removesuffix("pt"))


def test_long_names_take_no_room_from_the_panels() -> None:
    short, long = drawn(record("a.onnx")), drawn(record(f"{'a' * 60}.onnx"))
    bars = [
        [
            float(each.attrib["d"].split("L")[1].split()[0]) - float(each.attrib["d"].split("M")[1].split()[0])
            for each in ElementTree.fromstring(picture).iterfind(".//*[@id='patch_3']/{*}path")
        ]
        for picture in (short, long)
    ]
    assert width(long) > width(short)
    assert bars[1][0] > 0.8 * bars[0][0]


def test_a_name_is_no_formula() -> None:
    assert "a$x_1$.onnx  × 0.50" in comments(drawn(record("a$x_1$.onnx")))


def test_a_peak_that_is_not_known_is_not_0() -> None:
    texts = comments(drawn(record("a.onnx")))
    assert texts.count("a.onnx  unknown") == 1
    assert "a.onnx  0" not in texts


def test_the_same_numbers_are_the_same_bytes() -> None:
    assert drawn(record("a.onnx")) == drawn(record("a.onnx"))
    assert drawn(record("a.onnx", batch_sizes=(1,))) != drawn(record("a.onnx"))


def test_it_is_written(tmp_path: Path) -> None:
    least(save(tmp_path / "model.onnx"), plot=tmp_path / "plot.svg")
    assert "model.onnx  × 1.00" in comments((tmp_path / "plot.svg").read_bytes())


def test_without_matplotlib_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="--plot needs matplotlib, which is not installed; try: pip install"):
        least(tmp_path / "missing.onnx", plot=tmp_path / "plot.svg")
