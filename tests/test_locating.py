"""Where it went wrong: each fault that is planted is named by the layer, the law and the channel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

import edgebn
from edgebn import backends, pipeline
from edgebn.algebra import Affine, Outcome
from edgebn.counterparts import Counterparts
from tests import keras_models
from tests.folding import graphs
from tests.folding.faults import FAULTS
from tests.verifying import networks
from tests.verifying.test_mismatch import written
from tests.verifying.test_weak_spots import tampered

PLANTS = {fault.name: fault.plant for fault in FAULTS}


def refused(model: Any, folder: Path) -> str:
    with pytest.raises(edgebn.ConversionError) as caught:
        edgebn.fold_export(model, folder / "model.onnx")
    assert not list(folder.iterdir())
    return str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "fault", "law"),
    [
        ("mlp", "into the previous MatMul: more_scale", "into the previous MatMul (dense/Gemm)"),
        ("cnn", "into the next MatMul: no_shift", "into the next MatMul (probabilities/Gemm)"),
    ],
)
def test_a_law_that_is_wrong_is_named(
    architecture: str, fault: str, law: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PLANTS[fault](monkeypatch)
    message = refused(keras_models.textbook(architecture), tmp_path)
    assert "the fold that changes the function is that of batch_normalization, channel 0, by the laws: " in message
    assert law in message


def test_the_channel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A maximum that lets negative scales pass: right but for the channel that has one."""
    model = keras_models.textbook("cnn")
    norm = model.get_layer("batch_normalization")
    gamma = np.abs(np.array(norm.gamma))
    gamma[21] *= -1.0
    norm.gamma.assign(gamma)
    PLANTS["a maximum takes any sign"](monkeypatch)
    message = refused(model, tmp_path)
    assert "batch_normalization, channel 21, by the laws: on through a maximum (max_pooling/MaxPool)" in message


def test_the_second_of_two_folds_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, x = keras_models.layers(), edgebn.backends.keras().Input((6,), name="x")
    first = layers.BatchNormalization(name="right")(layers.Dense(4, name="a")(x))
    second = layers.BatchNormalization(name="wrong")(layers.Dense(5, name="b")(layers.Activation("tanh")(first)))
    model = keras_models.functional(x, layers.Activation("tanh")(second))
    from edgebn.folding import routes

    cross = routes.Router._cross

    def spoiled(self: Any, *given: Any) -> Any:
        outcome = cross(self, *given)
        affine = next((each for each in given if isinstance(each, Affine)), None)
        if affine is None or affine.scale.size != 5 or not isinstance(outcome, Outcome):
            return outcome
        kernel = outcome.operators[0]
        return Outcome((type(kernel)(kernel.kernel * 1.01, kernel.bias), *outcome.operators[1:]), outcome.rest)

    monkeypatch.setattr(routes.Router, "_cross", spoiled)
    message = refused(model, tmp_path)
    assert re.search(r"that of wrong, channel \d, by the laws: into the previous MatMul \(b/Gemm\)", message)


def test_the_clean_up_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tidy = pipeline.tidy

    def spoil(model: ir.Model) -> None:
        tidy(model)
        relu = next(node for node in model.graph if node.op_type == "Relu")
        relu.outputs[0].replace_all_uses_with(relu.inputs[0])
        model.graph.remove(relu, safe=True)

    monkeypatch.setattr(pipeline, "tidy", spoil)
    assert "it is the clean-up behind them" in refused(keras_models.textbook("mlp"), tmp_path)


def test_no_verify_writes_it_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTS["into the previous MatMul: more_scale"](monkeypatch)
    edgebn.fold_export(keras_models.textbook("mlp"), tmp_path / "model.onnx", verify=False)
    verdict = edgebn.verify(keras_models.textbook("mlp"), tmp_path / "model.onnx")
    assert not verdict.passed
    assert verdict.culprit is not None
    assert "the fold that changes the function is that of batch_normalization" in verdict.culprit


def test_an_onnx_file_that_is_folded_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source" / "plain.onnx"
    source.parent.mkdir()
    model = keras_models.textbook("mlp")
    with pytest.MonkeyPatch.context() as nothing_folded:
        nothing_folded.setattr(pipeline, "_folded", lambda graph, _: (pipeline.plan(graph.view, 0), graph.model))
        edgebn.fold_export(model, source, verify=False)
    assert "Mul" in {node.op_type for node in onnx.load(source).graph.node}
    PLANTS["into the previous MatMul: no_shift"](monkeypatch)
    with pytest.raises(
        edgebn.ConversionError, match=r"nothing written: the fold that changes the function is that of "
    ):
        edgebn.fold_export(source, tmp_path / "folded.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_file_that_was_changed_is_told_from_what_edgebn_writes(tmp_path: Path) -> None:
    model, path = keras_models.textbook("cnn"), tmp_path / "model.onnx"
    edgebn.fold_export(model, path)
    verdict = edgebn.verify(model, tampered(path, "conv/Conv/bias", lambda bias: bias + np.eye(1, len(bias), 7)[0]))
    assert verdict.culprit is not None
    assert verdict.culprit.startswith("the first node that is not as edgebn writes it is conv/Conv: input 2, ")
    assert " at [7] instead of " in verdict.culprit
    proto = onnx.load(path)
    proto.graph.node[1].attribute.append(onnx.helper.make_attribute("auto_pad", "NOTSET"))
    kernel = next(each for each in proto.graph.initializer if each.name == "conv/Conv/kernel")
    kernel.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(kernel), kernel.name))
    onnx.save(proto, tmp_path / "wrong.onnx")
    culprit = edgebn.verify(model, tmp_path / "wrong.onnx").culprit
    assert culprit is not None
    assert "conv/Conv" in culprit


def test_no_node_of_a_file_that_is_as_edgebn_writes_it_is_named(tmp_path: Path) -> None:
    model, path = keras_models.textbook("cnn"), tmp_path / "model.onnx"
    edgebn.fold_export(model, path)
    verdict = edgebn.verify(model, path, rtol=0.0)
    assert (verdict.passed, verdict.culprit) == (False, None)


def test_a_fault_behind_a_loop_that_takes_what_is_outside_of_it(tmp_path: Path) -> None:
    layers, path = backends.keras().layers, tmp_path / "model.onnx"
    sequence, mask = backends.keras().Input((5, 3)), backends.keras().Input((5,), dtype="bool", name="mask")
    hidden = layers.LSTM(4)(sequence, mask=mask)
    model = backends.keras().Model([sequence, mask], layers.Dense(2, activation="sigmoid", name="scores")(hidden))
    edgebn.fold_export(model, path)
    assert "Loop" in {node.op_type for node in onnx.load(path).graph.node}
    verdict = edgebn.verify(model, tampered(path, "scores/Gemm/kernel", lambda kernel: 1.01 * kernel))
    assert not verdict.passed
    assert verdict.culprit is not None
    assert "scores/Gemm: input 1, " in verdict.culprit


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model, path = networks.residual(), tmp_path_factory.mktemp("residual") / "right.onnx"
    edgebn.fold_export(model, path)
    return model, path


def culprit(model: Any, proto: onnx.ModelProto, folder: Path) -> str:
    onnx.save(proto, folder / "wrong.onnx")
    found = edgebn.verify(model, folder / "wrong.onnx").culprit
    assert found is not None
    return found


def spelled_otherwise(proto: onnx.ModelProto) -> None:
    """What says the same: attributes that are so anyway, names, an axis from the other end, a node in between."""
    for node in proto.graph.node:
        if node.op_type == "Conv":
            node.attribute.append(onnx.helper.make_attribute("auto_pad", "NOTSET"))
            kept = [each for each in node.attribute if each.name not in {"dilations", "kernel_shape"}]
            del node.attribute[:]
            node.attribute.extend(kept)
        if node.op_type == "Softmax":
            node.attribute.append(onnx.helper.make_attribute("axis", -1))


def renamed(proto: onnx.ModelProto) -> None:
    """Other names for all nodes and constants."""
    names = {tensor.name: f"w{index}" for index, tensor in enumerate(proto.graph.initializer)}
    for tensor in proto.graph.initializer:
        tensor.name = names[tensor.name]
    for index, node in enumerate(proto.graph.node):
        node.name = f"n{index}"
        node.input[:] = [names.get(name, name) for name in node.input]


def turned(proto: onnx.ModelProto) -> None:
    """Constants in another order, and nodes as late as they may be."""
    tensors = list(proto.graph.initializer)[::-1]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(tensors)


def stored_in_float16(proto: onnx.ModelProto) -> None:
    """Kernels that are cast when the file runs, so that a Conv does not show its own attributes' extents."""
    for tensor in proto.graph.initializer:
        if len(tensor.dims) == 4:
            name, array = tensor.name, numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}/half"))
            proto.graph.node.insert(0, onnx.helper.make_node("Cast", [tensor.name], [name], f"{name}/cast", to=1))
    for node in proto.graph.node:
        kept = [each for each in node.attribute if node.op_type != "Conv" or set(each.ints) != {0}]
        del node.attribute[:]
        node.attribute.extend(kept)


def test_where_weights_were_rounded_the_first_is_named(residual: Any, tmp_path: Path) -> None:
    model, path = residual
    proto = onnx.load(path)
    stored_in_float16(proto)
    found = culprit(model, proto, tmp_path)
    assert re.search(r"is .*Conv: input 1, .*, is \S+ at \[.*\] instead of ", found), found


@pytest.mark.parametrize(
    "texts",
    [
        ("y = Conv<pads=[0,0,0,0], strides=[1,1], dilations=[1,1]>(x, k)", "y = Conv(x, k)"),
        ("y = MaxPool<kernel_shape=[2,2], pads=[0,0,0,0], strides=[1,1]>(x)", "y = MaxPool<kernel_shape=[2,2]>(x)"),
        ("y = Reshape<allowzero=0>(x, s)", "y = Reshape(x, s)"),
    ],
)
def test_what_is_so_anyway_is_no_difference(texts: tuple[str, str]) -> None:
    """Of kernels that are not in the file, as they are computed, nobody knows the extents."""
    head = "(float[n,2,8,8] x, float[3,2,3,3] k, int64[4] s) => (float[n,c,h,w] y)"
    ours, theirs = (graphs.model(f"{head} {{ {text} }}") for text in texts)
    assert not Counterparts(ours, theirs).differences
    assert not Counterparts(theirs, ours).differences


@pytest.mark.parametrize("spell", [spelled_otherwise, renamed, turned, lambda _: None])
def test_what_is_only_written_in_another_way_is_not_named(spell: Any, residual: Any, tmp_path: Path) -> None:
    model, path = residual
    proto = onnx.load(path)
    kernel = next(tensor for tensor in proto.graph.initializer if tensor.name == "scores/Gemm/kernel")
    array = numpy_helper.to_array(kernel).copy()
    array[2, 3] += 0.25
    kernel.CopyFrom(numpy_helper.from_array(array, kernel.name))
    spell(proto)
    name = next(node.name for node in proto.graph.node if node.op_type == "Gemm")
    found = culprit(model, proto, tmp_path)
    assert found.startswith(f"the first node that is not as edgebn writes it is {name}: input 1, ")
    assert f" is {array[2, 3]:.9g} at [2, 3] instead of " in found


def test_the_layer_and_the_law_of_a_wrong_kernel_are_named(residual: Any, tmp_path: Path) -> None:
    """A file by a folder that forgot ε in one of three BatchNormalizations."""
    model, _ = residual
    twin = backends.keras().models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.get_layer("deep").epsilon = 0.3
    edgebn.fold_export(twin, tmp_path / "other.onnx")
    found = culprit(model, onnx.load(tmp_path / "other.onnx"), tmp_path)
    assert "Conv: input 1, " in found
    assert re.search(r"; folded into it: deep \(into the previous Conv\)$", found), found


NODES = {
    "a ReLU too few": (
        lambda proto: bypass(proto, next(n for n in proto.graph.node if n.op_type == "Relu")),
        r"it lacks the node .*Relu, which edgebn writes",
    ),
    "a ReLU too many": (
        lambda proto: insert(proto, proto.graph.node[0], "Relu"),
        r"it has the node too much, a Relu, which edgebn does not write",
    ),
    "another bound": (
        lambda proto: setattr(next(n for n in proto.graph.node if n.op_type == "Max"), "op_type", "Min"),
        r"is not as edgebn writes it is \S+: Min instead of Max",
    ),
    "padding": (
        lambda proto: pad(next(n for n in proto.graph.node if n.op_type == "Conv")),
        r"its attribute pads is \[2, 1, 0, 1\] instead of \[1, 1, 1, 1\]",
    ),
}


def bypass(proto: onnx.ModelProto, node: onnx.NodeProto) -> None:
    for each in proto.graph.node:
        each.input[:] = [node.input[0] if name == node.output[0] else name for name in each.input]
    proto.graph.node.remove(node)


def insert(proto: onnx.ModelProto, before: onnx.NodeProto, op_type: str) -> None:
    """A node that stands before another, on its first input."""
    index = list(proto.graph.node).index(before)
    fresh = onnx.helper.make_node(op_type, [before.input[0]], ["cut"], "too much")
    proto.graph.node.insert(index, fresh)
    proto.graph.node[index + 1].input[0] = "cut"


def pad(node: onnx.NodeProto) -> None:
    pads = next(each for each in node.attribute if each.name == "pads")
    pads.ints[:] = [2, 1, 0, 1]


@pytest.mark.parametrize("kind", NODES)
@pytest.mark.parametrize("names", ["as edgebn has them", "others"])
def test_a_wrong_node_is_named(kind: str, names: str, tmp_path: Path) -> None:
    model, path = networks.residual(linear=True), tmp_path / "right.onnx"
    edgebn.fold_export(model, path)
    proto = onnx.load(path)
    plant, message = NODES[kind]
    plant(proto)
    if names == "others":
        for index, node in enumerate(proto.graph.node):
            node.name = f"n{index}"
        message = message.replace("too much", r"n\d+")
    assert re.search(message, culprit(model, proto, tmp_path))


def test_several_faults_and_the_first_is_named(residual: Any, tmp_path: Path) -> None:
    model, path = residual
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if tensor.name in {"scores/Gemm/kernel", "second/Conv/kernel"}:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(-1.0), tensor.name))
    assert "second/Conv: input 1" in culprit(model, proto, tmp_path)


OTHER_TOOL = """(float[n,6] x) => (float[n,3] y) {
    a = MatMul(x, k0) b = Add(a, b0) t = Tanh(b) c = MatMul(t, k1) d = Add(c, b1) u = Tanh(d) e = MatMul(u, k2)
    y = Add(e, b2) }"""
ANOTHER = OTHER_TOOL.replace("MatMul", 'Einsum<equation="ij,jk->ik">').replace("Add", "Sum")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            OTHER_TOOL,
            r"the first node that is not as edgebn writes it is \w+: input 1, k1, is .* at \[2, 2\] instead of .*",
        ),
        (ANOTHER, r"the first layer whose result it does not have is two, a Dense; that of one is right"),
    ],
)
def test_a_fault_in_a_file_of_another_tool(text: str, message: str, tmp_path: Path) -> None:
    layers, x = keras_models.layers(), backends.keras().Input((6,), name="x")
    hidden = layers.Dense(5, activation="tanh", name="one")(x)
    hidden = layers.Dense(4, activation="tanh", name="two")(hidden)
    model = keras_models.functional(x, layers.Dense(3, name="three")(hidden))
    constants = {}
    for index, name in enumerate(("one", "two", "three")):
        constants[f"k{index}"], constants[f"b{index}"] = map(np.array, model.get_layer(name).get_weights())
    constants["k1"][2, 2] += 0.2
    found = edgebn.verify(model, written(tmp_path / "wrong.onnx", text, **constants)).culprit
    assert re.fullmatch(message, str(found)), found


def test_the_first_layer_of_a_plain_export_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By so little that a coarse look does not show it."""
    from edgebn import graphs

    right = graphs.export

    def export(*given: Any, **options: Any) -> Any:
        result = right(*given, **options)
        model = result[0] if isinstance(result, tuple) else result.model
        value = next(each for name, each in model.graph.initializers.items() if "b/" in name or "b_" in name)
        value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.002), name=value.name)
        return result

    layers, x = keras_models.layers(), backends.keras().Input((6,), name="x")
    model = keras_models.functional(
        x, layers.Dense(3, name="c")(layers.Dense(4, name="b")(layers.Dense(5, name="a")(x)))
    )
    monkeypatch.setattr(graphs, "export", export)
    assert "the plain export already differs; the first layer that differs is b, " in refused(model, tmp_path)
