"""Names of files, tensors and classes that mean something where they are written."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgebn
from edgebn.embedding.names import file_name, identifier, plain
from edgebn.embedding.targets import TARGETS
from edgebn.errors import InputError
from tests.embedding.building import passes_its_own_test
from tests.embedding.compiling import run, tool

HOSTILE = 'm\nimport os; os.mkdir(\'owned\') */ """ ` ${x}'


def two_layers(given: str, made: str, other: str | None = None) -> onnx.ModelProto:
    """made = relu(given·W + b), and optionally minus another input."""
    rng = np.random.default_rng(0)
    arrays = {"w": rng.random((4, 3), np.float32), "b": rng.random(3, np.float32)}
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    nodes = [helper.make_node("Gemm", [given, "w", "b"], ["hidden"])]
    nodes += [helper.make_node("Sub" if other else "Relu", ["hidden", *([other] if other else [])], [made])]
    inputs = [helper.make_tensor_value_info(given, TensorProto.FLOAT, ["n", 4])]
    inputs += [helper.make_tensor_value_info(other, TensorProto.FLOAT, ["n", 3])] if other else []
    outputs = [helper.make_tensor_value_info(made, TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def embedded(model: onnx.ModelProto, target: str, folder: Path, name: str = "m") -> Path:
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    edgebn.embed(folder / f"{name}.onnx", target, folder / "app")
    return folder / "app"


BUILT = [target for target in TARGETS if target != "web"]


NAMES = {
    "c": (("h", "scratch"), ("run", "main"), ("sample", "passed"), ("class", "new")),
    "python": (("np", "class"), ("lambda", "zip"), ("session", "list")),
    "wasm": (("run", "memory"), ("i", "scratch")),
    "c-ort": (("inputs", "outputs"), ("uint8_t", "size_t"), ("model", "problem"), ("failed", "h")),
}


@pytest.mark.parametrize(
    ("target", "given", "made"), [(target, *names) for target, pairs in NAMES.items() for names in pairs]
)
def test_tensors(target: str, given: str, made: str, tmp_path: Path) -> None:
    passes_its_own_test(embedded(two_layers(given, made), target, tmp_path), target, "m")


@pytest.mark.parametrize("target", ["c", "c-ort"])
def test_pixels_called_as_a_type(target: str, tmp_path: Path) -> None:
    names = {"uint8_t": "a", "int64_t": "b"}
    nodes = [helper.make_node("Cast", [given], [made], to=TensorProto.FLOAT) for given, made in names.items()]
    nodes.append(helper.make_node("Add", ["a", "b"], ["y"]))
    inputs = [helper.make_tensor_value_info(given, TensorProto.UINT8, ["n", 4]) for given in names]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    passes_its_own_test(embedded(model, target, tmp_path), target, "m")


@pytest.mark.parametrize("target", BUILT)
@pytest.mark.parametrize("name", ["selftest", "wasm", "tensor", "numpy", "class", "failed", "模型", HOSTILE])
def test_files(name: str, target: str, tmp_path: Path) -> None:
    if "/" in name:
        name = name.replace("/", "")
    folder = embedded(two_layers("x", "y"), target, tmp_path, name)
    passes_its_own_test(folder, target, file_name(name))
    assert not (folder / "owned").exists()
    if target in {"c", "python"}:
        assert "os.mkdir('" not in (folder / f"{file_name(name)}.{'c' if target == 'c' else 'py'}").read_text()


@pytest.mark.parametrize("constant", ["dot_3", "s0", "start", "pixels", "lane", "accumulate_1x8", "exponential"])
def test_constants(constant: str, tmp_path: Path) -> None:
    model = two_layers("x", "y")
    model.graph.initializer.append(numpy_helper.from_array(np.arange(3, dtype=np.float32), constant))
    model.graph.node[-1].CopyFrom(helper.make_node("Mul", ["hidden", constant], ["y"]))
    passes_its_own_test(embedded(model, "c", tmp_path), "c", "m")


@pytest.mark.parametrize("target", ["node", "wasm", "python"])
def test_inputs_whose_names_are_numbers_keep_their_order(target: str, tmp_path: Path) -> None:
    passes_its_own_test(embedded(two_layers("7", "10", other="3"), target, tmp_path), target, "m")


@pytest.mark.parametrize("target", ["web", "wasm"])
def test_a_page_runs_no_script_of_a_name(target: str, tmp_path: Path) -> None:
    folder = embedded(two_layers("</script><script>alert(1)</script>", "</script>"), target, tmp_path)
    page = (folder / "index.html").read_text()
    assert "<script>alert" not in page
    assert page.count("</script>") == page.count("<script")


def test_the_server_of_a_page_survives_any_address(tmp_path: Path) -> None:
    folder = embedded(two_layers("x", "y"), "web", tmp_path)
    asks = """
        import { connect } from "node:net";
        for (const path of ["/%", "//", "/%00", "/../m.onnx", "/"]) {
          const answer = await new Promise((done) => {
            const socket = connect(Number(process.argv[2]), "localhost", () =>
              socket.write(`GET ${path} HTTP/1.0\\r\\n\\r\\n`));
            socket.on("data", (data) => { done(data.toString().slice(9, 12)); socket.destroy(); });
            socket.on("close", () => done("closed"));
            socket.on("error", () => done("error"));
          });
          console.log(answer);
        }"""
    (folder / "asks.mjs").write_text(asks)
    with subprocess.Popen([tool("node"), "serve.mjs", "0"], cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip().strip("/").rpartition(":")[2]
        found = run(tool("node"), "asks.mjs", port, folder=folder).split()
        server.terminate()
    assert found == ["404", "404", "404", "404", "200"]


def test_a_port_that_can_not_be_had_is_said_in_a_line(tmp_path: Path) -> None:
    folder = embedded(two_layers("x", "y"), "web", tmp_path)
    assert "node serve.mjs PORT" in (folder / "README.md").read_text()
    with socket.create_server(("localhost", 0)) as taken:
        port = str(taken.getsockname()[1])
        for asked, reason in ((port, "is taken"), ("http", "can not be used (ERR_SOCKET_BAD_PORT)")):
            command = [tool("node"), "serve.mjs", asked]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
            said = f"port {asked} {reason}; give another one: node serve.mjs PORT\n"
            assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


def test_a_label_that_no_text_can_hold(tmp_path: Path) -> None:
    model = two_layers("x", "y")
    helper.set_model_props(model, {"edgebn.labels": json.dumps(["a", "b", "\ud800"])})
    with pytest.raises(InputError, match="is not a JSON list of strings"):
        embedded(model, "c", tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a b", "a_b"), ("3", "n3"), ("Class", "class_index"), ("__", "tensor"), ("template", "template_2"), ("h", "h")],
)
def test_identifiers(name: str, expected: str) -> None:
    assert identifier(name, set()) == expected


def test_plain_names() -> None:
    assert plain('a*/"""\n`é-1.2') == "a_______é-1.2"


def test_taken_names() -> None:
    taken = {"x"}
    assert [identifier("x", taken), identifier("X", taken)] == ["x_2", "x_3"]
