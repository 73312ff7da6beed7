"""Random layers in C, under the sanitizers too, against onnxruntime on the same file."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgebn.embedding.application import Application
from edgebn.embedding.c.pools import Pool
from edgebn.embedding.c.program import compile_graph
from edgebn.embedding.c.tiles import Tiled
from edgebn.embedding.c.written_out import Depthwise, FewTaps, Streamed, Vector
from tests.embedding import layers
from tests.embedding.compiling import call, compile_c, opened, run, write_library

CONVOLUTIONS = 80
TOLERANCE = 1e-5  # of the largest output, or of 1: 3e-6 seen, of a softmax of numbers around 30


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> list[Application]:
    """Every model as an application, its C beside it in one folder."""
    folder = tmp_path_factory.mktemp("layers")
    models = [layers.random_convolution(np.random.default_rng(seed)) for seed in range(CONVOLUTIONS)]
    models += [build(np.random.default_rng(0)) for build in layers.FIXED.values()]
    found = [opened(model, folder, f"m{number}") for number, model in enumerate(models)]
    for app in found:
        write_library(app, folder)
    return found


def vectors(app: Application) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    session = onnxruntime.InferenceSession(app.content, providers=["CPUExecutionProvider"])
    for seed in range(2):
        given = [np.random.default_rng(seed).standard_normal(port.shape).astype(np.float32) for port in app.inputs]
        feed = {port.name: each.reshape(port.tensor_shape) for port, each in zip(app.inputs, given, strict=True)}
        yield given, session.run(None, feed)


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [("gcc", ("-O2", "-mavx2", "-mfma")), ("clang", ("-O1",))],
)
def test_random_layers(apps: list[Application], compiler: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    library = tmp_path / "all.so"
    sources = [app.path.with_suffix(".c") for app in apps]
    compile_c(compiler, *flags, "-shared", "-fPIC", "-o", library, *sources)
    loaded = ctypes.CDLL(str(library))
    for app in apps:
        for given, expected in vectors(app):
            for found, array in zip(call(loaded, app, given), expected, strict=True):
                difference = np.abs(found.reshape(array.shape) - array).max()
                assert difference <= TOLERANCE * max(1, np.abs(array).max()), (app.name, difference)


def test_every_kind_of_step_is_met(apps: list[Application]) -> None:
    steps = [step for app in apps for step in compile_graph(opened_again(app).model, app.path, ["a", "b"]).steps]
    assert {Depthwise, FewTaps, Streamed, Vector, Tiled, Pool} <= {type(step) for step in steps}
    tiled = [step for step in steps if isinstance(step, Tiled)]
    for pool in (None, "Max", "Average"):
        own = [step for step in tiled if (step.pool and step.pool.kind) == pool and (step.pools_all or not pool)]
        assert {bool(step.down[1]) for step in own if step.tile > 1} == {False, True}


def opened_again(app: Application) -> Application:
    from edgebn.embedding.application import open_application

    return open_application(app.path)  # compiling a graph changes it


CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")


@pytest.mark.parametrize(("compiler", "flags"), [("gcc", ()), ("arm-none-eabi-gcc", CORTEX_M4)])
def test_the_stack_is_at_most_what_is_said(
    apps: list[Application], compiler: str, flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    compile_c(compiler, "-O3", *flags, "-fstack-usage", "-c", *(app.path.with_suffix(".c") for app in apps))
    for app in apps:
        header = app.path.with_suffix(".h").read_text().replace(",", "")
        said = int(re.search(r"stack +(\d+) bytes", header)[1])
        lines = (line.split("\t") for line in Path(f"{app.identifier}.su").read_text().splitlines())
        usage = {place.rpartition(":")[2]: int(size) for place, size, _ in lines}
        entry = usage.pop(f"{app.identifier}_run")
        called = {name: size for name, size in usage.items() if not name.startswith("layer_")}
        layers_own = [size for name, size in usage.items() if name not in called]
        deepest = entry + max(layers_own, default=0) + max(called.values(), default=0)
        assert deepest <= said, (app.name, deepest, said)


def test_nothing_is_read_or_written_outside(apps: list[Application], tmp_path: Path) -> None:
    calls = []
    for app in apps:
        prefix = app.identifier
        sizes = [port.size for port in (*app.inputs, *app.outputs)]
        arrays = ", ".join(f"malloc({size} * sizeof(float))" for size in sizes)
        fill = "".join(
            f"for (int i = 0; i < {port.size}; i++) ((float *)a[{index}])[i] = (float)(i % 7) - 3.0f; "
            for index, port in enumerate(app.inputs)
        )
        given = ", ".join(f"a[{index}]" for index in range(len(sizes)))
        calls.append(
            f"{{ void *a[] = {{{arrays}}}; float *s = malloc({prefix.upper()}_SCRATCH * sizeof(float)); {fill}"
            f"{prefix}_run({given}, s); for (int i = 0; i < {len(sizes)}; i++) free(a[i]); free(s); }}"
        )
    includes = "\n".join(f'#include "{app.identifier}.h"' for app in apps)
    main = tmp_path / "main.c"
    main.write_text(f"{includes}\n#include <stdlib.h>\nint main(void)\n{{\n" + "\n".join(calls) + "\nreturn 0;\n}\n")
    folder = apps[0].path.parent
    sources = [app.path.with_suffix(".c") for app in apps]
    sanitizers = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    compile_c("gcc", *sanitizers, f"-I{folder}", "-o", tmp_path / "main", main, *sources)
    run(tmp_path / "main", folder=tmp_path)
