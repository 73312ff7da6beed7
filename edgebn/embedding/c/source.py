"""The files of the target c."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgebn.embedding.application import Application
from edgebn.embedding.c.program import Program, compile_graph
from edgebn.embedding.c.text import literals, wrapped
from edgebn.embedding.golden import Array
from edgebn.embedding.names import identifier
from edgebn.embedding.ports import FLOAT
from edgebn.embedding.rendering import render

MACROS = ("INFINITE", "NOT_A_NUMBER")
"""What the program defines if it needs it."""


def c_files(app: Application) -> Mapping[str, bytes]:
    """A library of one .c and one .h, and a program that tests it."""
    prefix, values = c_values(app)
    return {
        **c_library(prefix, values),
        "selftest.c": render("c/selftest.c.j2", **values),
        "README.md": render("c/README.md.j2", **values),
    }


def c_library(prefix: str, values: Mapping[str, Any]) -> Mapping[str, bytes]:
    """The .c and the .h, from what `c_values` returns."""
    return {
        f"{prefix}.c": render("c/model.c.j2", **values),
        f"{prefix}.h": render("c/model.h.j2", **values),
    }


def c_values(app: Application) -> tuple[str, dict[str, Any]]:
    """The prefix of all public C names, and what the templates are filled with."""
    prefix, values = c_names(app)
    ports = [name for name, _ in (*values["inputs"], *values["outputs"])]
    program = compile_graph(app.model, app.path, ports, _public(prefix))
    calls = list(program.calls())
    body, definitions = "\n\n".join(_body(program)), list(program.definitions())
    used = set(re.findall(r"\w+", " ".join(calls)))
    return prefix, {
        **values,
        "program": program,
        "body": body,
        "definitions": definitions,
        "macros": {name for name in MACROS if any(name in text for text in (body, *definitions))},
        "calls": calls,
        "unused": [name for name in (*ports, "scratch") if name not in used],
    }


def c_names(app: Application) -> tuple[str, dict[str, Any]]:
    """The prefix of all public C names, and the C names of inputs and outputs for the templates."""
    prefix = app.identifier
    taken = {"scratch", "model", "library", "opened", *_public(prefix)}
    inputs, outputs = ([(identifier(port.name, taken), port) for port in ports] for ports in (app.inputs, app.outputs))
    return prefix, {
        "app": app,
        "prefix": prefix,
        "inputs": inputs,
        "outputs": outputs,
        "integers": any(port.type != FLOAT for port in (*app.inputs, *app.outputs)),
        "rows": _rows,
        "string": c_string,
    }


def _public(prefix: str) -> set[str]:
    return {
        prefix,
        f"{prefix}_model",
        f"{prefix}_run",
        f"{prefix}_labels",
        f"{prefix}_open",
        f"{prefix}_close",
        f"{prefix}_onnx",
    }


def c_string(text: str) -> str:
    """A C string literal: UTF-8, what is not plain ASCII as octal escapes."""
    plain = set(map(ord, " !#$%&'()*+,-./:;<=>@[]^_`{|}~")) | {each for each in range(128) if chr(each).isalnum()}
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _body(program: Program) -> Iterator[str]:
    yield "\n".join(program.declarations())
    yield from program.kernel_texts()
    yield from program.functions()


def _rows(samples: Array) -> str:
    written = literals if samples.dtype.kind == "f" else lambda sample: map(str, sample.reshape(-1))
    rows = ("\n".join(f"        {line}" for line in wrapped(written(sample), 112)) for sample in samples)
    return "\n".join(f"    {{\n{row}\n    }}," for row in rows)
