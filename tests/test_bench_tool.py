"""tools/bench.py, on one small model and with the routes that are installed here: its tables, and what it refuses."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from tools import bench
from tools.bench_routes import EDGEBN, EXPORT, ROUTES, Route

MODULES = {"LiteRT": "ai_edge_litert", "OpenVINO": "openvino"}
PAGE = f"# Title\n\n{bench.BEGIN}\nold\n{bench.END}\n\nEnd.\n"


@dataclass(frozen=True)
class Measured:
    """What was printed, the page with the markers, and the record."""

    printed: str
    page: str
    record: dict[str, Any]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """What is left after the least of measuring."""
    folder = tmp_path_factory.mktemp("bench")
    page, record = folder / "page.md", folder / "record.json"
    page.write_text(PAGE)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        bench.main(["--only", "mlp", "--seconds", "0", "--readme", str(page), "-o", str(record)])
    return Measured(printed.getvalue(), page.read_text(), json.loads(record.read_text()))


def test_every_route_is_measured_or_says_why_not(measured: Measured) -> None:
    record = measured.record
    routes = record["models"]["mlp"]
    assert list(routes) == list(ROUTES)
    for name, result in routes.items():
        module = MODULES.get(name, name if name.startswith("onnx") and " " not in name else "edgebn")
        if importlib.util.find_spec(module) is None:
            assert result["failed"] == f"{module} is not installed"
            assert f"- {name} on mlp: {module} is not installed" in measured.printed
        else:
            assert result["failed"] == ""
            assert list(result["ratios"]) == list(result["latencies"]) == ["1", "64"]
            assert result["latencies"]["1"]["rounds"] == 5 * bench.OPENINGS
            assert result["bytes"] > 200_000
    assert routes[EXPORT]["norms"] == 1
    assert (routes[EDGEBN]["norms"], routes[EDGEBN]["operators"]) == (0, ["Gemm", "Relu", "Gemm", "Softmax"])
    assert routes[EXPORT]["ratios"]["1"] == {"median": 1.0, "lower_quartile": 1.0, "upper_quartile": 1.0}
    assert record["versions"]["edgebn"]
    assert record["machine"]["cpu"]


def test_the_page_has_a_summary_between_its_markers(measured: Measured) -> None:
    assert measured.page.startswith(f"# Title\n\n{bench.BEGIN}\n\nLatency at batch 1 / 64")
    assert measured.page.endswith(f"\n\n{bench.END}\n\nEnd.\n")
    assert "old" not in measured.page
    (row,) = [line for line in measured.page.splitlines() if line.startswith("| mlp |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    routes = measured.record["models"]["mlp"]
    others = [route for name, route in routes.items() if name in bench.IN_ONNXRUNTIME and not route["failed"]]
    best = [min(route["ratios"][size]["median"] for route in others) for size in ("1", "64")]
    own = [routes[EDGEBN]["ratios"][size]["median"] for size in ("1", "64")]
    assert cells[2] == f"{best[0]:.2f} / {best[1]:.2f}"
    assert cells[4:] == [f"**{own[0]:.2f} / {own[1]:.2f}**", "1", "0"]


def test_the_tables_have_a_column_for_each_route(measured: Measured) -> None:
    rows = [line for line in measured.printed.splitlines() if line.startswith("| mlp |")]
    assert len(rows) == 5
    assert {row.count("|") for row in rows} == {len(ROUTES) + 2}
    assert rows[0].split("|")[2].endswith(" µs ")
    assert rows[0].split("|")[-2].startswith(" **")


def test_a_route_that_fails_or_lies_is_shown_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Path:
        raise KeyError("an operator")

    honest = ROUTES[EXPORT]
    lies = Route((), honest.build, honest.load, lambda *given: doubled(honest.caller(*given)))
    routes = {EXPORT: honest, "fails": Route((), fails, honest.load, honest.caller), "lies": lies}
    monkeypatch.setattr(bench, "ROUTES", routes)
    model = bench.load(bench.ROOT / "models" / "mlp" / "mlp.keras")
    results = bench.measure(model, tmp_path, 0.0, 0)
    assert results["fails"].failed == "KeyError: 'an operator'"
    assert results["lies"].failed.startswith("ValueError: gives something else than Keras: off by 1.0e+00")
    tables = bench.tables({"mlp": results}, {}, "Time")
    assert tables.count("| failed | failed |") == 5
    assert "\n- fails on mlp: KeyError: 'an operator'\n- lies on mlp: ValueError" in tables


def doubled(call: Any) -> Any:
    return lambda: [2.0 * np.asarray(each) for each in call()]


def test_what_counts_as_a_batch_normalization_that_is_left() -> None:
    graph = parser.parse_graph(
        """g (float[1,3,4,4] x, float[1,3,4,4] u) => (float[1,3,4,4] y) <float[3,1,1] c = {1, 2, 3}, float s = {2}> {
        a = Mul(x, c) b = Mul(c, a) d = Mul(b, s) e = Mul(d, u) k = Constant<value = float[2] {1, 2}>() f = Mul(k, e)
        y = BatchNormalization(f, c, c, c, c) }"""
    )
    assert bench.norms_left(graph) == 4
    graph.node.append(onnx.helper.make_node("Conv", ["y", "w"], ["z"], domain="com.microsoft.nchwc"))
    for shape, count in (((3, 1, 1, 1), 5), ((3, 3, 1, 1), 4), ((3, 1, 3, 3), 4)):
        graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), "w"))
        assert bench.norms_left(graph) == count
        del graph.initializer[-1]


@pytest.mark.parametrize("page", ["nothing", bench.BEGIN, f"{bench.END} {bench.BEGIN}"])
def test_a_page_without_markers_is_refused_before_anything_is_measured(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(SystemExit, match="needs the lines"):
        bench.main(["--readme", str(tmp_path / "page.md")])


def test_a_model_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench.main(["--only", "rnn"])
    assert "no such model: rnn; there are mlp, cnn, MobileNetV2" in capsys.readouterr().err
