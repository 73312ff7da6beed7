"""From Keras to ONNX: several inputs and outputs, models inside of models, and every kind of batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import edgebn
from edgebn import backends
from edgebn.report import ExportReport
from tests import keras_models
from tests.exporting import models


@dataclass(frozen=True)
class Exported:
    build: Callable[[], Any]
    model: Any
    report: ExportReport
    path: Path


@pytest.fixture(scope="module", params=models.FOLDED, ids=lambda build: build.__name__)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    model = request.param()
    return Exported(request.param, model, edgebn.fold_export(model, path), path)


def drawn(path: Path) -> list[np.ndarray]:
    """Random inputs of both signs for a file, four samples each."""
    rng = np.random.default_rng(0)
    arrays = []
    for value in onnx.load(path).graph.input:
        shape = [4, *(extent if isinstance(extent, int) else 7 for extent in keras_models.extents(value)[1:])]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        values = rng.integers(0, 256, shape) if dtype == np.uint8 else rng.standard_normal(shape)
        arrays.append(np.asarray(values, dtype))
    return arrays


def assert_same(model: Any, path: Path) -> None:
    """Each output is Keras's. Sums of at most 400 float32 terms: 3e-6 of the largest value seen, 7 times allowed."""
    names = [value.name for value in onnx.load(path).graph.output]
    inputs = drawn(path)
    actual = dict(zip(names, keras_models.in_onnxruntime(path, *inputs), strict=True))
    keys = sorted(model.output) if set(names) == set(as_dictionary(model.output)) else names
    for name, expected in zip(keys, keras_models.in_keras(model, *inputs), strict=True):
        assert actual[name].shape == expected.shape
        assert actual[name].dtype == expected.dtype
        assert np.abs(actual[name] - expected).max() <= 2e-5 * max(1.0, np.abs(expected).max())


def as_dictionary(structure: Any) -> dict[str, Any]:
    return structure if isinstance(structure, dict) else {}


def test_operators_and_the_layers_that_were_folded(exported: Exported) -> None:
    operators, folded, kept = models.FOLDED[exported.build]
    assert keras_models.operators(exported.path) == operators
    layers = [
        [fate.layers for fate in fates if fate.layers] for fates in (exported.report.folded, exported.report.kept)
    ]
    assert layers == [[(name,) for name in folded], [(name,) for name in kept]]


def test_every_node_and_tensor_has_a_name_of_its_own(exported: Exported) -> None:
    graph = onnx.load(exported.path).graph
    tensors = [value.name for value in graph.input] + [each.name for each in graph.initializer]
    for names in ([node.name for node in graph.node], tensors + [name for node in graph.node for name in node.output]):
        assert all(names)
        assert len(set(names)) == len(names)


def test_computes_the_same(exported: Exported) -> None:
    assert_same(exported.model, exported.path)


def test_declares_the_shapes_that_keras_knows(exported: Exported) -> None:
    written = onnx.load(exported.path).graph.output
    for tensor, value in zip(
        backends.keras().tree.flatten(exported.model.output), by_key(exported, written), strict=True
    ):
        batch, *rest = keras_models.extents(value)
        assert batch == ("batch" if tensor.shape[0] is None else tensor.shape[0])
        assert [extent or None for extent in rest] == list(tensor.shape[1:])  # 0 is what a nameless extent reads as


def by_key(exported: Exported, values: Any) -> list[Any]:
    """The ONNX file's outputs in the order in which Keras flattens a dictionary: by key."""
    named = set(as_dictionary(exported.model.output)) == {value.name for value in values}
    return sorted(values, key=lambda value: value.name) if named else list(values)


def test_one_wrong_weight_would_be_noticed(tmp_path: Path) -> None:
    model = models.nested()
    edgebn.fold_export(model, tmp_path / "model.onnx")
    kernel = model.get_layer("dense").kernel
    kernel.assign(kernel * 1.01)
    with pytest.raises(AssertionError):
        assert_same(model, tmp_path / "model.onnx")


NAMES = [
    (models.two_inputs_two_outputs, ["zeta", "alpha"], ["scores", "norm_right"]),
    (models.dictionaries, ["alpha", "zeta"], ["zoom", "angle"]),  # Keras sorts the inputs, not the outputs
    (models.lists_inside_of_dictionaries, ["image"], ["scores", "hidden", "norm"]),
    (models.an_input_as_output, ["zeta", "alpha"], ["zeta_2", "norm"]),
    (models.one_tensor_as_two_outputs, ["image"], ["norm", "norm_2"]),
    (models.unused_input, ["zeta", "alpha"], ["norm"]),
    (models.automatic_names, ["input"], ["output"]),
    (models.counted_names, ["image_1"], ["output"]),  # dense_2 may be the user's name or Keras's
]


@pytest.mark.parametrize(("build", "inputs", "outputs"), NAMES, ids=lambda value: getattr(value, "__name__", ""))
def test_inputs_and_outputs_keep_names_and_order(
    build: Callable[[], Any], inputs: list[str], outputs: list[str], tmp_path: Path
) -> None:
    report = edgebn.fold_export(build(), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [value.name for value in graph.input] == inputs == list(report.inputs)
    assert [value.name for value in graph.output] == outputs == list(report.outputs)


@pytest.mark.parametrize(
    "build", [models.two_inputs_two_outputs, models.dictionaries], ids=lambda build: build.__name__
)
def test_a_file_has_the_names_of_the_model_in_memory(build: Callable[[], Any], tmp_path: Path) -> None:
    model = build()
    model.save(tmp_path / "model.keras")
    reports = [edgebn.fold_export(source, tmp_path / "m.onnx") for source in (model, tmp_path / "model.keras")]
    assert list(reports[0].inputs.items()) == list(reports[1].inputs.items())
    assert list(reports[0].outputs.items()) == list(reports[1].outputs.items())


SAVED = [
    (models.two_inputs_two_outputs, ["alpha", "zeta"], ["output_0", "output_1"], {"norm_left", "norm_right"}),
    (models.dictionaries, ["alpha", "zeta"], ["angle", "zoom"], {"norm_left", "norm_right"}),
    (models.nested, ["image"], ["output"], {"block/norm", "norm"}),
    (models.called_twice, ["image"], ["output"], {"shared"}),
    (models.norm_before_dense, ["image"], ["output"], {"norm"}),
]


@pytest.mark.parametrize(
    ("build", "inputs", "outputs", "folded"), SAVED, ids=lambda value: getattr(value, "__name__", "")
)
def test_saved_models(
    build: Callable[[], Any], inputs: list[str], outputs: list[str], folded: set[str], tmp_path: Path
) -> None:
    model = build()
    model.export(tmp_path / "saved", verbose=False)
    report = edgebn.fold_export(tmp_path / "saved", tmp_path / "model.onnx")
    assert list(report.inputs) == inputs
    assert list(report.outputs) == outputs
    assert " ".join(report.nodes) == models.FOLDED[build][0]
    assert {layer for fate in report.folded for layer in fate.layers} == folded
    assert report.kept == ()
    assert edgebn.verify(tmp_path / "saved", tmp_path / "model.onnx").passed


@pytest.mark.parametrize(
    "options", [{"scale": False}, {"center": False}, {"scale": False, "center": False}, {"epsilon": 0.5}], ids=str
)
def test_norms_with_options(options: dict[str, Any], tmp_path: Path) -> None:
    model = models.norm_before_dense(**options)
    report = edgebn.fold_export(model, tmp_path / "model.onnx")
    assert report.nodes == ("Gemm", "Gemm")
    assert [fate.layers for fate in report.folded] == [("norm",)]
    assert_same(model, tmp_path / "model.onnx")


def test_weights_are_folded_in_float64_and_rounded_once(tmp_path: Path) -> None:
    model = models.norm_before_dense()
    edgebn.fold_export(model, tmp_path / "model.onnx")
    constants = {
        each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / "model.onnx").graph.initializer
    }
    kernel, bias = (weight.astype(np.float64) for weight in model.get_layer("hidden").get_weights())
    gamma, beta, mean, variance = (weight.astype(np.float64) for weight in model.get_layer("norm").get_weights())
    scale = gamma / np.sqrt(variance + keras_models.EPSILON)
    assert (constants["hidden/Gemm/kernel"] == (kernel * scale).astype(np.float32)).all()
    assert (constants["hidden/Gemm/bias"] == (scale * bias + (beta - mean * scale)).astype(np.float32)).all()


def test_node_names_are_layer_paths(tmp_path: Path) -> None:
    for build, names in {
        models.nested: [
            "block/conv/Transpose",
            "block/conv/Conv",
            "block/relu/Relu",
            "flat/Flatten",
            "dense/Gemm",
            "scores/Gemm",
        ],
        models.counted_names: ["dense_1/Gemm", "relu_7/Relu", "dense_2/Gemm"],
        models.called_twice: ["left/Gemm", "right/Gemm", "both/Concat"],
    }.items():
        edgebn.fold_export(build(), tmp_path / "model.onnx")
        assert [node.name for node in onnx.load(tmp_path / "model.onnx").graph.node] == names


def test_extents_that_vary_have_names(tmp_path: Path) -> None:
    report = edgebn.fold_export(models.any_size(), tmp_path / "model.onnx")
    assert report.inputs == {"image": ("batch", "height", "width", 2)}
    left, right = models.named_input("left", None, 3), models.named_input("right", None, 3)
    dense = keras_models.layers().Dense(2)
    several = keras_models.functional([left, right], [dense(left), dense(right)])
    report = edgebn.fold_export(several, tmp_path / "model.onnx")
    assert report.inputs == {"left": ("batch", "left_length", 3), "right": ("batch", "right_length", 3)}


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = models.nested()
    before = [np.asarray(weight) for weight in model.weights]
    edgebn.fold_export(model, tmp_path / "model.onnx")
    norms = [model.get_layer("norm"), model.get_layer("block").get_layer("norm")]
    assert not any("call" in vars(norm) for norm in norms)
    assert not backends.tensorflow().config.functions_run_eagerly()
    for weight, old in zip(model.weights, before, strict=True):
        assert (np.asarray(weight) == old).all()


class Unknown:
    """Layers whose operators have no ONNX form, or which fail."""

    @staticmethod
    def layer(call: Callable[[Any], Any], name: str) -> Any:
        class Layer(backends.keras().layers.Layer):  # type: ignore[misc]
            def call(self, x: Any) -> Any:
                return call(x)

            def compute_output_shape(self, shape: Any) -> Any:
                return shape

        return Layer(name=name)

    @staticmethod
    def betainc(x: Any) -> Any:
        return backends.tensorflow().math.betainc(x, x, x)

    @staticmethod
    def python(x: Any) -> Any:
        return backends.tensorflow().py_function(lambda value: value, [x], x.dtype)

    @staticmethod
    def fails(x: Any) -> Any:  # noqa: ARG004, one signature for all
        raise ValueError("this layer is out of order")


REFUSED = [
    (Unknown.betainc, "special", "no ONNX form for the operator Betainc .at functional.*/special.*/Betainc.;"),
    (Unknown.python, "special", "no ONNX form for the operator EagerPyFunc .at functional.*/special"),
    (Unknown.fails, "special", "model: tf2onnx can not convert it: this layer is out of order$"),
    (lambda x: x + 1.0, "a name", "model: tf2onnx can not convert it: 'a name' is not a valid scope name"),
]


@pytest.mark.parametrize(("call", "name", "message"), REFUSED)
def test_what_has_no_onnx_form_is_refused_by_name(
    call: Callable[[Any], Any], name: str, message: str, tmp_path: Path
) -> None:
    image = models.named_input("image", 6)
    norm = keras_models.layers().BatchNormalization(name="norm")
    model = backends.keras().Model(image, Unknown.layer(call, name)(norm(image)))
    with pytest.raises(edgebn.ConversionError, match=message):
        edgebn.fold_export(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    assert "call" not in vars(norm)


def test_a_model_without_known_inputs_is_refused(tmp_path: Path) -> None:
    model = backends.keras().Sequential([keras_models.layers().Dense(3)])
    with pytest.raises(edgebn.InputError, match="the shapes of its inputs are not known; call it once on data"):
        edgebn.fold_export(model, tmp_path / "model.onnx")
