"""Files that take and give something else than their model: which nodes are left, and that they are right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper, parser

import edgebn
from edgebn import Interface, backends
from edgebn.errors import ConversionError, UsageError
from edgebn.exporting import interfaces
from tests import keras_models

RNG = np.random.default_rng(0)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = Interface(input="uint8", scale=1 / 255, mean=MEAN, std=STD)
PLUS_MINUS_ONE = Interface(input="uint8", scale=1 / 127.5, mean=(1.0,))
PIXELS = RNG.integers(0, 256, (5, 12, 12, 3)).astype(np.uint8)


def colours(padding: str = "same", activation: str | None = "softmax", classes: int = 4) -> Any:
    layers = keras_models.layers()
    image = layers.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding=padding, use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    return keras_models.functional(image, layers.Dense(classes, activation=activation, name="scores")(x))


def seen(interface: Interface, pixels: np.ndarray) -> np.ndarray:
    """What the model sees, in its own layout; slow and obvious: channel by channel."""
    result = np.empty(pixels.shape, np.float32)
    for channel in range(pixels.shape[-1]):
        mean, std = ((*given, *given * 2)[channel] if given else None for given in (interface.mean, interface.std))
        scaled = pixels[..., channel].astype(np.float64) * interface.scale
        result[..., channel] = (scaled - (mean or 0.0)) / (std or 1.0)
    return result


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = backends.onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(result)


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.parametrize("layout", [None, "nchw"])
@pytest.mark.parametrize(
    ("padding", "interface", "front"),
    [
        ("valid", Interface(input="uint8"), "Cast Conv"),
        ("valid", PLUS_MINUS_ONE, "Cast Conv"),
        ("valid", IMAGENET, "Cast Conv"),
        ("same", Interface(input="uint8", scale=1 / 255, std=STD), "Cast Conv"),
        ("same", PLUS_MINUS_ONE, "Cast Pad Conv"),
    ],
)
def test_one_cast_remains_where_the_algebra_allows_it(
    padding: str, interface: Interface, front: str, layout: str | None, tmp_path: Path
) -> None:
    model, path = colours(padding), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path, interface=replace(interface, layout=layout))
    rest = "Relu MaxPool Flatten Gemm Softmax"
    operators = f"{front} {rest}" if layout else f"{front} {rest}".replace("Cast", "Cast Transpose")
    assert " ".join(report.nodes) == operators
    assert report.kept == ()
    assert report.inputs == {"image": ("batch", 3, 12, 12) if layout else ("batch", 12, 12, 3)}
    pixels = PIXELS.transpose(0, 3, 1, 2) if layout else PIXELS
    (expected,) = keras_models.in_keras(model, seen(interface, PIXELS))
    assert np.abs(run(path, np.ascontiguousarray(pixels)) - expected).max() < 2e-6
    assert edgebn.verify(model, path).passed


def test_where_a_border_needs_another_number_for_each_channel_one_node_remains(tmp_path: Path) -> None:
    model, path = colours("same"), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path, interface=replace(IMAGENET, layout="nchw"))
    assert sorted(report.nodes) == ["Add", "Cast", "Conv", "Flatten", "Gemm", "MaxPool", "Relu", "Softmax"]
    (expected,) = keras_models.in_keras(model, seen(IMAGENET, PIXELS))
    assert np.abs(run(path, np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2))) - expected).max() < 2e-6


def test_what_can_not_be_folded_is_reported(tmp_path: Path) -> None:
    layers = keras_models.layers()
    image = layers.Input((6, 6, 3), name="image")
    model = keras_models.functional(image, layers.Dense(2)(layers.Flatten()(layers.Activation("sigmoid")(image))))
    report = edgebn.fold_export(model, tmp_path / "model.onnx", interface=IMAGENET)
    assert report.nodes[:4] == ("Cast", "Mul", "Add", "Sigmoid")
    assert [(fate.layers, fate.stops[-1].reason) for fate in report.kept] == [
        (("preprocessing",), "nothing passes Sigmoid")
    ]


def test_a_layout_moves_no_pixel(tmp_path: Path) -> None:
    model, path = colours(), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path, interface=Interface(layout="nchw"))
    assert "Transpose" not in report.nodes
    x = RNG.standard_normal((3, 12, 12, 3)).astype(np.float32)
    (expected,) = keras_models.in_keras(model, x)
    assert np.abs(run(path, np.ascontiguousarray(x.transpose(0, 3, 1, 2))) - expected).max() < 2e-6
    assert edgebn.verify(model, path).passed
    edgebn.fold_export(model, tmp_path / "same.onnx", interface=Interface(layout="nhwc"))
    assert edgebn.verify(model, tmp_path / "same.onnx").passed


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
@pytest.mark.parametrize(("output", "last"), [("logits", "Gemm"), ("probabilities", "{}"), ("class", "ArgMax")])
def test_every_output_of_every_model(output: str, last: str, activation: str | None, tmp_path: Path) -> None:
    model, path = colours(activation=activation), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path, interface=Interface(output=output))
    names = {"softmax": "Softmax", "sigmoid": "Sigmoid", None: "Softmax"}
    assert report.nodes[-1] == last.format(names[activation])
    assert sum(node in {"Softmax", "Sigmoid"} for node in report.nodes) == (output == "probabilities")
    assert report.outputs == {output: ("batch",) if output == "class" else ("batch", 4)}
    x = RNG.standard_normal((6, 12, 12, 3)).astype(np.float32)
    (given,), actual = keras_models.in_keras(model, x), run(path, x)
    if output == "class":
        assert actual.dtype == np.int64
        assert (actual == given.argmax(axis=1)).all()
    elif output == "probabilities" or activation is None:
        wanted = given if activation else np.exp(given) / np.exp(given).sum(axis=1, keepdims=True)
        assert output == "logits" or np.abs(actual - wanted).max() < 2e-6
    else:
        again = np.exp(actual) / np.exp(actual).sum(axis=1, keepdims=True)
        assert np.abs((again if activation == "softmax" else 1 / (1 + np.exp(-actual))) - given).max() < 2e-6
    assert edgebn.verify(model, path).passed


def test_one_score_is_made_a_probability_by_sigmoid(tmp_path: Path) -> None:
    model, path = colours(activation=None, classes=1), tmp_path / "model.onnx"
    assert edgebn.fold_export(model, path, interface=Interface(output="probabilities")).nodes[-1] == "Sigmoid"
    assert edgebn.verify(model, path).passed


def test_the_metadata_say_what_the_file_takes_and_gives(tmp_path: Path) -> None:
    path, labels = tmp_path / "model.onnx", ("Katze", "Hund", "Käfer", "none, of these")
    model = colours()
    edgebn.fold_export(model, path, interface=replace(IMAGENET, layout="nchw", output="class", labels=labels))
    said = metadata(path)
    assert said["Image.BitmapPixelFormat"] == "Rgb8"
    assert said["Image.NominalPixelRange"] == "NominalRange_0_255"
    assert (said["edgebn.layout"], said["edgebn.output"]) == ("nchw", "class")
    assert json.loads(said["edgebn.labels"]) == list(labels)
    assert json.loads(said["edgebn.input"]) == {
        "dtype": "uint8",
        "scale": 1 / 255,
        "mean": list(MEAN),
        "std": list(STD),
    }
    image = onnx.load(path).graph.input[0].type
    assert image.denotation == "IMAGE"
    assert [each.denotation for each in image.tensor_type.shape.dim][:2] == ["DATA_BATCH", "DATA_CHANNEL"]
    again = tmp_path / "again.onnx"
    edgebn.fold_export(model, again, interface=replace(IMAGENET, layout="nchw", output="class", labels=labels))
    assert again.read_bytes() == path.read_bytes()


def test_no_metadata_where_nothing_was_asked(tmp_path: Path) -> None:
    edgebn.fold_export(colours(), tmp_path / "model.onnx")
    keys = {"folded", "kept", "source", "source_sha256", "version"}
    assert metadata(tmp_path / "model.onnx").keys() == {f"edgebn.{key}" for key in keys}


@pytest.mark.parametrize(
    ("entry", "instead"),
    [
        ("edgebn.input", json.dumps({"dtype": "uint8", "scale": 1 / 256, "mean": MEAN, "std": STD})),
        ("edgebn.input", json.dumps({"dtype": "uint8", "scale": 1 / 255, "mean": MEAN[::-1], "std": STD})),
        ("edgebn.input", json.dumps({"dtype": "uint8", "scale": 1 / 255, "mean": MEAN, "std": STD[::-1]})),
    ],
)
@pytest.mark.parametrize("output", ["logits", "class"])
def test_another_preprocessing_than_is_said_is_noticed(entry: str, instead: str, output: str, tmp_path: Path) -> None:
    model, path = colours(), tmp_path / "model.onnx"
    edgebn.fold_export(model, path, interface=replace(IMAGENET, output=output))
    assert edgebn.verify(model, path).passed
    proto = onnx.load(path)
    (found,) = (each for each in proto.metadata_props if each.key == entry)
    found.value = instead
    onnx.save(proto, path)
    assert not edgebn.verify(model, path).passed


@pytest.mark.parametrize("kind", ["swapped", "scale", "transposed"])
def test_a_wrong_interface_is_never_written(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, layouts = interfaces._affine, interfaces.reordering

    def affine(interface: Interface, shape: list[Any], layout: str | None) -> Any:
        wrong = {"swapped": {"mean": MEAN[::-1]}, "scale": {"scale": 1 / 254}, "transposed": {}}[kind]
        return right(replace(interface, **wrong), shape, layout)

    def reordering(layout: str | None, wanted: str | None) -> tuple[int, ...] | None:
        axes = layouts(layout, wanted)
        return (0, 3, 2, 1) if kind == "transposed" and axes == (0, 2, 3, 1) else axes

    monkeypatch.setattr(interfaces, "_affine", affine)
    monkeypatch.setattr(interfaces, "reordering", reordering)
    with pytest.raises(ConversionError, match="computes another scores"):
        edgebn.fold_export(colours(), tmp_path / "model.onnx", interface=replace(IMAGENET, layout="nchw"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["logits", "class"])
def test_golden_vectors_hold_what_the_file_takes_and_gives(output: str, tmp_path: Path) -> None:
    model, path = colours(), tmp_path / "model.onnx"
    wanted = replace(IMAGENET, layout="nchw", output=output)
    edgebn.fold_export(model, path, golden=3, certificate=tmp_path / "model.certificate.json", interface=wanted)
    first = tmp_path / "test_data_set_0"
    given, made = (onnx.load_tensor(first / f"{role}_0.pb") for role in ("input", "output"))
    assert (numpy_helper.to_array(given).dtype, given.dims[1:]) == (np.uint8, [3, 12, 12])
    assert numpy_helper.to_array(made).dtype == (np.int64 if output == "class" else np.float32)
    assert (given.name, made.name) == ("image", output)
    assert edgebn.replay(path).passed


@pytest.mark.parametrize("kind", [".keras", ".h5", ""])
def test_every_format_takes_pixels(kind: str, tmp_path: Path) -> None:
    model, source, path = colours(), tmp_path / f"model{kind}", tmp_path / "file.onnx"
    model.export(source, verbose=False) if kind == "" else model.save(source)
    assert edgebn.fold_export(source, path, interface=replace(IMAGENET, layout="nchw")).notes == ()
    assert edgebn.verify(source, path).passed


@pytest.mark.parametrize("output", ["logits", "probabilities", "class"])
def test_the_scores_of_a_saved_model_are_compared(output: str, tmp_path: Path) -> None:
    """It is one opaque call, which does not show what stands before its last softmax."""
    source, path = tmp_path / "model", tmp_path / "file.onnx"
    colours().export(source, verbose=False)
    assert edgebn.fold_export(source, path, interface=Interface(output=output)).notes == ()
    assert edgebn.verify(source, path).passed
    wrong = onnx.load(path)
    kernel = next(each for each in wrong.graph.initializer if len(each.dims) == 2)
    kernel.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(kernel), kernel.name))
    onnx.save(wrong, path)
    assert not edgebn.verify(source, path).passed


FILE = """<ir_version: 8, opset_import: ["": 18]> g ({kind} x) => (float[n,4] y) {{
    {before} c = Conv<pads = [1,1,1,1]>(i, kernel) r = Relu(c) m = GlobalMaxPool(r) f = Flatten(m) {behind}
}}"""


def onnx_file(path: Path, *, nhwc: bool = False, behind: str = "y = Softmax(f)", kind: str = "float") -> Path:
    shape, before = ("n,9,9,3", "i = Transpose<perm = [0,3,1,2]>(x)") if nhwc else ("n,3,9,9", "i = Identity(x)")
    proto = parser.parse_model(FILE.format(kind=f"{kind}[{shape}]", before=before, behind=behind))
    kernel = np.random.default_rng(0).standard_normal((4, 3, 3, 3)) / 5.0
    proto.graph.initializer.append(numpy_helper.from_array(kernel.astype(np.float32), "kernel"))
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize("layout", ["nchw", "nhwc", None])
@pytest.mark.parametrize("interface", [Interface(output="class"), replace(IMAGENET, output="logits"), PLUS_MINUS_ONE])
def test_onnx_files(interface: Interface, layout: str | None, nhwc: bool, tmp_path: Path) -> None:
    source, path = onnx_file(tmp_path / "source.onnx", nhwc=nhwc), tmp_path / "model.onnx"
    report = edgebn.fold_export(source, path, interface=replace(interface, layout=layout))
    own = "nhwc" if nhwc else "nchw"
    assert report.nodes.count("Transpose") == ((layout or own) == "nhwc")
    verdict = edgebn.verify(source, path)
    assert verdict.passed
    assert "tensorflow" not in verdict.versions
    assert edgebn.verify(path, path).passed  # both say the same of themselves
    if "edgebn.layout" in metadata(path):
        x = RNG.standard_normal((2, 9, 9, 3)).astype(np.float32)
        x = PIXELS[:2, :9, :9] if interface.input else x
        raw = seen(interface, x) if interface.input else x
        expected = run(source, raw if nhwc else np.ascontiguousarray(raw.transpose(0, 3, 1, 2)))
        actual = run(path, np.ascontiguousarray(x if (layout or own) == "nhwc" else x.transpose(0, 3, 1, 2)))
        assert (actual if interface.output == "class" else actual.argmax(axis=1)).tolist() == expected.argmax(
            1
        ).tolist()


def test_log_softmax_is_one_too(tmp_path: Path) -> None:
    source = onnx_file(tmp_path / "source.onnx", behind="y = LogSoftmax(f)")
    for output, last in (("logits", "Flatten"), ("probabilities", "Softmax"), ("class", "ArgMax")):
        path = tmp_path / f"{output}.onnx"
        assert edgebn.fold_export(source, path, interface=Interface(output=output)).nodes[-1] == last
        assert edgebn.verify(source, path).passed


def test_a_file_with_a_class_folds_on(tmp_path: Path) -> None:
    """What an ONNX file says of itself stays said, and is built upon."""
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    edgebn.fold_export(onnx_file(tmp_path / "source.onnx"), first, interface=replace(IMAGENET, labels=tuple("abcd")))
    edgebn.fold_export(first, second, interface=Interface(output="class", layout="nhwc"))
    said = metadata(second)
    assert (said["edgebn.output"], said["edgebn.layout"]) == ("class", "nhwc")
    assert json.loads(said["edgebn.labels"]) == list("abcd")
    assert json.loads(said["edgebn.input"])["mean"] == list(MEAN)
    for source in (first, tmp_path / "source.onnx"):
        assert edgebn.verify(source, second).passed


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Interface(labels=("a", "b")), "has 4 classes, but 2 labels were given"),
        (Interface(input="uint8", mean=(1.0, 2.0)), "mean: has 2 numbers, but the model's input has 3 channels"),
        (Interface(input="uint8", pixel_format="Gray8"), "pixel format Gray8: does not fit"),
    ],
)
def test_what_does_not_fit_the_model(wrong: Interface, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        edgebn.fold_export(colours(), tmp_path / "model.onnx", interface=wrong)


def test_one_score_takes_one_label(tmp_path: Path) -> None:
    model = colours(activation=None, classes=1)
    with pytest.raises(UsageError, match="has 1 score, which takes one label, but 2 labels were given"):
        edgebn.fold_export(model, tmp_path / "model.onnx", interface=Interface(labels=("no", "yes")))
    edgebn.fold_export(model, tmp_path / "model.onnx", interface=Interface(labels=("yes",)))
    assert metadata(tmp_path / "model.onnx")["edgebn.labels"] == '["yes"]'


def test_models_without_an_image_or_a_class(tmp_path: Path) -> None:
    layers, path = keras_models.layers(), tmp_path / "model.onnx"
    image, other = layers.Input((6, 6, 3), name="image"), layers.Input((4,), name="other")
    flat = layers.Flatten()(image)
    two = keras_models.functional([image, other], layers.Dense(2)(layers.Concatenate()([flat, other])))
    both = keras_models.functional(image, [layers.Dense(2)(flat), layers.Dense(3)(flat)])
    for model, interface, reason in (
        (two, Interface(layout="nchw"), "has 2 inputs"),
        (both, Interface(output="logits"), "has 2 outputs"),
        (keras_models.functional(image, layers.ReLU()(image)), Interface(output="class"), "no axis of classes"),
        (colours(activation=None, classes=1), Interface(output="class"), "one score, of which no class can be told"),
        (
            onnx_file(tmp_path / "a.onnx", behind="y = Softmax<axis = 0>(f)"),
            Interface(output="logits"),
            "over the batch",
        ),
    ):
        with pytest.raises(ConversionError, match=reason):
            edgebn.fold_export(model, path, interface=interface)
    with pytest.raises(UsageError, match="no images"):
        edgebn.fold_export(keras_models.textbook("mlp"), path, interface=Interface(layout="nchw"))


def test_pixels_of_a_model_that_takes_them_already(tmp_path: Path) -> None:
    first = tmp_path / "first.onnx"
    edgebn.fold_export(colours(), first, interface=IMAGENET)
    with pytest.raises(ConversionError, match="takes uint8 already"):
        edgebn.fold_export(first, tmp_path / "second.onnx", interface=IMAGENET)


def test_flat_pixels_need_no_image(tmp_path: Path) -> None:
    model, path = keras_models.textbook("mlp"), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path, interface=PLUS_MINUS_ONE)
    assert " ".join(report.nodes) == "Cast Gemm Relu Gemm Softmax"
    assert "Image.BitmapPixelFormat" not in metadata(path)
    assert edgebn.verify(model, path).passed


def test_a_class_that_is_not_the_largest_score(tmp_path: Path) -> None:
    model, path = colours(), tmp_path / "model.onnx"
    edgebn.fold_export(model, path, interface=Interface(output="class"))
    opened = ir.load(path)
    last = next(node for node in opened.graph if node.op_type == "ArgMax")
    last.op_type = "ArgMin"
    ir.save(opened, path)
    with pytest.raises(edgebn.InputError, match="not made by ArgMax"):
        edgebn.verify(model, path)
