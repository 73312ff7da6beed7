"""The files of the target c."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgebn.embedding.application import Application
from edgebn.embedding.c.program import Program, compile_graph
from edgebn.embedding.c.text import KEYWORDS, bounded, identifier, wrapped
from edgebn.embedding.golden import Array
from edgebn.embedding.rendering import render


def c_files(app: Application) -> Mapping[str, bytes]:
    """A library of one .c and one .h, and a program that tests it."""
    prefix, values = c_values(app)
    return {
        f"{prefix}.c": render("c/model.c.j2", **values),
        f"{prefix}.h": render("c/model.h.j2", **values),
        "selftest.c": render("c/selftest.c.j2", **values),
        "README.md": render("c/README.md.j2", **values),
    }


def c_values(app: Application) -> tuple[str, dict[str, Any]]:
    """The prefix of all public C names, and what the templates are filled with."""
    program = compile_graph(app.model, app.path)
    prefix = identifier(app.identifier, set(KEYWORDS))
    inputs, outputs = ([port.identifier for port in ports] for ports in (app.inputs, app.outputs))
    values = {
        "app": app,
        "program": program,
        "prefix": prefix,
        "body": "\n\n".join(_body(program)),
        "parameters": [
            *(f"const float *{name}" for name in inputs),
            *(f"float *{name}" for name in outputs),
            "float *scratch",
        ],
        "names": [*inputs, *outputs],
        "arguments": [*(f"given_{name}[sample]" for name in inputs), *outputs, "scratch"],
        "uses_scratch": program.scratch > 0,
        "rows": _rows,
    }
    return prefix, values


def _body(program: Program) -> Iterator[str]:
    yield "\n".join(program.declarations())
    yield from program.kernel_texts()
    yield from program.functions()


def _rows(samples: Array) -> str:
    rows = ("\n".join(f"        {line}" for line in wrapped(bounded(sample), 112)) for sample in samples)
    return "\n".join(f"    {{\n{row}\n    }}," for row in rows)
