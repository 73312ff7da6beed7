"""Files that take raw pixels and give a class, and pictures in color: every target, and what its texts say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from matplotlib import image
from onnx import TensorProto, helper, numpy_helper

import edgebn
from edgebn.embedding.targets import TARGETS
from edgebn.errors import InputError
from tests.embedding.building import build_wasm, drawn, passes_its_own_test, served
from tests.embedding.compiling import opened, run_c

CNN = Path(__file__).parents[2] / "models" / "cnn" / "cnn.onnx"
DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CNN on raw pixels, giving a class; golden vectors beside it."""
    path = tmp_path_factory.mktemp("pixels") / "pixels.onnx"
    interface = edgebn.Interface(input="uint8", scale=1 / 255, layout="nchw", output="class", labels=DIGITS)
    edgebn.fold_export(CNN, path, interface=interface, golden=2)
    return path


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "web"])
def test_raw_pixels_in_a_class_out(target: str, pixels: Path, tmp_path: Path) -> None:
    result = edgebn.embed(pixels, target, tmp_path / "app")
    assert (result.golden_samples, result.golden_origin) == (10, "the golden vectors beside the model")
    readme = (tmp_path / "app" / "README.md").read_text()
    assert "Feed raw pixels, from 0 to 255: they are scaled inside of the model. A pixel is gray." in readme
    assert "Images come channel by channel. The output is the number of the class, from 0." in readme
    assert 'Classes: `["0", "1", "2", "3", ' in readme
    passes_its_own_test(tmp_path / "app", target, "pixels")


@pytest.mark.parametrize("target", ["wasm", "web"])
def test_a_drawing_of_raw_pixels(target: str, pixels: Path, tmp_path: Path) -> None:
    edgebn.embed(pixels, target, tmp_path / "app")
    if target == "wasm":
        build_wasm(tmp_path / "app")
        assert drawn((tmp_path / "app" / "index.html").as_uri(), "wasm-pixels") == "7"
    else:
        with served(tmp_path / "app") as address:
            assert drawn(address, "web-pixels") == "7"


def test_the_class_in_c_is_that_of_onnxruntime(pixels: Path, tmp_path: Path) -> None:
    given = np.random.default_rng(0).integers(0, 256, (1, 28, 28), np.uint8)
    expected = onnxruntime.InferenceSession(pixels, providers=["CPUExecutionProvider"]).run(
        None, {"image": given[None]}
    )
    assert run_c(opened(onnx.load(pixels), tmp_path), [given], tmp_path)[0] == expected[0][0]


def coloured(order: str, layout: str, metadata: bool = True) -> onnx.ModelProto:
    """The mean of each channel, as a score for its colour."""
    shape = ["n", 3, 9, 12] if layout == "nchw" else ["n", 9, 12, 3]
    axes = numpy_helper.from_array(np.array([2, 3] if layout == "nchw" else [1, 2], np.int64), "axes")
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["y"], keepdims=0),
    ]
    values = [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)]
    values += [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])]
    built = helper.make_graph(nodes, "g", values[:1], values[1:], [axes])
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    names = {"Rgb8": ["red", "green", "blue"], "Bgr8": ["blue", "green", "red"], "Gray8": ["gray"] * 3}[order]
    said = {"edgebn.layout": layout, "Image.BitmapPixelFormat": order, "edgebn.input": '{"dtype": "uint8"}'}
    helper.set_model_props(model, {**said, "edgebn.labels": str(names).replace("'", '"')} if metadata else {})
    return model


@pytest.mark.parametrize(("order", "layout"), [("Rgb8", "nchw"), ("Bgr8", "nhwc")])
def test_colours_reach_the_model_in_its_order(order: str, layout: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(coloured(order, layout).SerializeToString())
    edgebn.embed(tmp_path / "m.onnx", "wasm", tmp_path / "app")
    passes_its_own_test(tmp_path / "app", "wasm", "m")
    said = {"Rgb8": "A pixel is red, green, blue.", "Bgr8": "A pixel is blue, green, red."}
    assert said[order] in (tmp_path / "app" / "README.md").read_text()
    image.imsave(tmp_path / "red.png", np.full((20, 30, 3), [200, 30, 10], np.uint8))
    page = (tmp_path / "app" / "index.html").as_uri()
    assert drawn(page, f"wasm-{order}", tmp_path / "red.png") == "red"


def test_a_pixel_format_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(coloured("Gray8", "nchw").SerializeToString())
    with pytest.raises(InputError, match="is Gray8, but its images have 3 channels"):
        edgebn.embed(tmp_path / "m.onnx", "wasm", tmp_path / "app")


def test_pixels_that_are_computed_with_are_refused(tmp_path: Path) -> None:
    model = coloured("Rgb8", "nchw")
    model.graph.node.insert(0, helper.make_node("Add", ["x", "x"], ["twice"]))
    model.graph.node[1].input[0] = "twice"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"Add \(.*\) of uint8 has no C here; choose another target: web"):
        edgebn.embed(tmp_path / "m.onnx", "c", tmp_path / "app")
