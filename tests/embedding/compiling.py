"""Compiling what edgebn writes, and calling it from here."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgebn.embedding.application import Application, open_application
from edgebn.embedding.c.source import c_library, c_values
from edgebn.embedding.ports import FLOAT

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-pedantic", "-Werror")
FAST = ("-O3", "-mavx2", "-mfma")
COMPILERS = ("gcc", "clang")
_SECONDS = 300


def tool(name: str) -> str:
    """The path of a program; the test skips where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} on this machine")
    return path


def compile_c(compiler: str, *arguments: str | Path) -> None:
    """Call a compiler; warnings are errors."""
    command = [tool(compiler), *STRICT, *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[:3000]


def run(*command: str | Path, folder: Path, ok: bool = True) -> str:
    """What a program prints, if it succeeds as expected."""
    done = subprocess.run(
        [str(each) for each in command], cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert (done.returncode == 0) is ok, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def opened(model: onnx.ModelProto, folder: Path, name: str = "m") -> Application:
    """A model in memory as an application."""
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    return open_application(path)


def write_library(app: Application, folder: Path) -> None:
    """Write the C of an application."""
    for name, content in c_library(*c_values(app)).items():
        (folder / name).write_bytes(content)


def call(library: ctypes.CDLL, app: Application, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run one sample. Scratch and outputs hold no number before."""
    function = getattr(library, f"{app.identifier}_run")
    scratch = np.full(1 << 22, np.nan, np.float32)
    given = [np.ascontiguousarray(each, port.type.name) for each, port in zip(inputs, app.inputs, strict=True)]
    outputs = [np.full(port.shape, np.nan if port.type == FLOAT else -1, port.type.name) for port in app.outputs]
    pointers = [each.ctypes.data_as(ctypes.c_void_p) for each in (*given, *outputs, scratch)]
    function(*pointers)
    return outputs


def run_c(app: Application, inputs: Sequence[np.ndarray], folder: Path, compiler: str = "gcc") -> list[np.ndarray]:
    """Compile an application and run one sample."""
    write_library(app, folder)
    library = folder / "model.so"
    compile_c(compiler, "-O2", "-shared", "-fPIC", "-o", library, folder / f"{app.identifier}.c")
    return call(ctypes.CDLL(str(library)), app, inputs)


def onnxruntime_library() -> Path:
    """The shared library inside of the Python package."""
    folder = Path(_location("onnxruntime") or "") / "capi"
    return next(each for each in sorted(folder.glob("libonnxruntime.*")) if each.is_file())


def onnxruntime_header() -> Path | None:
    """The folder of onnxruntime_c_api.h, which comes with the package amd-quark; it is not imported."""
    root = Path(_location("quark") or "/nowhere")
    return next(
        (
            each.parent
            for each in root.glob("onnx/operators/custom_ops/include/*/onnxruntime/core/session/onnxruntime_c_api.h")
        ),
        None,
    )


def _location(package: str) -> str | None:
    spec = importlib.util.find_spec(package)
    return None if spec is None or not spec.submodule_search_locations else spec.submodule_search_locations[0]
