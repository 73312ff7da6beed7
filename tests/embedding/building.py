"""Building the apps, and running them: their self-tests, and their pages in a browser."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedding.compiling import compile_c, onnxruntime_header, onnxruntime_library, run, tool

ROOT = Path(__file__).parents[2]
NPM = Path(__file__).parent / "npm"
ARTEFACTS = ROOT / "artefacts"


def npm_package(name: str) -> Path:
    folder = NPM / "node_modules" / name
    if not folder.is_dir():
        pytest.skip(f"no {name} here: ONNXRUNTIME_NODE_INSTALL=skip npm ci --prefix {NPM.relative_to(ROOT)}")
    return folder


def passes_its_own_test(folder: Path, target: str, name: str, *, ok: bool = True) -> None:
    """Build the app whose files are called `name`, and run its self-test; not `ok`: it must fail."""
    verdict = "PASS\n" if ok else "FAIL\n"
    if target == "c":
        compile_c("gcc", "-o", folder / "st", folder / f"{name}.c", folder / "selftest.c")
        assert run(folder / "st", folder=folder, ok=ok).endswith(verdict)
        (folder / "t.cpp").write_text(f'#include "{name}.h"\nint main() {{}}\n')
        run(tool("g++"), "-c", "t.cpp", "-o", "t.o", folder=folder)
    elif target == "python":
        assert run(sys.executable, f"{name}.py", "selftest", folder=folder, ok=ok).endswith(verdict)
    elif target == "wasm":
        build_wasm(folder)
        assert run(tool("node"), "selftest.mjs", folder=folder, ok=ok).endswith(verdict)
    elif target == "node":
        npm_package("onnxruntime-node")
        (folder / "node_modules").symlink_to(NPM / "node_modules")
        assert run(tool("node"), "selftest.mjs", folder=folder, ok=ok).endswith(verdict)
    else:
        header = onnxruntime_header() or pytest.skip("no onnxruntime_c_api.h here: pip install --no-deps amd-quark")
        sources = [f"{name}.c", f"{name}_onnx.c", "selftest.c"]
        flags = ["-std=c99", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-D_GNU_SOURCE", f"-I{header}"]
        run(tool("gcc"), *flags, "-o", "st", *sources, "-ldl", folder=folder)
        assert run(folder / "st", onnxruntime_library(), folder=folder, ok=ok).endswith(verdict)


def build_wasm(folder: Path) -> None:
    tool("clang")
    tool("wasm-ld")
    run("sh", "build.sh", folder=folder)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the page on onnxruntime-web, served by its own little server."""
    npm_package("onnxruntime-web")
    (folder / "node_modules").symlink_to(NPM / "node_modules")
    with subprocess.Popen([tool("node"), "serve.mjs", "0"], cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


def drawn(address: str, name: str, *picture: Path) -> str:
    """Draw a seven on a page with the mouse, or give it a picture, and press its self-test; the screenshot is kept.

    Returns the class that the page shows.
    """
    npm_package("playwright-core")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    ARTEFACTS.mkdir(exist_ok=True)
    script = Path(__file__).parent / "draw.mjs"
    command = [tool("node"), script, browser, address, ARTEFACTS / f"{name}.png", *picture]
    found = run(*command, folder=NPM).splitlines()
    assert found[-2:] == ["self-test PASS", "requests to elsewhere: 0"], found
    return found[-3].removeprefix("class ")
