"""Each target, built and run for real on both reference models, as its README says."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgebn
from edgebn.embedding.application import open_application
from edgebn.embedding.c.program import compile_graph
from tests.embedding.building import NPM, build_wasm, drawn, npm_package, served
from tests.embedding.compiling import (
    FAST,
    call,
    compile_c,
    onnxruntime_header,
    onnxruntime_library,
    run,
    tool,
    write_library,
)

ROOT = Path(__file__).parents[2]
MODELS = {name: ROOT / "models" / name / f"{name}.onnx" for name in ("mlp", "cnn")}

TOLERANCE = 2e-6  # of probabilities: 3e-7 seen


@pytest.fixture(params=list(MODELS))
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def embedded(model: str, target: str, folder: Path) -> Path:
    edgebn.embed(MODELS[model], target, folder / target)
    return folder / target


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_c(model: str, compiler: str, tmp_path: Path) -> None:
    folder = embedded(model, "c", tmp_path)
    compile_c(compiler, *FAST, "-o", folder / "selftest", *sorted(folder.glob("*.c")))
    assert run(folder / "selftest", folder=folder).endswith("PASS\n")


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_c_computes_what_onnxruntime_does(model: str, compiler: str, tmp_path: Path) -> None:
    app = open_application(MODELS[model])
    given = [*app.golden.inputs[0], *np.random.default_rng(1).random((20, *app.inputs[0].shape), np.float32)]
    session = onnxruntime.InferenceSession(app.content, providers=["CPUExecutionProvider"])
    write_library(app, tmp_path)
    compile_c(compiler, *FAST, "-shared", "-fPIC", "-o", tmp_path / "model.so", tmp_path / f"{model}.c")
    library = ctypes.CDLL(str(tmp_path / "model.so"))
    for sample in given:
        (expected,) = session.run(None, {app.inputs[0].name: sample.reshape(app.inputs[0].tensor_shape)})
        (found,) = call(library, app, [sample])
        assert np.abs(found - expected[0]).max() <= TOLERANCE


def test_c_from_cpp(model: str, tmp_path: Path) -> None:
    folder = embedded(model, "c", tmp_path)
    app = open_application(MODELS[model])
    upper = model.upper()
    (folder / "main.cpp").write_text(f"""#include "{model}.h"
int main()
{{
    static float image[{upper}_IMAGE], probabilities[{upper}_PROBABILITIES], scratch[{upper}_SCRATCH];
    {model}_run(image, probabilities, scratch);
    return probabilities[0] + probabilities[{app.outputs[0].size - 1}] > 0.0f ? 0 : 1;
}}
""")
    compile_c("gcc", "-O1", "-c", "-o", folder / "model.o", folder / f"{model}.c")
    run(tool("g++"), "-Wall", "-Wextra", "-Werror", "-o", "main", "main.cpp", "model.o", folder=folder)
    run(folder / "main", folder=folder)


def test_c_under_the_sanitizers(model: str, tmp_path: Path) -> None:
    folder = embedded(model, "c", tmp_path)
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    compile_c("gcc", *flags, "-o", folder / "selftest", *sorted(folder.glob("*.c")))
    assert run(folder / "selftest", folder=folder).endswith("PASS\n")


def test_a_wrong_weight_fails_the_self_test(model: str, tmp_path: Path) -> None:
    folder = embedded(model, "c", tmp_path)
    source = folder / f"{model}.c"
    text = source.read_text()
    source.write_text(re.sub(r"(_bias\[\d+\] = \{\n    )", r"\g<1>1.0f + ", text, count=1))
    compile_c("gcc", "-O1", "-o", folder / "selftest", *sorted(folder.glob("*.c")))
    assert run(folder / "selftest", folder=folder, ok=False).endswith("FAIL\n")


def test_memory_is_what_the_header_says(model: str, tmp_path: Path) -> None:
    folder = embedded(model, "c", tmp_path)
    header = (folder / f"{model}.h").read_text().replace(",", "")
    flash, ram, stack = (int(re.search(rf"{word} +(\d+) bytes", header)[1]) for word in ("flash", "RAM", "stack"))
    app = open_application(MODELS[model])
    program = compile_graph(app.model, app.path, ["a", "b"])
    assert (flash, ram, stack) == (program.flash, 4 * program.scratch, program.stack)
    assert ram <= 24 * 1024
    for level in ("-Os", "-O3"):
        compile_c("gcc", level, "-fstack-usage", "-c", "-o", folder / "model.o", folder / f"{model}.c")
        usage = [int(line.split("\t")[1]) for line in (folder / "model.su").read_text().splitlines()]
        assert sum(sorted(usage)[-2:]) <= stack
    sections = run(tool("size"), "-A", folder / "model.o", folder=folder)
    constants = sum(int(size) for size in re.findall(r"\.rodata\S* +(\d+)", sections))
    assert flash - 512 <= constants <= flash + 512  # gcc keeps some of the short arrays in the code
    assert re.search(r"\.(data|bss) +0 ", sections)


def test_c_for_cortex_m(model: str, tmp_path: Path) -> None:
    folder = embedded(model, "c", tmp_path)
    flags = ("-O3", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-ffreestanding")
    compile_c("arm-none-eabi-gcc", *flags, "-c", "-o", folder / "model.o", folder / f"{model}.c")
    symbols = run(tool("arm-none-eabi-nm"), "-u", folder / "model.o", folder=folder).split()
    assert {each for each in symbols if each != "U"} <= {"memcpy", "memset"}


def test_python(model: str, tmp_path: Path) -> None:
    folder = embedded(model, "python", tmp_path)
    assert run(sys.executable, f"{model}.py", "selftest", folder=folder).endswith("PASS\n")
    np.save(folder / "x.npy", open_application(MODELS[model]).golden.inputs[0][7])
    scores, name = run(sys.executable, f"{model}.py", "x.npy", folder=folder).splitlines()
    assert (int(np.argmax(json.loads(scores.partition(": ")[2]))), name) == (7, "7")
    code = f"import sys; sys.path.insert(0, '.'); import {model}; print(*sys.modules)"
    loaded = run(sys.executable, "-c", code, folder=folder).split()
    assert not {"edgebn", "tensorflow", "keras", "onnx"} & set(loaded)
    golden = json.loads((folder / "golden.json").read_text())
    golden["outputs"][0][0][0] += 0.1
    (folder / "golden.json").write_text(json.dumps(golden))
    assert run(sys.executable, f"{model}.py", "selftest", folder=folder, ok=False).endswith("FAIL\n")


def test_node(model: str, tmp_path: Path) -> None:
    npm_package("onnxruntime-node")
    folder = embedded(model, "node", tmp_path)
    (folder / "node_modules").symlink_to(NPM / "node_modules")
    assert run(tool("node"), "selftest.mjs", folder=folder).endswith("PASS\n")


def wasm(model: str, folder: Path) -> Path:
    built = embedded(model, "wasm", folder)
    build_wasm(built)
    return built


def test_wasm(model: str, tmp_path: Path) -> None:
    folder = wasm(model, tmp_path)
    assert run(tool("node"), "selftest.mjs", folder=folder).endswith("PASS\n")
    assert (folder / f"{model}.wasm").stat().st_size < 240_000


def test_page_on_wasm(model: str, tmp_path: Path) -> None:
    npm_package("playwright-core")
    assert drawn((wasm(model, tmp_path) / "index.html").as_uri(), f"wasm-{model}") == "7"


def test_page_on_onnxruntime_web(model: str, tmp_path: Path) -> None:
    with served(embedded(model, "web", tmp_path)) as address:
        assert drawn(address, f"web-{model}") == "7"


def test_c_on_onnxruntime(model: str, tmp_path: Path) -> None:
    header = onnxruntime_header()
    if header is None:
        pytest.skip("no onnxruntime_c_api.h here: pip install --no-deps amd-quark")
    folder = embedded(model, "c-ort", tmp_path)
    flags = "-Wall -Wextra -Werror"
    run(tool("cmake"), "-B", "build", f"-DONNXRUNTIME_INCLUDE_DIR={header}", f"-DCMAKE_C_FLAGS={flags}", folder=folder)
    run(tool("cmake"), "--build", "build", folder=folder)
    assert run(folder / "build" / "selftest", onnxruntime_library(), folder=folder).endswith("PASS\n")
    environment = {**os.environ, "ONNXRUNTIME_LIBRARY": "/nowhere.so"}
    failed = subprocess.run(
        [folder / "build" / "selftest"], env=environment, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"{model}: can not load onnxruntime")
