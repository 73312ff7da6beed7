"""ONNX files from anywhere: old and new, in pieces, with functions; and those that are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import edgebn
from edgebn import backends
from edgebn.loading.onnx_files import open_onnx

CONV = """<ir_version: 8, opset_import: ["": {opset}]> g (float[n,3,8,8] x) => (float[n,4,6,6] y) {{
    c = Conv(x, kernel) b = BatchNormalization(c, scale, bias, mean, variance) y = Relu(b)
}}"""
RNG = np.random.default_rng(0)
WEIGHTS = {
    "kernel": RNG.normal(size=(4, 3, 3, 3)),
    "scale": RNG.normal(size=4),
    "bias": RNG.normal(size=4),
    "mean": RNG.normal(size=4),
    "variance": RNG.uniform(0.5, 1.5, 4),
}


def model(opset: int = 18) -> onnx.ModelProto:
    proto = parser.parse_model(CONV.format(opset=opset))
    for name, array in WEIGHTS.items():
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    return proto


def run(path: Path) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    session = backends.onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def old_style(proto: onnx.ModelProto) -> None:
    """As of IR version 3: every initializer is an input too."""
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))


def nameless(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        node.name = ""


def constants_as_nodes(proto: onnx.ModelProto) -> None:
    nodes = [helper.make_node("Constant", [], [each.name], value=each) for each in proto.graph.initializer]
    nodes += proto.graph.node
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.node.extend(nodes)


@pytest.mark.parametrize("change", [lambda _: None, old_style, nameless, constants_as_nodes])
@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
def test_folds(opset: int, change: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    proto = model(opset)
    change(proto)
    onnx.save(proto, tmp_path / "model.onnx")
    report = edgebn.fold_export(tmp_path / "model.onnx", tmp_path / "folded.onnx")
    assert report.nodes == ("Conv", "Relu")
    assert report.opset == max(opset, 13)
    assert list(report.inputs) == ["x"]
    assert np.abs(run(tmp_path / "folded.onnx") - run(tmp_path / "model.onnx")).max() <= 1e-5  # 1e-6 seen


def test_weights_that_the_caller_may_replace_are_no_constants(tmp_path: Path) -> None:
    proto = model()
    old_style(proto)
    proto.ir_version = 8
    onnx.save(proto, tmp_path / "model.onnx")
    report = edgebn.fold_export(tmp_path / "model.onnx", tmp_path / "folded.onnx")
    assert set(report.inputs) == {"x", *WEIGHTS}
    assert "BatchNormalization" in report.nodes


def test_external_data_beside_the_file_are_read(tmp_path: Path) -> None:
    onnx.save(model(), tmp_path / "plain.onnx")
    onnx.save(model(), tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    report = edgebn.fold_export(tmp_path / "model.onnx", tmp_path / "folded.onnx")
    assert report.nodes == ("Conv", "Relu")
    assert np.abs(run(tmp_path / "folded.onnx") - run(tmp_path / "plain.onnx")).max() <= 1e-5


def test_functions_are_inlined(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 18, "own": 1]> g (float[n,4] x) => (float[n,4] y) {
        h = Gemm(x, kernel) y = own.double(h)
    }
    <opset_import: ["": 18], domain: "own"> double (a) => (b) {
        two = Constant<value_float: float = 2.0>() b = Mul(a, two)
    }
    """
    proto = parser.parse_model(text)
    proto.graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype=np.float32), "kernel"))
    onnx.save(proto, tmp_path / "model.onnx")
    assert edgebn.fold_export(tmp_path / "model.onnx", tmp_path / "folded.onnx").nodes == ("Gemm",)


def test_bodies_are_left_as_they_are(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 18]> g (float[n,4] x, bool c) => (float[n,4] y) {
        h = Gemm(x, kernel) b = Mul(h, scale)
        y = If (c) <then_branch = t () => (float[n,4] p) { q = Add(h, b) p = Mul(q, scale) },
                    else_branch = e () => (float[n,4] r) { r = Relu(b) }>
    }"""
    proto = parser.parse_model(text)
    for name, array in {"kernel": np.eye(4), "scale": np.array([1, -2, 3, 0.5])}.items():
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(proto, tmp_path / "model.onnx")
    inspection = edgebn.inspect(tmp_path / "model.onnx")
    (kept,) = inspection.kept
    assert any("If" in stop.reason or "second reader" in stop.reason for stop in kept.stops)
    report = edgebn.fold_export(tmp_path / "model.onnx", tmp_path / "folded.onnx")
    assert report.nodes == ("Gemm", "Mul", "If")


def with_location(path: Path, location: str) -> None:
    onnx.save(model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    path.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize("location", ["../secret.bin", "sub/../../secret.bin", "", "link.bin"])
def test_no_path_leads_out_of_the_folder(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with_location(folder / "model.onnx", location)
    with pytest.raises(edgebn.InputError, match="outside of its folder; refused"):
        open_onnx(folder / "model.onnx")


def test_no_absolute_path_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with_location(folder / "model.onnx", str(folder / "weights.bin"))
    with pytest.raises(edgebn.InputError, match="outside of its folder; refused"):
        open_onnx(folder / "model.onnx")


def missing_data(path: Path) -> None:
    with_location(path, "weights.bin")
    (path.parent / "weights.bin").unlink()


def truncated_data(path: Path) -> None:
    with_location(path, "weights.bin")
    (path.parent / "weights.bin").write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(model().SerializeToString()[:-50])


def dangling(path: Path) -> None:
    proto = model()
    proto.graph.node[0].input[0] = "nowhere"
    path.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (missing_data, "needs weights.bin, which is not beside it"),
        (truncated_data, "weights.bin is damaged"),
        (truncated, "a truncated or damaged ONNX file"),
        (dangling, "is not a valid ONNX model"),
    ],
)
def test_what_is_damaged_is_refused(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    make(tmp_path / "model.onnx")
    with pytest.raises(edgebn.InputError, match=reason):
        edgebn.fold_export(tmp_path / "model.onnx", tmp_path / "folded.onnx")
    assert not (tmp_path / "folded.onnx").exists()


RESIZED = {
    "enlarged": ("linear", [1.0, 1.0, 2.0, 2.0]),
    "by parts": ("linear", [1.0, 1.0, 1.5, 3.0]),
    "nearest": ("nearest", [1.0, 1.0, 1.5, 3.0]),
    "nearest, smaller": ("nearest", [1.0, 1.0, 0.6, 0.5]),
}


@pytest.mark.parametrize("case", RESIZED)
@pytest.mark.parametrize(("op_type", "opset"), [("Upsample", 9), ("Resize", 10)])
def test_an_old_resize_keeps_its_coordinates(op_type: str, opset: int, case: str, tmp_path: Path) -> None:
    mode, factors = RESIZED[case]
    if op_type == "Upsample" and min(factors) < 1.0:
        pytest.skip("an Upsample only enlarges")
    text = f"""<ir_version: 8, opset_import: ["": {opset}]> g (float[2,3,8,8] x) => (float[2,3,h,w] y) {{
        y = {op_type}<mode="{mode}">(x, factors)
    }}"""
    proto = parser.parse_model(text)
    proto.graph.initializer.append(numpy_helper.from_array(np.array(factors, np.float32), "factors"))
    onnx.save(proto, tmp_path / "old.onnx")
    edgebn.fold_export(tmp_path / "old.onnx", tmp_path / "new.onnx")
    np.testing.assert_allclose(run(tmp_path / "new.onnx"), run(tmp_path / "old.onnx"), atol=1e-6)


def test_what_the_converter_gets_wrong_is_refused(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["": 11]> g (float[2,3,8,8] x) => (float[2,3,8,8] y) { y = Hardmax(x) }'
    onnx.save(parser.parse_model(text), tmp_path / "old.onnx")
    with pytest.raises(edgebn.InputError, match="Hardmax of opset 11"):
        open_onnx(tmp_path / "old.onnx")
