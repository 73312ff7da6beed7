"""The table of targets: what kind of app, and the files that it consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgebn.embedding.application import Application
from edgebn.embedding.c.source import c_files
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


TARGETS: dict[str, Callable[[Application], Files]] = {
    "c": c_files,
    "python": python_files,
    "node": node_files,
}
