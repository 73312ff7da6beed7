"""The table of targets: what kind of app, and the files that it consists of."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgebn.embedding.application import Application
from edgebn.embedding.c.source import c_files, c_library, c_names, c_values
from edgebn.embedding.c.text import wrapped
from edgebn.embedding.golden import as_json
from edgebn.embedding.rendering import render

Files = Mapping[str, bytes]


def python_files(app: Application) -> Files:
    """One Python file on numpy and onnxruntime."""
    return {
        f"{app.identifier}.py": render("python/model.py.j2", app=app),
        f"{app.identifier}.onnx": app.content,
        "golden.json": as_json(app.golden),
        "README.md": render("python/README.md.j2", app=app),
    }


def node_files(app: Application) -> Files:
    """An ES module on onnxruntime-node."""
    return {
        f"{app.identifier}.mjs": render("node/model.mjs.j2", app=app),
        f"{app.identifier}.onnx": app.content,
        "golden.json": as_json(app.golden),
        "selftest.mjs": render("node/selftest.mjs.j2", app=app),
        "package.json": render("node/package.json.j2", app=app),
        "README.md": render("node/README.md.j2", app=app),
    }


def wasm_files(app: Application) -> Files:
    """The C, a script that makes WebAssembly of it, an ES module and a page."""
    prefix, values = c_values(app)
    return {
        **c_library(prefix, values),
        "wasm.c": render("wasm/wasm.c.j2", **values),
        "build.sh": render("wasm/build.sh.j2", **values),
        f"{prefix}.mjs": render("wasm/model.mjs.j2", **values),
        "selftest.mjs": render("wasm/selftest.mjs.j2", **values),
        "golden.json": as_json(app.golden),
        "index.html": _page("wasm/open.js.j2", [f"{prefix}.wasm.js"], "Build it first: sh build.sh", values),
        "README.md": render("wasm/README.md.j2", **values),
    }


def web_files(app: Application) -> Files:
    """A page on onnxruntime-web, with the model inside of a script."""
    model = base64.b64encode(app.content).decode()
    scripts = ["node_modules/onnxruntime-web/dist/ort.wasm.min.js", "model.js"]
    return {
        "model.js": f'const modelBase64 = "{model}";\n'.encode(),
        "index.html": _page("web/open.js.j2", scripts, "Start it with: npm install && npm start", {"app": app}),
        "serve.mjs": render("web/serve.mjs.j2", app=app),
        "package.json": render("web/package.json.j2", app=app),
        "README.md": render("web/README.md.j2", app=app),
    }


def c_ort_files(app: Application) -> Files:
    """C on onnxruntime, with the model inside of the program."""
    prefix, values = c_names(app)
    content = "\n".join(f"    {line}" for line in wrapped(map(str, app.content)))
    return {
        f"{prefix}.c": render("c_ort/model.c.j2", **values),
        f"{prefix}.h": render("c_ort/model.h.j2", **values),
        f"{prefix}_onnx.c": render("c_ort/bytes.c.j2", bytes=content, **values),
        "selftest.c": render("c_ort/selftest.c.j2", **values),
        "CMakeLists.txt": render("c_ort/CMakeLists.txt.j2", **values),
        "README.md": render("c_ort/README.md.j2", **values),
    }


def _page(load: str, scripts: Sequence[str], remedy: str, values: Mapping[str, Any]) -> bytes:
    """The page; `load` is the template that defines how its model is opened, `remedy` is for when that fails."""
    golden = as_json(values["app"].golden).decode()
    return render("page/index.html.j2", load=load, scripts=scripts, golden=golden, remedy=remedy, **values)


TARGETS: dict[str, Callable[[Application], Files]] = {
    "c": c_files,
    "wasm": wasm_files,
    "web": web_files,
    "c-ort": c_ort_files,
    "python": python_files,
    "node": node_files,
}
