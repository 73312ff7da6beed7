"""What `embed` refuses, what it does not overwrite, and what it takes from the file's metadata."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgebn
from edgebn.embedding.targets import TARGETS
from edgebn.errors import EdgebnError, InputError, UsageError
from edgebn.loading.onnx_files import open_onnx
from edgebn.quantizing.half import halved
from tests.embedding import layers
from tests.embedding.compiling import compile_c, run

MLP = Path(__file__).parents[2] / "models" / "mlp" / "mlp.onnx"
FLOAT = TensorProto.FLOAT


def one_node(operator: str, shape: list[int | str], dtype: int = FLOAT, **attributes: object) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], ["y"], name="the_node", **attributes)
    values = [helper.make_tensor_value_info(name, dtype, shape) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def quantised() -> onnx.ModelProto:
    model = one_node("Relu", ["batch", 4])
    scale, zero = (numpy_helper.from_array(each, name) for each, name in ((np.float32(0.1), "s"), (np.int8(0), "z")))
    model.graph.initializer.extend([scale, zero])
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]))
    return model


def saved(model: onnx.ModelProto, folder: Path, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a second open extent": (
        lambda: one_node("Relu", ["batch", "height", 3]),
        "input x has the shape [batch, height, 3]; only the first extent, the batch, may be open",
    ),
    "an operator": (
        lambda: one_node("Sin", ["batch", 4]),
        "there is no C for Sin (the_node); choose another target: web, c-ort, ",
    ),
    "an int8 file": (quantised, "is quantised (DequantizeLinear, QuantizeLinear), and C is written in float32"),
    "nothing": (
        lambda: one_node("Relu", ["batch", 0]),
        "input x has the shape [batch, 0], which is empty; there is nothing to run",
    ),
    "another type": (
        lambda: one_node("Relu", [4], TensorProto.DOUBLE),
        "input x is of double; apps are made for inputs of float32 or uint8",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line_before_anything_is_written(case: str, tmp_path: Path) -> None:
    build, message = REFUSED[case]
    path = saved(build(), tmp_path)
    with pytest.raises(InputError) as caught:
        edgebn.embed(path, "c", tmp_path / "app")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MLP, "rust", "app"), "target rust: choose one of c, "),
        ((Path("no.onnx"), "c", "app"), "no.onnx: no such file"),
        ((MLP.with_suffix(".keras"), "c", "app"), "is no ONNX file; make one of it with edgebn fold-export"),
    ],
)
def test_wrong_calls(
    arguments: tuple[Path, str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        edgebn.embed(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_file_gives_the_same_bytes(target: str, tmp_path: Path) -> None:
    first = edgebn.embed(MLP, target, tmp_path / "a")
    second = edgebn.embed(MLP, target, tmp_path / "b")
    assert first.files == second.files
    assert "README.md" in first.files
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
        assert str(tmp_path).encode() not in file.read_bytes()


def test_it_overwrites_its_own_files_alone(tmp_path: Path) -> None:
    app = tmp_path / "app"
    edgebn.embed(MLP, "c", app)
    edgebn.embed(MLP, "c", app)
    (app / "mlp.c").write_text("mine")
    before = {file.name: file.read_bytes() for file in app.iterdir()}
    with pytest.raises(UsageError, match=r"mlp\.c: was not written by edgebn, or changed since"):
        edgebn.embed(MLP, "c", app)
    assert before == {file.name: file.read_bytes() for file in app.iterdir()}
    edgebn.embed(MLP, "c", app, force=True)
    assert (app / "mlp.c").read_text() != "mine"
    (app / "notes.txt").write_text("mine")
    edgebn.embed(MLP, "c", app)
    assert (app / "notes.txt").read_text() == "mine"


def test_links_are_not_followed(tmp_path: Path) -> None:
    mine, app = tmp_path / "mine.txt", tmp_path / "app"
    mine.write_text("mine")
    app.mkdir()
    for name in ("mlp.h", "edgebn.json"):
        (app / name).symlink_to(mine)
        for force in (False, True):
            with pytest.raises(UsageError, match=r"is a link, and would be written through"):
                edgebn.embed(MLP, "c", app, force=force)
        (app / name).unlink()
    (app / "mlp.c").symlink_to(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"is a link"):
        edgebn.embed(MLP, "c", app)
    assert mine.read_text() == "mine"
    assert [each.name for each in app.iterdir()] == ["mlp.c"]


def test_a_record_that_is_none_of_its_own(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "edgebn.json").write_text('{"files": {}}')
    with pytest.raises(UsageError, match=r"edgebn\.json: was not written by edgebn"):
        edgebn.embed(MLP, "c", app)
    edgebn.embed(MLP, "c", app, force=True)
    edgebn.embed(MLP, "c", app)


def test_several_targets_in_one_folder(tmp_path: Path) -> None:
    app = tmp_path / "app"
    edgebn.embed(MLP, "c", app)
    edgebn.embed(MLP, "node", app)
    edgebn.embed(with_metadata(tmp_path, changed="yes"), "c", app)
    assert {"mlp.c", "mlp.mjs"} <= set(json.loads((app / "edgebn.json").read_text())["files"])


def with_metadata(folder: Path, **metadata: str) -> Path:
    model = onnx.load(MLP)
    helper.set_model_props(model, metadata)
    shutil.copytree(MLP.parent / "test_data_set_0", folder / "test_data_set_0")
    return saved(model, folder, "mlp.onnx")


def test_labels_and_pixels_come_from_the_file(tmp_path: Path) -> None:
    labels = ["zéro", 'say "one"', "</script><b>", "*/", "??/", "a` | _b_", *"6789"]
    path = with_metadata(
        tmp_path, **{"edgebn.labels": json.dumps(labels), "Image.NominalPixelRange": "NominalRange_0_255"}
    )
    for target in TARGETS:
        edgebn.embed(path, target, tmp_path / target)
        readme = (tmp_path / target / "README.md").read_text()
        assert "Pixels are scaled so that black is 0 and white is 255." in readme
        assert json.loads(re.search(r"^Classes: `([^`]*)`", readme, re.M)[1]) == labels
    sentence = "\nThe self-test runs the golden vectors beside the model, and exits with 1 on a difference.\n"
    assert sentence in (tmp_path / "c" / "README.md").read_text()
    page = (tmp_path / "wasm" / "index.html").read_text()
    assert "BLACK = 0.0, WHITE = 255.0" in page
    assert "<b>" not in page.partition("<script>")[2]
    main = tmp_path / "main.c"
    loop = "for (int i = 0; i < 10; i++) puts(mlp_labels[i]);"
    main.write_text(f'#include "mlp.h"\n#include <stdio.h>\nint main(void) {{ {loop} return 0; }}\n')
    compile_c("gcc", f"-I{tmp_path / 'c'}", "-o", tmp_path / "main", main, tmp_path / "c" / "mlp.c")
    assert run(tmp_path / "main", folder=tmp_path).splitlines() == labels


@pytest.mark.parametrize("target", TARGETS)
def test_no_class_name_breaks_a_readme(target: str, tmp_path: Path) -> None:
    path = with_metadata(tmp_path, **{"edgebn.labels": json.dumps(["one\n# two", "```", *"23456789"])})
    edgebn.embed(path, target, tmp_path / "app")
    lines = (tmp_path / "app" / "README.md").read_text().splitlines()
    assert sum(line.startswith("Classes: `[") for line in lines) == 1
    assert not [line for line in lines if line.startswith("# two")]


def test_what_the_scores_are_comes_from_the_file(tmp_path: Path) -> None:
    path = with_metadata(tmp_path, **{"edgebn.output": "logits", "edgebn.layout": "nhwc"})
    edgebn.embed(path, "wasm", tmp_path / "app")
    readme = (tmp_path / "app" / "README.md").read_text()
    assert "Images come pixel by pixel, channels last. The scores are logits: a softmax makes" in readme
    assert "Math.exp" in (tmp_path / "app" / "index.html").read_text()
    edgebn.embed(MLP, "wasm", tmp_path / "plain")
    assert "Math.exp" not in (tmp_path / "plain" / "index.html").read_text()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("edgebn.output", "votes", "its metadata .* are damaged: output 'votes'"),
        ("edgebn.labels", "zero, one", "is not a JSON list of strings"),
        ("edgebn.labels", '["zero"]', "names 1 classes, but probabilities has 10 scores"),
        ("Image.NominalPixelRange", "0 to 7", "known are NominalRange_0_255"),
    ],
)
def test_metadata_that_makes_no_sense(key: str, value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        edgebn.embed(with_metadata(tmp_path, **{key: value}), "wasm", tmp_path / "app")


@pytest.mark.parametrize("shape", [["batch", 3, 2], []])
def test_golden_vectors_are_made_where_there_are_none(shape: list[int | str], tmp_path: Path) -> None:
    result = edgebn.embed(saved(one_node("Relu", shape), tmp_path), "c", tmp_path / "app")
    assert (result.golden_samples, result.golden_origin) == (3, "noise of seed 0 against what onnxruntime makes of it")
    compile_c("gcc", "-o", tmp_path / "selftest", *sorted((tmp_path / "app").glob("*.c")))
    assert run(tmp_path / "selftest", folder=tmp_path).endswith("PASS\n")


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_weights_stored_as_float16_are_float32_in_c(name: str, tmp_path: Path) -> None:
    model, kept = halved(open_onnx(MLP.parents[1] / name / f"{name}.onnx"))
    assert kept == ()
    assert {node.op_type for node in model.graph} > {"Cast"}
    edgebn.embed(saved(ir.to_proto(model), tmp_path), "c", tmp_path / "app")
    compile_c("gcc", "-o", tmp_path / "selftest", *sorted((tmp_path / "app").glob("*.c")))
    assert run(tmp_path / "selftest", folder=tmp_path).endswith("PASS\n")


@pytest.mark.parametrize("target", TARGETS)
def test_a_model_that_takes_no_drawing(target: str, tmp_path: Path) -> None:
    edgebn.embed(saved(one_node("Relu", ["batch", 3, 2]), tmp_path), target, tmp_path / "app")
    page = tmp_path / "app" / "index.html"
    assert not page.exists() or "<canvas" not in page.read_text()


def test_data_in_another_file_comes_along(tmp_path: Path) -> None:
    model = onnx.load(MLP)
    onnx.save(model, tmp_path / "mlp.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    edgebn.embed(tmp_path / "mlp.onnx", "python", tmp_path / "app")
    (tmp_path / "weights.bin").unlink()
    assert run(sys.executable, "mlp.py", "selftest", folder=tmp_path / "app").endswith("PASS\n")


@pytest.mark.parametrize("damage", ["truncated", "missing", "another shape"])
def test_damaged_golden_vectors(damage: str, tmp_path: Path) -> None:
    path = with_metadata(tmp_path)
    file = tmp_path / "test_data_set_0" / "input_0.pb"
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        file.write_bytes(numpy_helper.from_array(np.zeros((2, 5), np.float32)).SerializeToString())
    with pytest.raises(InputError, match=r"input_0\.pb"):
        edgebn.embed(path, "c", tmp_path / "app")


def test_golden_vectors_of_another_model(tmp_path: Path) -> None:
    path = with_metadata(tmp_path)
    model = onnx.load(path)
    for each in model.graph.initializer:
        array = numpy_helper.to_array(each)
        if array.dtype == np.float32:
            each.CopyFrom(numpy_helper.from_array(array * np.float32(0.5), each.name))
    saved(model, tmp_path, "mlp.onnx")
    with pytest.raises(InputError, match=r"test_data_set_0 and so on, are of another model: probabilities differs by"):
        edgebn.embed(path, "c", tmp_path / "app")


@pytest.mark.parametrize("target", TARGETS)
def test_an_output_of_another_shape_than_declared(target: str, tmp_path: Path) -> None:
    model = one_node("Relu", ["batch", 8])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, ["batch", 4]))
    with pytest.raises(InputError, match=r"output y is of shape \[1, 8\] for one sample, but the file says"):
        edgebn.embed(saved(model, tmp_path), target, tmp_path / "app")


def test_weights_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = one_node("Add", ["batch", 2])
    model.graph.node[0].input.append("w")
    model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [2]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2], np.float32), "w"))
    path = saved(model, tmp_path)
    edgebn.embed(path, "python", tmp_path / "python")
    assert run(sys.executable, "m.py", "selftest", folder=tmp_path / "python").endswith("PASS\n")
    edgebn.embed(path, "c", tmp_path / "c")
    assert "m_run(const float *x, float *y, float *scratch)" in (tmp_path / "c" / "m.h").read_text()
    compile_c("gcc", "-o", tmp_path / "selftest", *sorted((tmp_path / "c").glob("*.c")))
    assert run(tmp_path / "selftest", folder=tmp_path).endswith("PASS\n")


@pytest.mark.parametrize("name", ["float.onnx", "3 *: café.onnx", "__.onnx", "x.onnx"])
def test_any_file_name_makes_a_name_in_c(name: str, tmp_path: Path) -> None:
    path = saved(one_node("Relu", ["batch", 3]), tmp_path, name)
    edgebn.embed(path, "c", tmp_path / "app")
    compile_c("gcc", "-o", tmp_path / "selftest", *sorted((tmp_path / "app").glob("*.c")))
    assert run(tmp_path / "selftest", folder=tmp_path).endswith("PASS\n")


NAMES = (
    "exp",
    "tanh",
    "y0",
    "double",
    "scratch",
    "sums",
    "x",
    "w",
    "dot_4",
    "accumulate_4x16",
    "exponential",
    "conv",
    "conv_weights",
    "conv_bias",
    "conv/Conv",
    "m_run",
    "LAYER",
    "3",
    "a b",
    "main",
    "float",
    "Ünïcode",
)


@pytest.mark.parametrize("shift", [0, 1])
def test_names_in_the_file_that_mean_something_in_c(shift: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    net = layers.Net(rng, (2, 9, 9))
    for number in range(len(NAMES)):
        if number % 2:
            layers.conv(net, 4, (2, 2) if number < 6 else (1, 1), 4 if number > 1 else 2)
        else:
            net.add("Tanh")
        net.nodes[-1].name = NAMES[(number + shift) % len(NAMES)]
    net.add("Softmax", axis=1)
    for old, new in zip([f"t{number}" for number in range(len(NAMES))], NAMES, strict=True):
        for node in net.nodes:
            for names in (node.input, node.output):
                names[:] = [new if each == old else each for each in names]
    for each in net.weights:
        old, each.name = each.name, f"{each.name}_weights"
        for node in net.nodes:
            node.input[:] = [each.name if name == old else name for name in node.input]
    edgebn.embed(saved(net.model(), tmp_path), "c", tmp_path / "app")
    compile_c("gcc", "-o", tmp_path / "selftest", *sorted((tmp_path / "app").glob("*.c")))
    assert run(tmp_path / "selftest", folder=tmp_path).endswith("PASS\n")


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgebnError):
        edgebn.embed(MLP, "c", tmp_path / "file")
    with pytest.raises(EdgebnError):
        edgebn.embed(MLP, "c", tmp_path / "file" / "below")
